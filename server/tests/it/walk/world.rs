//! The world around one machine: its peer, and what the kernel holds, doing whatever they may do.

use finwait_server::conn::{Conn, Event, Fault, Op, OpKind};

use super::observer::{Fin, Observer, Receive};

/// What received bytes make us owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// The same bytes.
    Echo,
    /// Less or more than was taken, and something for the FIN too, the peer's or ours.
    Ledger,
}

/// How large a world is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) protocol: Protocol,
    pub(crate) window: u32,
    /// The most bytes that the peer sends.
    pub(crate) bytes: u32,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    PeerSends,
    PeerFins,
    PeerResets,
    /// Something that the machine hears of.
    Event(Event),
}

/// The peer's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerFin {
    Unsent,
    Queued,
    Taken,
}

/// The connection under the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    Up,
    /// A RST came in and no operation has reported it.
    ResetUnreported,
    /// The send in flight took the report of the RST, and its completion is on its way; a receive that came later
    /// and looked like the peer's FIN has overtaken it.
    ResetOvertaken,
    /// The end was reported once: from here on a receive looks like the peer's FIN.
    Dead,
}

/// The machine, its observer, and the state of everything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) conn: Conn,
    pub(crate) seen: Observer,
    protocol: Protocol,
    /// Bytes that the peer may still send.
    unsent: u32,
    /// Bytes in the kernel's receive queue.
    queued: u32,
    peer_fin: PeerFin,
    pub(crate) wire: Wire,
}

impl World {
    /// A connection that was just accepted, with its first operations in flight.
    pub(crate) fn new(bounds: Bounds) -> Self {
        let mut world = Self {
            conn: Conn::new(bounds.window),
            seen: Observer::new(bounds.window, bounds.protocol),
            protocol: bounds.protocol,
            unsent: bounds.bytes,
            queued: 0,
            peer_fin: PeerFin::Unsent,
            wire: Wire::Up,
        };
        world.drive();
        world
    }

    /// Everything that may happen next.
    pub(crate) fn steps(&self) -> Vec<Step> {
        // Both are said to every connection at any time, whatever its state.
        let mut steps = vec![Step::Event(Event::Drain), Step::Event(Event::Expired)];
        if self.seen.closed {
            return steps;
        }
        if self.seen.close.is_some() {
            steps.push(Step::Event(Event::Closed));
            return steps;
        }
        self.peer_steps(&mut steps);
        self.receive_steps(&mut steps);
        if self.seen.send > 0 {
            // A send that succeeds had its bytes in the kernel before the end, even when it reports that later.
            if self.wire != Wire::ResetOvertaken {
                steps.extend((1..=self.seen.send).map(|sent| Step::Event(Event::Sent(sent))));
            }
            self.fault_steps(OpKind::Send, &mut steps);
        }
        if self.seen.fin == Fin::InFlight {
            steps.push(Step::Event(Event::FinSent));
            self.fault_steps(OpKind::Fin, &mut steps);
        }
        // The machine asks for a look by is_taking(); the look is a true one.
        if self.conn.is_taking() && self.queued == 0 && self.peer_fin != PeerFin::Queued {
            steps.push(Step::Event(Event::Dry));
        }
        if self.conn.is_parting() {
            match self.protocol {
                Protocol::Echo => steps.push(Step::Event(Event::Parted { owed: 0 })),
                Protocol::Ledger => steps.extend([0, 2].map(|owed| Step::Event(Event::Parted { owed }))),
            }
        }
        steps
    }

    fn peer_steps(&self, steps: &mut Vec<Step>) {
        if self.wire != Wire::Up {
            return;
        }
        if self.peer_fin == PeerFin::Unsent {
            if self.unsent > 0 {
                steps.push(Step::PeerSends);
            }
            steps.push(Step::PeerFins);
        }
        steps.push(Step::PeerResets);
    }

    fn receive_steps(&self, steps: &mut Vec<Step>) {
        let Some(receive) = self.seen.receive else { return };
        let most = match receive {
            Receive::Keep { max } => max.min(self.queued),
            Receive::Discard => self.queued,
        };
        for taken in 1..=most {
            match self.protocol {
                Protocol::Echo => steps.push(Step::Event(Event::Received { taken, owed: taken })),
                Protocol::Ledger => {
                    steps.extend([0, 1, 3].map(|owed| Step::Event(Event::Received { taken, owed })));
                }
            }
        }
        let is_eof = match self.wire {
            Wire::Up => self.is_at_fin(),
            // The send in flight may have taken the report of the RST, with its own completion behind this one.
            Wire::ResetUnreported => self.is_at_fin() || self.seen.send > 0,
            Wire::ResetOvertaken | Wire::Dead => true,
        };
        if is_eof {
            match self.protocol {
                Protocol::Echo => steps.push(Step::Event(Event::PeerFin { owed: 0 })),
                Protocol::Ledger => steps.extend([0, 2].map(|owed| Step::Event(Event::PeerFin { owed }))),
            }
        }
        self.fault_steps(OpKind::Recv, steps);
    }

    fn is_at_fin(&self) -> bool {
        self.queued == 0 && self.peer_fin == PeerFin::Queued
    }

    fn fault_steps(&self, op: OpKind, steps: &mut Vec<Step>) {
        let mut fail = |fault| steps.push(Step::Event(Event::Failed { op, fault }));
        match self.wire {
            Wire::Up => {
                fail(Fault::Aborted);
                fail(Fault::TimedOut);
            }
            Wire::ResetUnreported | Wire::Dead => fail(Fault::Reset),
            Wire::ResetOvertaken => {
                fail(Fault::Reset);
                return;
            }
        }
        fail(Fault::Local);
        if op == OpKind::Fin {
            fail(Fault::Shutdown);
        }
        if self.seen.cancelled {
            fail(Fault::Cancelled);
        }
    }

    /// Lets one of [`World::steps`] happen, and the machine act on it. The operations asked for are returned.
    pub(crate) fn take(&mut self, step: Step) -> Vec<Op> {
        match step {
            Step::PeerSends => {
                self.unsent -= 1;
                self.queued += 1;
                Vec::new()
            }
            Step::PeerFins => {
                self.peer_fin = PeerFin::Queued;
                Vec::new()
            }
            Step::PeerResets => {
                self.wire = Wire::ResetUnreported;
                Vec::new()
            }
            Step::Event(event) => {
                self.seen.note(event, self.queued);
                self.account(event);
                self.conn.handle(event);
                self.drive()
            }
        }
    }

    /// What an event says about the kernel.
    fn account(&mut self, event: Event) {
        match event {
            Event::Received { taken, owed: _ } => self.queued -= taken,
            Event::PeerFin { owed: _ } if self.is_at_fin() => self.peer_fin = PeerFin::Taken,
            Event::PeerFin { owed: _ } if self.wire == Wire::ResetUnreported => {
                self.wire = Wire::ResetOvertaken;
            }
            Event::PeerFin { owed: _ } => {}
            Event::Failed { op: OpKind::Recv | OpKind::Send, fault } => match fault {
                Fault::Reset | Fault::Aborted | Fault::TimedOut => self.wire = Wire::Dead,
                Fault::Cancelled | Fault::Local | Fault::Shutdown => {}
            },
            // shutdown() tells of a RST by another error and leaves the report to the next receive or send.
            Event::Failed { op: OpKind::Fin, fault } => match fault {
                Fault::Aborted | Fault::TimedOut => self.wire = Wire::Dead,
                Fault::Reset | Fault::Cancelled | Fault::Local | Fault::Shutdown => {}
            },
            Event::Sent(_) | Event::FinSent | Event::Closed => {}
            Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => {}
        }
    }

    /// Starts everything that the machine asks for, under the eyes of the observer.
    fn drive(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        while let Some(op) = self.conn.next_op() {
            self.seen.ask(op);
            ops.push(op);
        }
        let quiet = self.conn.clone();
        assert!(self.conn.next_op().is_none() && self.conn == quiet, "asking again changes the machine");
        self.seen.check(&self.conn);
        ops
    }
}
