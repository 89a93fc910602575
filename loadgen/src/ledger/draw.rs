//! Chance, from a seed that a report names: the sessions' numbers, and which of them get into what trouble.

use oorandom::Rand64;

use super::lines::Lines;
use super::{Earlier, Manner, Session, Trouble, Visit};
use crate::clock::Nanos;

/// The largest seed: what JSON's readers hold exactly.
pub const SEED_MAX: u64 = (1 << 53) - 1;
/// The longest stall: well below what any server takes for a dead peer.
const STALL_NS_MAX: Nanos = 300_000_000;
/// The longest time from what was sent last to the RST: behind a FIN some of them come behind the reply.
const RESET_NS_MAX: Nanos = 20_000_000;

/// The shares of sessions that get into trouble, in percent; together at most 100.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// Ended by our RST.
    pub reset: u64,
    /// Neither read nor sent for a while.
    pub stall: u64,
    /// Repeated at once although they were answered.
    pub repeat: u64,
}

/// Draws one after the other.
#[derive(Debug)]
pub struct Draw(Rand64);

impl Draw {
    /// The same seed draws the same.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rand64::new(seed.into()))
    }

    /// A session that claims `total`.
    pub fn session(&mut self, total: u64) -> Session {
        let id = u128::from(self.0.rand_u64()) << 64 | u128::from(self.0.rand_u64());
        Session { id, total }
    }

    /// A new session that claims `total`, with lines of so many bytes.
    pub fn visit(&mut self, total: u64, line_bytes: u64, mix: Mix) -> Visit {
        let session = self.session(total);
        let lines = Lines::new(session, line_bytes);
        let share = self.0.rand_range(0..100);
        let trouble = if share < mix.reset {
            Some(self.reset(&lines, line_bytes))
        } else if share < mix.reset + mix.stall {
            Some(self.stall(&lines, line_bytes))
        } else {
            None
        };
        let again = trouble.is_none() && share < mix.reset + mix.stall + mix.repeat;
        Visit { session, earlier: Earlier::Nothing, trouble, again }
    }

    /// A RST: before the claim, in it, behind it without a FIN, or behind the FIN; at once or a moment later. Never in the
    /// first line, whose echo every connection waits for.
    fn reset(&mut self, lines: &Lines, line_bytes: u64) -> Trouble {
        let whole = lines.echoed() + lines.claim();
        let at = match self.0.rand_range(0..5) {
            0 => Some(self.0.rand_range(line_bytes..lines.echoed() + 1)),
            1 => Some(self.0.rand_range(lines.echoed() + 1..whole)),
            2 => Some(whole),
            _ => None,
        };
        // At once it overtakes what was sent; a moment later all of that has been read, mostly.
        let wait_ns = self.0.rand_range(0..2) * self.0.rand_range(1..RESET_NS_MAX);
        Trouble { manner: Manner::Reset, at, wait_ns }
    }

    /// A stall: anywhere, mostly in the middle of a line, between the claim and the FIN, or behind it.
    fn stall(&mut self, lines: &Lines, line_bytes: u64) -> Trouble {
        let whole = lines.echoed() + lines.claim();
        let at = match self.0.rand_range(0..3) {
            0 => Some(self.0.rand_range(line_bytes..whole)),
            1 => Some(whole),
            _ => None,
        };
        Trouble { manner: Manner::Stall, at, wait_ns: self.0.rand_range(1..STALL_NS_MAX) }
    }
}
