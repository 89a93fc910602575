//! Who runs where, when the server is embedded: on one processor the generator and it would take turns of several
//! milliseconds, and those would be what was measured.

use crate::sys;

/// The processors that this process may use, in two parts. What cannot be had is done without: only figures suffer, and
/// they say so themselves.
#[derive(Clone, Debug)]
pub struct Split {
    all: Vec<usize>,
    /// How many of them, the first, are the server's.
    theirs: usize,
}

impl Split {
    /// One processor for each thread of ours, the others for the server; `None` where that leaves it none, or where
    /// processors cannot be chosen.
    #[must_use]
    pub fn of(threads: u32) -> Option<Self> {
        let all = sys::cpus_allowed().ok()?;
        let theirs = all.len().checked_sub(threads as usize).filter(|&theirs| theirs > 0)?;
        Some(Self { all, theirs })
    }

    /// Starts something that is to run on the server's part.
    pub fn start_server<T>(&self, start: impl FnOnce() -> T) -> T {
        let _ = sys::run_on(&self.all[..self.theirs]);
        let started = start();
        let _ = sys::run_on(&self.all);
        started
    }

    /// Keeps the calling thread on our part.
    pub fn keep_off_server(&self) {
        let _ = sys::run_on(&self.all[self.theirs..]);
    }
}
