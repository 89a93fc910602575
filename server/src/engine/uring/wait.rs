//! Waiting: one enter for each turn, a moment awake where that is worth it, and how other threads wake a worker.

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
use crate::policy::LOOK;
use crate::proactor::Completion;

/// How often one `wait` goes back to the kernel for completions that it still holds.
const ENTERS_MAX: u32 = 8;

/// What a wait may be worth a look behind, each with a [`Patience`](crate::policy::Patience) of its own. What comes on a
/// connection that goes on and on is not awaited: taken in sooner, it would be taken in by smaller turns.
#[derive(Clone, Copy)]
pub(super) enum News {
    /// A connection was accepted, and its first bytes may follow.
    Connection,
    /// Its first bytes were received, and sent back where it is an echo. Many a client has no more to say.
    FirstBytes,
}

impl News {
    pub(super) const COUNT: usize = 2;
}

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
        // With something to hand out and nothing to submit there is no reason to enter the kernel.
        let has_reason = !busy || self.ring.has_submissions();
        if has_reason && !(may_sleep && self.look_on()?) {
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

    /// Before a wait that may sleep: stays awake for a moment where that has been worth it, and tells whether there is
    /// something to reap. What was queued has been submitted then, unless the kernel refused it.
    fn look_on(&mut self) -> io::Result<bool> {
        let Some(news) = self.news.take() else { return Ok(false) };
        // Where a send is an entry, its own completion would end the look.
        if self.table.is_there() || !self.patience[news as usize].is_worth_a_look() {
            return Ok(false);
        }
        if self.ring.has_submissions() {
            self.ring.enter(Some(Duration::ZERO), self.now)?;
        }
        let until = clock() + LOOK;
        let came = loop {
            if self.ring.has_more() || !self.ring.is_empty() {
                break true;
            }
            if clock() >= until {
                break false;
            }
            std::hint::spin_loop();
        };
        self.patience[news as usize].learn(came);
        Ok(came)
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
