//! What every engine decides alike: deadlines, when to accept, how long to back off. Plain functions and numbers.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::conn::{Conn, Event, Fault, Phase};
use crate::sys::{self, Numbers};

/// Connections that the kernel may hold for us before they are accepted. `listen` in std and mio is fixed at 128.
pub const BACKLOG: u32 = 4096;

/// How often a port that is taken is tried again before that is an error, with [`PORT_RETRY`] between: for one second. The
/// kernel ends the rings of a process that was killed after the process itself (`io_ring_exit_work` runs in a work queue),
/// and an armed accept keeps its listener until then: without a wait the successor of a killed server is refused its port,
/// in one of thirty restarts that were made at once under load.
pub const PORT_RETRIES: u32 = 100;

/// The pause before a port that is taken is tried again.
pub const PORT_RETRY: Duration = Duration::from_millis(10);

/// The first pause after accepting failed; it doubles up to [`ACCEPT_BACKOFF_MAX`].
pub const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The longest pause after accepting failed.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long a worker waits before it looks again whether another one has freed a place under `--max-connections`.
pub const FULL_RETRY: Duration = Duration::from_millis(100);

/// At most one line about failing accepts is logged in this time.
pub const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// In a drain, a worker without connections goes on accepting until nothing came for this long: a handshake under
/// way on a local network has ended by then, and closing the listener on one would reset it.
pub const ACCEPT_QUIET: Duration = Duration::from_millis(50);

/// While a last take waits for bytes that the kernel holds and nothing moves, how often it looks.
pub const TAKE_RETRY: Duration = Duration::from_millis(1);

/// After our FIN a peer may go on sending for this many linger timeouts in all.
pub const LINGER_TOTAL: u32 = 6;

/// Tables of connections have room for so many from the start. What nobody touches takes no memory; but a table that grows
/// is copied, and leaves the memory that it had behind.
pub const ROOM: usize = 1 << 16;

/// How often an engine that holds more for a connection that receives than for one that rests looks for idle ones.
pub const REST_EVERY: Duration = Duration::from_secs(2);

/// At most so many connections are put to rest in one go: each takes a microsecond or two, which the others wait for.
pub const REST_EACH: u32 = 64;

/// Deadlines are looked at this many times within the shortest of them.
const SWEEPS: u32 = 8;
const SWEEP_MIN: Duration = Duration::from_millis(2);
const SWEEP_MAX: Duration = Duration::from_secs(1);

/// How long a connection may wait for its peer.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Time without a byte in either direction, nothing owed, before we end it; `None`: for ever.
    pub idle: Option<Duration>,
    /// Time without a byte sent while any is owed, before it is expired.
    pub stall: Duration,
    /// Idle time after our FIN before it is expired, and [`LINGER_TOTAL`] times that in all.
    pub linger: Duration,
}

impl Deadlines {
    /// What is due on `conn`, if anything. `touched` is when its peer last moved things on: a byte sent, or one
    /// received while none was owed, or our FIN asked for; `fin_at` is when our FIN was asked for.
    #[must_use]
    pub fn due(&self, conn: &Conn, touched: Instant, fin_at: Instant, now: Instant) -> Option<Event> {
        let waited = now.saturating_duration_since(touched);
        match conn.phase() {
            Phase::Echoing | Phase::Flushing if conn.owed() > 0 => {
                (waited >= self.stall).then_some(Event::Expired)
            }
            Phase::Echoing => self.idle.filter(|&idle| waited >= idle).map(|_| Event::Drain),
            // Nothing is owed and the last take is being made: the loop itself moves it on.
            Phase::Flushing => None,
            Phase::Lingering => {
                let lingered = now.saturating_duration_since(fin_at);
                (waited >= self.linger || lingered >= self.linger * LINGER_TOTAL).then_some(Event::Expired)
            }
            // These wait for the kernel alone, never for the peer.
            Phase::Aborting | Phase::Closing | Phase::Closed => None,
        }
    }

    /// How often deadlines are looked at, which is also how late one may be noticed; that of an idle connection twice as
    /// late, where the loop slept behind its last send.
    #[must_use]
    pub fn sweep_every(&self) -> Duration {
        let shortest = self.idle.unwrap_or(SWEEP_MAX).min(self.stall).min(self.linger);
        (shortest / SWEEPS).clamp(SWEEP_MIN, SWEEP_MAX)
    }
}

/// What to do after accepting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptVerdict {
    /// Only the connection at the head of the queue was lost: go on.
    Again,
    /// This host lacks something: wait until a connection closes or a while has passed.
    Pause,
}

/// Tells an error of one connection from a lack of descriptors or memory (accept(2), "Error handling").
#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
#[must_use]
pub fn accept_verdict(error: &io::Error) -> AcceptVerdict {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::Interrupted
        // Gone before it was accepted, as Winsock may say it.
        | io::ErrorKind::NotConnected
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => AcceptVerdict::Again,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever is unknown: going straight on could spin.
        _ => AcceptVerdict::Pause,
    }
}

/// The fault behind an error of a receive, a send or a `shutdown`.
#[must_use]
pub fn fault(error: &io::Error) -> Fault {
    match cause(error) {
        Cause::Failed(fault) => fault,
        // Only a receive can end so. A send that hears of it has nobody left to send to.
        Cause::Graceful => Fault::Reset,
        Cause::Bug => {
            tracing::error!("an operation after its end: {error}; this is a bug");
            Fault::Local
        }
    }
}

/// What an error says, by cause and not by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is the peer's FIN, told as an error.
    Graceful,
    /// It is a fault of this kind.
    Failed(Fault),
    /// We asked for what cannot be asked for.
    Bug,
}

/// The cause behind an error of a receive, a send or a `shutdown`.
#[must_use]
pub fn cause(error: &io::Error) -> Cause {
    let by_number = error.raw_os_error().and_then(|number| cause_of(sys::NUMBERS, number));
    by_number.unwrap_or_else(|| Cause::Failed(fault_of_kind(error.kind())))
}

/// The cause behind an error by its number; `None` where the kind that std makes of it has to do.
///
/// On Windows the same end has one number for whoever called (Winsock's, from 10000 on) and another for whoever waits
/// at a completion port (the system's).
#[must_use]
pub fn cause_of(numbers: Numbers, number: i32) -> Option<Cause> {
    let fault = match (numbers, number) {
        // ERROR_NETNAME_DELETED, WSAECONNRESET, and at a `shutdown` WSAENOTCONN.
        (Numbers::Windows, 64 | 10054 | 10057) => Fault::Reset,
        // ECONNRESET; EPIPE is a RST that was seen before, as is ENOTCONN at a `shutdown`.
        (Numbers::Linux, 104 | 32 | 107) => Fault::Reset,
        // ERROR_CONNECTION_ABORTED, WSAECONNABORTED.
        (Numbers::Windows, 1236 | 10053) => Fault::Aborted,
        // ECONNABORTED.
        (Numbers::Linux, 103) => Fault::Aborted,
        // ERROR_SEM_TIMEOUT, WSAETIMEDOUT, and WSAENETRESET: keep-alive found nobody.
        (Numbers::Windows, 121 | 10060 | 10052) => Fault::TimedOut,
        // ETIMEDOUT.
        (Numbers::Linux, 110) => Fault::TimedOut,
        // ERROR_OPERATION_ABORTED; Wine 8 also says ERROR_HANDLES_CLOSED.
        (Numbers::Windows, 995 | 676) => Fault::Cancelled,
        // ECANCELED.
        (Numbers::Linux, 125) => Fault::Cancelled,
        // WSAEDISCON.
        (Numbers::Windows, 10101) => return Some(Cause::Graceful),
        // WSAESHUTDOWN: a send after our own FIN.
        (Numbers::Windows, 10058) => return Some(Cause::Bug),
        (Numbers::Windows | Numbers::Linux | Numbers::Other, _) => return None,
    };
    Some(Cause::Failed(fault))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
fn fault_of_kind(kind: io::ErrorKind) -> Fault {
    match kind {
        // EPIPE and ENOTCONN: the reset was seen before and is seen again.
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            Fault::Reset
        }
        io::ErrorKind::ConnectionAborted => Fault::Aborted,
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Fault::TimedOut,
        _ => Fault::Local,
    }
}

/// The cause behind a failed `shutdown`, and a line in the log: a peer that sent a RST can provoke as many as it likes,
/// so those are for debugging only.
#[must_use]
pub fn shutdown_fault(error: &io::Error) -> Fault {
    let fault = fault(error);
    match fault {
        Fault::Reset => tracing::debug!("shutdown(SD_SEND) failed: {error}"),
        Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local | Fault::Shutdown => {
            tracing::warn!("shutdown(SD_SEND) failed: {error}");
        }
    }
    fault
}

/// The next pause after one of `last`.
#[must_use]
pub fn accept_backoff(last: Duration) -> Duration {
    (last * 2).clamp(ACCEPT_BACKOFF_MIN, ACCEPT_BACKOFF_MAX)
}

/// The places under `--max-connections`, shared by all workers.
#[derive(Debug)]
pub struct Places {
    taken: AtomicU32,
    max: u32,
}

impl Places {
    /// At most `max` connections at a time; `None`: as many as come.
    #[must_use]
    pub fn new(max: Option<u32>) -> Self {
        Self { taken: AtomicU32::new(0), max: max.unwrap_or(u32::MAX) }
    }

    /// Takes a place if one is free.
    pub fn take(&self) -> bool {
        let free = |taken: u32| (taken < self.max).then(|| taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok()
    }

    /// Takes a place whether one is free or not: in a drain everyone who came in is served.
    pub fn take_anyway(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a place back.
    pub fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a place given back that was not taken");
    }

    /// Whether a place is free at this moment.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.max
    }
}

/// How long a wait stays awake for what usually comes at once: a FIN was seen some 0.7 us behind the echo, and 2 us where the
/// same machine was slower.
pub const LOOK: Duration = Duration::from_micros(4);
/// The share of looks that saw something from which on every wait looks.
const LOOK_WORTH: u32 = CERTAIN * 4 / 5;
/// Otherwise one wait in so many does.
const LOOK_EVERY: u32 = 256;
const CERTAIN: u32 = 1 << 16;
/// The share is an average over about so many looks.
const LOOKS: u32 = 16;

/// Whether a wait looks on for a moment ([`LOOK`]) before it sleeps. What comes next often comes at once: behind an
/// accept the first bytes, behind an echo the FIN. To sleep then, and to be woken, costs several times what it costs to
/// wait awake, in processor time and in latency. Whether it does come is learned from how often it has.
#[derive(Debug)]
pub struct Patience {
    /// The share of looks that saw something, in parts of `CERTAIN`.
    share: u32,
    /// Waits since the last look.
    slept: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { share: CERTAIN, slept: 0 }
    }
}

impl Patience {
    /// Whether looks have been worth it.
    #[must_use]
    pub fn is_confident(&self) -> bool {
        self.share >= LOOK_WORTH
    }

    /// Whether the wait that now begins is to look; then [`Patience::learn`] is told how that went.
    #[must_use]
    pub fn is_worth_a_look(&mut self) -> bool {
        self.slept += 1;
        let looks = self.is_confident() || self.slept >= LOOK_EVERY;
        if looks {
            self.slept = 0;
        }
        looks
    }

    /// Something came while a wait looked, or nothing did.
    pub fn learn(&mut self, came: bool) {
        self.share -= self.share / LOOKS;
        if came {
            self.share += CERTAIN / LOOKS;
        }
    }
}
