//! Resting: an idle connection waits for its peer with a one-shot poll instead of a receive.
//!
//! A receive in the kernel holds its request, its message and its poll, some 900 bytes that no figure of the process
//! shows; a poll holds its request, 256. What it costs is a cancel when the connection comes to rest and one completion
//! more for the first bytes after it, so only who was idle for a while rests.

use super::Uring;
use super::receive::Pause;
use crate::policy::REST_EACH;
use crate::proactor::Token;

impl Uring {
    /// Before the kernel is entered: lets connections rest that have received nothing since the last look. Their receives end in
    /// that enter, and what they arm next is a poll.
    pub(super) fn rest_idle(&mut self) {
        if self.resting >= self.slots.len() {
            if self.now.saturating_duration_since(self.rested) < self.rest_every {
                return;
            }
            (self.rested, self.resting) = (self.now, 0);
        }
        let mut found = 0;
        // The ends of these cancels end the wait, so the others follow at once.
        while found < REST_EACH && self.resting < self.slots.len() {
            let slot = &mut self.slots[self.resting];
            if slot.inlet.take_idle() && !slot.discarding && !slot.aborting {
                let index = u32::try_from(self.resting).expect("fewer than 2^32 connections");
                self.cancel_recv(Token(index), Pause::Idle);
                found += 1;
            }
            self.resting += 1;
        }
    }
}
