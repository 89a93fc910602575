//! What the generator is told: the command line, and the validated values that it is parsed into.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use self::values::{Network, PerSecond};
use self::values::{
    connections, connections_or_none, count, depth, duration, duration_or_none, line, message, percent, size,
    tail, threads, timeout, transactions,
};

mod values;

/// The most addresses that `-b` may name.
const SOURCES_MAX: usize = 65_536;

/// A load generator that judges how a TCP echo service ends its connections.
#[derive(Debug, Parser)]
#[command(name = "finwait-loadgen", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Without HOST:PORT a finwait-server is started for the run, as a process of its own; not so for
ledger, which needs one that was started with --ledger.

Examples:
  finwait-loadgen storm                        10,000 connections, all half-closed at once
  finwait-loadgen storm 127.0.0.1:7 -c 1000 --tail 64KiB
  finwait-loadgen storm --frozen               the server's own time for 10,000 endings
  finwait-loadgen churn 10.0.0.9:7 -r 200 -d 1m -o run.json
  finwait-loadgen churn 10.0.0.9:7 -r 2k -b 10.0.1.0/28
  finwait-loadgen health 10.0.0.9:7            one connection, as a probe
  finwait-loadgen rtt -c 1000 -r 20k           round trips on 1,000 connections that stay open
  finwait-loadgen ledger 127.0.0.1:7009 -c 10k 1,000,000 transactions: does the grand total say so?

Units: durations 250us 10s 1h30m, sizes 64KiB, counts and rates 10k.

Exit codes, the first that applies:
  130  interrupted, after a report of what was done until then
  2    usage, or more than this machine allows
  4    the run is invalid: the generator, not the target, was the limit
  1    a connection did not end cleanly, a ledger's grand total is wrong, or something failed
  0    every connection ended cleanly";

/// The scenarios, and what this program runs of itself.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open many connections, then half-close all of them at once.
    Storm(Storm),
    /// Open, use and end one connection after the other, at a rate or as fast as it goes.
    Churn(Churn),
    /// Open, use and end one connection.
    Health(Health),
    /// Send messages to and fro on connections that stay open, and time each of them.
    #[command(after_help = RTT_HELP)]
    Rtt(Rtt),
    /// Claim totals with the FIN at a finwait-server's ledger, and see whether its grand total is right.
    #[command(after_help = LEDGER_HELP)]
    Ledger(Ledger),
    /// The embedded server, as the generator starts it.
    #[command(hide = true)]
    Target(Target),
    /// Continues a stopped process when its standard input ends, as the generator starts it.
    #[command(hide = true)]
    Thaw(Thaw),
}

/// What `storm` is told.
#[derive(Debug, Args)]
pub struct Storm {
    /// What every scenario is told.
    #[command(flatten)]
    pub common: Common,
    /// What each connection sends.
    #[command(flatten)]
    pub bytes: Bytes,
    /// Connections [default: 10k, or what the limits allow].
    #[arg(short, long, value_name = "N", value_parser = connections)]
    pub connections: Option<u32>,
    /// Threads of the generator [default: half of the processors].
    #[arg(short, long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroU32>,
    /// Stop the server (SIGSTOP) while everything is issued, then let it go on.
    #[arg(long)]
    pub frozen: bool,
    /// The process to stop, on this host; the embedded server needs none.
    #[arg(long, value_name = "PID", requires = "frozen", requires = "target")]
    pub server_pid: Option<NonZeroU32>,
    /// When all stand ready, wait for so long before they end, as for other generators to have theirs ready.
    #[arg(long, value_name = "D", default_value = "0s", value_parser = duration_or_none)]
    pub hold: Duration,
}

/// What `churn` is told.
#[derive(Debug, Args)]
pub struct Churn {
    /// What every scenario is told.
    #[command(flatten)]
    pub common: Common,
    /// What each connection sends.
    #[command(flatten)]
    pub bytes: Bytes,
    /// Connections at a time; with --rate, the most at a time.
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = connections)]
    pub connections: u32,
    /// Start no connection after this time [default: 10s, or none with --count].
    #[arg(short, long, value_name = "D", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Connections to start per second, on a schedule that does not wait for the server.
    #[arg(short, long, value_name = "RATE")]
    pub rate: Option<PerSecond>,
    /// Connections to start in all.
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = count)]
    pub count: Option<u64>,
    /// Threads of the generator [default: half of the processors].
    #[arg(short, long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroU32>,
}

/// What `health` is told.
#[derive(Debug, Args)]
pub struct Health {
    /// What every scenario is told.
    #[command(flatten)]
    pub common: Common,
    /// What each connection sends.
    #[command(flatten)]
    pub bytes: Bytes,
}

/// What `rtt` is told.
#[derive(Debug, Args)]
pub struct Rtt {
    /// What every scenario is told.
    #[command(flatten)]
    pub common: Common,
    /// Connections.
    #[arg(short, long, value_name = "N", default_value = "1000", value_parser = connections)]
    pub connections: u32,
    /// Bytes of a message.
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = message)]
    pub size: u32,
    /// Messages of a connection that may be under way at a time.
    #[arg(long, value_name = "N", default_value = "1", value_parser = depth)]
    pub depth: u32,
    /// Messages per second in all, on a schedule that does not wait for the server.
    #[arg(short, long, value_name = "RATE")]
    pub rate: Option<PerSecond>,
    /// Messages that are due at the same moment on one connection, at most --depth.
    #[arg(long, value_name = "N", default_value = "1", value_parser = depth, requires = "rate")]
    pub burst: u32,
    /// How long messages count.
    #[arg(short, long, value_name = "D", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// How long they flow before that.
    #[arg(long, value_name = "D", default_value = "200ms", value_parser = duration_or_none)]
    pub warm_up: Duration,
}

const RTT_HELP: &str = "\
Each connection has one message echoed first. When all have, messages flow: each connection sends its next message as \
soon as one came back, with up to --depth of them under way; or, with --rate, messages are sent on a schedule, one \
connection after the other. At the end each is half-closed, and its end is judged. Every byte is verified.

Latency is from when a message was due to when it was back. On a schedule that is its planned moment: one that waits \
because the server, or this generator, is late is as late as it is. Otherwise it is the moment at which the one before \
it came back, so that where the generator is busy all the time (client-bound) it is about the generator.

One thread does it all; for more load run several, each on a processor of its own.

Examples:
  finwait-loadgen rtt                             1,000 connections, one message each at a time
  finwait-loadgen rtt 10.0.0.9:7 -c 100 -r 50k    50,000 messages per second, on a schedule
  finwait-loadgen rtt -c 8 --size 1MiB --depth 4  throughput
  finwait-loadgen rtt -r 500k --depth 16 --burst 16   sixteen at once on each connection in turn";

/// What `ledger` is told.
#[derive(Debug, Args)]
pub struct Ledger {
    /// What every scenario is told.
    #[command(flatten)]
    pub common: Common,
    /// Sessions, each a connection; 0 to repeat only what a history left open.
    #[arg(short, long, value_name = "N", default_value = "1000", value_parser = connections_or_none)]
    pub connections: u32,
    /// Connections at a time [default: all sessions, which then wait for each other before they claim].
    #[arg(long, value_name = "N", value_parser = connections)]
    pub slots: Option<u32>,
    /// Transactions that each sends, and claims as its total.
    #[arg(short = 'n', long, value_name = "K", default_value = "100", value_parser = transactions)]
    pub transactions: u64,
    /// Bytes of a transaction, its LF included.
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = line)]
    pub line: u64,
    /// Sessions that we end with a RST somewhere: before the claim, in it, or behind the FIN.
    #[arg(long, value_name = "PCT", default_value = "0", value_parser = percent())]
    pub reset: u64,
    /// Sessions that neither read nor send for up to 300 ms somewhere.
    #[arg(long, value_name = "PCT", default_value = "0", value_parser = percent())]
    pub stall: u64,
    /// Sessions that claim once more at once when they were answered.
    #[arg(long, value_name = "PCT", default_value = "0", value_parser = percent())]
    pub repeat: u64,
    /// Repeat a session that saw no reply so often at the end; 0: never, so that bounds are all there is.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u64).range(..=1000))]
    pub tries: u64,
    /// What chance begins with; twice the same on one ledger is a duplicate [default: by chance].
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
    /// Append every session to a file, as lines of JSON; what is in it counts, and what it left open is repeated.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Threads of the generator [default: half of the processors].
    #[arg(short, long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroU32>,
}

const LEDGER_HELP: &str = "\
Each session sends a transaction and waits for its echo. When all are open it sends the others without waiting in \
between, and its claim and its FIN right behind them; then it reads the echo, the reply and the server's FIN. Every \
byte is verified. With fewer --slots than sessions they do not wait for each other: one follows the other.

With O the totals of sessions that were told `ok` or `duplicate`, each once, and U those of sessions that may have been \
added and saw no reply, the grand total must have grown by O at least and O + U at most. It is asked for by sessions \
with a total of 0: before the crowd, behind it, and once more when those without a reply were repeated (--tries), where \
U is 0 and the growth exactly O. Nobody else may add to the ledger meanwhile.

The report shows shutdown latency with the reply in it: from SHUT_WR to the FIN behind the reply.

With --history the books of all runs are one: what earlier runs left open is repeated, and the growth counts from the \
first of them. A run whose server is killed leaves the file whole, and itself ends with 1.

Examples:
  finwait-loadgen ledger 127.0.0.1:7009 -c 10k -n 100
  finwait-loadgen ledger 127.0.0.1:7009 -c 10k -n 100 --reset 10 --stall 10 --repeat 10
  for i in $(seq 100); do                      nothing lost, nothing twice, whenever it is killed
      finwait-server --ledger 127.0.0.1:7009 --ledger-file books & server=$!
      (sleep 0.$((RANDOM % 9 + 1)); kill -9 $server) &
      finwait-loadgen ledger 127.0.0.1:7009 -c 2000 -n 10 --tries 1 --history books.jsonl
      wait
  done
  finwait-server --ledger 127.0.0.1:7009 --ledger-file books &
  finwait-loadgen ledger 127.0.0.1:7009 -c 0 --history books.jsonl && echo exact";

/// What every scenario is told.
#[derive(Debug, Args)]
pub struct Common {
    /// HOST:PORT of the service; without it an embedded finwait-server is started, with an echo and no ledger.
    pub target: Option<String>,
    /// The longest wait in each phase; progress starts it anew.
    #[arg(long, value_name = "D", default_value = "10s", value_parser = timeout)]
    pub timeout: Duration,
    /// Address or network to connect from; may be given several times [default: 16 of 127/8 to reach 127/8].
    #[arg(short, long, value_name = "IP-or-CIDR")]
    pub bind: Vec<Network>,
    /// Print the report as JSON, histograms included.
    #[arg(long)]
    pub json: bool,
    /// Write the same JSON to a file, whole or not at all.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What each connection to an echo sends.
#[derive(Debug, Args)]
pub struct Bytes {
    /// Bytes that each connection sends first, and wants back.
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = size)]
    pub size: u64,
    /// Bytes that it sends right before its FIN; 0 for none [default: as --size].
    #[arg(long, value_name = "SIZE", value_parser = tail)]
    pub tail: Option<u64>,
}

impl Bytes {
    /// The bytes that are sent right before the FIN.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        self.tail.unwrap_or(self.size)
    }
}

impl Common {
    /// All addresses of all `-b`, in order.
    ///
    /// # Errors
    /// A sentence when there are too many.
    pub fn sources(&self) -> Result<Vec<IpAddr>, String> {
        let all = self.bind.iter().flat_map(|network| network.0.hosts());
        let sources: Vec<IpAddr> = all.take(SOURCES_MAX + 1).collect();
        if sources.len() > SOURCES_MAX {
            return Err(format!("-b names more than {SOURCES_MAX} addresses: take a smaller network"));
        }
        Ok(sources)
    }
}

/// What the embedded server is told.
#[derive(Debug, Args)]
pub struct Target {
    /// Worker threads.
    #[arg(long)]
    pub workers: NonZeroU32,
}

/// What the process is told that lets a stopped server go on.
#[derive(Debug, Args)]
pub struct Thaw {
    /// The stopped process.
    pub pid: NonZeroU32,
    /// When to let it go on although nobody asked.
    #[arg(long, value_parser = duration)]
    pub after: Duration,
}
