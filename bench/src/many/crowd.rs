//! A crowd: connections of a process of their own, which stand until they are told to go on.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::Args as ClapArgs;
use finwait_loadgen::clock::Clock;
use finwait_loadgen::control::Control;
use finwait_loadgen::rtt::{self, Mark, Rtt};
use serde::{Deserialize, Serialize};

use crate::{Result, platform, server};

/// Source addresses of a crowd, 127.1.N.1 and on: with fewer, ports would have to be searched for.
const SOURCES: u8 = 16;
/// How long messages flow once all stand: long enough for everybody's turn. Whoever's is not back by then is waited for.
const FLOW: Duration = Duration::from_secs(3);
const MESSAGE: u32 = 64;
/// The longest wait without progress: everybody's turn comes late where there are so many.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a crowd says when all of its connections stand.
const STANDING: &str = "standing\n";

/// The command line of a crowd.
#[derive(Debug, ClapArgs)]
pub struct Args {
    target: SocketAddr,
    connections: u32,
    network: u8,
}

/// What a crowd has seen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Echoes between standing and the FINs.
    pub(super) messages: u64,
    /// By the monotonic clock, which is the same for all processes.
    pub(super) first_fin_ns: u64,
    /// Likewise.
    pub(super) last_eof_ns: u64,
    /// How many connections ended how.
    pub(super) outcomes: BTreeMap<String, u64>,
}

/// Is a crowd: connects, says that all stand, goes on at a line on standard input, and prints what it has seen.
///
/// # Errors
/// When this host cannot poll, or whoever started this is gone.
pub fn run(args: &Args) -> Result<()> {
    let rtt = Rtt {
        remote: args.target,
        sources: (1..=SOURCES).map(|last| IpAddr::from(Ipv4Addr::new(127, 1, args.network, last))).collect(),
        connections: args.connections,
        size: MESSAGE,
        depth: 1,
        rate: None,
        burst: 1,
        warm_up: Duration::ZERO,
        duration: FLOW,
        timeout: TIMEOUT,
        spin: false,
    };
    let mut stood = Ok(());
    let began = platform::monotonic()?;
    let measured = rtt::run_by(Clock::start(), &rtt, &Control::default(), &mut |mark| match mark {
        Mark::Standing => stood = stand(),
        Mark::Begin | Mark::End => {}
    })?;
    stood?;
    // Nobody has a second turn before everyone had a first, so as many messages as connections are one on each.
    let messages = measured.messages + measured.late;
    if messages < measured.connections {
        return Err(format!("{messages} messages came back on {} connections", measured.connections).into());
    }
    let began_ns = u64::try_from(began.as_nanos())?;
    let recorder = &measured.recorder;
    let seen = Seen {
        messages,
        first_fin_ns: began_ns + recorder.half_closes.map_or(0, |span| span.first),
        last_eof_ns: began_ns + recorder.eofs.map_or(0, |span| span.last),
        outcomes: measured
            .outcomes
            .iter()
            .map(|(outcome, count)| (outcome.name().to_owned(), count))
            .collect(),
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// Waits for the word.
fn stand() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(STANDING.as_bytes())?;
    stdout.flush()?;
    match io::stdin().lock().read_line(&mut String::new())? {
        0 => Err(io::Error::other("whoever started this crowd is gone")),
        _ => Ok(()),
    }
}

/// A crowd that runs; dropped, it is killed.
pub(super) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts one.
    ///
    /// # Errors
    /// As spawning a process.
    pub(super) fn start(
        program: &Path,
        target: SocketAddr,
        connections: u32,
        network: u8,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(server::ends_with_us())
            .args(["crowd", &target.to_string(), &connections.to_string(), &network.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Ok(Self { child, stdout })
    }

    /// Returns when all of its connections stand, or have failed.
    ///
    /// # Errors
    /// When it ends before.
    pub(super) fn stands(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line == STANDING { Ok(()) } else { Err(io::Error::other("a crowd ended before it stood")) }
    }

    /// Tells it to go on.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn go(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().expect("stdin is piped").write_all(b"\n")
    }

    /// What it has seen, when all of its connections have ended.
    ///
    /// # Errors
    /// When it failed.
    pub(super) fn end(mut self) -> Result<Seen> {
        let mut seen = String::new();
        self.stdout.read_to_string(&mut seen)?;
        serde_json::from_str(&seen).map_err(|_| "a crowd ended without a word".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or nobody wants to know any more what it sees.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
