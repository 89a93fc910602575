//! What the threads of a run and the one that waits for them tell each other.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Nanos;

/// Shared by all threads of a run.
#[derive(Debug, Default)]
pub struct Control {
    interrupted: Arc<AtomicBool>,
    given_up: AtomicBool,
    /// When the barrier fell; 0: not yet.
    barrier: AtomicU64,
    ready: AtomicU32,
    issued: AtomicU32,
    finished: AtomicU32,
    started: AtomicU64,
    ended: AtomicU64,
    unclean: AtomicU64,
    flowed: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Control {
    /// With the flag that an interrupt raises.
    #[must_use]
    pub fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self { interrupted, ..Self::default() }
    }

    /// Whether the run was interrupted.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Ends the run as an interrupt does, without being one.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether the run is to end before its time, for whatever reason.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.is_interrupted() || self.given_up.load(Ordering::Relaxed)
    }

    /// Lets everybody part who is ready.
    pub fn go(&self, now: Nanos) {
        self.barrier.store(now, Ordering::Release);
    }

    /// When the barrier fell, if it did.
    #[must_use]
    pub fn barrier(&self) -> Option<Nanos> {
        Some(self.barrier.load(Ordering::Acquire)).filter(|&at| at > 0)
    }

    /// This thread's connections all stand ready, or have ended.
    pub fn ready(&self) {
        self.tell(&self.ready);
    }

    /// This thread has asked for every half-close that it could ask for.
    pub fn issued(&self) {
        self.tell(&self.issued);
    }

    /// This thread has ended, however it did.
    pub fn finished(&self) {
        self.tell(&self.finished);
    }

    /// Threads that are ready.
    #[must_use]
    pub fn ready_count(&self) -> u32 {
        self.ready.load(Ordering::Acquire)
    }

    /// Threads that have issued everything.
    #[must_use]
    pub fn issued_count(&self) -> u32 {
        self.issued.load(Ordering::Acquire)
    }

    /// Threads that have ended.
    #[must_use]
    pub fn finished_count(&self) -> u32 {
        self.finished.load(Ordering::Acquire)
    }

    /// A connection was started.
    pub fn count_start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has ended.
    pub fn count_end(&self, clean: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if !clean {
            self.unclean.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many messages have come back in all; said now and then.
    pub fn tell_flowed(&self, messages: u64) {
        self.flowed.store(messages, Ordering::Relaxed);
    }

    /// Messages that had come back when it was last said.
    #[must_use]
    pub fn flowed(&self) -> u64 {
        self.flowed.load(Ordering::Relaxed)
    }

    /// Connections started, ended, and ended otherwise than clean.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        [&self.started, &self.ended, &self.unclean].map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits for news, at most `tick`; `true` when `is_over` says so.
    pub fn wait(&self, tick: Duration, is_over: impl Fn(&Self) -> bool) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_over(self) {
            // A poisoned lock guards nothing.
            drop(self.changed.wait_timeout(guard, tick));
        }
        is_over(self)
    }

    fn tell(&self, count: &AtomicU32) {
        count.fetch_add(1, Ordering::AcqRel);
        // Under the lock, so that nobody can look before and wait after.
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }
}
