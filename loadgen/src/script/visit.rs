//! What a connection to a ledger does otherwise than one to an echo: a claim, a reply, and trouble of its own making.

use super::{Claim, Event, Nanos, Phase, Plan, Script};
use crate::ledger::{Attempt, Manner, Trouble, Visit};

impl Script {
    /// A connection to a ledger.
    #[must_use]
    pub fn visiting(plan: Plan, visit: Visit, start: Nanos) -> Self {
        let claim = Some(Box::new(Claim::new(visit)));
        Self { claim, trouble: visit.trouble, ..Self::new(plan, start, None) }
    }

    /// Takes in what came behind the echo: a reply, or a part of one.
    pub fn reply(&mut self, bytes: &[u8], now: Nanos) {
        let parted = self.times.half_close.is_some();
        let Some(claim) = &mut self.claim else {
            return self.handle(Event::Corrupt(bytes.len() as u64), now);
        };
        claim.take(bytes, parted, now);
        self.progress = now;
        if claim.is_hopeless() {
            self.phase = Phase::Closing;
        }
    }

    /// Beside a ledger: the claim, and what was said to it.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_deref()
    }

    /// Beside a ledger: what there is to be known of a connection that has ended.
    #[must_use]
    pub fn attempt(&self, connection: u64) -> Option<Attempt> {
        let claim = self.claim()?;
        let Visit { session, earlier, .. } = *claim.visit();
        let reply = claim.reply();
        // Without our FIN nothing is added, and only a RST of ours is sure to send none: a close may.
        let has_no_fin = self.times.half_close.is_none() && self.found.self_reset;
        Some(Attempt {
            session,
            earlier,
            connection,
            outcome: self.outcome(),
            started: self.times.start,
            fin: self.times.half_close,
            replied: claim.replied(),
            ended: self.times.closed.unwrap_or(self.times.start),
            reply,
            may_be_added: reply.is_none() && self.sent == self.total() && !has_no_fin,
        })
    }

    pub(super) fn is_unanswered(&self) -> bool {
        self.claim().is_some_and(|claim| claim.reply().is_none())
    }

    /// Up to where to send: to the end, or to where the trouble is.
    pub(super) fn next_stop(&self) -> u64 {
        let trouble = self.trouble.and_then(|trouble| trouble.at);
        trouble.map_or(self.total(), |at| at.min(self.total()))
    }

    pub(super) fn trouble_behind_fin(&self) -> bool {
        self.trouble.is_some_and(|trouble| trouble.at.is_none())
    }

    /// Lets the trouble happen, if this is where it is to.
    pub(super) fn strike(&mut self, now: Nanos) {
        let Some(Trouble { manner, at, wait_ns }) = self.trouble else { return };
        let is_here = match at {
            Some(at) => self.phase == Phase::Parting && self.sent >= at.min(self.total()),
            None => self.phase == Phase::Draining,
        };
        if !is_here {
            return;
        }
        self.until = now + wait_ns;
        match manner {
            Manner::Stall => {
                self.trouble = None;
                self.phase = Phase::Stalling;
            }
            // Bytes and the server's FIN may come first; what goes wrong then is nothing.
            Manner::Reset if wait_ns > 0 && at.is_none() => {}
            // What was sent has time to arrive: a RST would overtake it.
            Manner::Reset if wait_ns > 0 => self.phase = Phase::Stalling,
            Manner::Reset => self.reset_now(),
        }
    }

    pub(super) fn reset_now(&mut self) {
        self.found.self_reset = true;
        self.phase = Phase::Resetting;
    }
}
