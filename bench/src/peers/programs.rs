//! Programs that people run. Each takes the place of this process, so that whoever kills or counts this one kills and
//! counts the program, and nothing is left behind.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use clap::Args as ClapArgs;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Failure, Job, say_listening};
use crate::server;

const NODE: &str = include_str!("node.js");
const HAPROXY: &str = include_str!("haproxy.cfg");

/// The most that socat may take at once: what it reads it writes to a pipe of its own, and whatever is more than a page
/// can block there for ever, as nobody else reads from it.
const SOCAT_BUFFER_MAX: usize = 4096;

/// From one look whether socat listens to the next.
const LOOK: Duration = Duration::from_millis(1);

pub(super) fn node(job: &Job) -> Result<(), Failure> {
    let node = installed("node", "nodejs")?;
    let listener = job.listener()?;
    let fd = inherited(&listener)?;
    say_listening(listener.local_addr()?)?;
    Err(becomes(Command::new(node).args(["-e", NODE, "--", &fd.to_string(), &job.buffer.to_string()])))
}

/// In a loop with `epoll`, which is a child of HAProxy's process then.
pub(super) fn haproxy(job: &Job) -> Result<(), Failure> {
    let haproxy = installed("haproxy", "haproxy")?;
    let listener = job.listener()?;
    let fd = inherited(&listener)?;
    let mut echo = ours(&["peer", "epoll", "--buffer", &job.buffer.to_string()])?;
    let mut line = String::new();
    BufReader::new(echo.stdout(Stdio::piped()).spawn()?.stdout.take().ok_or_else(no_pipe)?)
        .read_line(&mut line)?;
    let echo = line.trim_end().strip_prefix("listening on ").ok_or_else(no_pipe)?;
    let mut config = fs::File::from(memfd_create("haproxy.cfg", MFdFlags::empty()).map_err(io::Error::from)?);
    config.write_all(HAPROXY.as_bytes())?;
    say_listening(listener.local_addr()?)?;
    Err(becomes(
        Command::new(haproxy)
            .args(["-db", "-f", &format!("/proc/self/fd/{}", config.as_raw_fd())])
            .env("FINWAIT_FD", fd.to_string())
            .env("FINWAIT_BUFFER", job.buffer.to_string())
            .env("FINWAIT_ECHO", echo),
    ))
}

/// A process for each connection. It takes no listener, so its port is held for it by a socket that never listens, and a
/// child says that it listens when it does.
pub(super) fn socat(job: &Job) -> Result<(), Failure> {
    let socat = installed("socat", "socat")?;
    job.takes_no_args()?;
    let holder = Socket::new(Domain::for_address(job.listen), Type::STREAM, Some(Protocol::TCP))?;
    holder.set_reuse_port(true)?;
    holder.bind(&job.listen.into())?;
    inherited(&holder)?;
    let addr = holder.local_addr()?.as_socket().ok_or_else(no_pipe)?;
    ours(&["say-when", &addr.to_string()])?.spawn()?;
    let (kind, host) = match addr {
        SocketAddr::V4(addr) => ("TCP4", addr.ip().to_string()),
        SocketAddr::V6(addr) => ("TCP6", format!("[{}]", addr.ip())),
    };
    let listen = format!("{kind}-LISTEN:{},bind={host},reuseport,fork,backlog=4096,nodelay", addr.port());
    let buffer = job.buffer.min(SOCAT_BUFFER_MAX).to_string();
    // Half a second after one side's end it would end the other, which a slow reader needs longer for.
    Err(becomes(Command::new(socat).args(["-b", &buffer, "-t", "86400", &listen, "PIPE"])))
}

/// Any other program; it says itself where it listens.
pub(super) fn external(job: &Job) -> Result<(), Failure> {
    let Some((program, args)) = job.args.split_first() else {
        return Err(Failure::Usage("external: PATH [ARGS] of a program is expected".to_owned()));
    };
    Err(becomes(Command::new(program).args(args)))
}

/// What `say-when` is told.
#[derive(Debug, ClapArgs)]
pub struct SayWhen {
    addr: SocketAddr,
}

/// Waits until an address is listened on, by connecting, and says so.
///
/// # Errors
/// When stdout is closed.
pub fn say_when(args: &SayWhen) -> Result<(), Failure> {
    while TcpStream::connect(args.addr).is_err() {
        thread::sleep(LOOK);
    }
    Ok(say_listening(args.addr)?)
}

/// This program, as a child that does not outlive the process.
fn ours(args: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(server::ends_with_us()).args(args).stdin(Stdio::null());
    Ok(command)
}

/// Where a program is, or which package it is in.
fn installed(program: &str, package: &str) -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file()).ok_or_else(|| {
        Failure::Usage(format!("{program} is not installed; on Debian: apt-get install {package}"))
    })
}

/// The number of a descriptor that the program which takes our place has too.
fn inherited(fd: &(impl AsFd + AsRawFd)) -> io::Result<RawFd> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(fd.as_raw_fd())
}

/// Returns only when the program could not be run.
fn becomes(command: &mut Command) -> Failure {
    let error = command.exec();
    Failure::Usage(format!("{} cannot be run: {error}", command.get_program().display()))
}

fn no_pipe() -> io::Error {
    io::Error::other("the echo behind it did not start")
}
