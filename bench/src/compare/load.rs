//! What is asked of a server in one round, and what the round came to. Everything here is finwait-loadgen's library.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{io, thread};

use finwait_loadgen::control::Control;
use finwait_loadgen::ledger::draw::Mix;
use finwait_loadgen::outcome::{Outcome, Outcomes};
use finwait_loadgen::report::Report;
use finwait_loadgen::rtt::{self, Mark, Rtt};
use finwait_loadgen::scenario::{self, Claims, Failure, Job, Kind, Surroundings};
use finwait_loadgen::sources::{self, Ports};
use serde::Serialize;

use super::entrant::Entrant;
use crate::cost::{Cost, Meter};
use crate::{Result, machine, platform};

/// The usual range of ports, of which half is used for each source address.
const PORTS: Ports = Ports { range: [32_768, 60_999] };
/// The longest wait without progress in any connection of a round.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Echoes flow for this long before they count.
const WARM_UP: Duration = Duration::from_millis(150);
/// Memory is read when connections have been idle for this long: servers may let go of what they keep for the busy.
const IDLE: Duration = Duration::from_secs(6);
/// Bytes of a connection in churns and storms.
pub(super) const MESSAGE: u64 = 64;
/// Frozen storms: bytes sent with the FIN.
const TAIL: u64 = 64;
/// Transactions of a ledger's client, and bytes of each: its three messages are what a churn's client sends in two.
const TRANSACTIONS: u64 = 1;

/// No two rounds may claim the same sessions.
static SEED: AtomicU64 = AtomicU64::new(1);

/// The work of one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Load {
    /// Messages on connections that stay open.
    Echo { connections: u32, size: u32, depth: u32 },
    /// Connect, 64 B, echo, FIN, EOF, over and over; at most so many at a time.
    Churn { slots: u32 },
    /// The same at a ledger.
    Ledger { slots: u32, sessions: u32 },
    /// All half-close while the server stands still, and then it goes on.
    Storm { connections: u32 },
    /// Connections on which nothing happens any more.
    Idle { connections: u32 },
}

/// What a round came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// Round trips of messages, or for connections from the FIN to the EOF.
    pub p50_ns: Option<u64>,
    /// The same.
    pub p99_ns: Option<u64>,
    /// The same.
    pub p99_9_ns: Option<u64>,
    /// A frozen storm: from the moment when the server went on to the last EOF.
    pub thaw_to_last_eof_ns: Option<u64>,
    /// The share of the round in which the load had something to do: near 1 it was the limit.
    pub busy: f64,
    /// CPU-nanoseconds of a calibration's round trip, around this round.
    pub calibration_ns: f64,
    /// The machine did not settle: it changed its pace around this round, or others worked on it.
    pub unsettled: bool,
}

impl AsRef<Cost> for Sample {
    fn as_ref(&self) -> &Cost {
        &self.cost
    }
}

impl Sample {
    /// CPU-nanoseconds of the server for each unit.
    #[must_use]
    pub fn cpu_ns(&self) -> f64 {
        self.cost.server_cpu.as_nanos() as f64 / self.cost.units as f64
    }
}

impl Load {
    /// What is counted.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "message",
            Self::Churn { .. } | Self::Ledger { .. } | Self::Storm { .. } | Self::Idle { .. } => "connection",
        }
    }

    /// Whether it has a rate: a storm comes all at once, and who idles does nothing.
    #[must_use]
    pub fn has_rate(&self) -> bool {
        match self {
            Self::Echo { .. } | Self::Churn { .. } => true,
            Self::Ledger { .. } | Self::Storm { .. } | Self::Idle { .. } => false,
        }
    }

    /// Whether it goes to a ledger.
    #[must_use]
    pub fn is_ledger(&self) -> bool {
        match self {
            Self::Ledger { .. } => true,
            Self::Echo { .. } | Self::Churn { .. } | Self::Storm { .. } | Self::Idle { .. } => false,
        }
    }

    /// The arguments of this program that start the floor under this work; there is none under a ledger, which answers.
    #[must_use]
    pub fn floor(&self) -> Option<Vec<String>> {
        let words: Vec<String> = match self {
            Self::Echo { size, .. } => vec!["echo".into(), "--size".into(), size.to_string()],
            Self::Ledger { .. } => return None,
            Self::Churn { .. } => vec!["churn".into()],
            Self::Storm { .. } | Self::Idle { .. } => vec!["echo".into()],
        };
        Some(std::iter::once("floor".to_owned()).chain(words).collect())
    }

    /// One round against a server.
    pub(super) fn run(
        &self,
        entrant: &Entrant,
        program: &Path,
        rate: Option<f64>,
        round: Duration,
    ) -> Result<Sample> {
        match *self {
            Self::Echo { connections, size, depth } => {
                echo(entrant, Rtt { rate, duration: round, ..trips(entrant.addr, connections, size, depth) })
            }
            Self::Idle { .. } => Err("who idles has no rounds".into()),
            Self::Churn { slots } => {
                let job = Job {
                    connections: Some(slots),
                    rate,
                    duration: Some(round),
                    ..job(entrant.addr, Kind::Churn)
                };
                report(entrant, program, &job)
            }
            Self::Storm { connections } => {
                let job = Job {
                    connections: Some(connections),
                    frozen: true,
                    server_pid: NonZeroU32::new(entrant.server.pid()),
                    ..job(entrant.addr, Kind::Storm)
                };
                report(entrant, program, &job)
            }
            Self::Ledger { slots, sessions } => {
                let claims = Claims {
                    sessions,
                    transactions: TRANSACTIONS,
                    line_bytes: MESSAGE,
                    mix: Mix { reset: 0, stall: 0, repeat: 0 },
                    tries: 1,
                    seed: SEED.fetch_add(1, Ordering::Relaxed),
                    history: None,
                };
                let job = Job {
                    connections: Some(slots),
                    size: MESSAGE,
                    tail: 0,
                    claims: Some(claims),
                    ..job(entrant.addr, Kind::Ledger)
                };
                report(entrant, program, &job)
            }
        }
    }
}

/// Messages on connections that stay open, in a closed loop of no length yet.
pub(super) fn trips(remote: SocketAddr, connections: u32, size: u32, depth: u32) -> Rtt {
    Rtt {
        remote,
        sources: sources::loopback(connections, PORTS),
        connections,
        size,
        depth,
        rate: None,
        // What is under way together is sent together: one by one, messages keep each server busy all the time, with turns as
        // small as its speed allows.
        burst: depth,
        warm_up: WARM_UP,
        duration: Duration::ZERO,
        timeout: TIMEOUT,
        // The load has a core of its own, and a look too late would be part of every time.
        spin: true,
    }
}

/// A scenario, as far as it is the same for all.
pub(super) fn job(addr: SocketAddr, kind: Kind) -> Job {
    Job {
        kind,
        target: Some(addr.to_string()),
        connections: None,
        duration: None,
        rate: None,
        count: None,
        size: MESSAGE,
        tail: if kind == Kind::Storm { TAIL } else { 0 },
        timeout: TIMEOUT,
        threads: Some(NonZeroU32::MIN),
        sources: Vec::new(),
        frozen: false,
        server_pid: None,
        claims: None,
        hold: Duration::ZERO,
        messages: None,
    }
}

fn own_cpu() -> io::Result<Duration> {
    platform::process_cpu(0)
}

/// Round trips; the connections are made before and ended after what is measured.
fn echo(entrant: &Entrant, rtt: Rtt) -> Result<Sample> {
    let mut meter = None;
    let mut spent = None;
    let measured = rtt::run(&rtt, &Control::default(), &mut |mark| match mark {
        Mark::Standing => {}
        Mark::Begin => meter = Some(Meter::start(&entrant.server, own_cpu)),
        Mark::End => spent = meter.take().map(|meter| meter?.stop(0, Duration::ZERO)),
    })?;
    all_clean(&measured.outcomes)?;
    let cost = spent.ok_or("the round was never measured")??;
    if measured.messages == 0 {
        return Err("no message came back".into());
    }
    let at = |quantile| Some(measured.latency.value_at_quantile(quantile));
    Ok(Sample {
        cost: Cost { units: measured.messages, elapsed: measured.elapsed, ..cost },
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        p99_9_ns: at(0.999),
        busy: measured.busy,
        ..Sample::default()
    })
}

/// What is held while connections rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// By the server, in bytes.
    pub(super) resident: f64,
    /// By the kernel, for both ends.
    pub(super) slab: f64,
}

/// Connections that have echoed once and rest: what they hold.
pub(super) fn idle(entrant: &Entrant, connections: u32) -> Result<Held> {
    let mut held = None;
    let rtt = trips(entrant.addr, connections, MESSAGE as u32, 1);
    let measured = rtt::run(&rtt, &Control::default(), &mut |mark| match mark {
        Mark::Standing => {
            thread::sleep(IDLE);
            held = Some((entrant.server.resident(), machine::slab_of_the_living()));
        }
        Mark::Begin | Mark::End => {}
    })?;
    all_clean(&measured.outcomes)?;
    let (resident, slab) = held.ok_or("the connections never stood")?;
    Ok(Held { resident: resident? as f64, slab: slab? as f64 })
}

/// A storm that is there to be judged and not to be timed: does every byte come back, and every FIN?
pub(super) fn trial(
    entrant: &Entrant,
    program: &Path,
    (connections, tail): (u32, u64),
    frozen: bool,
) -> Result<()> {
    let job = Job {
        connections: Some(connections),
        tail,
        frozen,
        server_pid: NonZeroU32::new(entrant.server.pid()).filter(|_| frozen),
        ..job(entrant.addr, Kind::Storm)
    };
    report(entrant, program, &job).map(drop)
}

/// Runs a scenario, and takes nothing from it unless all is clean.
pub(super) fn conducted(program: &Path, job: &Job) -> Result<Report> {
    let around = Surroundings {
        program: program.to_owned(),
        interrupted: Arc::new(AtomicBool::new(false)),
        progress: false,
    };
    let report = scenario::run(job, &around).map_err(|failure| match failure {
        Failure::Usage(why) | Failure::Failed(why) => why,
    })?;
    all_clean(&report.outcomes)?;
    Ok(report)
}

/// A round of a scenario that reports.
fn report(entrant: &Entrant, program: &Path, job: &Job) -> Result<Sample> {
    let meter = Meter::start(&entrant.server, own_cpu)?;
    let report = conducted(program, job)?;
    // Its first connect and its last end are closer together than these two readings, which cost some microseconds.
    let cost = meter.stop(0, Duration::from_nanos(report.generator.elapsed_ns))?;
    let shutdown = &report.latency.shutdown;
    Ok(Sample {
        cost: Cost { units: report.outcomes[Outcome::Clean], ..cost },
        p50_ns: shutdown.quantile_ns(0.5),
        p99_ns: shutdown.quantile_ns(0.99),
        p99_9_ns: shutdown.quantile_ns(0.999),
        thaw_to_last_eof_ns: report.generator.thaw_to_last_eof_ns,
        busy: report.generator.busy,
        ..Sample::default()
    })
}

/// No figure is taken from a server that is wrong.
pub(super) fn all_clean(outcomes: &Outcomes) -> Result<()> {
    let total = outcomes.total();
    if total == 0 {
        return Err("no connection was made".into());
    }
    let clean = outcomes[Outcome::Clean];
    if clean < total {
        let outcomes: Vec<String> = outcomes
            .iter()
            .filter(|&(_, count)| count > 0)
            .map(|(outcome, count)| format!("{} {count}", outcome.name()))
            .collect();
        let outcomes = outcomes.join(", ");
        return Err(format!("only {clean} of {total} connections ended cleanly: {outcomes}").into());
    }
    Ok(())
}
