//! The end of a connection to a ledger: what is claimed, what comes behind the echo, and what is wrong with it.

use super::Outcome;
use crate::clock::Nanos;
use crate::ledger::answer::{Answer, Reply, Said, Status};
use crate::ledger::{Earlier, Visit};

/// A claim, and what was said to it.
#[derive(Clone, Debug)]
pub struct Claim {
    visit: Visit,
    answer: Answer,
    /// Whether any of it came before our FIN.
    early: bool,
    replied: Option<Nanos>,
}

impl Claim {
    /// What is to be claimed.
    #[must_use]
    pub fn new(visit: Visit) -> Self {
        Self { visit, answer: Answer::default(), early: false, replied: None }
    }

    /// Takes in what came behind the echo at `now`, before our FIN or after it.
    pub fn take(&mut self, bytes: &[u8], parted: bool, now: Nanos) {
        self.answer.take(bytes);
        self.early |= !parted;
        self.replied = self.reply().map(|_| now);
    }

    /// What the visit is for.
    #[must_use]
    pub fn visit(&self) -> &Visit {
        &self.visit
    }

    /// The reply, once it is whole and as long as nothing came behind it.
    #[must_use]
    pub fn reply(&self) -> Option<Reply> {
        match self.answer.said() {
            Said::Whole(reply) => Some(reply),
            Said::Nothing | Said::Part | Said::Echoed | Said::Bad => None,
        }
    }

    /// When it was whole.
    #[must_use]
    pub fn replied(&self) -> Option<Nanos> {
        self.replied
    }

    /// Bytes that came behind the echo.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.answer.len() as u64
    }

    /// Whether anything did.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Whether it can become no reply any more.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        match self.answer.said() {
            Said::Echoed | Said::Bad => true,
            Said::Nothing | Said::Part | Said::Whole(_) => false,
        }
    }

    /// What is wrong with what was said, as far as it was said: the first that matches.
    #[must_use]
    pub fn wrong(&self, is_echo_whole: bool) -> Option<Outcome> {
        let reply = match self.answer.said() {
            Said::Echoed => return Some(Outcome::LedgerEchoed),
            Said::Bad => return Some(Outcome::LedgerBadReply),
            Said::Nothing | Said::Part => return self.early.then_some(Outcome::LedgerEarly),
            Said::Whole(reply) => reply,
        };
        // The only one that may come before our FIN, and behind a part of the echo.
        if reply.status == Status::Draining {
            return Some(Outcome::LedgerDraining);
        }
        let total = self.visit.session.total;
        let counted = (reply.seen != total).then_some(Outcome::LedgerSeen);
        let earlier = self.visit.earlier;
        let wrong = match (reply.status, earlier) {
            (Status::Ok, Earlier::Answered(_)) => Some(Outcome::LedgerTwice),
            (Status::Duplicate, Earlier::Nothing) => Some(Outcome::LedgerDuplicate),
            (Status::Duplicate, Earlier::Answered(first)) if first.grand_total != reply.grand_total => {
                Some(Outcome::LedgerChanged)
            }
            (Status::Ok, Earlier::Nothing | Earlier::Unseen)
            | (Status::Duplicate, Earlier::Unseen | Earlier::Answered(_)) => counted,
            // A wrong count is why, where there is one.
            (Status::Mismatch, _) => counted.or(Some(Outcome::LedgerMismatch)),
            (Status::Malformed, _) => Some(Outcome::LedgerMalformed),
            (Status::Overflow, _) => Some(Outcome::LedgerOverflow),
            (Status::Draining, _) => None,
        };
        let early = self.early.then_some(Outcome::LedgerEarly);
        let cut = (!is_echo_whole).then_some(Outcome::Truncated);
        wrong.filter(|_| reply.is_added()).or(early).or(cut).or(wrong)
    }
}
