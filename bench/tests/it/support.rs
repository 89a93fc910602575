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

#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = PATIENCE.as_millis() / 10;
    while !is_so() {
        looks = looks.checked_sub(1).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain until {what}"));
        std::thread::sleep(PATIENCE / 3000);
    }
}

/// Whether there is such a process, and not just its number until somebody asks how it ended.
#[cfg(target_os = "linux")]
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}
