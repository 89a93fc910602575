//! When a worker accepts: pauses while places, descriptors or memory are short, without spinning.

use std::io;
use std::time::{Duration, Instant};

use crate::conn::{Conn, Event};
use crate::policy::{self, AcceptVerdict};
use crate::proactor::{ListenerId, Proactor, Token};

use super::{Slot, Worker, listener_id, slot};

/// One listener, as the loop sees it.
pub(super) struct Gate {
    state: State,
    backoff: Duration,
    /// Connections accepted since the drain began.
    pub(super) late: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Not accepting until then, or until a connection closes.
    Paused(Instant),
    /// The listener is being closed.
    Stopping,
    Stopped,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { state: State::Open, backoff: Duration::ZERO, late: 0 }
    }

    pub(super) fn stopped(&mut self) {
        assert!(self.state == State::Stopping, "a listener was closed that nobody asked for");
        self.state = State::Stopped;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Whether it is not being closed yet.
    pub(super) fn is_standing(&self) -> bool {
        match self.state {
            State::Open | State::Paused(_) => true,
            State::Stopping | State::Stopped => false,
        }
    }
}

impl<P: Proactor> Worker<'_, P> {
    pub(super) fn accepted(&mut self, listener: ListenerId, token: Token) {
        self.settings.metrics.accept();
        self.open += 1;
        if self.slots.len() <= token.index() {
            self.slots.resize_with(token.index() + 1, || None);
        }
        let entry = &mut self.slots[token.index()];
        assert!(entry.is_none(), "a token was given out twice");
        *entry = Some(Slot {
            conn: Conn::new(self.settings.window),
            touched: self.now,
            fin_at: self.now,
            placed: false,
            unsettled: false,
            taking: false,
        });
        self.gates[listener.index()].backoff = Duration::ZERO;
        if let Some(ending) = &mut self.ending {
            ending.accepted(self.now);
            let drained = ending.is_grace_over();
            let expired = ending.is_expired();
            self.gates[listener.index()].late += 1;
            self.settings.places.take_anyway();
            self.place(token);
            if drained {
                self.take_in(token, Event::Drain);
            }
            if expired {
                self.take_in(token, Event::Expired);
            }
        } else {
            self.waiting.push_back(token);
            self.place_waiting();
            if !self.waiting.is_empty() {
                self.pause(listener, policy::FULL_RETRY);
            }
        }
    }

    /// Gives places to those who wait for one, oldest first, as long as there are any.
    pub(super) fn place_waiting(&mut self) {
        while !self.waiting.is_empty() && self.settings.places.take() {
            if let Some(token) = self.waiting.pop_front() {
                self.place(token);
            }
        }
    }

    /// In a drain nobody waits any more: all are served at once.
    pub(super) fn place_all(&mut self) {
        while let Some(token) = self.waiting.pop_front() {
            self.settings.places.take_anyway();
            self.place(token);
        }
    }

    fn place(&mut self, token: Token) {
        let slot = slot(&mut self.slots, token);
        slot.placed = true;
        slot.touched = self.now;
        slot.unsettled = true;
        self.unsettled.push(token);
    }

    pub(super) fn accept_failed(&mut self, listener: ListenerId, error: &io::Error) {
        match policy::accept_verdict(error) {
            AcceptVerdict::Again => {
                if self.gates[listener.index()].state == State::Open {
                    self.proactor.start_accepting(listener);
                }
            }
            AcceptVerdict::Pause => {
                let gate = &mut self.gates[listener.index()];
                gate.backoff = policy::accept_backoff(gate.backoff);
                let backoff = gate.backoff;
                if gate.state == State::Open {
                    gate.state = State::Paused(self.now + backoff);
                }
                self.log_accept_failure(error);
            }
        }
    }

    fn log_accept_failure(&mut self, error: &io::Error) {
        let quiet = policy::ACCEPT_LOG_INTERVAL;
        if self.logged.is_some_and(|logged| self.now.saturating_duration_since(logged) < quiet) {
            return;
        }
        self.logged = Some(self.now);
        tracing::warn!(
            open = self.open,
            "cannot accept: {error}; new connections wait in the backlog until one closes \
             (too few descriptors? raise `ulimit -n`, or set --max-connections)"
        );
    }

    fn pause(&mut self, listener: ListenerId, pause: Duration) {
        let gate = &mut self.gates[listener.index()];
        if gate.state == State::Open {
            gate.state = State::Paused(self.now + pause);
            self.proactor.pause_accepting(listener);
        }
    }

    /// A connection closed, so whatever was short may be there again: paused listeners try at once.
    pub(super) fn retry_gates(&mut self) {
        for gate in &mut self.gates {
            if let State::Paused(until) = &mut gate.state {
                *until = self.now;
            }
        }
    }

    /// Goes on accepting where the pause is over and there is room.
    pub(super) fn reopen_gates(&mut self) {
        self.place_waiting();
        let full = !self.waiting.is_empty() || !(self.settings.places.is_free() || self.ending.is_some());
        for (index, gate) in self.gates.iter_mut().enumerate() {
            match gate.state {
                State::Paused(until) if until <= self.now => {
                    if full {
                        gate.state = State::Paused(self.now + policy::FULL_RETRY);
                    } else {
                        gate.state = State::Open;
                        self.proactor.start_accepting(listener_id(index));
                    }
                }
                State::Paused(_) | State::Open | State::Stopping | State::Stopped => {}
            }
        }
        // Those placed just now are asked for their operations in this turn, not after the next wait.
        self.settle();
    }

    /// Closes the listeners, once each.
    pub(super) fn stop_gates(&mut self, which: impl Fn(&Gate) -> bool) {
        for (index, gate) in self.gates.iter_mut().enumerate() {
            if gate.is_standing() && which(gate) {
                gate.state = State::Stopping;
                self.proactor.stop_accepting(listener_id(index));
            }
        }
    }

    /// When the next paused listener wants to be looked at.
    pub(super) fn next_gate(&self) -> Option<Instant> {
        let pause = |gate: &Gate| match gate.state {
            State::Paused(until) => Some(until),
            State::Open | State::Stopping | State::Stopped => None,
        };
        self.gates.iter().filter_map(pause).min()
    }
}
