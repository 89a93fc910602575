//! What must hold of the whole worker after each of its turns, kept from what it was told and what it asks for.
//!
//! The books of a connection know that connection; the judge knows the counters, the places, the listeners and the
//! drain, and by when the worker has to wake up. It is called when a `wait` has handed something out (then it knows
//! what the worker knows) and when the next one begins (then the worker has done all that it will do about it).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use finwait_server::conn::{Fault, Outcome, Phase};
use finwait_server::drain::Stage;
use finwait_server::metrics::Tally;
use finwait_server::policy::{ACCEPT_QUIET, BACKLOG, FULL_RETRY, TAKE_RETRY};
use finwait_server::worker::Settings;

use super::coverage::{Cell, Trick, name};
use super::door::{Door, State};
use super::log::Id;
use super::swarm::patience;
use super::world::World;

/// What a drain may take beyond its timeout: some completions that the kernel or the engine hands out late.
const DRAIN_SLACK: Duration = Duration::from_millis(300);

/// Places that are counted one by one.
const PLACES_COUNTED: u32 = 64;

/// Turns without anything in them, one behind the other, that are no spin yet: the loop looks twice for a last take.
const EMPTY_MAX: u32 = 3;

struct Ending {
    began: Duration,
    accepted: Duration,
    drained: bool,
    expired: bool,
}

pub(super) struct Judge {
    settings: Settings,
    places_max: Option<u32>,
    /// What the counters must say.
    expected: Tally,
    /// Accepted and without a place, oldest first.
    waiting: VecDeque<Id>,
    placed: u32,
    ending: Option<Ending>,
    empty: u32,
}

impl Judge {
    pub(super) fn new(settings: Settings, places_max: Option<u32>) -> Self {
        Self {
            settings,
            places_max,
            expected: Tally::default(),
            waiting: VecDeque::new(),
            placed: 0,
            ending: None,
            empty: 0,
        }
    }

    pub(super) fn expected(&mut self) -> &mut Tally {
        &mut self.expected
    }

    fn has_place(&self, world: &World) -> bool {
        self.places_max.is_none_or(|max| self.placed + world.others < max)
    }

    fn place(&mut self, world: &mut World, id: Id) {
        self.placed += 1;
        world.conns[id].books.place(world.now);
    }

    /// Those who wait get places in the order in which they came.
    fn place_waiting(&mut self, world: &mut World, is_by_others: bool) {
        while self.has_place(world)
            && let Some(id) = self.waiting.pop_front()
        {
            world.coverage.trick(if is_by_others { Trick::PlaceFromOthers } else { Trick::Waited });
            self.place(world, id);
        }
    }

    pub(super) fn accepted(&mut self, world: &mut World, id: Id) {
        self.expected.accepted += 1;
        world.coverage.count(Cell::Phase(Phase::Echoing));
        let at = world.conns[id].door;
        world.doors[at].accepted();
        if let Some(ending) = &mut self.ending {
            ending.accepted = world.now;
            world.doors[at].late += 1;
            world.coverage.trick(match ending {
                Ending { expired: true, .. } => Trick::AcceptedAfterExpiry,
                Ending { drained: true, .. } => Trick::AcceptedAfterGrace,
                Ending { .. } => Trick::AcceptedInDrain,
            });
            self.place(world, id);
        } else if self.waiting.is_empty() && self.has_place(world) {
            self.place(world, id);
        } else {
            self.waiting.push_back(id);
            // Other workers may have given places back since the last turn.
            self.place_waiting(world, true);
            if !self.waiting.is_empty() {
                world.doors[at].overfull();
            }
        }
    }

    pub(super) fn closed(&mut self, world: &mut World, id: Id) {
        let outcome = world.conns[id].books.outcome();
        let counter = match outcome {
            Outcome::Graceful => &mut self.expected.graceful,
            Outcome::Faulted(Fault::Reset) => &mut self.expected.reset,
            Outcome::Faulted(Fault::Shutdown) => &mut self.expected.shutdown_failed,
            Outcome::Faulted(Fault::Aborted | Fault::TimedOut | Fault::Cancelled | Fault::Local) => {
                &mut self.expected.aborted
            }
            Outcome::Expired => &mut self.expected.expired,
        };
        *counter += 1;
        if self.ending.is_some() && outcome == Outcome::Expired {
            self.expected.expired_in_drain += 1;
        }
        self.placed -= 1;
        self.place_waiting(world, false);
        world.doors.iter_mut().for_each(Door::retry);
    }

    /// A `wait` has handed out what it had, and the worker is about to act.
    pub(super) fn begin_turn(&mut self, world: &mut World) {
        let (now, stage) = (world.now, world.drain.stage());
        for &id in &world.open {
            world.coverage.count(Cell::Stage(name(stage), world.conns[id].books.phase));
        }
        if stage != Stage::Serving {
            if self.ending.is_none() {
                self.begin_ending(world);
            }
            self.advance_ending(world, stage);
        }
        self.place_waiting(world, true);
        for &id in &world.open {
            let conn = &mut world.conns[id];
            let held = conn.socket.arrived.saturating_sub(conn.books.taken());
            conn.books.look_at_idle(held, now, &self.settings.deadlines);
        }
    }

    fn begin_ending(&mut self, world: &mut World) {
        let now = world.now;
        self.ending = Some(Ending { began: now, accepted: now, drained: false, expired: false });
        while let Some(id) = self.waiting.pop_front() {
            self.place(world, id);
        }
        world.doors.iter_mut().for_each(Door::retry);
        if world.swarm.is_patient && now >= world.swarm.calm_at + patience(&self.settings.deadlines) {
            assert!(world.open.is_empty(), "nothing goes wrong any more, and connections stay open");
            if !world.conns.is_empty() {
                world.coverage.trick(Trick::EndedByDeadlinesAlone);
            }
        }
    }

    fn advance_ending(&mut self, world: &mut World, stage: Stage) {
        let Some(ending) = &mut self.ending else { return };
        let since = world.now - ending.began;
        ending.expired |= stage == Stage::Expiring || since >= self.settings.drain_timeout;
        ending.drained |= ending.expired || since >= self.settings.grace;
        for &id in &world.open {
            let conn = &mut world.conns[id];
            let held = conn.socket.arrived.saturating_sub(conn.books.taken());
            if ending.drained {
                conn.books.drained(held, &mut world.coverage);
            }
            if ending.expired {
                conn.books.expired(&mut world.coverage);
            }
        }
    }

    /// The worker waits again, so it has done everything that it will do.
    pub(super) fn end_turn(&mut self, world: &mut World, timeout: Option<Duration>) {
        let now = world.now;
        assert_eq!(self.settings.metrics.tally(), self.expected, "the counters (left) are wrong");
        self.check_places(world);
        let mut latest: Vec<Duration> = Vec::new();
        for &id in &world.open {
            let conn = &mut world.conns[id];
            let is_dry = conn.socket.is_dry();
            latest.extend(conn.books.check(is_dry, now, &self.settings.deadlines));
        }
        let is_serving = self.ending.is_none();
        let is_overfull = is_serving && !self.waiting.is_empty();
        let is_full = is_overfull || (is_serving && !self.has_place(world));
        for door in &mut world.doors {
            latest.extend(door.check(is_full, is_overfull, now).map(|at| at.max(now)));
            let is_ended = !door.is_standing();
            assert!(
                is_ended || !self.must_stop(&world.open, door.late, now),
                "a listener stays open in a drain"
            );
            assert!(is_serving || door.refused.is_some(), "a drain that refuses no handshakes");
        }
        if is_overfull {
            latest.push(now + FULL_RETRY);
        }
        latest.extend(self.next_of_ending(world));
        let is_over = world.open.is_empty() && world.doors.iter().all(|door| door.state == State::Stopped);
        assert!(is_serving || !is_over, "the drain is over, and the worker waits");
        if let Some(latest) = latest.into_iter().min() {
            // While a last take is being made the loop looks at nothing more often than at that.
            let latest = latest + TAKE_RETRY;
            let until = timeout.map(|timeout| now + timeout);
            assert!(
                until.is_some_and(|until| until <= latest),
                "it sleeps until {until:?}, and has to act by {latest:?}"
            );
        }
    }

    fn check_places(&self, world: &World) {
        let waits = world.open.iter().filter(|&&id| !world.conns[id].books.placed).count();
        assert_eq!(waits, self.waiting.len());
        let Some(max) = self.places_max else { return };
        let expected = max.saturating_sub(self.placed + world.others);
        let mut free = 0;
        while free < PLACES_COUNTED && self.settings.places.take() {
            free += 1;
        }
        for _ in 0..free {
            self.settings.places.give_back();
        }
        assert_eq!(free, expected, "places are free (left) that should not be, or the other way round");
    }

    /// Whether a listener has to be closed in this turn; earlier it must not be.
    fn must_stop(&self, open: &BTreeSet<Id>, late: u32, now: Duration) -> bool {
        let Some(ending) = &self.ending else { return false };
        let is_quiet = open.is_empty() && now - ending.accepted >= ACCEPT_QUIET;
        let is_late = now - ending.began >= self.settings.grace.max(ACCEPT_QUIET);
        ending.expired || is_quiet || is_late || late >= BACKLOG
    }

    pub(super) fn stops(&self, world: &mut World, door: usize) {
        let may = self.must_stop(&world.open, world.doors[door].late, world.now);
        assert!(may, "a listener is closed before its time");
        if let Some(ending) = &self.ending
            && ending.accepted > ending.began
            && !ending.expired
            && world.now - ending.began < self.settings.grace
        {
            world.coverage.trick(Trick::QuietAfterAccept);
        }
    }

    /// When the drain has to be moved on.
    fn next_of_ending(&self, world: &World) -> Option<Duration> {
        let ending = self.ending.as_ref()?;
        let is_standing = world.doors.iter().any(Door::is_standing);
        let grace = (!ending.drained).then(|| ending.began + self.settings.grace);
        let expiry = (!ending.expired).then(|| ending.began + self.settings.drain_timeout);
        let late = is_standing.then(|| ending.began + self.settings.grace.max(ACCEPT_QUIET));
        let quiet = (is_standing && world.open.is_empty()).then(|| ending.accepted + ACCEPT_QUIET);
        [grace, expiry, late, quiet].into_iter().flatten().min()
    }

    /// A `wait` that was not to block has handed out nothing.
    pub(super) fn note_handed_out(&mut self, count: usize, timeout: Option<Duration>, is_early: bool) {
        let is_empty = count == 0 && timeout == Some(Duration::ZERO) && !is_early;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        assert!(self.empty <= EMPTY_MAX, "the loop spins");
    }

    /// The worker has returned.
    pub(super) fn finish(&mut self, world: &World) {
        let ending = self.ending.as_ref().expect("the worker returns without a drain");
        assert!(world.open.is_empty(), "the worker returns with connections open");
        let are_stopped = world.doors.iter().all(|door| door.state == State::Stopped);
        assert!(are_stopped, "the worker returns with listeners open");
        let took = world.now - ending.began;
        let most = self.settings.drain_timeout.max(ACCEPT_QUIET) + DRAIN_SLACK;
        assert!(took <= most, "the drain took {took:?}");
        self.expected.drain_ns = u64::try_from(took.as_nanos()).expect("a drain is short");
        let tally = self.settings.metrics.tally();
        assert_eq!(tally, self.expected, "the counters (left) are wrong");
        assert_eq!(tally.accepted, tally.ended(), "one outcome each");
        assert_eq!(self.placed, 0, "a closed connection keeps its place");
        self.check_places(world);
    }
}
