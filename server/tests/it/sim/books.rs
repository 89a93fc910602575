//! The books about one connection, kept from what the worker was told and what it asks for: what it may ask for when,
//! what has to be in flight, and by when it has to act.
//!
//! They know the promise of `conn.rs` and the deadlines of `policy.rs`, but not how the loop keeps them: deadlines
//! that the loop alone looks at are known only within the time that it has for noticing them.

use std::time::Duration;

use finwait_server::conn::{Event, Fault, Op, OpKind, Outcome, Phase};
use finwait_server::metrics::Tally;
use finwait_server::policy::{Deadlines, LINGER_TOTAL};

use super::coverage::{Cell, Coverage, End, Trick, nameless, op_of};
use super::socket::REPLY_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    Unasked,
    InFlight,
    Sent,
    Failed,
}

/// The moment at which the worker was, or may have been, told to end the connection from our side.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Bytes taken until then.
    taken: u64,
    /// Bytes on this host then that were not taken: they are to be echoed, as far as a window reaches.
    held: u64,
}

#[derive(Debug)]
pub(super) struct Books {
    window: u32,
    pub(super) phase: Phase,
    /// It has a place under `--max-connections`, so it is served.
    pub(super) placed: bool,
    recv: Option<Op>,
    send: u32,
    /// It was asked for in this turn, and our FIN waits for it.
    send_awaited: bool,
    fin: Fin,
    peer_fin: bool,
    owed: u32,
    taken: u64,
    cause: Option<Outcome>,
    cancelled: bool,
    close: Option<Op>,
    told: Option<Told>,
    /// It was idle for long enough to be told.
    may_be_told: Option<Told>,
    /// A look found nothing for the receive in flight, since it was told.
    dry: bool,
    /// The protocol was told that we end it.
    parted: bool,
    /// Turns at whose end it was told, and nothing was owed or left to take, and our FIN not asked for.
    quiet: u32,
    touched: Duration,
    fin_at: Duration,
}

impl Books {
    pub(super) fn new(window: u32) -> Self {
        Self {
            window,
            phase: Phase::Echoing,
            placed: false,
            recv: None,
            send: 0,
            send_awaited: false,
            fin: Fin::Unasked,
            peer_fin: false,
            owed: 0,
            taken: 0,
            cause: None,
            cancelled: false,
            close: None,
            told: None,
            may_be_told: None,
            dry: false,
            parted: false,
            quiet: 0,
            touched: Duration::ZERO,
            fin_at: Duration::ZERO,
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.cause.unwrap_or(Outcome::Graceful)
    }

    pub(super) fn place(&mut self, now: Duration) {
        self.placed = true;
        self.touched = now;
    }

    /// Bytes received now will be owed.
    fn is_open(&self) -> bool {
        self.cause.is_none() && self.fin == Fin::Unasked
    }

    /// Both FINs have passed.
    fn is_complete(&self) -> bool {
        self.fin == Fin::Sent && self.peer_fin
    }

    fn enter(&mut self, phase: Phase, coverage: &mut Coverage) {
        coverage.count(Cell::Transition(self.phase, phase));
        coverage.count(Cell::Phase(phase));
        self.phase = phase;
    }

    fn fail(&mut self, cause: Outcome, coverage: &mut Coverage) {
        if self.cause.is_none() {
            self.cause = Some(cause);
            self.enter(Phase::Aborting, coverage);
        }
    }

    /// Books an event that the worker is about to hear of.
    pub(super) fn note(&mut self, event: Event, now: Duration, tally: &mut Tally, coverage: &mut Coverage) {
        self.count_end(event, coverage);
        match event {
            Event::Received { taken, owed } => self.received(taken, owed, now, tally, coverage),
            Event::PeerFin { owed } => {
                self.recv = None;
                self.peer_fin = true;
                if self.owed == 0 {
                    self.touched = now;
                }
                if self.is_open() {
                    self.owed += owed;
                    tally.bytes_owed += u64::from(owed);
                }
                if self.phase == Phase::Echoing {
                    self.enter(Phase::Flushing, coverage);
                }
            }
            Event::Sent(sent) => {
                self.owed -= sent;
                self.send = 0;
                self.touched = now;
                tally.bytes_echoed += u64::from(sent);
            }
            Event::FinSent => self.fin = Fin::Sent,
            Event::Failed { op, fault } => self.failed(op, fault, coverage),
            Event::Closed => {
                assert!(self.close.is_some(), "closed without being asked");
                self.enter(Phase::Closed, coverage);
                coverage.count(Cell::Outcome(self.outcome()));
            }
            Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => {
                unreachable!("no engine says {event:?}")
            }
        }
    }

    fn received(&mut self, taken: u32, owed: u32, now: Duration, tally: &mut Tally, coverage: &mut Coverage) {
        self.recv = None;
        self.quiet = 0;
        tally.bytes_received += u64::from(taken);
        self.taken += u64::from(taken);
        if self.owed == 0 {
            self.touched = now;
        }
        if self.is_open() {
            self.owed += owed;
            tally.bytes_owed += u64::from(owed);
        } else {
            tally.bytes_discarded += u64::from(owed);
            coverage.trick(Trick::LateByteDiscarded);
        }
    }

    fn failed(&mut self, op: OpKind, fault: Fault, coverage: &mut Coverage) {
        let cause = match op {
            OpKind::Recv => {
                self.recv = None;
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
        self.fail(Outcome::Faulted(cause), coverage);
    }

    fn count_end(&self, event: Event, coverage: &mut Coverage) {
        let is_discard = self.recv == Some(Op::Discard);
        let (op, end) = match event {
            Event::Received { taken, .. } => {
                let is_whole = is_discard || self.recv == Some(Op::Recv { max: taken });
                (OpKind::Recv, if is_whole { End::Whole } else { End::Part })
            }
            Event::PeerFin { .. } => (OpKind::Recv, End::PeerFin),
            Event::Sent(sent) => (OpKind::Send, if sent == self.send { End::Whole } else { End::Part }),
            Event::FinSent => (OpKind::Fin, End::Whole),
            Event::Failed { op, fault } => (op, End::Failed(fault)),
            Event::Closed | Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => return,
        };
        let work = op_of(op, is_discard);
        let has_won = self.cancelled && matches!(end, End::Whole | End::Part);
        coverage.count(Cell::Ended(work, if has_won { End::WonRace } else { end }));
    }

    /// The server's drain tells every connection, the moment that its grace is over.
    pub(super) fn drained(&mut self, held: u64, coverage: &mut Coverage) {
        if self.told.is_none() && self.phase == Phase::Echoing {
            // One that was idle may have been told before.
            let told = self.may_be_told.take().unwrap_or(Told { taken: self.taken, held });
            self.tell(told, coverage);
        }
    }

    /// The server's drain is out of patience.
    pub(super) fn expired(&mut self, coverage: &mut Coverage) {
        if self.close.is_none() && self.cause.is_none() && !self.is_complete() {
            coverage.trick(Trick::DrainExpiry);
            self.fail(Outcome::Expired, coverage);
        }
    }

    fn tell(&mut self, told: Told, coverage: &mut Coverage) {
        self.told = Some(told);
        self.dry = false;
        if self.phase == Phase::Echoing {
            self.enter(Phase::Flushing, coverage);
        }
    }

    /// Remembers that the worker may now end it for being idle.
    pub(super) fn look_at_idle(&mut self, held: u64, now: Duration, deadlines: &Deadlines) {
        let is_idle =
            self.placed && self.phase == Phase::Echoing && self.owed == 0 && self.may_be_told.is_none();
        if is_idle && deadlines.idle.is_some_and(|idle| now - self.touched >= idle) {
            self.may_be_told = Some(Told { taken: self.taken, held });
        }
    }

    /// The worker looks whether the kernel holds anything.
    pub(super) fn looked(&mut self, is_dry: bool, coverage: &mut Coverage) {
        assert!(self.recv.is_some(), "a look without a receive in flight");
        assert!(self.is_open() && !self.peer_fin, "a look where there is no last take");
        self.tell_idle(coverage);
        self.dry |= is_dry;
    }

    /// The worker tells the protocol that we end it.
    pub(super) fn parted(&mut self, owed: u32, now: Duration, tally: &mut Tally, coverage: &mut Coverage) {
        assert!(self.is_open() && !self.peer_fin && !self.parted, "parting where there is no last take");
        self.tell_idle(coverage);
        self.check_taken(coverage);
        self.parted = true;
        if self.owed == 0 {
            self.touched = now;
        }
        self.owed += owed;
        tally.bytes_owed += u64::from(owed);
        if owed > 0 {
            coverage.trick(Trick::PartedWithWords);
        }
    }

    /// A last take is over when a look found nothing, or when it has brought a window.
    fn check_taken(&self, coverage: &mut Coverage) {
        let told = self.told.expect("it was told just now");
        let taken = self.taken - told.taken;
        let window = u64::from(self.window);
        assert!(
            taken >= told.held.min(window),
            "the end of a last take before {} bytes that were there",
            told.held
        );
        assert!(self.dry || taken >= window, "the end of a last take before it was over");
        if !self.dry {
            coverage.trick(Trick::TakeUsedUp);
        }
    }

    fn tell_idle(&mut self, coverage: &mut Coverage) {
        if self.told.is_none() {
            let told = self.may_be_told.take();
            coverage.trick(Trick::IdleDrain);
            self.tell(told.expect("we end a connection that is neither drained nor idle"), coverage);
        }
    }

    /// Judges an operation that the worker asks for, and books it.
    pub(super) fn ask(&mut self, op: Op, now: Duration, deadlines: &Deadlines, coverage: &mut Coverage) {
        coverage.count(Cell::Asked(nameless(op)));
        assert!(self.placed, "a connection without a place is served: {op:?}");
        assert!(self.close.is_none(), "{op:?} after the close");
        match op {
            Op::Recv { max } => {
                assert!(self.is_open() && !self.peer_fin, "a receive after the end");
                assert!(max > 0 && self.owed + max <= self.window, "more may be owed than the window");
                self.recv = Some(op);
            }
            Op::Discard => {
                assert!(self.fin == Fin::Sent && self.cause.is_none(), "bytes are discarded before our FIN");
                assert!(!self.peer_fin, "a receive after the peer's FIN");
                self.recv = Some(op);
            }
            Op::Send { len } => {
                assert!(self.is_open(), "a send after the end");
                assert!(len == self.owed, "a send of {len} where {} are owed", self.owed);
                self.send = len;
                self.send_awaited = self.phase == Phase::Flushing;
            }
            Op::Fin => self.ask_fin(now, coverage),
            Op::Cancel => {
                if self.cause.is_none() {
                    self.expire(now, deadlines, coverage);
                }
                self.cancelled = true;
            }
            Op::Close | Op::Reset => {
                if self.cause.is_none() && !self.is_complete() {
                    // Nothing happened to be in flight, so there was nothing to cancel.
                    self.expire(now, deadlines, coverage);
                }
                self.ask_close(op, coverage);
            }
        }
    }

    fn ask_fin(&mut self, now: Duration, coverage: &mut Coverage) {
        assert!(self.is_open(), "a second FIN, or one on the way to aborting");
        assert!(self.owed == 0 && self.send == 0, "a FIN with {} bytes owed", self.owed);
        assert!(self.peer_fin || self.parted, "a FIN of ours that the protocol does not know of");
        self.fin = Fin::InFlight;
        self.touched = now;
        self.fin_at = now;
        self.enter(Phase::Lingering, coverage);
    }

    fn expire(&mut self, now: Duration, deadlines: &Deadlines, coverage: &mut Coverage) {
        let due = self.expiry(deadlines).filter(|&(at, _)| at <= now);
        let (_, why) = due.expect("expired before its time");
        coverage.trick(why);
        self.fail(Outcome::Expired, coverage);
    }

    fn ask_close(&mut self, op: Op, coverage: &mut Coverage) {
        let is_reset = match self.cause {
            // Both FINs have passed.
            None => false,
            Some(Outcome::Faulted(Fault::Reset | Fault::Shutdown)) => false,
            Some(Outcome::Expired) => self.fin != Fin::Sent,
            Some(Outcome::Faulted(Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local)) => {
                true
            }
            Some(Outcome::Graceful) => unreachable!("grace is not a cause"),
        };
        assert!(is_reset == (op == Op::Reset), "{op:?} where it ends by {:?}", self.cause);
        self.close = Some(op);
        self.enter(Phase::Closing, coverage);
    }

    /// When it has to be expired, and why.
    fn expiry(&self, deadlines: &Deadlines) -> Option<(Duration, Trick)> {
        match self.phase {
            Phase::Echoing | Phase::Flushing if self.owed > 0 => {
                Some((self.touched + deadlines.stall, Trick::StallExpiry))
            }
            Phase::Echoing | Phase::Flushing => None,
            Phase::Lingering => {
                let (one, all) = (deadlines.linger, deadlines.linger * LINGER_TOTAL);
                let silence = (self.touched + one, Trick::LingerExpiry);
                let total = (self.fin_at + all, Trick::LingerTotalExpiry);
                Some(if total.0 < silence.0 { total } else { silence })
            }
            Phase::Aborting | Phase::Closing | Phase::Closed => None,
        }
    }

    /// Judges the connection at the end of a turn, when everything was asked for that was to be. Returns by when
    /// the worker has to look at it again, whatever happens.
    pub(super) fn check(&mut self, is_dry: bool, now: Duration, deadlines: &Deadlines) -> Option<Duration> {
        assert!(self.owed <= self.window + REPLY_MAX, "more is owed than the window allows, and an answer");
        if !self.placed || self.close.is_some() {
            return None;
        }
        self.check_progress();
        let slack = deadlines.sweep_every();
        let is_idle = self.phase == Phase::Echoing && self.owed == 0;
        let idle = deadlines.idle.filter(|_| is_idle).map(|idle| self.touched + idle + slack);
        if idle.is_some_and(|latest| latest <= now) {
            // By now it was told, and acts in the next turn.
            self.told = self.may_be_told.take();
            assert!(self.told.is_some(), "an idle connection was never looked at");
            self.phase = Phase::Flushing;
        }
        let expiry = self.expiry(deadlines).map(|(at, _)| at + slack);
        assert!(expiry.is_none_or(|latest| now < latest), "a deadline has passed, and nothing happens");
        let is_taking = self.told.is_some() && self.is_open() && !self.peer_fin && self.recv.is_some();
        self.quiet = if is_taking && is_dry && self.owed == 0 { self.quiet + 1 } else { 0 };
        assert!(self.quiet < 2, "an end that we began, with nothing left to take, and no FIN");
        // The look that is due now waits for nothing.
        let look = (self.quiet > 0).then_some(now);
        // An engine may tell of its end only when something else happens.
        let send = std::mem::take(&mut self.send_awaited).then_some(now);
        [idle.filter(|&latest| latest > now), expiry, look, send].into_iter().flatten().min()
    }

    /// What has to be in flight, so that nothing hangs.
    fn check_progress(&self) {
        if self.cause.is_some() {
            assert!(self.cancelled, "aborting, and neither cancelled nor closed");
            assert!(
                self.recv.is_some() || self.send > 0 || self.fin == Fin::InFlight,
                "aborting for nothing"
            );
            return;
        }
        match self.fin {
            Fin::Unasked => {
                assert!(self.owed == 0 || self.send > 0, "bytes are owed, and no send is in flight");
                assert!(!self.peer_fin || self.owed > 0, "all is echoed, and our FIN is not asked for");
                // One that is idle may have been told, and take no more than its last take.
                let must_receive = self.phase == Phase::Echoing
                    && self.may_be_told.is_none()
                    && self.owed <= self.window / 2;
                assert!(!must_receive || self.recv.is_some(), "there is room, and no receive in flight");
            }
            Fin::InFlight => {}
            Fin::Sent => {
                assert!(!self.peer_fin, "both FINs have passed, and no close is asked for");
                assert!(self.recv.is_some(), "nobody waits for the peer's FIN");
            }
            Fin::Failed => unreachable!("a failed FIN is a cause"),
        }
    }
}
