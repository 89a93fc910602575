//! The books: the grand total, and the sessions that it was made of lately. They do no I/O and are the same whether they
//! are kept in a file or not.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry as Place, HashMap};

use super::reply::Status;
use super::session::{Claim, SessionId};

/// So many sessions are remembered, the newest ones; one that is older and comes again is counted again.
///
/// Each takes up to 82 bytes of memory, so all of them 21.5 MB, which are asked for at once: growing a table of this size
/// takes some 20 ms, for which every worker would wait. At 1,000 claims a second it is the last four minutes.
pub const HORIZON: usize = 1 << 18;

/// A total that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was claimed.
    pub claim: Claim,
    /// All that was ever added, with this one.
    pub grand_total: u64,
}

/// What the books say to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub status: Status,
    /// The grand total that belongs to that.
    pub grand_total: u64,
}

/// The grand total, and the sessions that it was made of lately.
#[derive(Debug)]
pub struct Books {
    grand_total: u64,
    /// What each session claimed, and the grand total that it was told.
    sessions: HashMap<SessionId, (u64, u64)>,
    /// The same sessions, the oldest first.
    order: VecDeque<SessionId>,
    horizon: usize,
}

impl Books {
    /// Empty books that remember the last `horizon` sessions, at least 1.
    #[must_use]
    pub fn new(horizon: usize) -> Self {
        assert!(horizon > 0, "a claim that is forgotten at once could be counted twice at once");
        let (sessions, order) = (HashMap::with_capacity(horizon), VecDeque::with_capacity(horizon + 1));
        Self { grand_total: 0, sessions, order, horizon }
    }

    /// All that was ever added.
    #[must_use]
    pub fn grand_total(&self) -> u64 {
        self.grand_total
    }

    /// Judges a claim whose transactions the server counted as `seen`, and adds its total if it is to be added.
    ///
    /// What the session has claimed before comes first: nothing that a client says later can undo it, and to be told
    /// `mismatch` it would take its total for not added, and claim it once more under another name.
    pub fn post(&mut self, claim: Claim, seen: u64) -> Verdict {
        if let Some(&(total, grand_total)) = self.sessions.get(&claim.session) {
            if total == claim.total {
                return Verdict { status: Status::Duplicate, grand_total };
            }
            // "Duplicate" would say that this total is in the books.
            return self.refused(Status::Mismatch);
        }
        if claim.total != seen {
            return self.refused(Status::Mismatch);
        }
        let Some(grand_total) = self.grand_total.checked_add(claim.total) else {
            return self.refused(Status::Overflow);
        };
        assert!(self.restore(Entry { claim, grand_total }), "a session that was looked for is there");
        Verdict { status: Status::Ok, grand_total }
    }

    /// Takes in what was added in a former life, in the order in which it was. Whether it can be so: `false` is for
    /// entries that these books cannot have written.
    #[must_use]
    pub fn restore(&mut self, entry: Entry) -> bool {
        let Entry { claim, grand_total } = entry;
        let before = grand_total.checked_sub(claim.total);
        // Before the oldest that is remembered there may have been any number of others.
        if before.is_none() || (!self.order.is_empty() && before != Some(self.grand_total)) {
            return false;
        }
        match self.sessions.entry(claim.session) {
            Place::Occupied(_) => return false,
            Place::Vacant(place) => place.insert((claim.total, grand_total)),
        };
        self.order.push_back(claim.session);
        self.grand_total = grand_total;
        if self.order.len() > self.horizon {
            let oldest = self.order.pop_front().expect("a horizon is at least 1");
            self.sessions.remove(&oldest);
        }
        true
    }

    /// Everything that is remembered, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.order.iter().map(|&session| {
            let (total, grand_total) = self.sessions[&session];
            Entry { claim: Claim { total, session }, grand_total }
        })
    }

    fn refused(&self, status: Status) -> Verdict {
        Verdict { status, grand_total: self.grand_total }
    }
}
