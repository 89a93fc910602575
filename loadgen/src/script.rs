//! The machine of one connection, seen from the client. It does no I/O and has no clock: events come in with their
//! time, operations go out, and at the end it knows the outcome.
//!
//! ```text
//!  Connecting -> Proving -> [Held] -> Parting -> Draining ------------> Checking -> Closing -> Done
//!     `size` bytes out and back |  `tail` bytes, SHUT_WR | bytes, EOF ^
//!                             barrier                     `- an EOF before our FIN: Holding, 50 ms
//! ```
//! Beside a ledger the last of the tail is a claim, which does not come back, and a reply is wanted behind the echo. A
//! connection that is to get into trouble is Stalling for a while where the trouble is, or Resetting from there on.

use crate::clock::Nanos;
use crate::fault::Fault;
use crate::ledger::Trouble;
use crate::outcome::Outcome;

use self::claim::Claim;

mod claim;
mod visit;

/// How long an EOF that came before our FIN is held before the last check: a RST behind it needs time to arrive, and
/// shows as a pending error only.
pub const HOLD_NS: Nanos = 50_000_000;

/// What every connection of a run does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes sent first, and wanted back before anything else happens.
    pub size: u64,
    /// Bytes sent right before our FIN.
    pub tail: u64,
    /// The last bytes of them that are not wanted back: a claim.
    pub silent: u64,
    /// Whether to wait for [`Event::Go`] in between.
    pub barrier: bool,
    /// The longest wait without progress.
    pub timeout_ns: Nanos,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is over.
    Connected,
    /// There will be no connection.
    ConnectFailed(Fault),
    /// The kernel took so many bytes.
    Sent(u64),
    /// So many bytes came back, all of them right.
    Received(u64),
    /// Bytes came back, and not those that were sent.
    Corrupt(u64),
    /// The server's FIN was read. `looked` is the last look that did not show it.
    Eof {
        /// When that look was.
        looked: Nanos,
    },
    /// Everybody is ready: part. The moment is the planned one.
    Go,
    /// What [`Script::flowed`] tells of stood still for the whole timeout.
    Overdue,
    /// `shutdown(SHUT_WR)` is about to be issued.
    HalfClosing,
    /// It failed.
    HalfCloseFailed,
    /// A send failed. What was received before can still be read.
    SendFailed(Fault),
    /// A receive failed.
    ReceiveFailed(Fault),
    /// What [`Script::due`] said is due.
    Due,
    /// The last look at the socket: whether an error was pending behind the EOF.
    Checked {
        /// Whether there was one.
        error: bool,
    },
    /// The run was interrupted.
    Interrupted,
    /// The socket is closed.
    Closed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Send from `offset`, at most `len` bytes.
    Send {
        /// The first byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Say [`Event::HalfClosing`], then `shutdown(SHUT_WR)`.
    HalfClose,
    /// Look for a pending error, the only time that anybody does.
    Check,
    /// Close the socket.
    Close,
    /// Close it with a RST.
    Reset,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The handshake is under way.
    Connecting,
    /// The first bytes are.
    Proving,
    /// They are back, and the others' are awaited.
    Held,
    /// The tail is being sent, then our FIN.
    Parting,
    /// Nothing is sent and nothing read for a while.
    Stalling,
    /// Our FIN is out; bytes and the server's FIN are awaited.
    Draining,
    /// The server's FIN came before ours; what else comes?
    Holding,
    /// The last check.
    Checking,
    /// To be closed with a RST.
    Resetting,
    /// To be closed.
    Closing,
    /// Closed.
    Done,
}

/// When things happened; `None` where they did not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// The planned moment (tp).
    pub planned: Option<Nanos>,
    /// The start of the connect.
    pub start: Nanos,
    /// Seen to be connected.
    pub connected: Option<Nanos>,
    /// The first bytes are back.
    pub echoed: Option<Nanos>,
    /// Just before SHUT_WR (t0).
    pub half_close: Option<Nanos>,
    /// All bytes are back (t2).
    pub drained: Option<Nanos>,
    /// The last look that did not show the server's EOF.
    pub looked: Option<Nanos>,
    /// The server's EOF (t3).
    pub eof: Option<Nanos>,
    /// Closed (t4).
    pub closed: Option<Nanos>,
    /// What was waited for in vain was due then.
    pub deadline: Option<Nanos>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Script {
    plan: Plan,
    phase: Phase,
    sent: u64,
    received: u64,
    /// Bytes that were still to come at t0.
    outstanding: u64,
    times: Times,
    progress: Nanos,
    found: Found,
    /// Beside a ledger.
    claim: Option<Box<Claim>>,
    /// What is to go wrong, until it does.
    trouble: Option<Trouble>,
    /// When a stall ends, or a RST behind our FIN is due.
    until: Nanos,
}

/// What was seen to go wrong, each by itself; [`Script::outcome`] ranks them.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    local: Option<Outcome>,
    connect: Option<Outcome>,
    corrupt: bool,
    reset: bool,
    reset_behind_eof: bool,
    timeout: Option<Outcome>,
    shutdown_failed: bool,
    self_reset: bool,
    censored: bool,
}

impl Script {
    /// A connection that is being started at `start`; open-loop ones were planned for a moment before.
    #[must_use]
    pub fn new(plan: Plan, start: Nanos, planned: Option<Nanos>) -> Self {
        Self {
            plan,
            phase: Phase::Connecting,
            sent: 0,
            received: 0,
            outstanding: 0,
            times: Times { planned, start, ..Times::default() },
            progress: start,
            found: Found::default(),
            claim: None,
            trouble: None,
            until: 0,
        }
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Connected => {
                debug_assert_eq!(self.phase, Phase::Connecting);
                self.times.connected = Some(now);
                self.progress = now;
                self.phase = Phase::Proving;
                if self.plan.size == 0 {
                    self.proven(now);
                }
            }
            Event::ConnectFailed(fault) => self.connect_failed(fault),
            Event::Sent(bytes) => {
                self.sent += bytes;
                self.progress = now;
                debug_assert!(self.sent <= self.total());
                self.strike(now);
            }
            Event::Received(bytes) => self.received(bytes, now),
            Event::Corrupt(bytes) => {
                self.received += bytes;
                self.found.corrupt = true;
                self.phase = Phase::Closing;
            }
            Event::Eof { looked } => self.eof(looked, now),
            Event::Go => {
                if self.phase == Phase::Held {
                    self.times.planned = Some(now);
                    self.progress = now;
                    self.phase = Phase::Parting;
                    self.strike(now);
                }
            }
            Event::Overdue => {
                self.found.timeout = Some(Outcome::EchoTimeout);
                self.phase = Phase::Closing;
            }
            Event::HalfClosing => {
                self.times.half_close = Some(now);
                self.progress = now;
                self.outstanding = self.wanted() - self.received;
                self.phase = Phase::Draining;
                self.strike(now);
            }
            // Why it failed shows when the socket is read: a reset is the usual reason, and has its own name.
            Event::HalfCloseFailed => self.found.shutdown_failed = true,
            Event::SendFailed(fault) => self.send_failed(fault),
            Event::ReceiveFailed(fault) => self.receive_failed(fault),
            Event::Due => self.due_now(now),
            Event::Checked { error } => {
                self.found.reset_behind_eof = error;
                self.phase = Phase::Closing;
            }
            Event::Interrupted => {
                self.found.censored = true;
                self.phase = Phase::Closing;
            }
            Event::Closed => {
                self.times.closed = Some(now);
                self.phase = Phase::Done;
            }
        }
    }

    /// Takes in what flowed while the connection was held, beside this machine: bytes that were sent and wanted back, and
    /// of those the ones that came back, all of them right, the last of them at `now`.
    pub fn flowed(&mut self, sent: u64, received: u64, now: Nanos) {
        debug_assert_eq!(self.phase, Phase::Held);
        debug_assert!(received <= sent);
        if sent == 0 {
            return;
        }
        self.plan.tail += sent;
        self.sent += sent;
        self.received += received;
        self.times.drained = (received == sent).then_some(now);
    }

    /// What to do now; nothing while something is awaited.
    #[must_use]
    pub fn op(&self) -> Option<Op> {
        let send = |until: u64| Op::Send { offset: self.sent, len: until - self.sent };
        match self.phase {
            Phase::Proving if self.sent < self.plan.size && self.can_send() => Some(send(self.plan.size)),
            Phase::Parting if !self.can_send() => None,
            Phase::Parting if self.sent < self.next_stop() => Some(send(self.next_stop())),
            Phase::Parting => Some(Op::HalfClose),
            Phase::Checking => Some(Op::Check),
            Phase::Resetting => Some(Op::Reset),
            Phase::Closing => Some(Op::Close),
            Phase::Connecting
            | Phase::Proving
            | Phase::Held
            | Phase::Stalling
            | Phase::Draining
            | Phase::Holding
            | Phase::Done => None,
        }
    }

    /// When to say [`Event::Due`], if nothing happens until then.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        let deadline = self.progress + self.plan.timeout_ns;
        match self.phase {
            Phase::Draining if self.trouble_behind_fin() => Some(deadline.min(self.until)),
            Phase::Connecting | Phase::Proving | Phase::Parting | Phase::Draining => Some(deadline),
            Phase::Stalling => Some(self.until),
            Phase::Holding => Some(self.progress + HOLD_NS),
            Phase::Held | Phase::Checking | Phase::Resetting | Phase::Closing | Phase::Done => None,
        }
    }

    /// Whether bytes or an EOF are awaited.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        match self.phase {
            Phase::Proving | Phase::Held | Phase::Parting | Phase::Draining => true,
            Phase::Connecting
            | Phase::Stalling
            | Phase::Holding
            | Phase::Checking
            | Phase::Resetting
            | Phase::Closing
            | Phase::Done => false,
        }
    }

    /// How it ended: the first that matches. Only of use once there is nothing left but to close.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let found = &self.found;
        let is_echo_whole = self.received >= self.wanted();
        let missing = !is_echo_whole || self.is_unanswered();
        let wrong = self.claim.as_deref().and_then(|claim| claim.wrong(is_echo_whole));
        let parted = self.times.half_close.is_some();
        if let Some(outcome) = found.local.or(found.connect) {
            outcome
        } else if found.corrupt {
            Outcome::Corrupt
        } else if let Some(outcome) = wrong {
            outcome
        } else if found.self_reset {
            Outcome::SelfReset
        } else if found.reset && (missing || !parted) {
            Outcome::ResetBeforeDrain
        } else if found.reset {
            Outcome::ResetAfterDrain
        } else if found.reset_behind_eof {
            Outcome::ResetAfterEof
        } else if self.times.eof.is_some() && !parted {
            Outcome::EarlyEof
        } else if let Some(outcome) = found.timeout {
            outcome
        } else if found.shutdown_failed {
            Outcome::ShutdownFailed
        } else if found.censored {
            Outcome::Censored
        } else if !is_echo_whole {
            Outcome::Truncated
        } else if self.claim.as_deref().is_some_and(|claim| missing && claim.is_answering()) {
            Outcome::LedgerBadReply
        } else if missing {
            Outcome::LedgerLost
        } else {
            Outcome::Clean
        }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When things happened.
    #[must_use]
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Bytes that the kernel took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that came back.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Bytes that were still to come at t0.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Bytes that are sent in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.plan.size + self.plan.tail
    }

    /// Bytes of them that are wanted back.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.total() - self.plan.silent
    }

    /// Bytes to send at once, as soon as there is a connection.
    #[must_use]
    pub fn first_bytes(&self) -> u64 {
        if self.plan.size > 0 { self.plan.size } else { self.next_stop() }
    }

    /// The first bytes are back, or there are none.
    fn proven(&mut self, now: Nanos) {
        self.phase = if self.plan.barrier { Phase::Held } else { Phase::Parting };
        self.strike(now);
    }

    fn can_send(&self) -> bool {
        !self.found.reset
    }

    fn received(&mut self, bytes: u64, now: Nanos) {
        self.received += bytes;
        self.progress = now;
        // An echo is never ahead of what it echoes.
        if self.received > self.sent {
            self.found.corrupt = true;
            self.phase = Phase::Closing;
            return;
        }
        if self.phase == Phase::Proving && self.received == self.plan.size {
            self.times.echoed = Some(now);
            self.proven(now);
        }
        if self.received == self.wanted() && self.times.drained.is_none() {
            self.times.drained = Some(now);
        }
    }

    fn eof(&mut self, looked: Nanos, now: Nanos) {
        self.times.eof = Some(now);
        self.times.looked = Some(looked);
        self.progress = now;
        let early = self.times.half_close.is_none() && !self.found.reset;
        self.phase = if early { Phase::Holding } else { Phase::Checking };
    }

    fn connect_failed(&mut self, fault: Fault) {
        self.phase = Phase::Closing;
        match fault {
            Fault::Ports => self.found.local = Some(Outcome::LocalPorts),
            Fault::Descriptors => self.found.local = Some(Outcome::LocalFds),
            Fault::Memory => self.found.local = Some(Outcome::LocalMemory),
            Fault::Refused => self.found.connect = Some(Outcome::ConnectRefused),
            Fault::Reset => self.found.connect = Some(Outcome::ConnectReset),
            Fault::TimedOut => self.found.connect = Some(Outcome::ConnectTimeout),
            Fault::Unreachable | Fault::Other => self.found.connect = Some(Outcome::ConnectUnreachable),
        }
    }

    fn send_failed(&mut self, fault: Fault) {
        match fault {
            // The error was reported once, to the send; reading goes on to what came before it, and then says EOF.
            Fault::Reset | Fault::Refused => self.found.reset = true,
            Fault::TimedOut
            | Fault::Unreachable
            | Fault::Ports
            | Fault::Descriptors
            | Fault::Memory
            | Fault::Other => {
                self.receive_failed(fault);
            }
        }
    }

    fn receive_failed(&mut self, fault: Fault) {
        self.phase = match fault {
            Fault::Reset | Fault::Refused => {
                self.found.reset = true;
                Phase::Closing
            }
            Fault::Memory | Fault::Descriptors | Fault::Ports => {
                self.found.local = Some(Outcome::LocalMemory);
                Phase::Closing
            }
            // TCP gave up, as we would have in the end.
            Fault::TimedOut | Fault::Unreachable | Fault::Other => {
                self.found.timeout = Some(self.timeout());
                Phase::Closing
            }
        };
    }

    fn due_now(&mut self, now: Nanos) {
        match self.phase {
            Phase::Stalling if self.trouble.is_some() => self.reset_now(),
            Phase::Stalling => {
                self.progress = now;
                let parted = self.times.half_close.is_some();
                self.phase = if parted { Phase::Draining } else { Phase::Parting };
            }
            Phase::Draining if self.trouble_behind_fin() && now >= self.until => self.reset_now(),
            Phase::Holding => self.phase = Phase::Checking,
            Phase::Connecting => {
                self.found.connect = Some(Outcome::ConnectTimeout);
                self.phase = Phase::Closing;
            }
            Phase::Proving | Phase::Parting | Phase::Draining => {
                self.found.timeout = Some(self.timeout());
                // At the deadline it was too late, however late it was seen.
                self.times.deadline = Some(now.min(self.progress + self.plan.timeout_ns));
                self.phase = Phase::Closing;
            }
            Phase::Held | Phase::Checking | Phase::Resetting | Phase::Closing | Phase::Done => {}
        }
    }

    fn timeout(&self) -> Outcome {
        if self.times.echoed.is_none() && self.plan.size > 0 {
            Outcome::EchoTimeout
        } else if self.received < self.wanted() || self.is_unanswered() {
            Outcome::DrainTimeout
        } else {
            Outcome::EofTimeout
        }
    }
}
