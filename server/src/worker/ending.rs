//! How a worker ends: grace, drain, expiry, by the stage of the server and the engine's clock.

use std::time::Instant;

use crate::conn::Event;
use crate::drain::Stage;
use crate::policy::{ACCEPT_QUIET, BACKLOG};
use crate::proactor::Proactor;

use super::{Gate, Worker, listener_id, token};

/// A drain under way.
pub(super) struct Ending {
    began: Instant,
    accepted: Instant,
    grace_over: bool,
    expired: bool,
}

impl Ending {
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn accepted(&mut self, now: Instant) {
        self.accepted = now;
    }

    pub(super) fn is_grace_over(&self) -> bool {
        self.grace_over
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired
    }
}

impl<P: Proactor> Worker<'_, P> {
    /// Moves the drain on, when there is one and its time has come.
    pub(super) fn advance_ending(&mut self) {
        let stage = self.settings.drain.stage();
        if stage == Stage::Serving {
            return;
        }
        if self.ending.is_none() {
            self.begin_ending();
        }
        let Some(ending) = &mut self.ending else { return };
        let since = self.now.saturating_duration_since(ending.began);
        let expire = !ending.expired && (stage == Stage::Expiring || since >= self.settings.drain_timeout);
        let drain = !ending.grace_over && (expire || since >= self.settings.grace);
        ending.grace_over |= drain;
        ending.expired |= expire;
        // However short the grace: closing the listener on a handshake under way would reset it.
        let listened = ending.expired || since >= self.settings.grace.max(ACCEPT_QUIET);
        // While connections are open the listener may stay: with handshakes refused nothing new comes, and one
        // that was under way is still served.
        let quiet = self.open == 0
            && self.now.saturating_duration_since(ending.began.max(ending.accepted)) >= ACCEPT_QUIET;
        self.stop_gates(|gate| listened || quiet || gate.late >= BACKLOG);
        if drain {
            self.tell_all(Event::Drain);
        }
        if expire {
            if self.open > 0 {
                tracing::warn!(open = self.open, "the drain expires what is left");
            }
            self.tell_all(Event::Expired);
        }
    }

    /// When the drain wants to be looked at next.
    pub(super) fn next_ending(&self) -> Option<Instant> {
        let ending = self.ending.as_ref()?;
        let standing = self.gates.iter().any(Gate::is_standing);
        let quiet = (self.open == 0 && standing).then(|| ending.began.max(ending.accepted) + ACCEPT_QUIET);
        let grace = (!ending.grace_over).then(|| ending.began + self.settings.grace);
        let listened = standing.then(|| ending.began + self.settings.grace.max(ACCEPT_QUIET));
        let expiry = (!ending.expired).then(|| ending.began + self.settings.drain_timeout);
        [quiet, grace, listened, expiry].into_iter().flatten().min()
    }

    fn begin_ending(&mut self) {
        for index in 0..self.gates.len() {
            self.proactor.refuse_handshakes(listener_id(index));
        }
        self.ending = Some(Ending { began: self.now, accepted: self.now, grace_over: false, expired: false });
        self.place_all();
        // A listener that was paused serves what is in its backlog now.
        self.retry_gates();
        tracing::debug!(open = self.open, "draining");
    }

    fn tell_all(&mut self, event: Event) {
        for index in 0..self.slots.len() {
            if self.slots[index].is_some() {
                self.take_in(token(index), event);
            }
        }
    }
}
