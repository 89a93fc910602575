//! The one clock of a run: monotonic nanoseconds since it began, and the wall clock of that moment.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the run began; comparable across threads.
pub type Nanos = u64;

/// A clock that started with the run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix_ns: u64,
}

impl Clock {
    /// Begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_unix_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        Self { origin: Instant::now(), origin_unix_ns }
    }

    /// Nanoseconds since the start; never 0, so that an atomic 0 can mean "not yet".
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    pub fn now(&self) -> Nanos {
        let elapsed = Instant::now().saturating_duration_since(self.origin);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// The wall clock at `at`, in nanoseconds of Unix time, as far as nobody has set it since.
    #[must_use]
    pub fn unix_ns(&self, at: Nanos) -> u64 {
        self.origin_unix_ns.saturating_add(at)
    }
}
