//! The small vocabulary that the cases are written in.
//!
//! - `impolite`: servers that end their connections wrongly, each in its own manner, and a polite one.
//! - `generator`: the program under test as a child process.
//! - `ledger`: ledgers, an honest one and others that are wrong in one way each.
//! - `judged`: what it reported, and the assertions that every report must stand.
//! - `proc`: what `/proc` tells of processes, and signals to them.

mod generator;
mod impolite;
mod judged;
mod ledger;
mod proc;

use std::time::{Duration, Instant};

pub(crate) use generator::{Finished, Generator, run};
pub(crate) use impolite::{Bytes, Impolite, Manner, full, refusing};
pub(crate) use judged::Judged;
pub(crate) use ledger::{Books, Ledger, Wrong};
pub(crate) use proc::{children, cpu_ticks, group, is_at_work, is_gone, is_stopped, signal};

/// The one limit on every wait: generous, for a test machine may be busy, and never reached when all is well.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How often something that can only be looked at is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until `is_so`, for at most [`LIMIT`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = clock();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Now. The cases look at the clock only to bound a wait, or where passing time is what they are about.
#[expect(clippy::disallowed_methods, reason = "a test has no loop that it could ask for the time")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
