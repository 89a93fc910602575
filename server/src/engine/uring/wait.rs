//! Waiting: one enter for each turn, and how other threads wake a worker.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;

use super::accept::Door;
use super::{Kind, Uring, clock, tag};
use crate::proactor::Completion;

/// How often one `wait` goes back to the kernel for completions that it still holds.
const ENTERS_MAX: u32 = 8;

impl Uring {
    /// Waits until there is something to hand out, at most for `timeout`, and puts it into `done`.
    pub(super) fn wait_for(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.calm_eager();
        self.rest_idle();
        // Some of the turn's sends, or of the last wait's, may have found no room with the last buffers in their hands.
        self.spare_buffers();
        if self.ring.is_still() {
            // SAFETY: nothing is filled between two enters, and every completion was reaped.
            unsafe { self.pool.rewind() };
        }
        let hungry = !self.starved.is_empty() && self.pool.in_kernel() > 0;
        let busy = hungry
            || !self.done.is_empty()
            || self.teller.has_answers()
            || self.has_urgent_sends()
            || self.doors.iter().any(Door::is_closing);
        let timeout = if busy { Some(Duration::ZERO) } else { timeout };
        let may_sleep = timeout != Some(Duration::ZERO);
        let came = self.look_on(may_sleep)?;
        // With something to hand out and nothing to submit there is no reason to enter the kernel.
        let has_reason = !busy || self.ring.has_submissions();
        // What came is dealt with first, but where waits do not sleep, nothing says when the next would submit.
        let comes_first = came && (may_sleep || !self.ring.has_submissions());
        if has_reason && !comes_first {
            self.ring.enter(timeout, self.now)?;
        }
        self.now = clock();
        for enters in 0.. {
            let mut reaped = std::mem::take(&mut self.reaped);
            self.ring.reap(&mut reaped);
            for entry in reaped.drain(..) {
                self.complete(&entry);
            }
            self.reaped = reaped;
            if enters >= ENTERS_MAX || !self.ring.has_more() {
                break;
            }
            self.ring.enter(Some(Duration::ZERO), self.now)?;
        }
        self.tell_sent();
        self.close_doors();
        self.hand_over_fins();
        self.feed_starved();
        Ok(())
    }

    pub(super) fn poll_wake(&mut self) {
        let fd = Fd(self.wake_reader.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).build().user_data(tag(Kind::Wake, 0, 0));
        // SAFETY: a poll names no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn woken(&mut self) {
        while self.wake_reader.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        self.poll_wake();
        self.done.push(Completion::Woken);
    }
}

pub(super) struct SocketWaker(pub(super) UnixStream);

impl Wake for SocketWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A full socket means that it is about to wake anyway.
        let _ = (&self.0).write(&[1]);
    }
}
