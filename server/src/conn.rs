//! How one connection lives and ends: a state machine that does no I/O and counts bytes without holding them.
//!
//! ```text
//!             peer FIN, drain          nothing owed           both FINs, nothing in flight
//!    Echoing ----------------> Flushing ----------> Lingering --------------> Closing -> Closed
//!       +----------- fault, expiry -+--------------------+---> Aborting ------------+
//! ```
//!
//! Whoever drives it feeds [`Conn::handle`] with what happened and then calls [`Conn::next_op`] until it
//! returns `None`; every operation that it returns is started, and its end comes back as an [`Event`]. At most
//! one receive, one send and one FIN are in flight. [`Op::Close`] and [`Op::Reset`] are asked for only when
//! nothing is, so whatever names a connection to the kernel can be used again once [`Event::Closed`] came back.
//!
//! The promise that the walk in `tests/it/walk.rs` asserts in every reachable state: every owed byte is sent, in
//! order, once, before our FIN; a byte received before our FIN is asked for is owed, or its peer gets a RST; one
//! that comes later is discarded; the peer never reads a clean FIN after a truncated echo; one outcome each.

/// An operation to start on one connection. The names are the field's own (Winsock, RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Receive up to `max` bytes and keep them: they will be owed.
    Recv {
        /// The most bytes that the window still has room for.
        max: u32,
    },
    /// Receive and throw away, until the peer's FIN. It is reported like any receive.
    Discard,
    /// Send the first `len` bytes owed; a part of them is a full answer ([`Event::Sent`]).
    Send {
        /// All bytes owed at this moment.
        len: u32,
    },
    /// `shutdown(SD_SEND)`: our FIN, after every owed byte (RFC 9293, 3.6).
    Fin,
    /// Cancel what is in flight; each operation still ends with an event of its own. Only on the way to aborting.
    Cancel,
    /// Close the socket. With both FINs passed this is silent on the wire.
    Close,
    /// Close the socket with a RST (`SO_LINGER` {1, 0}).
    Reset,
}

/// Which operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// [`Op::Recv`] or [`Op::Discard`].
    Recv,
    /// [`Op::Send`].
    Send,
    /// [`Op::Fin`].
    Fin,
}

/// What went wrong, by cause and not by number: every platform's errors map to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer sent a RST (ECONNRESET; EPIPE and ENOTCONN are the same RST, seen later).
    Reset,
    /// The connection was killed on this host (ECONNABORTED).
    Aborted,
    /// The network gave up (ETIMEDOUT, and unreachable peers).
    TimedOut,
    /// Our own [`Op::Cancel`] ended the operation.
    Cancelled,
    /// This host could not do it (no memory, no buffers): not the peer's doing.
    Local,
    /// `shutdown(SD_SEND)` failed for a reason other than a RST.
    Shutdown,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The receive returned bytes.
    Received {
        /// Bytes taken from the kernel, at least 1.
        taken: u32,
        /// Bytes that they make us owe. For an echo the same number.
        owed: u32,
    },
    /// The receive returned 0: the peer's FIN, after all of its bytes.
    PeerFin {
        /// Bytes that we owe in answer to the FIN. For an echo 0.
        owed: u32,
    },
    /// The send put this many bytes into the kernel, at least 1, perhaps fewer than asked.
    Sent(u32),
    /// `shutdown(SD_SEND)` succeeded: our FIN follows the last byte sent.
    FinSent,
    /// The socket is closed; nothing comes after this.
    Closed,
    /// The operation ended without doing its work.
    Failed {
        /// Which one.
        op: OpKind,
        /// Why.
        fault: Fault,
    },
    /// End this connection from our side: take what the kernel already holds, echo it, send our FIN.
    Drain,
    /// The kernel holds nothing for the receive in flight: the last take of a drain is over.
    Dry,
    /// The protocol was told that we end this connection: see [`Conn::is_parting`].
    Parted {
        /// Bytes that it has us owe in parting. For an echo 0.
        owed: u32,
    },
    /// A deadline passed, or the drain ran out of patience.
    Expired,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both FINs passed and every owed byte was sent.
    Graceful,
    /// Something failed first.
    Faulted(Fault),
    /// A deadline of ours passed first.
    Expired,
}

/// The six phases of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Receiving and sending back.
    Echoing,
    /// The end has begun; owed bytes are still to be sent (and, in a drain, the last take is made).
    Flushing,
    /// Our FIN was asked for; what the peer still sends is discarded until its own FIN.
    Lingering,
    /// The connection cannot end properly; operations in flight are cancelled and awaited.
    Aborting,
    /// The close was asked for.
    Closing,
    /// Over.
    Closed,
}

/// Our FIN: asked for once, and known to be sent once `shutdown` has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fin {
    Unasked,
    InFlight,
    Sent,
}

/// The state of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conn {
    /// The most bytes that may be owed at once.
    window: u32,
    /// Bytes owed to the peer and not yet sent, those in flight included.
    owed: u32,
    /// Bytes of `owed` that the send in flight covers; 0 when no send is in flight.
    sending: u32,
    /// Bytes that a drain's last take may still bring; 0 when there is none.
    take: u32,
    /// The protocol has said what we owe in parting.
    parted: bool,
    phase: Phase,
    fin: Fin,
    receiving: bool,
    peer_fin: bool,
    cancelled: bool,
    outcome: Option<Outcome>,
}

impl Conn {
    /// A connection that was just accepted and may owe at most `window` bytes (at least 1) at a time.
    #[must_use]
    pub fn new(window: u32) -> Self {
        assert!(window > 0, "a window of 0 could never receive");
        Self {
            window,
            owed: 0,
            sending: 0,
            take: 0,
            parted: false,
            phase: Phase::Echoing,
            fin: Fin::Unasked,
            receiving: false,
            peer_fin: false,
            cancelled: false,
            outcome: None,
        }
    }

    /// Takes in one event. Those of one turn may be taken in one behind the other; then [`Conn::next_op`] is called
    /// until `None`.
    ///
    /// # Panics
    /// On an event that no operation in flight can have caused: a bug in the driver, never the peer's doing.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Received { taken, owed } => self.received(taken, owed),
            Event::PeerFin { owed } => self.peer_fin(owed),
            Event::Sent(sent) => {
                assert!(0 < sent && sent <= self.sending, "sent {sent} of {} in flight", self.sending);
                self.owed -= sent;
                self.sending = 0;
            }
            Event::FinSent => {
                assert!(self.fin == Fin::InFlight, "a FIN that was not asked for");
                self.fin = Fin::Sent;
            }
            Event::Closed => {
                assert!(self.phase == Phase::Closing, "closed while {:?}", self.phase);
                self.enter(Phase::Closed);
            }
            Event::Failed { op, fault } => self.failed(op, fault),
            Event::Drain => self.drain(),
            Event::Dry => {
                // Without a receive in flight nothing was looked at, so nothing is known to be dry.
                if self.receiving {
                    self.take = 0;
                }
            }
            Event::Parted { owed } => {
                assert!(self.is_parting(), "parted while {:?}", self.phase);
                self.parted = true;
                self.owed += owed;
            }
            Event::Expired => self.expired(),
        }
    }

    /// The next operation to start, or `None` when there is nothing to do until the next event. Sends come before
    /// receives: they free the window and the buffers.
    #[must_use]
    pub fn next_op(&mut self) -> Option<Op> {
        match self.phase {
            Phase::Echoing => self.next_transfer(),
            Phase::Flushing => self.next_transfer().or_else(|| self.next_fin()),
            Phase::Lingering => self.next_lingering(),
            Phase::Aborting => self.next_aborting(),
            // The close is in flight, and it is the last operation.
            Phase::Closing | Phase::Closed => None,
        }
    }

    /// The phase it is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes owed to the peer and not yet sent.
    #[must_use]
    pub fn owed(&self) -> u32 {
        self.owed
    }

    /// Whether an orderly end is under way. Not once the close was asked for: from there on a deadline has
    /// nothing left to cut short.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Flushing | Phase::Lingering)
    }

    /// Whether a drain's last take waits for the receive in flight: the driver then looks whether the kernel holds
    /// anything for it, and says [`Event::Dry`] when it does not.
    #[must_use]
    pub fn is_taking(&self) -> bool {
        self.take > 0 && self.receiving
    }

    /// Whether a drain's last take is over without the peer's FIN: the driver then tells the protocol, and says what it
    /// has us owe ([`Event::Parted`]).
    #[must_use]
    pub fn is_parting(&self) -> bool {
        self.phase == Phase::Flushing && !self.peer_fin && self.take == 0 && !self.parted
    }

    /// How it ended; `None` until it is closed.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Closed => self.outcome,
            Phase::Echoing | Phase::Flushing | Phase::Lingering | Phase::Aborting | Phase::Closing => None,
        }
    }

    fn received(&mut self, taken: u32, owed: u32) {
        assert!(self.receiving && taken > 0, "received {taken} with no receive in flight");
        self.receiving = false;
        match self.phase {
            Phase::Echoing | Phase::Flushing => {
                self.owed += owed;
                // A peer that never stops sending must not stretch a drain: the take is bounded by the window.
                self.take = self.take.saturating_sub(taken);
            }
            // Our FIN was asked for, so this byte cannot be echoed any more: discarded. Only an end that we
            // started, or a failing connection, sees one.
            Phase::Lingering | Phase::Aborting => {}
            Phase::Closing | Phase::Closed => unreachable!("a receive was in flight at close"),
        }
    }

    fn peer_fin(&mut self, owed: u32) {
        assert!(self.receiving, "the peer's FIN with no receive in flight");
        self.receiving = false;
        self.peer_fin = true;
        match self.phase {
            Phase::Echoing => {
                self.owed += owed;
                self.enter(Phase::Flushing);
            }
            Phase::Flushing => {
                self.owed += owed;
                // There is nothing behind a FIN to take.
                self.take = 0;
            }
            // Our FIN is on its way already; next_op sees that both have passed.
            Phase::Lingering => {}
            // A reset is reported once and then looks like a FIN: the outcome stays what it was.
            Phase::Aborting => {}
            Phase::Closing | Phase::Closed => unreachable!("a receive was in flight at close"),
        }
    }

    fn failed(&mut self, op: OpKind, fault: Fault) {
        // Its close is a plain one, because nothing is owed any more: under that name a failed send would show a
        // clean FIN after a truncated echo.
        assert!(op == OpKind::Fin || fault != Fault::Shutdown, "{op:?} failed as a shutdown");
        let cause = match op {
            OpKind::Recv => {
                assert!(self.receiving, "a receive failed that was not in flight");
                self.receiving = false;
                fault
            }
            OpKind::Send => {
                assert!(self.sending > 0, "a send failed that was not in flight");
                self.sending = 0;
                fault
            }
            OpKind::Fin => {
                assert!(self.fin == Fin::InFlight, "a FIN failed that was not in flight");
                self.fin = Fin::Unasked;
                match fault {
                    // shutdown() after a RST fails with ENOTCONN: it is the RST that is to be counted.
                    Fault::Reset => Fault::Reset,
                    Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local | Fault::Shutdown => {
                        Fault::Shutdown
                    }
                }
            }
        };
        match self.phase {
            Phase::Echoing | Phase::Flushing | Phase::Lingering => self.abort(Outcome::Faulted(cause)),
            // The first cause counts; what fails after it fails because of it, or of our cancel.
            Phase::Aborting => {}
            Phase::Closing | Phase::Closed => unreachable!("an operation was in flight at close"),
        }
    }

    fn drain(&mut self) {
        match self.phase {
            Phase::Echoing => {
                self.take = self.window;
                self.enter(Phase::Flushing);
            }
            // It is ending already, by the peer's FIN, an earlier drain or a failure.
            Phase::Flushing | Phase::Lingering | Phase::Aborting | Phase::Closing | Phase::Closed => {}
        }
    }

    fn expired(&mut self) {
        match self.phase {
            // Both FINs have passed, in the turn in which the deadline did: nothing is left to expire.
            Phase::Lingering if self.fin == Fin::Sent && self.peer_fin => {}
            Phase::Echoing | Phase::Flushing | Phase::Lingering => self.abort(Outcome::Expired),
            // The way to the close is as short as it can be.
            Phase::Aborting | Phase::Closing | Phase::Closed => {}
        }
    }

    fn abort(&mut self, outcome: Outcome) {
        self.take = 0;
        self.outcome = Some(outcome);
        self.enter(Phase::Aborting);
    }

    /// The only place where the phase changes: phases only ever move forward.
    fn enter(&mut self, phase: Phase) {
        assert!((self.phase as u8) < phase as u8, "{:?} after {:?}", phase, self.phase);
        self.phase = phase;
    }

    fn next_transfer(&mut self) -> Option<Op> {
        if self.owed > 0 && self.sending == 0 {
            self.sending = self.owed;
            return Some(Op::Send { len: self.owed });
        }
        // Receiving resumes at half the window: at its edge every receive would be a handful of bytes.
        let room = self.owed <= self.window / 2 && !self.receiving && !self.peer_fin;
        let most = match self.phase {
            Phase::Echoing => self.window,
            // In a drain only the last take may ask for more; after it nothing new is asked for until our FIN is out.
            Phase::Flushing => self.take,
            Phase::Lingering | Phase::Aborting | Phase::Closing | Phase::Closed => 0,
        };
        if room && most > 0 {
            self.receiving = true;
            return Some(Op::Recv { max: most.min(self.window - self.owed) });
        }
        None
    }

    fn next_fin(&mut self) -> Option<Op> {
        // A receive still pending when a drain's take is over stays, and becomes the discarding one: cancelling
        // it would on some engines mean SHUT_RD, after which a late byte provokes a RST.
        if self.owed > 0 || self.take > 0 || self.is_parting() {
            return None;
        }
        assert!(self.sending == 0, "a FIN before the last send completed");
        self.fin = Fin::InFlight;
        self.enter(Phase::Lingering);
        Some(Op::Fin)
    }

    fn next_lingering(&mut self) -> Option<Op> {
        match self.fin {
            Fin::Unasked => unreachable!("lingering without a FIN"),
            Fin::InFlight => None,
            Fin::Sent if self.peer_fin => {
                self.outcome = Some(Outcome::Graceful);
                self.close(Op::Close)
            }
            Fin::Sent if self.receiving => None,
            Fin::Sent => {
                self.receiving = true;
                Some(Op::Discard)
            }
        }
    }

    fn next_aborting(&mut self) -> Option<Op> {
        if !self.is_in_flight() {
            return self.close(self.last_op());
        }
        if self.cancelled {
            return None;
        }
        self.cancelled = true;
        Some(Op::Cancel)
    }

    /// How an aborted connection is closed.
    fn last_op(&self) -> Op {
        match self.outcome {
            // The peer ended it, so there is no one left to tell.
            Some(Outcome::Faulted(Fault::Reset)) => Op::Close,
            // Everything was echoed and only the FIN could not be sent: close() sends it, or cannot either.
            Some(Outcome::Faulted(Fault::Shutdown)) => Op::Close,
            // All echoed and our FIN sent: nothing was cut short. Should input be unread, close() itself sends RST.
            Some(Outcome::Expired) if self.fin == Fin::Sent => Op::Close,
            // Bytes may be owed or unread: the peer must not take this for a complete echo.
            Some(Outcome::Expired) => Op::Reset,
            Some(Outcome::Faulted(Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local)) => {
                Op::Reset
            }
            Some(Outcome::Graceful) | None => unreachable!("aborting without a cause"),
        }
    }

    fn close(&mut self, op: Op) -> Option<Op> {
        assert!(!self.is_in_flight(), "closed with an operation in flight");
        self.enter(Phase::Closing);
        Some(op)
    }

    fn is_in_flight(&self) -> bool {
        self.receiving || self.sending > 0 || self.fin == Fin::InFlight
    }
}
