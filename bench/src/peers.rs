//! The servers that finwait is measured beside, by name: each the echo server that its library is made for.
//!
//! All of them echo to the end of what they are sent: they read to the peer's FIN, send everything back, and end their
//! own side behind it. (Those on io_uring and the plain `tokio` call `shutdown` before they close, as their users are
//! taught; where the FIN was read and nothing is unsent, `close` alone sends the same FIN, and the others leave it at
//! that.) `abrupt` alone does not: it is what a check has to catch.
//!
//! All that is not theirs to choose is the same for all: the listener ([`listen`]), the room for what is received
//! ([`Job::buffer`]), one thread, and the soft limit of descriptors at the hard one.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args as ClapArgs;

pub use self::listener::listen;

mod abrupt;
#[cfg(target_os = "linux")]
mod compio;
pub mod cpu;
mod epoll;
mod finwait;
mod listener;
#[cfg(target_os = "linux")]
mod monoio;
#[cfg(target_os = "linux")]
pub mod programs;
pub(crate) mod threads;
mod tokio;
mod tokio_lean;

/// Every server, in the order in which they are listed.
pub const PEERS: &[Peer] = &[
    peer("uring", "finwait, its engine of that name", finwait::uring),
    peer("mio", "finwait, its engine of that name", finwait::mio),
    peer("tokio-uring", "finwait, its engine of that name", finwait::tokio_uring),
    peer("tokio", "a task for each connection, each with a buffer", tokio::serve),
    peer("tokio-lean", "likewise, with one buffer for all", tokio_lean::serve),
    #[cfg(target_os = "linux")]
    peer("monoio", "a runtime on io_uring", monoio::serve),
    #[cfg(target_os = "linux")]
    peer("compio", "another runtime on io_uring", compio::serve),
    peer("epoll", "written by hand on mio, with one buffer for all", epoll::serve),
    peer("threads", "a thread for each connection", threads::serve),
    #[cfg(target_os = "linux")]
    peer("socat", "the program, a process for each connection", programs::socat),
    #[cfg(target_os = "linux")]
    peer("haproxy", "the program, passing on to `epoll` and back", programs::haproxy),
    #[cfg(target_os = "linux")]
    peer("node", "the program, with ten lines of JavaScript", programs::node),
    #[cfg(target_os = "linux")]
    peer("external", "PATH [ARGS]: any that says `listening on ADDR:PORT`", programs::external),
    peer("abrupt", "wrong on purpose: closes at the FIN, whatever is owed", abrupt::serve),
];

/// One of the servers.
pub struct Peer {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is, in some words.
    pub about: &'static str,
    serve: Serve,
}

type Serve = fn(&Job) -> Result<(), Failure>;

const fn peer(name: &'static str, about: &'static str, serve: Serve) -> Peer {
    Peer { name, about, serve }
}

/// What `peer` is told.
#[derive(Debug, ClapArgs)]
#[command(after_help = list())]
pub struct Args {
    /// Which server.
    pub name: String,
    /// What the server is told beyond that: flags of finwait-server behind `--`, or an external program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
    /// Room for what is received, of each connection or of all.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = buffer)]
    pub buffer: usize,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// What a server is told, as it takes it.
#[derive(Debug)]
pub struct Job {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Bytes of the buffer that a receive fills.
    pub buffer: usize,
    /// What else there is for this server.
    pub args: Vec<OsString>,
}

/// Why a server does not run, as one line.
#[derive(Debug)]
pub enum Failure {
    /// Something else has to be asked for, or installed.
    Usage(String),
    /// It went wrong.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the server that `args` name, until this process is killed.
///
/// # Errors
/// When there is no such server, or it cannot run.
pub fn run(args: Args) -> Result<(), Failure> {
    let peer = PEERS.iter().find(|peer| peer.name == args.name).ok_or_else(|| {
        let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        Failure::Usage(format!("there is no server `{}` here; there are {}", args.name, names.join(", ")))
    })?;
    if let Err(error) = finwait_server::sys::raise_descriptor_limit() {
        eprintln!("finwait-bench: the descriptor limit cannot be raised: {error}");
    }
    (peer.serve)(&Job { listen: args.listen, buffer: args.buffer, args: args.args })
}

impl Job {
    /// The listener of a server that is told nothing else.
    fn listener(&self) -> Result<std::net::TcpListener, Failure> {
        self.takes_no_args()?;
        listen(self.listen).map_err(|error| {
            let listen = self.listen;
            Failure::Failed(format!(
                "cannot listen on {listen}: {error}; choose another address with --listen"
            ))
        })
    }

    fn takes_no_args(&self) -> Result<(), Failure> {
        if let Some(arg) = self.args.first() {
            return Err(Failure::Usage(format!(
                "this server has no flags of its own, so `{}` means nothing to it",
                arg.display()
            )));
        }
        Ok(())
    }
}

/// The line that whoever started a server waits for.
pub(crate) fn say_listening(addr: impl fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {addr}")?;
    stdout.flush()
}

/// How long to leave the listener alone after an accept that failed; `None` where only one connection was concerned.
#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
pub(crate) fn pause_after(error: &io::Error) -> Option<Duration> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {
            None
        }
        // Descriptors or memory ran out: the connection waits in the backlog until some came back.
        _ => Some(Duration::from_millis(10)),
    }
}

fn buffer(text: &str) -> Result<usize, String> {
    const EXPECTED: &str = "a size from 64 to 16MiB, like 4KiB, is expected";
    let bytes = parse_size::parse_size(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
    usize::try_from(bytes).ok().filter(|bytes| (64..=16 << 20).contains(bytes)).ok_or(EXPECTED.to_owned())
}

fn list() -> String {
    let lines: Vec<String> = PEERS.iter().map(|peer| format!("  {:<12} {}", peer.name, peer.about)).collect();
    format!("Servers:\n{}", lines.join("\n"))
}
