//! The kernel's side of one connection, and the engine's operations on it.
//!
//! Bytes are numbered by their place in each direction. The engine holds those from `sent` to `kept`, in order, so a
//! send that asks for more than those has asked for bytes that nobody received, or for some of them twice.

use finwait_server::conn::{Event, Fault, Op, OpKind};

use super::dice::Dice;
use super::swarm::Rates;

/// The longest answer to a FIN.
pub(super) const REPLY_MAX: u32 = 130;

/// An operation, from its submission until its end is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight<T> {
    None,
    Pending(T),
    /// It ended, and the worker has not heard of it.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerFin {
    Unsent,
    Queued,
    Taken,
}

/// The connection under the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Up,
    /// It broke, and no operation has reported it.
    Broken(Fault),
    /// The send in flight took the report, and a receive that looked like the peer's FIN has overtaken it.
    Overtaken(Fault),
    /// The end was reported once: from here on a receive looks like the peer's FIN.
    Dead,
}

#[derive(Debug)]
pub(super) struct Socket {
    /// Bytes that reached this host, and those of them that a receive took.
    pub(super) arrived: u64,
    pub(super) taken: u64,
    pub(super) peer_fin: PeerFin,
    pub(super) wire: Wire,
    /// Bytes that were received to be sent back, those given to the kernel, and those that the peer has read.
    pub(super) kept: u64,
    pub(super) sent: u64,
    pub(super) read: u64,
    /// Bytes of `kept` that the worker has not heard of.
    in_ring: u64,
    /// Our FIN, or RST, is on the wire.
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) recv: Flight<Op>,
    pub(super) send: Flight<u32>,
    pub(super) shutdown: Flight<()>,
    pub(super) cancelled: bool,
    pub(super) closing: bool,
    /// A receive waits for a buffer.
    pub(super) starved: bool,
    /// Our FIN was asked for: nothing received from here on is kept.
    discarding: bool,
    /// What comes goes to a ledger, which owes less than it received, and answers a FIN when it was written down.
    pub(super) ledger: bool,
    /// The peer's FIN was received, and its answer is not there yet.
    pub(super) answer: Flight<()>,
    /// The ledger was told that we end it.
    parted: bool,
    send_room: u64,
}

impl Socket {
    pub(super) fn new(send_room: u64, ledger: bool) -> Self {
        Self {
            arrived: 0,
            taken: 0,
            peer_fin: PeerFin::Unsent,
            wire: Wire::Up,
            kept: 0,
            sent: 0,
            read: 0,
            in_ring: 0,
            fin: false,
            rst: false,
            recv: Flight::None,
            send: Flight::None,
            shutdown: Flight::None,
            cancelled: false,
            closing: false,
            starved: false,
            discarding: false,
            ledger,
            answer: Flight::None,
            parted: false,
            send_room,
        }
    }

    pub(super) fn unread(&self) -> u64 {
        self.arrived - self.taken
    }

    /// Whether the peer can do nothing more to it.
    pub(super) fn is_over(&self) -> bool {
        self.rst || self.wire != Wire::Up
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.recv != Flight::None || self.send != Flight::None || self.shutdown != Flight::None
    }

    /// Nothing is there for the receive in flight.
    pub(super) fn is_dry(&self) -> bool {
        matches!(self.recv, Flight::Pending(_))
            && self.unread() == 0
            && self.peer_fin != PeerFin::Queued
            && self.answer == Flight::None
            && self.wire == Wire::Up
    }

    /// The ledger was told that we end the connection; returns what it says to that.
    pub(super) fn part(&mut self, dice: &mut Dice) -> u32 {
        assert!(
            !self.parted && !self.discarding && self.in_ring == 0,
            "parted twice, or at the wrong moment"
        );
        assert!(self.answer == Flight::None, "parted while the peer's FIN waits for its answer");
        self.parted = true;
        let owed = if self.ledger { dice.between(0, REPLY_MAX.into()) } else { 0 };
        // Behind what is in the ring there is nothing, because that is no longer owed.
        self.kept += owed;
        u32::try_from(owed).expect("a short answer")
    }

    pub(super) fn breaks(&mut self, fault: Fault, purges: bool) {
        if self.wire == Wire::Up {
            self.wire = Wire::Broken(fault);
            if purges {
                self.arrived = self.taken;
            }
        }
    }

    /// Starts an operation. Its end comes from [`Socket::attempt`] or [`Socket::cancel`].
    pub(super) fn submit(&mut self, op: Op) {
        assert!(!self.closing, "{op:?} after the close");
        match op {
            Op::Recv { .. } | Op::Discard => {
                assert!(self.recv == Flight::None, "a second receive in flight");
                self.recv = Flight::Pending(op);
            }
            Op::Send { len } => {
                assert!(self.send == Flight::None, "a second send in flight");
                let held = self.kept - self.in_ring - self.sent;
                assert!(u64::from(len) == held, "a send of {len} where the engine holds {held}");
                self.send = Flight::Pending(len);
            }
            Op::Fin => {
                assert!(self.shutdown == Flight::None && !self.discarding, "a second FIN");
                let owed = self.kept - self.in_ring - self.sent;
                assert!(owed == 0, "a FIN before {owed} owed bytes");
                // What came after the last look is discarded.
                self.kept = self.sent;
                self.in_ring = 0;
                self.discarding = true;
                self.shutdown = Flight::Pending(());
            }
            Op::Cancel => {
                assert!(!self.cancelled, "a second cancel");
                self.cancelled = true;
            }
            Op::Close | Op::Reset => {
                assert!(!self.is_in_flight(), "a close with an operation in flight");
                self.closing = true;
                // close() with input unread sends a RST, whatever was sent before (RFC 2525, 2.17).
                if op == Op::Reset || self.unread() > 0 {
                    self.rst = true;
                } else if !self.fin && !self.is_over() {
                    assert!(self.kept == self.sent, "a clean FIN after a truncated echo");
                    self.fin = true;
                }
            }
        }
    }

    /// Does what an operation in flight can do now; `None` when it goes on waiting.
    pub(super) fn attempt(&mut self, op: OpKind, dice: &mut Dice, rates: &Rates) -> Option<Event> {
        let event = match op {
            OpKind::Recv => self.attempt_recv(dice, rates)?,
            OpKind::Send => self.attempt_send(dice, rates)?,
            OpKind::Fin => self.attempt_fin(dice, rates)?,
        };
        match op {
            OpKind::Recv => self.recv = Flight::Done,
            OpKind::Send => self.send = Flight::Done,
            OpKind::Fin => self.shutdown = Flight::Done,
        }
        Some(event)
    }

    fn attempt_recv(&mut self, dice: &mut Dice, rates: &Rates) -> Option<Event> {
        let Flight::Pending(op) = self.recv else { return None };
        if self.starved {
            return None;
        }
        let failed = |fault| Some(Event::Failed { op: OpKind::Recv, fault });
        if self.wire == Wire::Up && !self.is_dry() && dice.chance(rates.recv_fails) {
            return failed(Fault::Local);
        }
        if self.unread() > 0 {
            let most = match op {
                Op::Recv { max } => self.unread().min(max.into()),
                Op::Discard | Op::Send { .. } | Op::Fin | Op::Cancel | Op::Close | Op::Reset => {
                    self.unread().min(1 << 20)
                }
            };
            let taken = if dice.chance(rates.partial) { dice.between(1, most) } else { most };
            self.taken += taken;
            let owed = if self.discarding || !self.ledger {
                taken
            } else if self.parted {
                0
            } else {
                dice.between(0, taken)
            };
            if !self.discarding {
                self.kept += owed;
                self.in_ring = owed;
            }
            let [taken, owed] =
                [taken, owed].map(|len| u32::try_from(len).expect("no more than was asked for"));
            return Some(Event::Received { taken, owed });
        }
        match self.answer {
            Flight::None => {}
            // Whatever becomes of the wire, nobody looks at it.
            Flight::Pending(()) => return None,
            Flight::Done => return Some(self.answered(dice, rates)),
        }
        if self.peer_fin == PeerFin::Queued && (self.wire == Wire::Up || dice.chance(500)) {
            self.peer_fin = PeerFin::Taken;
            if self.ledger && !self.parted && !self.discarding {
                self.answer = Flight::Pending(());
                return None;
            }
            return Some(Event::PeerFin { owed: 0 });
        }
        match self.wire {
            Wire::Up => None,
            Wire::Broken(fault) if matches!(self.send, Flight::Pending(_)) && dice.chance(500) => {
                self.wire = Wire::Overtaken(fault);
                Some(Event::PeerFin { owed: 0 })
            }
            Wire::Broken(fault) => {
                self.wire = Wire::Dead;
                failed(fault)
            }
            Wire::Overtaken(_) | Wire::Dead => Some(Event::PeerFin { owed: 0 }),
        }
    }

    /// The ledger has written down what the peer's FIN meant, or could not.
    fn answered(&mut self, dice: &mut Dice, rates: &Rates) -> Event {
        self.answer = Flight::None;
        if dice.chance(rates.recv_fails) {
            return Event::Failed { op: OpKind::Recv, fault: Fault::Local };
        }
        let owed = dice.between(0, REPLY_MAX.into());
        self.kept += owed;
        self.in_ring = owed;
        Event::PeerFin { owed: u32::try_from(owed).expect("a short answer") }
    }

    fn attempt_send(&mut self, dice: &mut Dice, rates: &Rates) -> Option<Event> {
        let Flight::Pending(len) = self.send else { return None };
        let failed = |fault| Some(Event::Failed { op: OpKind::Send, fault });
        match self.wire {
            Wire::Up if dice.chance(rates.send_fails) => return failed(Fault::Local),
            Wire::Up => {}
            Wire::Broken(fault) | Wire::Overtaken(fault) => {
                self.wire = Wire::Dead;
                return failed(fault);
            }
            // EPIPE.
            Wire::Dead => return failed(Fault::Reset),
        }
        let most = self.send_room.saturating_sub(self.sent - self.read).min(len.into());
        if most == 0 {
            return None;
        }
        let sent = if dice.chance(rates.partial) { dice.between(1, most) } else { most };
        self.sent += sent;
        Some(Event::Sent(u32::try_from(sent).expect("no more than was asked for")))
    }

    fn attempt_fin(&mut self, dice: &mut Dice, rates: &Rates) -> Option<Event> {
        let Flight::Pending(()) = self.shutdown else { return None };
        let failed = |fault| Some(Event::Failed { op: OpKind::Fin, fault });
        match self.wire {
            Wire::Up if dice.chance(rates.fin_fails) => failed(dice.pick(&[Fault::Local, Fault::Shutdown])),
            Wire::Up => {
                self.fin = true;
                Some(Event::FinSent)
            }
            // ENOTCONN, which leaves the report to the next receive or send.
            Wire::Broken(Fault::Reset) | Wire::Overtaken(_) | Wire::Dead => failed(Fault::Reset),
            Wire::Broken(fault) => {
                self.wire = Wire::Dead;
                failed(fault)
            }
        }
    }

    /// Ends an operation that was cancelled: by itself, where it can and wins the race, or by the cancel.
    pub(super) fn cancel(&mut self, op: OpKind, dice: &mut Dice, rates: &Rates) -> Option<Event> {
        let is_pending = match op {
            OpKind::Recv => matches!(self.recv, Flight::Pending(_)),
            OpKind::Send => matches!(self.send, Flight::Pending(_)),
            OpKind::Fin => self.shutdown == Flight::Pending(()),
        };
        if !is_pending {
            return None;
        }
        // A send that took the report of a RST brings it, cancelled or not.
        let is_settled = op == OpKind::Send && matches!(self.wire, Wire::Overtaken(_));
        if (is_settled || dice.chance(rates.cancel_races))
            && let Some(event) = self.attempt(op, dice, rates)
        {
            return Some(event);
        }
        match op {
            OpKind::Recv => {
                self.recv = Flight::Done;
                // It may still come, and is nobody's.
                self.answer = Flight::None;
            }
            OpKind::Send => self.send = Flight::Done,
            OpKind::Fin => self.shutdown = Flight::Done,
        }
        Some(Event::Failed { op, fault: Fault::Cancelled })
    }

    /// The worker hears of the end of an operation.
    pub(super) fn delivered(&mut self, event: Event) {
        match event {
            Event::Received { .. } | Event::PeerFin { .. } | Event::Failed { op: OpKind::Recv, .. } => {
                self.recv = Flight::None;
                self.in_ring = 0;
            }
            Event::Sent(_) | Event::Failed { op: OpKind::Send, .. } => self.send = Flight::None,
            Event::FinSent | Event::Failed { op: OpKind::Fin, .. } => self.shutdown = Flight::None,
            Event::Closed | Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => {}
        }
    }
}
