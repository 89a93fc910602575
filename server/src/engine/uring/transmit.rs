//! Sending: one send at a time, never waiting inside the kernel with bytes that others may need.
//!
//! A send is a plain system call, over when it returns. The loop is told of it by the next `wait`, which nevertheless goes
//! on to block where nobody minds: one enter for each turn. Only the ring can name a direct descriptor, so there a send is
//! an entry with a completion.

use std::io;

use io_uring::opcode;
use socket2::SockRef;

use super::descriptor::Descriptor;
use super::{Kind, Send, Uring, fault};
use crate::conn::{Event, Fault, OpKind};
use crate::proactor::{Completion, Token};

impl Uring {
    /// Sends what the loop has asked for, or again what found no room.
    pub(super) fn send(&mut self, token: Token, len: u32) {
        let slot = &mut self.slots[token.index()];
        let Descriptor::Normal(fd) = &slot.descriptor else {
            return self.send_direct(token, len);
        };
        slot.send = Send::None;
        let result = loop {
            match slot.bytes.send(&self.pool, SockRef::from(fd), len) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            Ok(0) => self.send_failed(token, libc::EIO, len),
            Ok(sent) => {
                let sent = u32::try_from(sent).expect("no more than was asked for");
                slot.bytes.consume(&mut self.pool, sent);
                if sent == len {
                    slot.send = Send::Over;
                    self.over.push((token, sent));
                } else {
                    // The rest is sent when the loop was told.
                    self.event(token, Event::Sent(sent));
                }
            }
            Err(error) => self.send_failed(token, error.raw_os_error().unwrap_or(libc::EIO), len),
        }
    }

    pub(super) fn send_failed(&mut self, token: Token, errno: i32, len: u32) {
        match errno {
            libc::EAGAIN => self.poll_room(token, len),
            errno => self.fail(token, OpKind::Send, fault(errno)),
        }
    }

    /// Whether some connection would not go on unless it is told at once that its send is over: none that waits for a
    /// receive. (Where our FIN waits for a send the loop lets no wait block.)
    pub(super) fn has_urgent_sends(&self) -> bool {
        self.over.iter().any(|(token, _)| !self.slots[token.index()].inlet.is_asked())
    }

    /// Tells of the sends that are over.
    pub(super) fn tell_sent(&mut self) {
        for (token, sent) in self.over.drain(..) {
            let slot = &mut self.slots[token.index()];
            assert!(slot.send == Send::Over, "a send was over that was not begun");
            slot.send = Send::None;
            self.done.push(Completion::Event(token, Event::Sent(sent)));
        }
    }

    fn poll_room(&mut self, token: Token, len: u32) {
        if self.slot(token).aborting {
            return self.send_cancelled(token);
        }
        let slot = self.slot(token);
        (slot.send, slot.send_len) = (Send::Polling, len);
        let fd = slot.descriptor.fd();
        self.push(token, Kind::Poll, opcode::PollAdd::new(fd, libc::POLLOUT as u32).build());
        self.note_pinning(token);
    }

    pub(super) fn polled(&mut self, token: Token, result: i32) {
        assert!(self.slot(token).send == Send::Polling, "a poll ended that was not in the kernel");
        let len = self.slot(token).send_len;
        match -result {
            libc::ECANCELED => self.send_cancelled(token),
            // The cancel came when the poll had just ended, and found nothing.
            _ if self.slot(token).aborting => self.send_cancelled(token),
            // Ready, or an error: the send tells.
            _ => self.send(token, len),
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

    /// Moves the bytes that wait for slow readers out of the shared buffers where few are left: as many peers as there are
    /// buffers would take all of them, with a byte each.
    pub(super) fn spare_buffers(&mut self) {
        if self.pinning.is_empty() || !self.pool.is_low() {
            return;
        }
        for token in std::mem::take(&mut self.pinning) {
            let slot = &mut self.slots[token.index()];
            if std::mem::take(&mut slot.pinning) && slot.send == Send::Polling {
                slot.bytes.move_out(&mut self.pool);
            }
        }
    }
}
