//! What a server is told: validated values, and the command line that they are parsed from.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::engine::{Descriptors, EngineChoice};

/// Everything that a server is told, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Addresses of the ledger (`server/LEDGER.md`); none: there is none.
    pub ledger: Vec<SocketAddr>,
    /// Where the ledger is kept; `None`: it begins with nothing, and ends with the process.
    pub ledger_file: Option<PathBuf>,
    /// Which engine.
    pub engine: EngineChoice,
    /// Where the descriptors of connections live.
    pub descriptors: Descriptors,
    /// Worker threads, each with a listener and an engine of its own.
    pub workers: NonZeroUsize,
    /// The most bytes that one connection may owe.
    pub window: NonZeroU32,
    /// The most connections served at a time; `None`: what the descriptors allow.
    pub conns_max: Option<u32>,
    /// Time without a byte in either direction before a connection is drained; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// Time without a byte sent while any is owed before a connection is expired.
    pub stall_timeout: Duration,
    /// Idle time after our FIN before a connection is expired; six times that in all.
    pub linger_timeout: Duration,
    /// In a drain, the time in which connections may end by themselves.
    pub drain_grace: Duration,
    /// From the start of a drain until what is left is expired.
    pub drain_timeout: Duration,
}

impl Default for Config {
    /// What the command line says when it says nothing.
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 7007))],
            ledger: Vec::new(),
            ledger_file: None,
            engine: EngineChoice::Auto,
            descriptors: Descriptors::Normal,
            workers: Workers::auto().0,
            window: NonZeroU32::MIN.saturating_add((256 << 10) - 1),
            conns_max: None,
            idle_timeout: None,
            stall_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(5),
            drain_grace: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(25),
        }
    }
}

/// A completion-based TCP echo server (RFC 862) that ends every connection properly and says how it ended.
#[derive(Debug, Parser)]
#[command(name = "finwait-server", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without a subcommand: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

const EXAMPLES: &str = "\
Examples:
  finwait-server                        echo on 127.0.0.1:7007
  finwait-server --listen 0.0.0.0:7 --listen '[::]:7'
                                        the echo port, on IPv4 and on IPv6
  finwait-server --workers 1 --window 64KiB --max-connections 10k
  finwait-server --ledger 127.0.0.1:7009 --ledger-file totals.redb
                                        with a ledger beside the echo (LEDGER.md)
  finwait-server check 127.0.0.1:7007   one echo with a proper end, as a health probe

Signals:
  SIGTERM or SIGINT drains: connections may end by themselves for --drain-grace, and
  are then ended properly. A second signal, or --drain-timeout, expires what is left.
  The tally is printed on stdout. On Windows Ctrl-C and Ctrl-Break do the same, and when
  the console is closed what is left is expired after four seconds.

Exit codes:
  0  drained, and the drain had to expire no connection
  1  a failure at run time
  2  usage, or a forced engine that cannot run
  3  the drain had to expire connections";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Probe an echo server: one connection, an echo, a half-close, the server's EOF.
    Check(Check),
}

/// What `check` is told.
#[derive(Debug, Args)]
pub struct Check {
    /// HOST:PORT of the server.
    pub addr: String,
    /// The longest that each step may take.
    #[arg(long, value_name = "D", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

/// What the server is told on its command line.
#[derive(Debug, Args)]
pub struct Serve {
    /// Address to listen on; may be given several times. Port 0 takes a free one; an IPv6 address takes IPv6 alone.
    #[arg(
        long,
        value_name = "ADDR",
        env = "FINWAIT_LISTEN",
        default_value = "127.0.0.1:7007",
        value_delimiter = ','
    )]
    pub listen: Vec<SocketAddr>,
    /// Address of the ledger: lines are counted, and each client's total is answered by everybody's; may be given several
    /// times.
    #[arg(long, value_name = "ADDR", env = "FINWAIT_LEDGER", value_delimiter = ',')]
    pub ledger: Vec<SocketAddr>,
    /// Keep the ledger in this file, which is created if there is none: every total is on the disk before it is answered.
    #[arg(long, value_name = "PATH", env = "FINWAIT_LEDGER_FILE", requires = "ledger")]
    pub ledger_file: Option<PathBuf>,
    /// auto, uring, mio or iocp. auto takes the best one that works here and says which.
    #[arg(long, value_name = "ENGINE", env = "FINWAIT_ENGINE", default_value = "auto")]
    pub engine: EngineChoice,
    /// normal, or direct: connections are in the rings' own tables, so that a process holds as many times what its limit
    /// of descriptors allows as it has workers (uring only, Linux 6.13).
    #[arg(long, value_name = "WHERE", env = "FINWAIT_DESCRIPTORS", default_value = "normal")]
    pub descriptors: Descriptors,
    /// Worker threads, or auto: one per processor. With more, they take turns (SCHED_BATCH).
    #[arg(long, value_name = "N|auto", env = "FINWAIT_WORKERS", default_value = "auto")]
    pub workers: Workers,
    /// The most bytes that one connection may owe before it is no longer received from (1KiB to 1GiB).
    #[arg(long, value_name = "SIZE", env = "FINWAIT_WINDOW", default_value = "256KiB", value_parser = window)]
    pub window: NonZeroU32,
    /// The most connections served at a time; others wait unserved. Without it: what the descriptors allow.
    #[arg(long, value_name = "N", env = "FINWAIT_MAX_CONNECTIONS", value_parser = count)]
    pub max_connections: Option<u32>,
    /// End a connection properly after this time without a byte in either direction. Without it: never.
    #[arg(long, value_name = "D", env = "FINWAIT_IDLE_TIMEOUT", value_parser = duration)]
    pub idle_timeout: Option<Duration>,
    /// Reset a connection whose peer takes none of the bytes owed to it for this time.
    #[arg(long, value_name = "D", env = "FINWAIT_STALL_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub stall_timeout: Duration,
    /// After our FIN, close a connection whose peer is silent for this time; six times that in all.
    #[arg(long, value_name = "D", env = "FINWAIT_LINGER_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub linger_timeout: Duration,
    /// In a drain, let connections end by themselves for this time; 0s for none.
    #[arg(long, value_name = "D", env = "FINWAIT_DRAIN_GRACE", default_value = "1s", value_parser = grace)]
    pub drain_grace: Duration,
    /// Expire what is left this long after the signal.
    #[arg(long, value_name = "D", env = "FINWAIT_DRAIN_TIMEOUT", default_value = "25s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Print JSON on stdout: an object per listener when it accepts, then the tally.
    #[arg(long, env = "FINWAIT_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub json: bool,
    /// Log on stderr from this level on: error, warn, info, debug (a line per connection), trace or off.
    #[arg(long, value_name = "LEVEL", env = "FINWAIT_LOG_LEVEL", default_value = "info")]
    pub log_level: tracing_subscriber::filter::LevelFilter,
}

impl From<Serve> for Config {
    fn from(serve: Serve) -> Self {
        Self {
            listen: serve.listen,
            ledger: serve.ledger,
            ledger_file: serve.ledger_file,
            engine: serve.engine,
            descriptors: serve.descriptors,
            workers: serve.workers.0,
            window: serve.window,
            conns_max: serve.max_connections,
            idle_timeout: serve.idle_timeout,
            stall_timeout: serve.stall_timeout,
            linger_timeout: serve.linger_timeout,
            drain_grace: serve.drain_grace,
            drain_timeout: serve.drain_timeout,
        }
    }
}

/// A number of worker threads, 1 to 1024.
#[derive(Clone, Copy, Debug)]
pub struct Workers(NonZeroUsize);

impl Workers {
    fn auto() -> Self {
        Self(processors())
    }
}

/// Processors that this process may use.
pub(crate) fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::auto());
        }
        let number = text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= 1024);
        number.map(Self).ok_or_else(|| "a number from 1 to 1024, or auto, is expected".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        // A year, so that adding one to a clock never overflows.
        Ok(duration) if !duration.is_zero() && duration.as_secs() < 31_536_000 => Ok(duration),
        Ok(_) => Err("more than 0 and less than a year is expected".to_owned()),
        Err(error) => Err(format!("{error}; a duration like 250us, 10s or 1h30m is expected")),
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Ok(Duration::ZERO),
        Ok(_) | Err(_) => duration(text),
    }
}

fn window(text: &str) -> Result<NonZeroU32, String> {
    const EXPECTED: &str = "a size from 1KiB to 1GiB, like 64KiB, is expected";
    let bytes = parse_size::parse_size(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
    let bytes = u32::try_from(bytes).ok().filter(|bytes| (1 << 10..=1 << 30).contains(bytes));
    bytes.and_then(NonZeroU32::new).ok_or_else(|| EXPECTED.to_owned())
}

fn count(text: &str) -> Result<u32, String> {
    const EXPECTED: &str = "a count from 1 on, like 500 or 10k, is expected";
    let count = parse_size::parse_size(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
    u32::try_from(count).ok().filter(|&count| count > 0).ok_or_else(|| EXPECTED.to_owned())
}
