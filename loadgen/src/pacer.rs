//! When connections are started: on a schedule that waits for nobody, or whenever there is a free slot.

use crate::clock::Nanos;

/// The starts of one thread.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// Starts left; `None` for no end.
    left: Option<u64>,
    /// No start is due from here on; `None` for no end.
    until: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
enum Pace {
    /// As fast as slots get free.
    Closed,
    /// The next start is the `nth` on a schedule.
    Open { schedule: Schedule, nth: u64, step: u64 },
}

/// Moments at a fixed rate, counted from 0.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    begin: Nanos,
    interval_ns: f64,
}

impl Schedule {
    /// `rate` moments per second, the first of them at `begin`.
    #[must_use]
    pub fn new(rate: f64, begin: Nanos) -> Self {
        Self { begin, interval_ns: 1e9 / rate }
    }

    /// When the `nth` is. From the number, not by adding up: a schedule does not drift.
    #[must_use]
    pub fn at(&self, nth: u64) -> Nanos {
        self.begin + (nth as f64 * self.interval_ns) as Nanos
    }
}

/// A start that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Now, as there is a slot.
    Now,
    /// It was planned for this moment.
    Planned(Nanos),
}

impl Pacer {
    /// A closed loop: a start is always due.
    #[must_use]
    pub fn closed(count: Option<u64>, until: Option<Nanos>) -> Self {
        Self { pace: Pace::Closed, left: count, until }
    }

    /// An open loop of `rate` starts per second from `begin` on, of which this thread makes every `step`-th, beginning
    /// with the `first`.
    #[must_use]
    pub fn open(
        rate: f64,
        begin: Nanos,
        (first, step): (u64, u64),
        count: Option<u64>,
        until: Option<Nanos>,
    ) -> Self {
        Self {
            pace: Pace::Open { schedule: Schedule::new(rate, begin), nth: first, step },
            left: count,
            until,
        }
    }

    /// When the next start is due; `None` when there is none any more.
    #[must_use]
    pub fn next(&self) -> Option<Nanos> {
        let next = match self.pace {
            Pace::Closed => 0,
            Pace::Open { schedule, nth, .. } => schedule.at(nth),
        };
        let is_over = self.left == Some(0) || self.until.is_some_and(|until| next >= until);
        (!is_over).then_some(next)
    }

    /// Takes the next start, if it is due at `now`.
    pub fn take(&mut self, now: Nanos) -> Option<Start> {
        let planned = self.next().filter(|&next| next <= now)?;
        if self.until.is_some_and(|until| now >= until) {
            return None;
        }
        self.advance();
        match self.pace {
            Pace::Closed => Some(Start::Now),
            Pace::Open { .. } => Some(Start::Planned(planned)),
        }
    }

    /// Lets so many starts more follow those that are left.
    pub fn add(&mut self, count: u64) {
        if let Some(left) = &mut self.left {
            *left += count;
        }
    }

    /// Ends the schedule, at `now` or at its end: how many starts were planned until then and not taken.
    pub fn give_up(&mut self, now: Nanos) -> u64 {
        let mut missed = 0;
        while let (Pace::Open { .. }, Some(_)) = (self.pace, self.next().filter(|&next| next <= now)) {
            self.advance();
            missed += 1;
        }
        self.left = Some(0);
        missed
    }

    /// Whether the time for starts is over at `now`, or there are none left.
    #[must_use]
    pub fn is_over(&self, now: Nanos) -> bool {
        self.next().is_none() || self.until.is_some_and(|until| now >= until)
    }

    /// Whether there is a schedule.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.pace, Pace::Open { .. })
    }

    /// Whether nothing but a free slot holds the next start back, for ever: what fails at once would be tried again at
    /// once.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        matches!(self.pace, Pace::Closed) && self.left.is_none()
    }

    fn advance(&mut self) {
        if let Pace::Open { nth, step, .. } = &mut self.pace {
            *nth += *step;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
    }
}
