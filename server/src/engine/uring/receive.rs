//! Receiving on the ring, what did not come at once (`prompt`): a multishot operation at first, single ones once a peer turned
//! out faster than we may be.
//!
//! A multishot receive spares each message an entry, a futile look and a poll: 3.5 % of the server's CPU under churn.
//! But it goes on while the loop asks for nothing, so what it brings early is counted here and handed over when asked
//! for. The first time that bytes are still here when the kernel is entered again (the window is full), it is
//! cancelled, and this connection has single receives from then on: they take just what is asked for.

use std::num::NonZeroU32;

use io_uring::{cqueue, opcode, squeue};
use socket2::SockRef;

use super::descriptor::Descriptor;
use super::pool::{GROUP, POOL_BYTES, Span};
use super::prompt::Stage;
use super::{Kind, Uring, fault};
use crate::conn::{Event, Fault, OpKind};
use crate::ledger::{Answer, Fin};
use crate::proactor::Token;
use crate::sys;

/// The most bytes thrown away with one receive.
pub(super) const DISCARD_MAX: u32 = 1 << 20;
/// Early bytes of one connection from which on its receive is cancelled at once.
const EARLY_MAX: u32 = 256 * 1024;
/// More can never come: buffers are given to the kernel only between two enters, and the cancel goes in first; a
/// receive that was about to run may still run once. In practice a peer that had filled its whole window while we
/// were stopped brought 2 MiB with buffers of 64 KiB: the kernel looks 33 times in one go, a buffer each.
const EARLY_LIMIT: u32 = EARLY_MAX + 2 * POOL_BYTES;
/// Starved receives tried again for each buffer that came back.
const REARM_PER_BUFFER: usize = 64;

/// The receiving side of one connection.
#[derive(Default)]
pub(super) struct Inlet {
    /// What the loop asked for and waits for.
    asked: Option<NonZeroU32>,
    in_kernel: InKernel,
    /// Why its cancel was submitted, if it was.
    pause: Option<Pause>,
    /// This connection has single receives.
    single: bool,
    /// It waits for a buffer.
    starved: bool,
    /// Bytes that came before they were asked for.
    early: u32,
    /// Bytes that are owed for them.
    early_owed: u32,
    /// How receiving ended, to be told after the early bytes.
    end: Option<End>,
    /// It stands in `eager`.
    listed: bool,
    pub(super) stage: Stage,
    /// It stands in `prompt`.
    pub(super) looked_for: bool,
    /// It has received something, or was made, since idle connections were last looked for.
    stirred: bool,
}

/// What of a connection waits in the kernel for its peer to say something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum InKernel {
    #[default]
    Nothing,
    Single,
    Multishot,
    /// Only a look whether there is something to receive: the connection rests.
    Poll,
}

/// Why a receive was cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// It brought more than was asked for.
    Eager,
    /// It brought nothing for a while.
    Idle,
}

/// How receiving ended.
#[derive(Clone, Copy)]
enum End {
    /// With the peer's FIN.
    Fin,
    /// With an error, by its number.
    Error(u16),
}

impl Inlet {
    pub(super) fn is_armed(&self) -> bool {
        self.in_kernel != InKernel::Nothing
    }

    /// Whether it waits in a receive and has received nothing since this was last asked.
    pub(super) fn take_idle(&mut self) -> bool {
        let stirred = std::mem::take(&mut self.stirred);
        let receives = matches!(self.in_kernel, InKernel::Single | InKernel::Multishot);
        !stirred && receives && self.asked.is_some() && self.pause.is_none()
    }

    /// A cancel found nothing. It was the receive's, or the loop has given the connection up, and pauses for ever.
    pub(super) fn cancel_missed(&mut self) {
        self.pause = None;
    }

    /// Begins with a connection, which has single receives from the start if `single`.
    pub(super) fn begin(&mut self, single: bool) {
        self.single = single;
        self.stirred = true;
    }

    /// Whether bytes came that were not asked for yet.
    pub(super) fn has_early(&self) -> bool {
        self.early > 0
    }

    /// Whether the loop waits for a receive.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// How much the loop asks for that nothing in the kernel waits for, nor for a buffer. (A FIN that the ledger withholds is
    /// asked for like this too.)
    pub(super) fn unattended(&self) -> Option<u32> {
        self.asked.filter(|_| !self.is_armed() && !self.starved).map(NonZeroU32::get)
    }

    /// Whether a receive of it was cancelled, so that another of another kind may take its place.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }
}

impl Uring {
    pub(super) fn recv(&mut self, token: Token, max: u32) {
        let max_asked = NonZeroU32::new(max).expect("a receive of something");
        self.slot(token).inlet.asked = Some(max_asked);
        self.deliver(token);
    }

    /// Hands over what came early, or sees to it that a receive is in the kernel.
    pub(super) fn deliver(&mut self, token: Token) {
        let aborting = self.slot(token).aborting;
        let inlet = &mut self.slot(token).inlet;
        let Some(max) = inlet.asked.map(NonZeroU32::get) else { return };
        if inlet.early > 0 {
            let taken = inlet.early.min(max);
            inlet.early -= taken;
            // How they are spread is nobody's affair, as long as no more is owed than was asked for.
            let owed = inlet.early_owed.min(taken);
            inlet.early_owed -= owed;
            inlet.asked = None;
            self.event(token, Event::Received { taken, owed });
        } else if let Some(end) = inlet.end.take() {
            match end {
                // A FIN that the cancel has missed: nobody waits for what the ledger would say.
                End::Fin if aborting => {
                    inlet.asked = None;
                    self.event(token, Event::PeerFin { owed: 0 });
                }
                End::Fin => self.peer_fin(token),
                End::Error(errno) => {
                    inlet.asked = None;
                    self.fail(token, OpKind::Recv, fault(errno.into()));
                }
            }
        } else if self.is_awaiting(token) && !aborting {
            // It ends when the ledger has answered.
        } else if aborting && !self.slot(token).inlet.is_armed() {
            let slot = self.slot(token);
            slot.account.iter_mut().for_each(|account| account.give_up());
            slot.inlet.starved = false;
            slot.inlet.asked = None;
            self.fail(token, OpKind::Recv, Fault::Cancelled);
        } else if self.slot(token).inlet.unattended().is_some() {
            self.receive_from(token, max);
        }
    }

    /// The peer's FIN was received, and the bytes before it were handed over.
    fn peer_fin(&mut self, token: Token) {
        let slot = &mut self.slots[token.index()];
        let has_peer = match &slot.descriptor {
            Descriptor::Normal(fd) => slot.account.is_none() || sys::has_peer(SockRef::from(fd)),
            Descriptor::Direct(_) | Descriptor::None if slot.account.is_some() => {
                return self.ask_for_peer(token);
            }
            Descriptor::Direct(_) | Descriptor::None => true,
        };
        self.peer_fin_of(token, has_peer);
    }

    /// The same, of a connection that still stands, or not.
    pub(super) fn peer_fin_of(&mut self, token: Token, has_peer: bool) {
        let slot = &mut self.slots[token.index()];
        let account = slot.account.as_mut();
        let fin = account.map_or(Fin::Bare, |account| self.teller.fin(account, token.0, || has_peer));
        match fin {
            Fin::Bare => self.hand_over_fin(token, 0),
            Fin::Reset => self.fail_recv(token, Fault::Reset),
            Fin::Withheld => {}
        }
    }

    fn hand_over_fin(&mut self, token: Token, owed: u32) {
        let slot = self.slot(token);
        slot.inlet.asked = None;
        slot.peer_fin = true;
        self.event(token, Event::PeerFin { owed });
    }

    pub(super) fn fail_recv(&mut self, token: Token, fault: Fault) {
        self.slot(token).inlet.asked = None;
        self.fail(token, OpKind::Recv, fault);
    }

    /// Whether the peer's FIN was received and is withheld.
    pub(super) fn is_awaiting(&self, token: Token) -> bool {
        let slot = &self.slots[token.index()];
        slot.account.as_ref().is_some_and(|account| slot.asks_for_peer || account.is_awaiting())
    }

    /// Hands over the FINs that the ledger has answered.
    pub(super) fn hand_over_fins(&mut self) {
        let mut answers = std::mem::take(&mut self.answers);
        self.teller.answers(&mut answers);
        for (index, claim, answer) in answers.drain(..) {
            let slot = &mut self.slots[index as usize];
            if !slot.account.as_mut().is_some_and(|account| account.is_answered(claim)) {
                continue;
            }
            let token = Token(index);
            match answer {
                Answer::Bare => self.hand_over_fin(token, 0),
                Answer::Replied(reply) => {
                    let owed = slot.bytes.end(reply.line());
                    self.hand_over_fin(token, owed);
                }
                Answer::Lost => self.fail_recv(token, Fault::Local),
            }
        }
        self.answers = answers;
    }

    pub(super) fn arm(&mut self, token: Token, max: u32) {
        let multishot = self.multishot;
        let slot = self.slot(token);
        let fd = slot.descriptor.fd();
        let rests = slot.inlet.pause.take() == Some(Pause::Idle);
        let (in_kernel, entry) = if slot.discarding {
            // MSG_TRUNC on TCP: the bytes are dropped in the kernel, and no buffer is needed (tcp(7)).
            let recv = opcode::Recv::new(fd, std::ptr::null_mut(), DISCARD_MAX).flags(libc::MSG_TRUNC);
            (InKernel::Single, recv.build())
        } else if rests {
            (InKernel::Poll, opcode::PollAdd::new(fd, libc::POLLIN as u32).build())
        } else if multishot && !slot.inlet.single {
            (InKernel::Multishot, opcode::RecvMulti::new(fd, GROUP).build())
        } else {
            let recv = opcode::Recv::new(fd, std::ptr::null_mut(), max).buf_group(GROUP).build();
            (InKernel::Single, recv.flags(squeue::Flags::BUFFER_SELECT))
        };
        slot.inlet.in_kernel = in_kernel;
        self.push(token, Kind::Recv, entry);
    }

    /// There is something to receive for a connection that rested, or its poll was cancelled.
    fn awoken(&mut self, token: Token) {
        let inlet = &mut self.slot(token).inlet;
        inlet.in_kernel = InKernel::Nothing;
        inlet.stirred = true;
        // Whatever it was, the receive tells.
        self.deliver(token);
        self.close_if_held(token);
    }

    pub(super) fn received(&mut self, token: Token, result: i32, flags: u32) {
        let slot = self.slot(token);
        if let Descriptor::Direct(_) = slot.descriptor {
            slot.look.forget();
        }
        let inlet = &mut slot.inlet;
        let was = inlet.in_kernel;
        match was {
            InKernel::Nothing => panic!("a receive ended that was not in the kernel"),
            InKernel::Poll => return self.awoken(token),
            InKernel::Single | InKernel::Multishot if cqueue::more(flags) => {}
            InKernel::Single | InKernel::Multishot => inlet.in_kernel = InKernel::Nothing,
        }
        let paused = !inlet.is_armed() && inlet.pause.is_some();
        let owed = match cqueue::buffer_select(flags) {
            Some(buffer) => self.take_buffer(token, buffer, result, cqueue::buffer_more(flags)),
            None => u32::try_from(result).unwrap_or(0),
        };
        let (aborting, discarding) = (self.slot(token).aborting, self.slot(token).discarding);
        let inlet = &mut self.slots[token.index()].inlet;
        match result {
            1.. => self.brought(token, result.unsigned_abs(), owed),
            0 => self.ended(token, 0),
            _ => match -result {
                // Not an error of the connection: it waits its turn. A discard needs no buffer.
                libc::ENOBUFS => {
                    inlet.starved = inlet.asked.is_some() && !discarding;
                    self.pool.ran_out();
                }
                libc::EINTR | libc::EAGAIN => {}
                libc::ECANCELED if paused || aborting => {}
                // Linux 5.19 has no multishot receive: single ones, for everyone.
                libc::EINVAL if was == InKernel::Multishot => self.multishot = false,
                errno => self.ended(token, errno),
            },
        }
        if self.slot(token).inlet.starved {
            let generation = self.slot(token).generation;
            self.starved.push_back((token, generation));
        }
        self.deliver(token);
        self.note_eager(token);
        self.close_if_held(token);
    }

    /// A receive has brought `len` bytes, for which `owed` are owed.
    pub(super) fn brought(&mut self, token: Token, len: u32, owed: u32) {
        let news = self.slot(token).inlet.stage.advance();
        self.news = news.or(self.news);
        let slot = &mut self.slots[token.index()];
        let inlet = &mut slot.inlet;
        inlet.stirred = true;
        inlet.early += len;
        inlet.early_owed += owed;
        // What is discarded gives its buffer back at once, so there the pool is no bound.
        let is_bounded = slot.discarding || inlet.early <= EARLY_LIMIT;
        assert!(is_bounded, "{} early bytes of one connection", inlet.early);
    }

    /// The peer's FIN was received (0), or an error, by its number.
    pub(super) fn ended(&mut self, token: Token, errno: i32) {
        self.slot(token).inlet.end = Some(match errno {
            0 => End::Fin,
            errno => End::Error(u16::try_from(errno).expect("an errno")),
        });
    }

    /// Takes in what the kernel has put into `buffer`, and returns how much is owed for it.
    fn take_buffer(&mut self, token: Token, buffer: u16, result: i32, more: bool) -> u32 {
        let len = u32::try_from(result).unwrap_or(0);
        let span = self.pool.received(buffer, len, more);
        self.take_span(token, span)
    }

    /// Takes in bytes that were received, and returns how many are owed for them.
    pub(super) fn take_span(&mut self, token: Token, mut span: Span) -> u32 {
        let slot = &mut self.slots[token.index()];
        if slot.discarding {
            let len = span.len();
            self.pool.discard(span);
            return len;
        }
        if let Some(account) = &mut slot.account {
            self.pool.filter(&mut span, |bytes| account.take(bytes));
        }
        let owed = span.len();
        if owed == 0 {
            self.pool.discard(span);
        } else {
            slot.bytes.append(&mut self.pool, span);
            self.note_pinning(token);
        }
        owed
    }

    /// Remembers a connection whose multishot receive brought bytes that nobody has asked for yet.
    fn note_eager(&mut self, token: Token) {
        let inlet = &mut self.slot(token).inlet;
        if !inlet.is_armed() || inlet.early == 0 {
            return;
        }
        if inlet.early > EARLY_MAX {
            self.pause_recv(token);
        } else if !inlet.listed {
            inlet.listed = true;
            self.eager.push(token);
        }
    }

    /// Before the kernel is entered: stops the multishot receives whose bytes are still not asked for.
    pub(super) fn calm_eager(&mut self) {
        for token in std::mem::take(&mut self.eager) {
            if std::mem::take(&mut self.slot(token).inlet.listed) && self.slot(token).inlet.early > 0 {
                self.pause_recv(token);
            }
        }
    }

    /// Stops a multishot receive; what this connection receives from here on, it receives one by one.
    pub(super) fn pause_recv(&mut self, token: Token) {
        let inlet = &mut self.slot(token).inlet;
        if inlet.in_kernel != InKernel::Multishot || inlet.pause.is_some() {
            return;
        }
        inlet.single = true;
        self.cancel_recv(token, Pause::Eager);
    }

    /// Cancels the receive of a connection.
    pub(super) fn cancel_recv(&mut self, token: Token, pause: Pause) {
        self.slot(token).inlet.pause = Some(pause);
        self.cancel_entry(token, Kind::Recv);
    }

    /// Tries receives again that found no buffer, as far as buffers have come back.
    pub(super) fn feed_starved(&mut self) {
        let tries = usize::from(self.pool.in_kernel()) * REARM_PER_BUFFER;
        for _ in 0..tries.min(self.starved.len()) {
            let Some((token, generation)) = self.starved.pop_front() else { return };
            let slot = self.slot(token);
            if slot.generation == generation && std::mem::take(&mut slot.inlet.starved) {
                self.deliver(token);
            }
        }
    }
}
