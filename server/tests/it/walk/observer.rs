//! The observer: it sees the operations and the events of one connection, nothing else, and knows the promise.
//!
//! It keeps its own books and never asks the machine what is right. Bytes are numbered by their place: they are
//! taken from the kernel in order, appended to what is owed in order, and the one send in flight covers the first
//! of them. So "in order, exactly once" is a matter of counts: a send covers what is owed, neither more nor less,
//! and what it reports is owed no longer.

use std::fmt::Debug;

use finwait_server::conn::{Conn, Event, Fault, Op, OpKind, Outcome, Phase};

use super::world::Protocol;

/// What has become of our FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fin {
    Unasked,
    InFlight,
    Sent,
    Failed,
}

/// The receive in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Receive {
    Keep { max: u32 },
    Discard,
}

/// The last take of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Take {
    /// Bytes that the window still allows to it.
    left: u32,
    /// Bytes of those that the kernel held when the drain began, and that are not taken yet.
    held: u32,
    /// The driver said that nothing is left to take.
    dry: bool,
}

/// The books about one connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Observer {
    window: u32,
    protocol: Protocol,
    pub(crate) receive: Option<Receive>,
    /// Bytes that the send in flight covers; 0 when there is none.
    pub(crate) send: u32,
    pub(crate) fin: Fin,
    peer_fin: bool,
    owed: u32,
    take: Option<Take>,
    /// The protocol has said what is owed in parting.
    parted: bool,
    /// Bytes were taken before our FIN was asked for and are never to be echoed: the peer has to learn of it.
    lost: bool,
    /// The first fault or expiry.
    pub(crate) cause: Option<Outcome>,
    pub(crate) cancelled: bool,
    pub(crate) close: Option<Op>,
    pub(crate) closed: bool,
}

impl Observer {
    pub(crate) fn new(window: u32, protocol: Protocol) -> Self {
        Self {
            window,
            protocol,
            receive: None,
            send: 0,
            fin: Fin::Unasked,
            peer_fin: false,
            owed: 0,
            take: None,
            parted: false,
            lost: false,
            cause: None,
            cancelled: false,
            close: None,
            closed: false,
        }
    }

    /// Bytes received now will be owed.
    fn is_open(&self) -> bool {
        self.cause.is_none() && self.fin == Fin::Unasked
    }

    /// The peer's FIN or a drain has begun the end.
    pub(crate) fn has_end(&self) -> bool {
        self.peer_fin || self.take.is_some()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.receive.is_some() || self.send > 0 || self.fin == Fin::InFlight
    }

    /// What a drain may still take; 0 without one.
    fn take_left(&self) -> u32 {
        match self.take {
            Some(take) if self.is_open() && !self.peer_fin && !take.dry => take.left,
            Some(_) | None => 0,
        }
    }

    /// Books an event that is about to be handled; `queued` bytes are in the kernel at this moment.
    pub(crate) fn note(&mut self, event: Event, queued: u32) {
        match event {
            Event::Received { taken, owed } => self.received(taken, owed),
            Event::PeerFin { owed } => {
                self.receive = None;
                self.peer_fin = true;
                self.owe(owed);
            }
            Event::Sent(sent) => {
                self.owed -= sent;
                self.send = 0;
            }
            Event::FinSent => self.fin = Fin::Sent,
            Event::Closed => self.closed = true,
            Event::Failed { op, fault } => self.failed(op, fault),
            Event::Drain => {
                if self.is_open() && !self.has_end() {
                    self.take = Some(Take { left: self.window, held: queued.min(self.window), dry: false });
                }
            }
            Event::Dry => {
                if let Some(take) = &mut self.take {
                    take.dry = true;
                }
            }
            Event::Parted { owed } => {
                self.parted = true;
                self.owe(owed);
            }
            Event::Expired => {
                if self.close.is_none() {
                    self.cause.get_or_insert(Outcome::Expired);
                }
            }
        }
    }

    fn received(&mut self, taken: u32, owed: u32) {
        self.receive = None;
        if self.is_open()
            && let Some(take) = &mut self.take
        {
            let left = take.left.checked_sub(taken);
            take.left = left.expect("a drain takes more than the window before our FIN");
            take.held = take.held.saturating_sub(taken);
        }
        self.owe(owed);
    }

    fn owe(&mut self, owed: u32) {
        if self.is_open() {
            self.owed += owed;
        } else if matches!(self.fin, Fin::Unasked) && owed > 0 {
            self.lost = true;
        }
    }

    fn failed(&mut self, op: OpKind, fault: Fault) {
        let cause = match op {
            OpKind::Recv => {
                self.receive = None;
                fault
            }
            OpKind::Send => {
                self.send = 0;
                fault
            }
            OpKind::Fin => {
                self.fin = Fin::Failed;
                if fault == Fault::Reset { Fault::Reset } else { Fault::Shutdown }
            }
        };
        self.cause.get_or_insert(Outcome::Faulted(cause));
    }

    /// Judges an operation that the machine asks for, and books it.
    pub(crate) fn ask(&mut self, op: Op) {
        assert!(self.close.is_none(), "{op:?} after the close");
        match op {
            Op::Recv { max } => self.ask_recv(max),
            Op::Discard => {
                assert!(self.receive.is_none(), "a second receive in flight");
                assert!(self.cause.is_none(), "a receive on the way to aborting");
                assert!(self.fin == Fin::Sent, "received bytes are discarded before our FIN is sent");
                assert!(!self.peer_fin, "a receive after the peer's FIN");
                self.receive = Some(Receive::Discard);
            }
            Op::Send { len } => {
                assert!(self.send == 0, "a second send in flight");
                assert!(self.cause.is_none(), "a send on the way to aborting");
                assert!(self.fin == Fin::Unasked, "a send after our FIN: a discarded byte is echoed");
                assert!(len > 0 && len == self.owed, "a send of {len} where {} are owed", self.owed);
                self.send = len;
            }
            Op::Fin => self.ask_fin(),
            Op::Cancel => {
                assert!(self.cause.is_some(), "a cancel that is not on the way to aborting");
                assert!(!self.cancelled, "a second cancel");
                assert!(self.is_in_flight(), "a cancel with nothing in flight");
                self.cancelled = true;
            }
            Op::Close => self.ask_close(),
            Op::Reset => self.ask_reset(),
        }
    }

    fn ask_recv(&mut self, max: u32) {
        assert!(self.receive.is_none(), "a second receive in flight");
        assert!(self.cause.is_none(), "a receive on the way to aborting");
        assert!(self.fin == Fin::Unasked, "bytes are kept that come after our FIN");
        assert!(!self.peer_fin, "a receive after the peer's FIN");
        assert!(self.owed == 0 || self.send > 0, "a receive, and bytes are owed without a send in flight");
        assert!(
            max > 0 && self.owed + max <= self.window,
            "a receive of {max} is more than the window has room for"
        );
        assert!(self.owed <= self.window / 2, "a receive above half the window");
        if self.take.is_some() {
            assert!(self.take_left() > 0, "a new receive after the end of a drain's last take");
            assert!(max <= self.take_left(), "a receive of more than a drain may still take");
        }
        self.receive = Some(Receive::Keep { max });
    }

    fn ask_fin(&mut self) {
        assert!(self.fin == Fin::Unasked, "a second FIN");
        assert!(self.cause.is_none(), "a FIN on the way to aborting");
        assert!(self.has_end(), "a FIN that neither a drain nor the peer's FIN asked for");
        assert!(self.send == 0, "a FIN before the last send completed");
        assert!(self.owed == 0, "a FIN with {} bytes owed", self.owed);
        let held = self.take.map_or(0, |take| take.held);
        assert!(held == 0, "a FIN with {held} bytes untaken that the kernel held at the drain");
        assert!(self.take_left() == 0, "a FIN before a drain's last take is over");
        assert!(self.peer_fin || self.parted, "a FIN before the protocol has parted");
        self.fin = Fin::InFlight;
    }

    fn ask_close(&mut self) {
        assert!(!self.is_in_flight(), "a close with an operation in flight");
        let is_truncated = self.owed > 0 || self.lost;
        match self.cause {
            None => {
                assert!(self.fin == Fin::Sent, "a graceful close without our FIN");
                assert!(self.peer_fin, "a graceful close without the peer's FIN");
                assert!(!is_truncated, "a graceful close after a truncated echo");
            }
            // The peer did it, and reads nothing any more.
            Some(Outcome::Faulted(Fault::Reset)) => {}
            Some(Outcome::Faulted(Fault::Shutdown)) => {
                assert!(!is_truncated, "a clean FIN after a truncated echo");
            }
            Some(Outcome::Expired) => {
                assert!(!is_truncated, "a clean FIN after a truncated echo");
                assert!(
                    self.fin == Fin::Sent,
                    "an expired connection is closed without a RST before our FIN"
                );
            }
            Some(Outcome::Faulted(Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local)) => {
                panic!("a failed connection is closed without a RST");
            }
            Some(Outcome::Graceful) => unreachable!("grace is not a cause"),
        }
        self.close = Some(Op::Close);
    }

    fn ask_reset(&mut self) {
        assert!(!self.is_in_flight(), "a RST with an operation in flight");
        match self.cause {
            None => panic!("a RST without a cause"),
            Some(Outcome::Faulted(Fault::Reset)) => panic!("a RST to a peer that sent one"),
            Some(Outcome::Faulted(Fault::Shutdown)) => panic!("a RST after a complete echo"),
            Some(Outcome::Expired) => {
                assert!(self.fin != Fin::Sent, "a RST after a complete echo and our FIN");
            }
            Some(Outcome::Faulted(Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local)) => {}
            Some(Outcome::Graceful) => unreachable!("grace is not a cause"),
        }
        self.close = Some(Op::Reset);
    }

    /// Judges the machine once it asks for nothing more.
    pub(crate) fn check(&self, conn: &Conn) {
        assert_same("phase()", conn.phase(), self.phase());
        assert_same("owed()", conn.owed(), self.owed);
        assert_same("is_taking()", conn.is_taking(), self.is_taking());
        assert_same("is_parting()", conn.is_parting(), self.is_parting());
        let is_ending = self.has_end() && self.cause.is_none() && self.close.is_none();
        assert_same("is_ending()", conn.is_ending(), is_ending);
        let outcome = self.closed.then(|| self.cause.unwrap_or(Outcome::Graceful));
        assert_same("outcome()", conn.outcome(), outcome);
        if self.protocol == Protocol::Echo {
            assert!(self.owed <= self.window, "more is owed than the window allows");
        }
        if self.close.is_none() {
            self.check_progress();
        }
    }

    /// What has to be in flight, so that nothing hangs.
    fn check_progress(&self) {
        if self.is_open() {
            assert!(self.owed == 0 || self.send > 0, "bytes are owed and no send is in flight");
            let may_receive = !self.peer_fin && (self.take.is_none() || self.take_left() > 0);
            let has_room = self.owed <= self.window / 2;
            assert!(
                !may_receive || !has_room || self.receive.is_some(),
                "there is room and no receive in flight"
            );
            let is_done = (self.peer_fin || self.parted) && self.owed == 0 && self.take_left() == 0;
            assert!(!is_done, "everything is echoed and our FIN is not asked for");
        }
        if self.cause.is_none() && self.fin == Fin::Sent && !self.peer_fin {
            assert!(self.receive.is_some(), "nobody waits for the peer's FIN");
        }
        assert!(self.cause.is_none() || self.cancelled, "aborting with operations in flight, and no cancel");
        let is_waiting = self.is_in_flight() || self.is_parting();
        assert!(is_waiting, "nothing is in flight and no close is asked for");
    }

    pub(crate) fn is_taking(&self) -> bool {
        self.take_left() > 0 && self.receive.is_some()
    }

    /// A drain's last take is over, and the driver has not told the protocol yet.
    pub(crate) fn is_parting(&self) -> bool {
        self.take.is_some() && self.is_open() && !self.peer_fin && self.take_left() == 0 && !self.parted
    }

    fn phase(&self) -> Phase {
        if self.closed {
            Phase::Closed
        } else if self.close.is_some() {
            Phase::Closing
        } else if self.cause.is_some() {
            Phase::Aborting
        } else if self.fin != Fin::Unasked {
            Phase::Lingering
        } else if self.has_end() {
            Phase::Flushing
        } else {
            Phase::Echoing
        }
    }
}

#[track_caller]
fn assert_same<T: Debug + PartialEq>(what: &str, machine: T, books: T) {
    assert!(machine == books, "{what} is {machine:?} and should be {books:?}");
}
