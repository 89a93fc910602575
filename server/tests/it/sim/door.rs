//! One listener: its backlog, what the worker has asked of it, and what it may ask.

use std::collections::VecDeque;
use std::time::Duration;

use finwait_server::policy::{ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN, FULL_RETRY};

use super::log::Id;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Accepting,
    /// Not accepting, until told to.
    Resting,
    /// It is being closed, and takes what the backlog holds.
    Stopping,
    Stopped,
}

pub(super) struct Door {
    pub(super) state: State,
    pub(super) backlog: VecDeque<Id>,
    /// When handshakes were refused.
    pub(super) refused: Option<Duration>,
    /// Connections that the kernel had accepted already when the worker paused.
    pub(super) stragglers: u32,
    /// A stopping listener may be closed.
    pub(super) may_close: bool,
    /// Connections accepted since the drain began.
    pub(super) late: u32,
    /// The last time that there was a reason not to accept.
    blocked: Duration,
    /// The last pause after a failure, since the last accept.
    backoff: Duration,
    /// It failed for want of something, and is not to be tried again before that.
    rests_until: Duration,
    /// The reason to rest is gone: it has to be accepting at the end of this turn.
    must_start: bool,
    /// A connection came in for which there was no place.
    must_pause: bool,
}

impl Door {
    pub(super) fn new() -> Self {
        Self {
            state: State::Resting,
            backlog: VecDeque::new(),
            refused: None,
            stragglers: 0,
            may_close: false,
            late: 0,
            blocked: Duration::ZERO,
            backoff: Duration::ZERO,
            rests_until: Duration::ZERO,
            must_start: true,
            must_pause: false,
        }
    }

    /// Whether it was not told to close.
    pub(super) fn is_standing(&self) -> bool {
        match self.state {
            State::Accepting | State::Resting => true,
            State::Stopping | State::Stopped => false,
        }
    }

    /// Whether an accept may end now.
    pub(super) fn is_ready(&self) -> bool {
        match self.state {
            State::Accepting => !self.backlog.is_empty(),
            State::Resting => !self.backlog.is_empty() && self.stragglers > 0,
            State::Stopping => self.may_close || !self.backlog.is_empty(),
            State::Stopped => false,
        }
    }

    pub(super) fn start(&mut self, now: Duration) {
        assert!(self.is_standing(), "accepting on a listener that is being closed");
        assert!(now >= self.rests_until, "accepting again without a pause");
        self.state = State::Accepting;
        self.must_start = false;
    }

    pub(super) fn pause(&mut self, now: Duration, stragglers: u32) {
        assert!(self.is_standing(), "a pause while {:?}", self.state);
        self.state = State::Resting;
        self.blocked = now;
        self.stragglers = stragglers;
    }

    pub(super) fn stop(&mut self) {
        assert!(self.is_standing(), "a listener closed twice");
        self.state = State::Stopping;
    }

    pub(super) fn refuse(&mut self, now: Duration) {
        assert!(self.refused.is_none(), "handshakes refused twice");
        self.refused = Some(now);
    }

    /// The worker hears that accepting failed; `again` when nothing is lacking.
    pub(super) fn failed(&mut self, again: bool, now: Duration) {
        self.state = State::Resting;
        self.stragglers = 0;
        self.blocked = now;
        self.must_start = again && !self.must_pause;
        if !again {
            self.backoff = (self.backoff * 2).clamp(ACCEPT_BACKOFF_MIN, ACCEPT_BACKOFF_MAX);
            self.rests_until = now + self.backoff.min(FULL_RETRY);
        }
    }

    /// The worker hears of a connection.
    pub(super) fn accepted(&mut self) {
        self.backoff = Duration::ZERO;
    }

    /// The worker hears of a connection for which there is no place.
    pub(super) fn overfull(&mut self) {
        self.must_pause = true;
    }

    /// A connection closed, or a drain began: whatever was lacking may be there.
    pub(super) fn retry(&mut self) {
        self.rests_until = Duration::ZERO;
        self.must_start |= self.state == State::Resting || self.must_pause;
    }

    /// Judges it at the end of a turn in which there is room, or not. Returns by when the worker has to look again.
    pub(super) fn check(&mut self, is_full: bool, is_overfull: bool, now: Duration) -> Option<Duration> {
        if !self.is_standing() {
            return None;
        }
        let is_accepting = self.state == State::Accepting;
        assert!(!(is_overfull && self.must_pause && is_accepting), "accepting with a queue for places");
        if is_full {
            self.blocked = now;
        } else {
            assert!(is_accepting || !self.must_start, "room, and a listener that does not accept");
            assert!(is_accepting || now < self.latest(), "a listener that does not accept any more");
        }
        self.must_start = false;
        self.must_pause = false;
        (!is_accepting).then_some(self.latest())
    }

    /// When it is to be tried again, if nothing lets it try before: a queue for places is looked at on its own time.
    fn latest(&self) -> Duration {
        self.blocked + self.backoff.max(FULL_RETRY)
    }
}
