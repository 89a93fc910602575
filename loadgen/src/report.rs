//! Everything that a run found out, as it is printed in JSON; the screen shows nothing that is not in here.
//!
//! Times are integers in nanoseconds with `_ns` in the name, rates are connections per second.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use crate::outcome::{Outcome, Outcomes};

pub use self::ledger::{Ledger, Moment};
pub use self::rtt::Rtt;
pub use self::summary::Summary;

pub mod bars;
mod exemplars;
mod health;
mod latency;
mod layout;
mod ledger;
mod machinery;
mod rtt;
pub mod screen;
pub mod summary;
pub mod units;
pub mod verdict;

/// What the top-level `schema` says: raised when a reader of older reports would go wrong.
pub const SCHEMA: &str = "finwait-loadgen/1";

/// One run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// `storm`, `churn`, `health`, `ledger` or `rtt`.
    pub scenario: &'static str,
    /// What was judged.
    pub target: Target,
    /// What was asked for, defaults filled in.
    pub config: Settings,
    /// Where it ran.
    pub host: Host,
    /// Every outcome, also those that did not occur.
    pub outcomes: Outcomes,
    /// Every histogram, also those without a sample.
    pub latency: Latency,
    /// Connections per second; messages per second are in `rtt`.
    pub rate: Rate,
    /// The generator's own health.
    pub generator: Generator,
    /// What the embedded server counted and used; `null` for any other.
    pub server: Option<Server>,
    /// What a ledger said; `null` for an echo.
    pub ledger: Option<Ledger>,
    /// What messages did on connections that stayed open; `null` for every other scenario.
    pub rtt: Option<Rtt>,
    /// Connections to look up in a capture or a server's log.
    pub exemplars: Vec<Exemplar>,
    /// What to mind when reading the figures.
    pub warnings: Vec<Warning>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// What was judged.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// As it was named on the command line; `embedded` for the server that the generator started itself.
    pub name: String,
    /// Where it was reached.
    pub addr: SocketAddr,
    /// Whether the generator started it.
    pub embedded: bool,
}

/// What was asked for, defaults filled in.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Storm, round trips: connections in all. Churn, ledger: at most this many at a time.
    pub connections: u32,
    /// Churn: no connection starts after this. Round trips: how long messages count.
    pub duration_ns: Option<u64>,
    /// Churn: connections to start per second; round trips: messages. `null` in a closed loop.
    pub rate: Option<f64>,
    /// Churn: connections to start in all.
    pub count: Option<u64>,
    /// Bytes that each connection sends and wants back first; round trips: the bytes of a message.
    pub size_bytes: u64,
    /// Bytes that it sends right before its FIN.
    pub tail_bytes: u64,
    /// The longest wait without progress, for each phase.
    pub timeout_ns: u64,
    /// Threads of the generator.
    pub threads: u32,
    /// Addresses that connections are made from; empty where the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// Whether the server was stopped while everything was issued.
    pub frozen: bool,
    /// Storm: how long all stood ready before they were to end, where that was wished for.
    pub hold_ns: Option<u64>,
    /// Round trips: messages of a connection that may be under way at a time.
    pub depth: Option<u32>,
    /// Round trips on a schedule: messages that are due at the same moment on one connection.
    pub burst: Option<u32>,
    /// Round trips: how long messages flow before they count.
    pub warm_up_ns: Option<u64>,
    /// Ledger: sessions of this run; connections are those at a time.
    pub sessions: Option<u32>,
    /// The process that was stopped, where it is not the embedded one.
    pub server_pid: Option<u32>,
}

/// Where the generator ran. What an operating system does not tell is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// `linux`, `windows`, ...
    pub os: &'static str,
    /// Its release.
    pub kernel: Option<String>,
    /// Processors that this process may use.
    pub cpus: u32,
    /// The processor's name.
    pub cpu: Option<String>,
    /// The most descriptors that this process may have.
    pub descriptors_max: Option<u64>,
    /// First and last port that connections are made from.
    pub port_range: Option<[u16; 2]>,
    /// The congestion control of TCP.
    pub congestion_control: Option<String>,
    /// The generator's version.
    pub version: &'static str,
    /// When the run began, by the wall clock.
    pub started_unix_ns: u64,
}

/// Every histogram. Those of times within one connection hold clean connections only, unless they say otherwise.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// From just before SHUT_WR (t0) to the server's EOF (t3): the headline.
    pub shutdown: Summary,
    /// The same with connections that timed out after t0 counted at their deadline, so that a server which loses the
    /// slow ones does not look faster.
    pub shutdown_or_deadline: Summary,
    /// Shutdown as it would be had every EOF come right after the last look that did not show it: what the kernel would
    /// say lies between this and `shutdown`, at every percentile.
    pub shutdown_earliest: Summary,
    /// From the planned moment (storm: the barrier; open loop: the planned start of the connection, with connect and
    /// echo in it) to the server's EOF. Closed loop: none.
    pub scheduled_shutdown: Summary,
    /// From t0 until all bytes were back (t2), where any were outstanding at t0.
    pub drain: Summary,
    /// From the last byte, or t0 if that was later, to the server's EOF.
    pub eof_tail: Summary,
    /// From the start of a connect until it was seen to be connected; every connection that got so far.
    pub connect: Summary,
    /// From there until the first bytes were back; every connection that got so far.
    pub echo: Summary,
    /// How long `close` took (t4 - t3).
    pub close: Summary,
    /// How coarse the looking was: from the last look that did not show the EOF (or t0 if that was later) to t3.
    pub observation: Summary,
    /// Open loop: how late connections were started; of round trips, how late messages were sent that had a place.
    pub start_lag: Summary,
    /// How long the generator's loop was away from looking, each time.
    pub loop_lag: Summary,
}

impl Latency {
    /// Empty ones, for times up to `limit_ns`.
    #[must_use]
    pub fn new(limit_ns: u64) -> Self {
        let empty = Summary::new(limit_ns);
        Self {
            shutdown: empty.clone(),
            shutdown_or_deadline: empty.clone(),
            shutdown_earliest: empty.clone(),
            scheduled_shutdown: empty.clone(),
            drain: empty.clone(),
            eof_tail: empty.clone(),
            connect: empty.clone(),
            echo: empty.clone(),
            close: empty.clone(),
            observation: empty.clone(),
            start_lag: empty.clone(),
            loop_lag: empty,
        }
    }

    /// Adds those of another with the same limit.
    pub fn add(&mut self, other: &Self) {
        self.shutdown.add(&other.shutdown);
        self.shutdown_or_deadline.add(&other.shutdown_or_deadline);
        self.shutdown_earliest.add(&other.shutdown_earliest);
        self.scheduled_shutdown.add(&other.scheduled_shutdown);
        self.drain.add(&other.drain);
        self.eof_tail.add(&other.eof_tail);
        self.connect.add(&other.connect);
        self.echo.add(&other.echo);
        self.close.add(&other.close);
        self.observation.add(&other.observation);
        self.start_lag.add(&other.start_lag);
        self.loop_lag.add(&other.loop_lag);
    }

    /// Each with its name, in the order in which they stand above.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Summary); 12] {
        [
            ("shutdown", &self.shutdown),
            ("shutdown_or_deadline", &self.shutdown_or_deadline),
            ("shutdown_earliest", &self.shutdown_earliest),
            ("scheduled_shutdown", &self.scheduled_shutdown),
            ("drain", &self.drain),
            ("eof_tail", &self.eof_tail),
            ("connect", &self.connect),
            ("echo", &self.echo),
            ("close", &self.close),
            ("observation", &self.observation),
            ("start_lag", &self.start_lag),
            ("loop_lag", &self.loop_lag),
        ]
    }
}

/// Connections per second.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// As planned; `null` in a closed loop, in a storm and of round trips.
    pub offered: Option<f64>,
    /// Open loop: started, per second in which connections were started. Closed loop, also that of a ledger with fewer
    /// slots than sessions: ended, per second until the last start. `null` in a storm.
    pub achieved: Option<f64>,
    /// Planned starts for which there was no free slot, or no time any more.
    pub missed: u64,
}

/// The generator's own health.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// Whether the figures can be believed.
    pub valid: bool,
    /// Why not, each with what to do.
    pub invalid: Vec<Warning>,
    /// From the first connect to the last end.
    pub elapsed_ns: u64,
    /// Storm, round trips: until every connection stood ready.
    pub setup_ns: Option<u64>,
    /// Storm: from the first SHUT_WR to the last.
    pub issue_spread_ns: Option<u64>,
    /// Storm: from the first SHUT_WR to the last EOF.
    pub completion_ns: Option<u64>,
    /// Frozen storm: from the moment the server was continued to the last EOF.
    pub thaw_to_last_eof_ns: Option<u64>,
    /// Processor time of the generator's process.
    pub cpu_ns: u64,
    /// The same as a share of one processor for each thread, 0 to 1.
    pub utilisation: f64,
    /// The share of time in which the threads had something to do, 0 to 1; the rest was waiting or looking in vain.
    pub busy: f64,
    /// Bytes sent, on all connections.
    pub bytes_sent: u64,
    /// Bytes received, on all connections.
    pub bytes_received: u64,
}

/// The embedded server: what it is, what it counted, what it used.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// Its engine.
    pub engine: String,
    /// Its worker threads.
    pub workers: u32,
    /// Processor time of its process, from start to end.
    pub cpu_ns: u64,
    /// Its tally, as it printed it.
    pub tally: Value,
    /// Where its tally contradicts the generator's outcomes; empty when it does not.
    pub contradictions: Vec<String>,
}

/// One connection to look up elsewhere. Times are nanoseconds since the run began, `null` where they did not come.
#[derive(Clone, Debug, Serialize)]
pub struct Exemplar {
    /// How it ended.
    pub outcome: Outcome,
    /// Its number in the run, from 0.
    pub connection: u64,
    /// Our address, if it got one.
    pub local: Option<SocketAddr>,
    /// The target's.
    pub remote: SocketAddr,
    /// When it started, by the wall clock.
    pub started_unix_ns: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes that should have been received.
    pub expected: u64,
    /// The planned moment.
    pub tp_ns: Option<u64>,
    /// When it was started.
    pub start_ns: u64,
    /// When it was seen to be connected.
    pub connected_ns: Option<u64>,
    /// When the first bytes were back.
    pub echoed_ns: Option<u64>,
    /// Just before SHUT_WR.
    pub t0_ns: Option<u64>,
    /// When all bytes were back.
    pub t2_ns: Option<u64>,
    /// When the server's EOF was read.
    pub t3_ns: Option<u64>,
    /// When `close` had returned.
    pub t4_ns: Option<u64>,
    /// `t3_ns - t0_ns`.
    pub shutdown_ns: Option<u64>,
    /// The error of the operating system, by number, where one was reported.
    pub errno: Option<i32>,
    /// The same in words.
    pub error: Option<String>,
}

/// Something to mind, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A sentence.
    pub what: String,
    /// Another, where there is a remedy.
    pub remedy: Option<String>,
}

/// What a run comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// In plain words.
    pub sentence: String,
    /// What to do, where that is known.
    pub remedy: Option<String>,
    /// Whether every connection ended cleanly and nothing else went wrong.
    pub clean: bool,
    /// What the program exits with.
    pub exit_code: u8,
}
