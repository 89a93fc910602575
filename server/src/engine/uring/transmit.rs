//! Sending on the ring: one send at a time, never waiting inside the kernel with bytes that others may need.

use io_uring::opcode;

use super::{Kind, Send, Uring, fault};
use crate::conn::{Event, Fault, OpKind};
use crate::proactor::Token;

impl Uring {
    pub(super) fn send(&mut self, token: Token) {
        let user_data = self.tag(token, Kind::Send);
        let slot = &mut self.slots[token.index()];
        slot.send = Send::InKernel;
        let (fd, flags) = (slot.descriptor.fd(), slot.descriptor.flags());
        let entry =
            slot.bytes.send_entry(&self.pool, fd, slot.send_len, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        // SAFETY: the bytes neither move nor go back to the kernel while the send is `InKernel`.
        unsafe { self.ring.push(entry.user_data(user_data).flags(flags)) };
    }

    pub(super) fn sent(&mut self, token: Token, result: i32) {
        assert!(self.slot(token).send == Send::InKernel, "a send ended that was not in the kernel");
        self.slot(token).send = Send::None;
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
