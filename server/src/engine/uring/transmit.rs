//! Sending on the ring: one send at a time, never waiting inside the kernel with bytes that others may need.

use std::os::fd::AsRawFd;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::{Kind, Send, Uring, fault};
use crate::conn::{Event, Fault, OpKind};
use crate::proactor::Token;

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// The sends of a turn. A send never waits, so it is over when the enter that takes it in returns, and where the kernel
/// can it says nothing if it went out whole: a completion for each is one more look, and mostly an enter of its own,
/// because nothing can be waited for while it is there. 64 B on 1,000 connections: SAVING.
#[derive(Default)]
pub(super) struct Sends {
    /// Whole sends are silent.
    silent: bool,
    /// Silent ones whose end is not known yet, by the number of the send.
    list: Vec<(Token, u32)>,
    /// So many of them were submitted.
    submitted: usize,
    number: u32,
}

impl Sends {
    /// With silent sends or without. MSG_WAITALL makes a part of a send a failure, which is always told; kernels that
    /// have no shared buffers (Linux 6.12) are too old to be trusted to say how large the part was.
    pub(super) fn new(silent: bool) -> Self {
        Self { silent, ..Self::default() }
    }

    /// An enter has taken in everything.
    pub(super) fn submitted(&mut self) {
        self.submitted = self.list.len();
    }
}

impl Uring {
    pub(super) fn send(&mut self, token: Token) {
        let fd = Fd(self.fd(token).as_raw_fd());
        let user_data = self.tag(token, Kind::Send);
        let sends = &mut self.sends;
        let slot = &mut self.slots[token.index()];
        slot.send = Send::InKernel;
        let flags = if sends.silent { FLAGS | libc::MSG_WAITALL } else { FLAGS };
        let (mut entry, len) = slot.bytes.send_entry(&self.pool, fd, slot.send_len, flags);
        if sends.silent {
            sends.number = sends.number.wrapping_add(1);
            slot.sending = (sends.number, len);
            sends.list.push((token, sends.number));
            entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        }
        // SAFETY: the bytes neither move nor go back to the kernel while the send is `InKernel`.
        unsafe { self.ring.push(entry.user_data(user_data)) };
    }

    /// Whether anything waits for one of the silent sends that go to the kernel now. As a rule the peer has to speak
    /// first, and is waited for in the same enter; not where the loop wants no more bytes before these are gone, or has a
    /// FIN to send behind them.
    pub(super) fn is_send_awaited(&self) -> bool {
        self.sends.list.iter().any(|(token, _)| {
            let slot = &self.slots[token.index()];
            slot.parting || !slot.inlet.is_patient()
        })
    }

    /// Ends the silent sends that the kernel has not complained of.
    pub(super) fn conclude_sends(&mut self) {
        // A complaint that did not fit into the queue comes later.
        if self.sends.submitted == 0 || self.ring.has_overflown() {
            return;
        }
        let mut list = std::mem::take(&mut self.sends.list);
        for (token, number) in list.drain(..std::mem::take(&mut self.sends.submitted)) {
            let slot = self.slot(token);
            // Its failure was told, or it was tried again since.
            if slot.send == Send::InKernel && slot.sending.0 == number {
                let len = slot.sending.1;
                self.sent(token, len.cast_signed());
            }
        }
        self.sends.list = list;
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
        let fd = Fd(self.fd(token).as_raw_fd());
        self.slot(token).send = Send::Polling;
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

    /// Moves the bytes that wait for slow readers out of the shared buffers: 64 peers that hold a byte each would
    /// otherwise take all of them.
    pub(super) fn move_out(&mut self) {
        for token in std::mem::take(&mut self.pinning) {
            let slot = &mut self.slots[token.index()];
            if std::mem::take(&mut slot.pinning) && slot.send == Send::Polling {
                slot.bytes.move_out(&mut self.pool);
            }
        }
    }
}
