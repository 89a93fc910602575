//! What one thread has seen: counts, histograms and the connections worth a closer look. Its size does not grow with the
//! number of connections, but for those to a ledger: each of its sessions counts.

use std::io;
use std::net::SocketAddr;

use crate::clock::{Clock, Nanos};
use crate::ledger::Attempt;
use crate::outcome::{Outcome, Outcomes};
use crate::report::{Exemplar, Latency, Summary};
use crate::script::Script;

/// Exemplars of each outcome that is not clean.
const EXEMPLARS_PER_OUTCOME: usize = 3;
/// Exemplars of the slowest clean connections.
const EXEMPLARS_SLOWEST: usize = 5;

/// What one thread, or all of them together, have seen.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    /// How connections ended.
    pub outcomes: Outcomes,
    /// How long things took.
    pub latency: Latency,
    /// Connections that were started.
    pub started: u64,
    /// Connections that had ended when the last one was started.
    pub ended_before_start: u64,
    /// Planned starts that did not happen.
    pub missed: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Time in which there was something to do.
    pub busy_ns: Nanos,
    /// Time that the thread ran.
    pub ran_ns: Nanos,
    /// The first and the last t0.
    pub half_closes: Option<Span>,
    /// The first and the last server's EOF.
    pub eofs: Option<Span>,
    /// The first EOF of a clean connection.
    pub first_clean_eof: Option<Nanos>,
    /// The first and the last start.
    pub starts: Option<Span>,
    /// The last end.
    pub last_end: Nanos,
    /// Beside a ledger: every connection.
    pub attempts: Vec<Attempt>,
    failed: Vec<Exemplar>,
    slowest: Vec<Exemplar>,
}

/// The first and the last of moments of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first.
    pub first: Nanos,
    /// The last.
    pub last: Nanos,
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Its number.
    pub id: u64,
    /// What happened.
    pub script: &'a Script,
    /// Our address, where [`Recorder::wants_address`] asked for it.
    pub local: Option<SocketAddr>,
    /// The target's.
    pub remote: SocketAddr,
    /// The last error of the operating system.
    pub error: Option<&'a io::Error>,
}

impl Recorder {
    /// An empty one; histograms end at twice the timeout.
    #[must_use]
    pub fn new(clock: Clock, timeout_ns: Nanos) -> Self {
        Self {
            clock,
            outcomes: Outcomes::default(),
            latency: Latency::new(timeout_ns.saturating_mul(2)),
            started: 0,
            ended_before_start: 0,
            missed: 0,
            bytes_sent: 0,
            bytes_received: 0,
            busy_ns: 0,
            ran_ns: 0,
            half_closes: None,
            eofs: None,
            first_clean_eof: None,
            starts: None,
            last_end: 0,
            attempts: Vec::new(),
            failed: Vec::new(),
            slowest: Vec::new(),
        }
    }

    /// A connection was started at `now`.
    pub fn started(&mut self, now: Nanos, planned: Option<Nanos>) {
        self.started += 1;
        self.ended_before_start = self.outcomes.total();
        extend(&mut self.starts, now);
        if let Some(planned) = planned {
            self.latency.start_lag.record(now.saturating_sub(planned));
        }
    }

    /// Whether this one will be an exemplar, so that its address must be found out while it has one.
    #[must_use]
    pub fn wants_address(&self, script: &Script) -> bool {
        let outcome = script.outcome();
        if outcome == Outcome::Clean {
            let shutdown = between(script.times().half_close, script.times().eof).unwrap_or(0);
            return self.slowest.len() < EXEMPLARS_SLOWEST
                || self.slowest.last().is_some_and(|fastest| fastest.shutdown_ns < Some(shutdown));
        }
        self.failed.iter().filter(|exemplar| exemplar.outcome == outcome).count() < EXEMPLARS_PER_OUTCOME
    }

    /// Takes in a connection that has ended and is closed.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        let script = ended.script;
        let outcome = script.outcome();
        self.outcomes[outcome] += 1;
        self.bytes_sent += script.sent();
        self.bytes_received += script.received_bytes() + script.claim().map_or(0, |claim| claim.bytes());
        let times = script.times();
        self.last_end = self.last_end.max(times.closed.unwrap_or(0));
        if let Some(at) = times.half_close {
            extend(&mut self.half_closes, at);
        }
        if outcome != Outcome::Censored {
            self.times_of(script, outcome);
        }
        if self.wants_address(script) {
            let exemplar = self.exemplar(ended, outcome);
            if outcome == Outcome::Clean {
                keep_slowest(&mut self.slowest, exemplar);
            } else {
                self.failed.push(exemplar);
            }
        }
    }

    fn times_of(&mut self, script: &Script, outcome: Outcome) {
        let (times, latency) = (script.times(), &mut self.latency);
        let record = |into: &mut Summary, from: Option<Nanos>, to: Option<Nanos>| {
            if let Some(took) = between(from, to) {
                into.record(took);
            }
        };
        record(&mut latency.connect, Some(times.start), times.connected);
        record(&mut latency.echo, times.connected, times.echoed);
        record(&mut latency.shutdown_or_deadline, times.half_close, times.deadline);
        if let Some(at) = times.eof {
            extend(&mut self.eofs, at);
        }
        if outcome != Outcome::Clean {
            return;
        }
        self.first_clean_eof = self.first_clean_eof.into_iter().chain(times.eof).min();
        record(&mut latency.shutdown, times.half_close, times.eof);
        record(&mut latency.shutdown_or_deadline, times.half_close, times.eof);
        record(&mut latency.shutdown_earliest, times.half_close, times.looked.max(times.half_close));
        record(&mut latency.scheduled_shutdown, times.planned, times.eof);
        if script.outstanding() > 0 {
            record(&mut latency.drain, times.half_close, times.drained);
        }
        record(&mut latency.eof_tail, times.drained.max(times.half_close), times.eof);
        record(&mut latency.close, times.eof, times.closed);
        record(&mut latency.observation, times.looked.max(times.half_close), times.eof);
    }

    fn exemplar(&self, ended: &Ended<'_>, outcome: Outcome) -> Exemplar {
        let (script, times) = (ended.script, ended.script.times());
        Exemplar {
            outcome,
            connection: ended.id,
            local: ended.local,
            remote: ended.remote,
            started_unix_ns: self.clock.unix_ns(times.start),
            sent: script.sent(),
            received: script.received_bytes(),
            expected: script.wanted(),
            tp_ns: times.planned,
            start_ns: times.start,
            connected_ns: times.connected,
            echoed_ns: times.echoed,
            t0_ns: times.half_close,
            t2_ns: times.drained,
            t3_ns: times.eof,
            t4_ns: times.closed,
            shutdown_ns: between(times.half_close, times.eof),
            errno: ended.error.and_then(io::Error::raw_os_error),
            error: ended.error.map(ToString::to_string),
        }
    }

    /// Adds what another thread has seen.
    pub fn add(&mut self, other: Self) {
        self.outcomes.add(&other.outcomes);
        self.latency.add(&other.latency);
        self.started += other.started;
        self.ended_before_start += other.ended_before_start;
        self.missed += other.missed;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.busy_ns += other.busy_ns;
        self.ran_ns += other.ran_ns;
        self.half_closes = joined(self.half_closes, other.half_closes);
        self.eofs = joined(self.eofs, other.eofs);
        self.first_clean_eof = self.first_clean_eof.into_iter().chain(other.first_clean_eof).min();
        self.starts = joined(self.starts, other.starts);
        self.last_end = self.last_end.max(other.last_end);
        self.attempts.extend(other.attempts);
        self.failed.extend(other.failed);
        other.slowest.into_iter().for_each(|exemplar| keep_slowest(&mut self.slowest, exemplar));
    }

    /// The exemplars: of each outcome that is not clean the first, then the slowest clean ones.
    #[must_use]
    pub fn exemplars(&self) -> Vec<Exemplar> {
        let mut failed = self.failed.clone();
        failed.sort_by_key(|exemplar| exemplar.start_ns);
        let of = |outcome| failed.iter().filter(move |exemplar| exemplar.outcome == outcome);
        let firsts = Outcome::ALL.into_iter().flat_map(|outcome| of(outcome).take(EXEMPLARS_PER_OUTCOME));
        firsts.chain(&self.slowest).cloned().collect()
    }
}

impl Span {
    /// From the first to the last.
    #[must_use]
    pub fn length(&self) -> Nanos {
        self.last - self.first
    }
}

fn between(from: Option<Nanos>, to: Option<Nanos>) -> Option<Nanos> {
    Some(to?.saturating_sub(from?))
}

fn extend(span: &mut Option<Span>, at: Nanos) {
    *span = joined(*span, Some(Span { first: at, last: at }));
}

fn joined(one: Option<Span>, other: Option<Span>) -> Option<Span> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Span { first: one.first.min(other.first), last: one.last.max(other.last) })
        }
        (one, other) => one.or(other),
    }
}

/// Keeps the slowest, the slowest first.
fn keep_slowest(slowest: &mut Vec<Exemplar>, exemplar: Exemplar) {
    let place = slowest.partition_point(|kept| kept.shutdown_ns >= exemplar.shutdown_ns);
    slowest.insert(place, exemplar);
    slowest.truncate(EXEMPLARS_SLOWEST);
}
