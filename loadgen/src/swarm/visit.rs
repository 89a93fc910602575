//! Visits to a ledger: what a connection sends and wants back there, and what becomes of its session afterwards.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Client, Event, Nanos, Plan, Script, Swarm};
use crate::ledger::lines::Lines;
use crate::ledger::{Earlier, Visit};
use crate::payload::{self, Pattern};

/// How a reply begins, and no line of ours has it.
const REPLY_BEGINS: u8 = b'!';

/// The visits of one thread.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// Those that are still to be made.
    pub next: VecDeque<Visit>,
    /// Bytes of a transaction, its LF included.
    pub line_bytes: u64,
}

/// The bytes of a connection.
#[derive(Clone, Debug)]
pub(super) enum Wire {
    /// Those of an echo, without structure.
    Stream,
    /// The same, mixed once for all connections.
    Pattern(Arc<Pattern>),
    /// Those of a ledger.
    Lines(Box<Lines>),
}

impl Wire {
    /// Fills `bytes` with what `connection` sends from `offset` on.
    pub(super) fn fill(&self, connection: u64, offset: u64, bytes: &mut [u8]) {
        match self {
            Self::Stream => payload::fill(connection, offset, bytes),
            Self::Pattern(pattern) => pattern.fill(connection, offset, bytes),
            Self::Lines(lines) => lines.fill(connection, offset, bytes),
        }
    }
}

impl Client {
    /// Tells the script what came at `now`.
    pub(super) fn take_in(&mut self, got: &[u8], now: Nanos) {
        let offset = self.script.received_bytes();
        let script = &mut self.script;
        let plain = |is_right: bool, bytes: u64| {
            if is_right { Event::Received(bytes) } else { Event::Corrupt(bytes) }
        };
        let bytes = got.len() as u64;
        let lines = match &self.wire {
            Wire::Stream => {
                return script.handle(plain(payload::matches(self.id, offset, got), bytes), now);
            }
            Wire::Pattern(pattern) => {
                return script.handle(plain(pattern.matches(self.id, offset, got), bytes), now);
            }
            Wire::Lines(lines) => lines,
        };
        let is_answering = script.claim().is_some_and(|claim| claim.is_answering());
        let echo = if is_answering { 0 } else { lines.matching(self.id, offset, got) };
        if echo > 0 {
            script.handle(Event::Received(echo as u64), now);
        }
        // An echo ahead of what it echoes has ended it.
        let rest = if script.is_receiving() { &got[echo..] } else { &[] };
        let Some(&next) = rest.first() else { return };
        if is_answering || next == REPLY_BEGINS || offset + echo as u64 == lines.echoed() {
            script.reply(rest, now);
        } else {
            script.handle(Event::Corrupt(rest.len() as u64), now);
        }
    }
}

impl Swarm<'_> {
    /// What the next connection does, and with which bytes.
    pub(super) fn next_script(&mut self, now: Nanos, planned: Option<Nanos>) -> (Script, Wire) {
        let Some(visits) = &mut self.task.visits else {
            let pattern = self.task.pattern.as_ref();
            let wire = pattern.map_or(Wire::Stream, |pattern| Wire::Pattern(Arc::clone(pattern)));
            return (Script::new(self.task.plan, now, planned), wire);
        };
        let visit =
            visits.next.pop_front().expect("the pacer starts as many connections as there are visits");
        let lines = Lines::new(visit.session, visits.line_bytes);
        // One line first, whose echo is waited for; nothing but a claim where there is none.
        let size = visits.line_bytes.min(lines.echoed());
        let plan = Plan {
            size,
            tail: lines.echoed() - size + lines.claim(),
            silent: lines.claim(),
            // A repetition begins when the barrier has fallen, or because somebody was answered before it did.
            barrier: self.task.plan.barrier && !matches!(visit.earlier, Earlier::Answered(_)),
            ..self.task.plan
        };
        (Script::visiting(plan, visit, now), Wire::Lines(Box::new(lines)))
    }

    /// Keeps what a visit came to, and repeats it if that was wished for.
    pub(super) fn visited(&mut self, id: u64, script: &Script) {
        let Some(attempt) = script.attempt(id) else { return };
        self.recorder.attempts.push(attempt);
        let Some(visit) = script.claim().map(|claim| *claim.visit()).filter(|visit| visit.again) else {
            return;
        };
        let reply = attempt.reply.filter(|reply| reply.is_added() && self.censor_at.is_none());
        if let (Some(visits), Some(reply)) = (&mut self.task.visits, reply) {
            let earlier = Earlier::Answered(reply);
            visits.next.push_back(Visit { earlier, again: false, ..visit });
            self.task.pacer.add(1);
        }
    }
}
