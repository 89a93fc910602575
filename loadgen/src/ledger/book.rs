//! What all sessions come to: which are known to be in the books, and which may be.

use std::collections::HashMap;

use serde::Serialize;

use super::answer::Reply;
use super::{Earlier, Session, Visit};

/// Every session that was ever visited.
#[derive(Debug, Default)]
pub struct Book {
    /// What the ledger had before the first of them.
    pub base: Option<u64>,
    entries: Vec<Entry>,
    places: HashMap<u128, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    session: Session,
    answered: Option<Reply>,
    may_be_added: bool,
    refused: bool,
}

/// What the sessions come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Sessions, without those that claimed 0: they only asked for the grand total.
    pub sessions: u64,
    /// Those that saw `ok` or `duplicate`.
    pub answered_sessions: u64,
    /// Their totals, each once (O).
    pub answered: u64,
    /// Those that may be in the books, and saw no reply.
    pub unseen_sessions: u64,
    /// Their totals (U).
    pub unseen: u64,
    /// Those to be repeated: no reply was seen, or one that says that the server ended first.
    pub open_sessions: u64,
}

impl Book {
    /// Enters what came of a connection.
    pub fn note(&mut self, session: Session, reply: Option<Reply>, may_be_added: bool) {
        if session.total == 0 {
            return;
        }
        let place = *self.places.entry(session.id).or_insert(self.entries.len());
        if place == self.entries.len() {
            let entry = Entry { session, answered: None, may_be_added: false, refused: false };
            self.entries.push(entry);
        }
        let entry = &mut self.entries[place];
        match reply {
            Some(reply) if reply.is_added() => entry.answered = entry.answered.or(Some(reply)),
            Some(reply) => entry.refused |= reply.is_final(),
            None => entry.may_be_added |= may_be_added,
        }
    }

    /// What they come to now.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let mut sums = Sums { sessions: self.entries.len() as u64, ..Sums::default() };
        for entry in &self.entries {
            let total = entry.session.total;
            if entry.answered.is_some() {
                sums.answered_sessions += 1;
                sums.answered = sums.answered.saturating_add(total);
            } else if entry.may_be_added {
                sums.unseen_sessions += 1;
                sums.unseen = sums.unseen.saturating_add(total);
            }
            sums.open_sessions += u64::from(entry.is_open());
        }
        sums
    }

    /// A visit to every session that is to be repeated.
    #[must_use]
    pub fn repetitions(&self) -> Vec<Visit> {
        let open = self.entries.iter().filter(|entry| entry.is_open());
        open.map(|entry| Visit {
            session: entry.session,
            earlier: if entry.may_be_added { Earlier::Unseen } else { Earlier::Nothing },
            trouble: None,
            again: false,
        })
        .collect()
    }

    /// By how much the grand total has grown since before the first session.
    #[must_use]
    pub fn grown(&self, grand_total: u64) -> Option<i128> {
        Some(i128::from(grand_total) - i128::from(self.base?))
    }

    /// Whether a grand total is what the sessions allow; `None` where it is not known from what it has grown.
    #[must_use]
    pub fn allows(&self, grand_total: u64) -> Option<bool> {
        let (grown, sums) = (self.grown(grand_total)?, self.sums());
        let least = i128::from(sums.answered);
        Some((least..=least + i128::from(sums.unseen)).contains(&grown))
    }
}

impl Entry {
    fn is_open(&self) -> bool {
        self.answered.is_none() && !self.refused
    }
}
