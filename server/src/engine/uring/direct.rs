//! What is a system call on a normal descriptor and an entry in the ring on a direct one.
//!
//! - *A send* has a completion of its own, and an enter more.
//! - *Our FIN behind the peer's* goes out with the close, which follows at once, and is the same packet. `shutdown`
//!   would take the detour through a kernel thread. But it would also tell of a RST, so that is looked for: a poll ends
//!   with a hang-up exactly where `shutdown` fails with ENOTCONN.
//! - *Our FIN before the peer's* is IORING_OP_SHUTDOWN: the connection has to stay open, to receive.
//! - *A look* into the socket (`is_dry`) is a receive that takes nothing and waits for nothing.
//! - *A RST* is SO_LINGER, set by an entry, and then the close.
//!
//! None of them waits, but for the shutdown: they are done when the kernel is entered next, all of a turn together.

use std::io;

use io_uring::opcode;
use io_uring::types::Fixed;

use super::descriptor::Descriptor;
use super::{Kind, Send, Uring, fault};
use crate::conn::{Event, Fault, OpKind};
use crate::policy;
use crate::proactor::Token;

/// SO_LINGER {1, 0}. The kernel reads it when it is entered, so it lives for ever.
static RESET: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

/// A look into the socket, for a drain's last take.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    None,
    InFlight,
    /// There was nothing, and no receive has ended since.
    Dry,
    /// There was something.
    Wet,
}

impl Look {
    /// A receive has ended: what was dry may have bytes.
    pub(super) fn forget(&mut self) {
        if *self == Self::Dry {
            *self = Self::None;
        }
    }
}

impl Uring {
    /// Closes a direct descriptor's place in the table, and the socket with it.
    pub(super) fn close_direct(&mut self, place: u32) {
        match self.ring.close_direct(place) {
            Ok(()) => self.table.give_back(),
            // The place stays taken, for whatever is in it.
            Err(error) => tracing::error!("a direct descriptor cannot be closed: {error}; this is a bug"),
        }
    }

    pub(super) fn send_direct(&mut self, token: Token, len: u32) {
        let slot = &mut self.slots[token.index()];
        (slot.send, slot.send_len) = (Send::InKernel, len);
        let entry = slot.bytes.send_entry(&self.pool, slot.descriptor.fd(), len);
        let entry = entry.flags(slot.descriptor.flags()).user_data(self.tag(token, Kind::Send));
        // SAFETY: the bytes neither move nor go back to the kernel while the send is `InKernel`.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn sent(&mut self, token: Token, result: i32) {
        assert!(self.slot(token).send == Send::InKernel, "a send ended that was not in the kernel");
        let slot = &mut self.slots[token.index()];
        slot.send = Send::None;
        let len = slot.send_len;
        match result {
            1.. => {
                let sent = result.unsigned_abs();
                slot.bytes.consume(&mut self.pool, sent);
                self.event(token, Event::Sent(sent));
            }
            _ if result == -libc::EINTR => self.send(token, len),
            _ => self.send_failed(token, -result, len),
        }
    }

    pub(super) fn fin_direct(&mut self, token: Token) {
        let slot = self.slot(token);
        if slot.peer_fin {
            let poll = opcode::PollAdd::new(slot.descriptor.fd(), libc::POLLIN as u32).build();
            self.push(token, Kind::FinLook, poll);
        } else {
            let shutdown = opcode::Shutdown::new(slot.descriptor.fd(), libc::SHUT_WR).build();
            self.push(token, Kind::Shutdown, shutdown);
        }
    }

    pub(super) fn shut(&mut self, token: Token, result: i32) {
        match -result {
            ..=0 => self.event(token, Event::FinSent),
            // The ring is being taken down.
            libc::ECANCELED => self.fail(token, OpKind::Fin, Fault::Cancelled),
            errno => {
                let error = io::Error::from_raw_os_error(errno);
                self.fail(token, OpKind::Fin, policy::shutdown_fault(&error));
            }
        }
    }

    /// The peer's FIN was received before ours was asked for, and it is known whether the connection still stands.
    pub(super) fn fin_looked(&mut self, token: Token, result: i32) {
        let has_hung_up = result > 0 && result & i32::from(libc::POLLHUP) != 0;
        self.shut(token, if has_hung_up { -libc::ENOTCONN } else { result });
    }

    pub(super) fn reset_direct(&mut self, token: Token) {
        let Descriptor::Direct(place) = self.slot(token).descriptor else {
            unreachable!("only for direct descriptors");
        };
        self.slot(token).looks += 1;
        let [level, name, len] =
            [libc::SOL_SOCKET, libc::SO_LINGER, size_of_val(&RESET) as i32].map(i32::cast_unsigned);
        let linger =
            opcode::SetSockOpt::new(Fixed(place), level, name, (&raw const RESET).cast(), len).build();
        self.push(token, Kind::Linger, linger);
        // It waits for the option.
        self.close(token);
    }

    pub(super) fn lingered(&mut self, token: Token, result: i32) {
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            tracing::warn!(token = token.0, "SO_LINGER could not be set, so no RST is sent: {error}");
        }
        self.look_over(token);
    }

    /// Whether the kernel was found to hold nothing for a receive. The first time this is asked the look is begun, and
    /// the answer is no; it is taken in the next `wait`. It holds until the receive in flight ends, which is what bytes
    /// that come later bring about: were each look good for one question, those of many connections would keep the ring
    /// from ever being empty.
    pub(super) fn is_dry_direct(&mut self, token: Token) -> bool {
        let slot = self.slot(token);
        match slot.look {
            Look::Dry => true,
            Look::InFlight => false,
            Look::None | Look::Wet => {
                slot.look = Look::InFlight;
                slot.looks += 1;
                // With MSG_TRUNC nothing is copied, so no room is needed for the byte (tcp(7)).
                let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
                let peek = opcode::Recv::new(slot.descriptor.fd(), std::ptr::null_mut(), 1).flags(flags);
                self.push(token, Kind::Look, peek.build());
                false
            }
        }
    }

    pub(super) fn looked(&mut self, token: Token, result: i32) {
        self.slot(token).look = if result == -libc::EAGAIN { Look::Dry } else { Look::Wet };
        self.look_over(token);
    }

    /// Asks whether the connection still stands: a RST that a send was told of reads as EOF from then on.
    pub(super) fn ask_for_peer(&mut self, token: Token) {
        let slot = self.slot(token);
        slot.asks_for_peer = true;
        slot.looks += 1;
        let poll = opcode::PollAdd::new(slot.descriptor.fd(), libc::POLLIN as u32).build();
        self.push(token, Kind::PeerLook, poll);
    }

    pub(super) fn peer_looked(&mut self, token: Token, result: i32) {
        let slot = self.slot(token);
        slot.asks_for_peer = false;
        // Given up meanwhile, nobody waits for the FIN.
        if slot.inlet.is_asked() {
            if result < 0 {
                self.fail_recv(token, fault(-result));
            } else {
                self.peer_fin_of(token, result & i32::from(libc::POLLHUP) == 0);
            }
        }
        self.look_over(token);
    }

    /// An entry ended that the close has to wait for.
    fn look_over(&mut self, token: Token) {
        self.slot(token).looks -= 1;
        self.close_if_held(token);
    }
}
