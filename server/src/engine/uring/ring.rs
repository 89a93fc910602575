//! The ring itself: set-up with falling demands, submission that never loses an entry, one place that enters the kernel,
//! one timer that outlives many waits.

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::Sizes;

/// A kernel that goes on refusing to enter is asked this often: at once it would be asked by a whole processor.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// A wait that may take longer than this is bounded by the timer. A timeout that is handed to an enter is a timer of the
/// kernel's that is set and cleared with each sleep: 0.7 us of some 7 that a wake takes here.
const TIMER_MIN: Duration = Duration::from_millis(10);

pub(super) struct Ring {
    ring: IoUring,
    timer: Timer,
    /// The last enter was refused, for a lack of memory or until completions are reaped.
    refused: bool,
    /// What the kernel does for entries it does only while it is entered to wait (DEFER_TASKRUN) or to submit.
    deferred: bool,
    /// Entries that found the submission queue full, in order.
    held: VecDeque<squeue::Entry>,
}

impl Ring {
    /// Sets up a ring, on the thread that will use it. Completions with the user data `timer` go to [`Ring::rang`].
    ///
    /// # Errors
    /// As io_uring_setup(2).
    pub(super) fn new(sizes: Sizes, timer: u64) -> io::Result<Self> {
        let mut failure = io::Error::from_raw_os_error(libc::EINVAL);
        for (index, demand) in DEMANDS.into_iter().enumerate() {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(sizes.completions).setup_clamp();
            demand(&mut builder);
            match builder.build(sizes.submissions) {
                Ok(ring) => {
                    let deferred = index <= DEFERRED;
                    let timer = Timer { user_data: timer, due: None, after: Box::default() };
                    return Ok(Self { ring, timer, refused: false, deferred, held: VecDeque::new() });
                }
                // Only a flag that this kernel does not know is worth a try with fewer.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// Empties a place in the ring's file table, and closes what was in it, as close(2) does.
    ///
    /// # Errors
    /// As io_uring_register(2), IORING_REGISTER_FILES_UPDATE.
    pub(super) fn close_direct(&self, place: u32) -> io::Result<()> {
        self.ring.submitter().register_files_update(place, &[-1]).map(drop)
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues an entry; the kernel sees it at the latest in the next [`Ring::enter`].
    ///
    /// # Safety
    /// Whatever memory `entry` names stays valid until its completion was reaped (for a msghdr and its vectors:
    /// until the next `enter` returned).
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.held.is_empty() {
            // SAFETY: the caller's promise is the one that `push` asks for.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                return;
            }
        }
        self.held.push_back(entry);
        self.flush();
    }

    /// Moves held entries into the submission queue, entering the kernel when that is full.
    fn flush(&mut self) {
        while !self.held.is_empty() {
            if self.ring.submission().is_full() && !self.make_room() {
                return;
            }
            let mut queue = self.ring.submission();
            while let Some(entry) = self.held.front() {
                // SAFETY: the promise was given when the entry was held.
                if unsafe { queue.push(entry) }.is_err() {
                    break;
                }
                self.held.pop_front();
            }
        }
    }

    fn make_room(&mut self) -> bool {
        // EBUSY and EAGAIN: completions have to be reaped first, which the next turn does. EINTR: likewise.
        self.ring.submit().is_ok() && !self.ring.submission().is_full()
    }

    /// Submits, and waits for a completion unless one is there: `None` for ever, zero not at all. `now` is the time from
    /// which `timeout` counts. It may return early, without any.
    ///
    /// # Errors
    /// As io_uring_enter(2), except for what only asks to be tried again.
    pub(super) fn enter(&mut self, timeout: Option<Duration>, now: Instant) -> io::Result<()> {
        let timeout = timeout.filter(|&timeout| !self.is_timed(timeout, now));
        self.flush();
        // What the kernel refused, perhaps the timer itself, is not slept on.
        let timeout = if self.held.is_empty() { timeout } else { Some(Duration::ZERO) };
        let result = match timeout {
            Some(Duration::ZERO) => self.ring.submit(),
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&timespec))
            }
        };
        let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
        let refused_before = std::mem::replace(&mut self.refused, false);
        match errno {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            Some(libc::EAGAIN | libc::EBUSY) => {
                // The turn that follows reaps, which as a rule is all that was missing.
                self.refused = true;
                if refused_before {
                    thread::sleep(REFUSED_PAUSE);
                }
                Ok(())
            }
            Some(_) | None => result.map(drop),
        }
    }

    /// Whether the timer ends a wait of that length in time; one that may be long sets it, unless it is set for later.
    fn is_timed(&mut self, timeout: Duration, now: Instant) -> bool {
        if timeout < TIMER_MIN {
            return false;
        }
        let until = now + timeout;
        if let Some(due) = self.timer.due {
            return due <= until;
        }
        self.timer.due = Some(until);
        // From this moment, and not from `now`: the waits until it rings would all be late by a long turn before the first.
        *self.timer.after = types::Timespec::from(until.saturating_duration_since(super::clock()));
        let entry = opcode::Timeout::new(&raw const *self.timer.after).build();
        // SAFETY: it lives as long as the ring, and is not written while the timer is set.
        unsafe { self.push(entry.user_data(self.timer.user_data)) };
        true
    }

    /// The timer has rung.
    pub(super) fn rang(&mut self) {
        assert!(self.timer.due.take().is_some(), "a timer rang that was not set");
    }

    /// Whether the kernel has completions that only another enter brings out.
    pub(super) fn has_more(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether entries wait to be submitted.
    pub(super) fn has_submissions(&mut self) -> bool {
        !self.held.is_empty() || !self.ring.submission().is_empty()
    }

    /// Whether nothing is received before the kernel is entered again, and everything that was has been reaped.
    pub(super) fn is_still(&mut self) -> bool {
        self.deferred && self.is_empty() && !self.ring.submission().cq_overflow()
    }

    /// Whether there is no completion to reap.
    pub(super) fn is_empty(&mut self) -> bool {
        self.ring.completion().is_empty()
    }

    /// Takes every completion that is there.
    pub(super) fn reap(&mut self, into: &mut Vec<cqueue::Entry>) {
        into.extend(self.ring.completion());
    }
}

/// One timeout in the ring, which the waits until it rings have in common.
struct Timer {
    user_data: u64,
    /// When it rings, if it is set.
    due: Option<Instant>,
    after: Box<types::Timespec>,
}

/// The last of [`DEMANDS`] that asks for deferred task work.
const DEFERRED: usize = 1;
/// From what is best to what every kernel with io_uring takes (SUBMIT_ALL is 5.18, COOP_TASKRUN 5.19, SINGLE_ISSUER
/// 6.0, DEFER_TASKRUN 6.1, NO_SQARRAY 6.6). Deferred task work alone is worth half of the throughput at thousands
/// of connections.
const DEMANDS: [fn(&mut io_uring::Builder); 4] = [
    |builder| {
        DEMANDS[1](builder);
        builder.setup_no_sqarray();
    },
    |builder| {
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    },
    |builder| {
        builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
    },
    |_| {},
];
