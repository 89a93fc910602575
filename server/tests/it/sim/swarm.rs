//! What one seed makes of a run: how often each thing goes wrong, and the settings of the worker.
//!
//! The rates are drawn too, and half of them are zero (swarm testing): a fault that is rare beside others would
//! otherwise hardly ever meet a run where it is the only one, and one that is frequent would hide what comes after it.

use std::time::Duration;

use finwait_server::policy::Deadlines;

use super::dice::Dice;

/// Times that the narrowest place of a connection is filled, at most.
const NARROW_MAX: u64 = 40;

/// How often things go wrong, per mille of the occasions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// A receive or a send moves only a part.
    pub(super) partial: u32,
    /// An operation of the kernel takes a while.
    pub(super) slow: u32,
    /// A completion is handed out by a later `wait` than the first that could.
    pub(super) held_back: u32,
    /// A `wait` returns for nothing.
    pub(super) spurious: u32,
    /// A `wait` returns later than asked.
    pub(super) late: u32,
    /// Something arrives between a look that found nothing and what is done about it.
    pub(super) raced: u32,
    /// A receive, a send or a `shutdown` fails on this host.
    pub(super) recv_fails: u32,
    pub(super) send_fails: u32,
    pub(super) fin_fails: u32,
    /// A receive waits for a buffer (ENOBUFS inside of the engine).
    pub(super) starves: u32,
    /// An operation that was cancelled ends by itself first.
    pub(super) cancel_races: u32,
    /// An accept fails.
    pub(super) accept_fails: u32,
    /// A signal comes in the middle of a turn.
    pub(super) signals: u32,
}

/// What kind of peers come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crowd {
    pub(super) conns: u32,
    /// Per mille of the peers, each.
    pub(super) resets: u32,
    pub(super) closes: u32,
    pub(super) waits: u32,
    pub(super) stalls: u32,
    pub(super) rude: u32,
    pub(super) late_senders: u32,
    pub(super) dies: u32,
    /// They talk to a ledger.
    pub(super) ledger: u32,
    /// They come when the drain has begun.
    pub(super) last: u32,
    /// The most bytes that one sends.
    pub(super) bytes_max: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) rates: Rates,
    pub(super) crowd: Crowd,
    pub(super) window: u32,
    pub(super) deadlines: Deadlines,
    pub(super) grace: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) places_max: Option<u32>,
    pub(super) doors: usize,
    /// Connections that may be open before an accept fails for want of a descriptor.
    pub(super) descriptors: usize,
    /// Bytes that the kernel takes from us, and for us, on each connection.
    pub(super) send_room: u64,
    pub(super) recv_room: u64,
    /// The kernel can refuse handshakes.
    pub(super) filter: bool,
    /// A RST throws away what was received and not read.
    pub(super) purges: bool,
    /// Other workers take and give back places.
    pub(super) others: bool,
    /// From here on nothing goes wrong any more, and nobody connects but in a drain.
    pub(super) calm_at: Duration,
    /// The first signal; at 0 it comes before the worker starts.
    pub(super) drain_at: Duration,
    /// Before the drain there is time for the deadlines to end every connection.
    pub(super) is_patient: bool,
    pub(super) expire_at: Option<Duration>,
}

impl Swarm {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let rates = rates(dice);
        let mut crowd = crowd(dice);
        let window = dice.pick(&[1, 2, 3, 16, 100, 1000, 4096, 65_536]);
        let send_room = dice.pick(&[1, 7, 100, 4096, 1 << 20]);
        let recv_room = dice.pick(&[1, 50, 1000, 1 << 18]);
        // A long way through a narrow place is the same few steps again and again.
        crowd.bytes_max = crowd.bytes_max.min(NARROW_MAX * u64::from(window).min(send_room).min(recv_room));
        let deadlines = Deadlines {
            idle: dice.chance(600).then(|| dice.span(4000)),
            stall: dice.span(2000),
            linger: dice.span(1000),
        };
        let calm_at = dice.span(1500);
        let places_max = dice.chance(500).then(|| dice.pick(&[1, 2, 5, 20]));
        let descriptors = if dice.chance(300) { dice.between(1, 20) as usize } else { usize::MAX };
        // Sometimes only the deadlines end what is left, and the drain finds nobody. Where peers wait for each other
        // that would take too long.
        let is_roomy = places_max.is_none() && descriptors == usize::MAX;
        let is_patient = is_roomy && deadlines.idle.is_some() && dice.chance(500);
        let drain_at = if is_patient {
            calm_at + patience(&deadlines)
        } else if dice.chance(80) {
            Duration::ZERO
        } else {
            dice.span(1500)
        };
        Self {
            rates,
            crowd,
            window,
            deadlines,
            grace: if dice.chance(400) { Duration::ZERO } else { dice.span(800) },
            drain_timeout: if dice.chance(100) { Duration::ZERO } else { dice.span(4000) },
            places_max,
            doors: dice.between(1, 3) as usize,
            descriptors,
            send_room,
            recv_room,
            filter: dice.chance(700),
            purges: dice.chance(500),
            others: dice.chance(500),
            calm_at,
            drain_at,
            is_patient,
            expire_at: dice.chance(350).then(|| drain_at + dice.span(1000)),
        }
    }
}

/// In how much time the deadlines end every connection that is left when nothing goes wrong any more: a peer moves
/// for at most a quarter of this on its own account, and each deadline may be noticed late.
pub(super) fn patience(deadlines: &Deadlines) -> Duration {
    let idle = deadlines.idle.unwrap_or_default();
    2 * (idle + deadlines.stall) + 14 * deadlines.linger + Duration::from_secs(20)
}

fn rate(dice: &mut Dice, max: u64) -> u32 {
    if dice.chance(500) { 0 } else { dice.between(1, max) as u32 }
}

fn rates(dice: &mut Dice) -> Rates {
    Rates {
        partial: rate(dice, 700),
        slow: rate(dice, 600),
        held_back: rate(dice, 500),
        spurious: rate(dice, 100),
        late: rate(dice, 300),
        raced: rate(dice, 500),
        recv_fails: rate(dice, 50),
        send_fails: rate(dice, 50),
        fin_fails: rate(dice, 300),
        starves: rate(dice, 200),
        cancel_races: rate(dice, 700),
        accept_fails: rate(dice, 300),
        signals: rate(dice, 20),
    }
}

fn crowd(dice: &mut Dice) -> Crowd {
    let most = dice.pick(&[2, 8, 25, 60]);
    Crowd {
        conns: dice.between(1, most) as u32,
        resets: rate(dice, 400),
        closes: rate(dice, 400),
        waits: rate(dice, 700),
        stalls: rate(dice, 400),
        rude: rate(dice, 500),
        late_senders: rate(dice, 500),
        dies: rate(dice, 500),
        ledger: rate(dice, 1000),
        last: rate(dice, 500),
        bytes_max: dice.pick(&[3, 40, 500, 20_000, 200_000]),
    }
}
