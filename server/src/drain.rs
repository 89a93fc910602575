//! The drain of a whole server: a stage that only rises, and wakes the workers when it does.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// How far the end of the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Accepting and echoing.
    Serving,
    /// No new connections; those that are open get their grace, then are ended by us.
    Draining,
    /// No more patience: what is left is expired.
    Expiring,
}

/// The stage, shared by the workers and by whoever ends the server.
#[derive(Debug, Default)]
pub struct Drain {
    stage: AtomicU8,
    wakers: Mutex<Vec<Waker>>,
}

impl Drain {
    /// Raises the stage and wakes every worker; a lower or equal stage changes nothing.
    pub fn raise(&self, stage: Stage) {
        if self.stage.fetch_max(stage as u8, Ordering::AcqRel) < stage as u8 {
            let meaning = match stage {
                Stage::Serving => "serving",
                Stage::Draining => "draining: no new connections, and those that are open end",
                Stage::Expiring => "expiring: what is left ends at once",
            };
            tracing::info!("{meaning}");
            for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                waker.wake_by_ref();
            }
        }
    }

    /// The stage as it is now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Serving,
            1 => Stage::Draining,
            _ => Stage::Expiring,
        }
    }

    /// Has `waker` called at every later rise. A worker subscribes before its first look at the stage, so that no
    /// rise falls between.
    pub fn subscribe(&self, waker: Waker) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }
}
