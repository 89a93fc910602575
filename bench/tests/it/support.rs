//! The program under test, and connections to it that never wait for ever.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use finwait_bench::server::Server;
use socket2::{Domain, Protocol, Socket, Type};

/// The longest that anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_finwait-bench"))
}

/// A server that is killed when it is dropped.
pub(crate) fn start(args: &[&str]) -> Server {
    Server::start(program(), args).unwrap()
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn connect(port: u16) -> TcpStream {
    connect_with(port, None).unwrap()
}

/// With room for no more than about `room` bytes that wait to be read.
pub(crate) fn connect_with(port: u16, room: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    if let Some(room) = room {
        socket.set_recv_buffer_size(room)?;
    }
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Does something while the server cannot do anything, where there is a way to stop it.
pub(crate) fn while_it_stands_still<T>(server: &Server, act: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    let send = |signal| {
        let pid = nix::unistd::Pid::from_raw(server.pid().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    };
    #[cfg(target_os = "linux")]
    send(nix::sys::signal::Signal::SIGSTOP);
    #[cfg(not(target_os = "linux"))]
    let _ = server;
    let done = act();
    #[cfg(target_os = "linux")]
    send(nix::sys::signal::Signal::SIGCONT);
    done
}
