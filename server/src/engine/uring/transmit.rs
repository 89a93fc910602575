//! Sending on the ring: one send at a time, never waiting inside the kernel with bytes that others may need.
//!
//! A send is over when the enter that submits it returns, so one that has sent everything need not say so, and the same
//! enter can go on to wait: one for each turn instead of two. With MSG_WAITALL one that has sent a part says how much
//! (beside MSG_DONTWAIT nothing is waited for).

use std::num::NonZeroU64;

use io_uring::{opcode, squeue};

use super::{Kind, Send, Uring, fault};
use crate::conn::{Event, Fault, OpKind};
use crate::proactor::Token;

impl Uring {
    pub(super) fn send(&mut self, token: Token) {
        let user_data = self.tag(token, Kind::Send);
        let slot = &mut self.slots[token.index()];
        slot.send = Send::InKernel;
        let (fd, mut flags) = (slot.descriptor.fd(), slot.descriptor.flags());
        let mut how = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let may_be_silent = self.ring.knows_silence() && self.starved.is_empty() && !slot.speaking;
        if may_be_silent {
            how |= libc::MSG_WAITALL;
        }
        let (entry, len) = slot.bytes.send_entry(&self.pool, fd, slot.send_len, how);
        // Behind one that does not take everything another one waits.
        let is_silent = may_be_silent && len == slot.send_len;
        slot.silent = is_silent.then(|| self.ring.next_number());
        if let Some(number) = slot.silent {
            flags |= squeue::Flags::SKIP_SUCCESS;
            self.silent.push_back((token, number));
        }
        // SAFETY: the bytes neither move nor go back to the kernel while the send is `InKernel`.
        unsafe { self.ring.push(entry.user_data(user_data).flags(flags)) };
    }

    /// Whether it must be told as soon as a silent send is over: where no receive is asked for nothing else would make its
    /// connection go on, and receives that found no buffer may wait for just those bytes. (Where our FIN waits for a send
    /// the loop lets no wait block, but it has asked for those of earlier turns before it knew.)
    pub(super) fn awaits_silence(&self) -> bool {
        let is_awaited = |(token, _): &(Token, NonZeroU64)| !self.slots[token.index()].inlet.is_asked();
        let any = !self.silent.is_empty();
        any && (self.silent_before || !self.starved.is_empty() || self.silent.iter().any(is_awaited))
    }

    /// Tells of the silent sends that were submitted, so many entries in all, and have said nothing until now, when every
    /// completion from then was reaped: they have sent everything.
    pub(super) fn end_silence(&mut self, submitted: Option<u64>) {
        let Some(submitted) = submitted else { return };
        while let Some((token, number)) = self.silent.pop_front_if(|(_, number)| number.get() <= submitted) {
            let slot = self.slot(token);
            // It may have spoken up after all, and another send may have followed it.
            if slot.silent == Some(number) {
                let all = slot.send_len.cast_signed();
                self.sent(token, all);
            }
        }
    }

    pub(super) fn sent(&mut self, token: Token, result: i32) {
        assert!(self.slot(token).send == Send::InKernel, "a send ended that was not in the kernel");
        let slot = self.slot(token);
        slot.send = Send::None;
        // A silent one that has a completion met a peer that reads slowly.
        slot.speaking |= slot.silent.take().is_some() && result != slot.send_len.cast_signed();
        match result {
            1.. => {
                let sent = result.unsigned_abs();
                self.slots[token.index()].bytes.consume(&mut self.pool, sent);
                self.event(token, Event::Sent(sent));
            }
            _ => match -result {
                libc::EAGAIN => self.poll_room(token),
                libc::EINTR => self.send(token),
                errno => self.fail(token, OpKind::Send, fault(errno)),
            },
        }
    }

    fn poll_room(&mut self, token: Token) {
        if self.slot(token).aborting {
            return self.send_cancelled(token);
        }
        let slot = self.slot(token);
        slot.send = Send::Polling;
        let fd = slot.descriptor.fd();
        self.push(token, Kind::Poll, opcode::PollAdd::new(fd, libc::POLLOUT as u32).build());
        self.note_pinning(token);
    }

    pub(super) fn polled(&mut self, token: Token, result: i32) {
        assert!(self.slot(token).send == Send::Polling, "a poll ended that was not in the kernel");
        match -result {
            libc::ECANCELED => self.send_cancelled(token),
            // The cancel came when the poll had just ended, and found nothing.
            _ if self.slot(token).aborting => self.send_cancelled(token),
            // Ready, or an error: the send tells.
            _ => self.send(token),
        }
    }

    fn send_cancelled(&mut self, token: Token) {
        self.slot(token).send = Send::None;
        self.fail(token, OpKind::Send, Fault::Cancelled);
    }

    /// Remembers a connection that holds shared buffers while its peer makes no room.
    pub(super) fn note_pinning(&mut self, token: Token) {
        let slot = self.slot(token);
        if slot.send == Send::Polling && !slot.pinning && slot.bytes.is_pinning() {
            slot.pinning = true;
            self.pinning.push(token);
        }
    }

    /// Moves the bytes that wait for slow readers out of the shared buffers: as many peers as there are buffers
    /// would take all of them, with a byte each.
    pub(super) fn move_out(&mut self) {
        for token in std::mem::take(&mut self.pinning) {
            let slot = &mut self.slots[token.index()];
            if std::mem::take(&mut slot.pinning) && slot.send == Send::Polling {
                slot.bytes.move_out(&mut self.pool);
            }
        }
    }
}
