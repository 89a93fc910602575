//! What a server did, counted: each worker counts for itself, and the sum is the tally.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::conn::{Fault, Outcome};

/// The counters of one worker: written by it alone, read by anyone.
#[derive(Debug, Default)]
pub struct Metrics {
    accepted: AtomicU64,
    graceful: AtomicU64,
    reset: AtomicU64,
    aborted: AtomicU64,
    expired: AtomicU64,
    shutdown_failed: AtomicU64,
    expired_in_drain: AtomicU64,
    bytes_received: AtomicU64,
    bytes_owed: AtomicU64,
    bytes_echoed: AtomicU64,
    bytes_discarded: AtomicU64,
    drain_ns: AtomicU64,
}

/// What a server did from its start to now, or to its end. `accepted` is the sum of the five endings once no
/// connection is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections accepted.
    pub accepted: u64,
    /// Ended with both FINs, every owed byte sent.
    pub graceful: u64,
    /// Ended by the peer's RST.
    pub reset: u64,
    /// Ended by another fault: a killed or timed-out connection, a lack of memory here.
    pub aborted: u64,
    /// Ended by a deadline of ours.
    pub expired: u64,
    /// Closed because `shutdown(SD_SEND)` failed.
    pub shutdown_failed: u64,
    /// Those of `expired` that ended so after the drain had begun.
    pub expired_in_drain: u64,
    /// Bytes received. Those of a ledger that are meant for the server are neither owed nor discarded. On a connection that failed, what an engine had taken ahead of being asked is not in it.
    pub bytes_received: u64,
    /// Bytes that became owed to a peer.
    pub bytes_owed: u64,
    /// Owed bytes that were sent. Less than `bytes_owed` only by what reset, aborted or expired connections lost.
    pub bytes_echoed: u64,
    /// Bytes that came after our FIN was asked for, or on a failing connection.
    pub bytes_discarded: u64,
    /// From the start of the drain to the last close, in nanoseconds.
    pub drain_ns: u64,
}

fn add(counter: &AtomicU64, n: u64) {
    // Each counter has one writer, so a load and a store do, without the price of a locked instruction.
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

impl Metrics {
    /// One more connection.
    pub fn accept(&self) {
        add(&self.accepted, 1);
    }

    /// Bytes were received: `owed` of them are to be sent back, `discarded` will not be.
    pub fn receive(&self, taken: u32, owed: u32, discarded: u32) {
        add(&self.bytes_received, taken.into());
        add(&self.bytes_owed, owed.into());
        add(&self.bytes_discarded, discarded.into());
    }

    /// Bytes became owed that were never received: the answer to a peer's FIN.
    pub fn owe(&self, owed: u32) {
        add(&self.bytes_owed, owed.into());
    }

    /// Owed bytes were sent.
    pub fn send(&self, sent: u32) {
        add(&self.bytes_echoed, sent.into());
    }

    /// A connection ended, in a drain or not.
    pub fn end(&self, outcome: Outcome, in_drain: bool) {
        if in_drain && outcome == Outcome::Expired {
            add(&self.expired_in_drain, 1);
        }
        let counter = match outcome {
            Outcome::Graceful => &self.graceful,
            Outcome::Faulted(Fault::Reset) => &self.reset,
            Outcome::Faulted(Fault::Shutdown) => &self.shutdown_failed,
            Outcome::Faulted(Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local) => {
                &self.aborted
            }
            Outcome::Expired => &self.expired,
        };
        add(counter, 1);
    }

    /// The drain of this worker is over, and took this long.
    pub fn drained(&self, took: Duration) {
        self.drain_ns.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The counters as they are now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            accepted: read(&self.accepted),
            graceful: read(&self.graceful),
            reset: read(&self.reset),
            aborted: read(&self.aborted),
            expired: read(&self.expired),
            shutdown_failed: read(&self.shutdown_failed),
            expired_in_drain: read(&self.expired_in_drain),
            bytes_received: read(&self.bytes_received),
            bytes_owed: read(&self.bytes_owed),
            bytes_echoed: read(&self.bytes_echoed),
            bytes_discarded: read(&self.bytes_discarded),
            drain_ns: read(&self.drain_ns),
        }
    }
}

impl Tally {
    /// Connections that have ended, however they did.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.graceful + self.reset + self.aborted + self.expired + self.shutdown_failed
    }
}

impl AddAssign for Tally {
    /// The tally of two workers together: counts add up, and the longer drain is the drain.
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.graceful += other.graceful;
        self.reset += other.reset;
        self.aborted += other.aborted;
        self.expired += other.expired;
        self.shutdown_failed += other.shutdown_failed;
        self.expired_in_drain += other.expired_in_drain;
        self.bytes_received += other.bytes_received;
        self.bytes_owed += other.bytes_owed;
        self.bytes_echoed += other.bytes_echoed;
        self.bytes_discarded += other.bytes_discarded;
        self.drain_ns = self.drain_ns.max(other.drain_ns);
    }
}
