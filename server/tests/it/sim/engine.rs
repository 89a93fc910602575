//! The simulated engine: `Proactor` over the world, with a judge who looks at every turn of the worker.
//!
//! It does what the trait and the two real engines allow, and no more: a completion is handed out by any later
//! `wait`, in any order among those that are there, but what one listener does comes in its order; accepting that
//! was paused or stopped fails no more; a token is free once its `Closed` was handed out, within the same batch too.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use finwait_server::conn::{Event, Op};
use finwait_server::drain::Stage;
use finwait_server::proactor::{Completion, ListenerId, Proactor, Token};

use super::coverage::{ACCEPT_ERRORS, Cell, Coverage, ECONNABORTED, EINTR, EMFILE, Trick, name};
use super::door::{Door, State};
use super::judge::Judge;
use super::log::{Id, Note};
use super::world::{Happening, Ready, World};

/// More completions in one batch than this are a crowd.
const CROWD: usize = 12;

/// One turn of a loop costs some time.
const TURN_US: u64 = 50;

pub(super) struct Engine {
    pub(super) world: World,
    pub(super) judge: Judge,
    pub(super) steps: u64,
    flag: Arc<Flag>,
    /// The last stage that the worker was woken for.
    stage: Stage,
    epoch: Instant,
    /// Tokens given back in the batch that is being made.
    freed: BTreeSet<u32>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where the next completion of a batch comes from.
#[derive(Clone, Copy)]
enum From {
    Ring(Ready),
    Door(usize),
}

impl Engine {
    pub(super) fn new(world: World, judge: Judge, epoch: Instant) -> Self {
        let mut engine = Self {
            world,
            judge,
            steps: 0,
            flag: Arc::default(),
            stage: Stage::Serving,
            epoch,
            freed: BTreeSet::new(),
        };
        if engine.world.swarm.drain_at.is_zero() {
            engine.world.coverage.trick(Trick::SignalBeforeRun);
            engine.world.signal(Stage::Draining);
            engine.stage = Stage::Draining;
        }
        engine.judge.begin_turn(&mut engine.world);
        engine
    }

    fn id(&self, token: Token) -> Id {
        let id = self.world.by_token.get(token.index()).copied().flatten();
        id.expect("the worker speaks of a connection that is gone")
    }

    /// A signal may come at any moment.
    fn maybe_signal(&mut self) {
        let world = &mut self.world;
        if world.dice.chance(world.rates.signals) {
            let next = match world.drain.stage() {
                // Two signals may come as one.
                Stage::Serving => world.dice.pick(&[Stage::Draining, Stage::Draining, Stage::Expiring]),
                Stage::Draining | Stage::Expiring => Stage::Expiring,
            };
            world.coverage.trick(Trick::SignalInTurn);
            world.signal(next);
        }
    }

    fn has_ready(&self) -> bool {
        !self.world.ready.is_empty() || self.world.doors.iter().any(Door::is_ready)
    }

    /// Lets time pass until something is ready or `limit` is reached. Says whether it returns before its time.
    fn pass_time(&mut self, limit: Option<Duration>) -> bool {
        if self.has_ready() {
            let after = self.world.dice.moment(TURN_US);
            self.world.now += after;
        }
        let is_spurious = self.world.dice.chance(self.world.rates.spurious);
        loop {
            self.world.happen_all();
            self.check_woken();
            if self.flag.0.swap(false, Ordering::Relaxed) {
                self.world.ready.push(Ready::Woken);
            }
            if is_spurious || self.has_ready() {
                return is_spurious;
            }
            let next = self.world.next();
            match (next, limit) {
                (None, None) => panic!("nothing will ever happen, and the worker waits for ever"),
                (Some(next), None) => self.world.now = next,
                (Some(next), Some(limit)) if next <= limit => self.world.now = next,
                (_, Some(limit)) => {
                    self.world.now = limit.max(self.world.now);
                    if self.world.dice.chance(self.world.rates.late) {
                        self.world.now += self.world.dice.moment(20_000);
                        self.world.coverage.trick(Trick::LateReturn);
                    }
                    self.world.happen_all();
                    return false;
                }
            }
        }
    }

    /// A signal that came while the worker waits, or was about to, has to wake it.
    fn check_woken(&mut self) {
        let stage = self.world.drain.stage();
        assert!(stage == self.stage || self.flag.0.load(Ordering::Relaxed), "a signal wakes nobody");
        self.stage = stage;
    }

    /// Hands out some of what is ready, in some order.
    fn hand_out(&mut self, completions: &mut Vec<Completion>) {
        let world = &mut self.world;
        let mut batch = Vec::new();
        for ready in mem::take(&mut world.ready) {
            if world.dice.chance(world.rates.held_back) {
                world.coverage.trick(Trick::HeldBack);
                world.ready.push(ready);
            } else {
                batch.push(From::Ring(ready));
            }
        }
        for door in 0..world.doors.len() {
            let is_ready = world.doors[door].is_ready();
            if is_ready && !world.dice.chance(world.rates.held_back) {
                // One more than there are, for the end of its closing.
                batch.extend(vec![From::Door(door); world.doors[door].backlog.len() + 1]);
            }
        }
        world.dice.shuffle(&mut batch);
        self.freed.clear();
        for from in batch {
            match from {
                From::Ring(ready) => completions.push(self.reap(ready)),
                From::Door(door) => completions.extend(self.accept(door)),
            }
        }
        if completions.len() > CROWD {
            self.world.coverage.trick(Trick::ManyAtOnce);
        }
    }

    fn reap(&mut self, ready: Ready) -> Completion {
        let world = &mut self.world;
        let (id, event) = match ready {
            Ready::Event(id, event) => (id, event),
            Ready::Woken => {
                world.note(Note::Woken);
                return Completion::Woken;
            }
        };
        world.note(Note::Event(id, event));
        let conn = &mut world.conns[id];
        let token = conn.token;
        conn.socket.delivered(event);
        conn.books.note(event, world.now, self.judge.expected(), &mut world.coverage);
        if event == Event::Closed {
            world.open.remove(&id);
            world.by_token[token as usize] = None;
            world.free.insert(token);
            self.freed.insert(token);
            world.coverage.count(Cell::Stage(name(world.drain.stage()), conn.books.phase));
            self.judge.closed(world, id);
        }
        Completion::Event(Token(token), event)
    }

    /// One accept of a listener, if it can end now.
    fn accept(&mut self, at: usize) -> Option<Completion> {
        let world = &mut self.world;
        let listener = ListenerId(u32::try_from(at).expect("few listeners"));
        let is_out = world.open.len() >= world.swarm.descriptors;
        let door = &mut world.doors[at];
        if !door.is_ready() {
            return None;
        }
        if door.state == State::Stopping && (door.backlog.is_empty() || is_out) {
            return self.close_door(at).then_some(Completion::AcceptStopped { listener });
        }
        if door.state == State::Accepting {
            let errno = if is_out {
                world.coverage.trick(Trick::DescriptorsOut);
                Some(EMFILE)
            } else {
                let fails = world.dice.chance(world.rates.accept_fails);
                fails.then(|| world.dice.pick(&ACCEPT_ERRORS))
            };
            if let Some(errno) = errno {
                self.accept_fails(at, errno);
                return Some(Completion::AcceptFailed {
                    listener,
                    error: io::Error::from_raw_os_error(errno),
                });
            }
        } else if door.state == State::Resting {
            door.stragglers -= 1;
            world.coverage.trick(Trick::Straggler);
        }
        let id = door.backlog.pop_front()?;
        let token = self.name(id);
        self.judge.accepted(&mut self.world, id);
        Some(Completion::Accepted { listener, token })
    }

    fn accept_fails(&mut self, at: usize, errno: i32) {
        let world = &mut self.world;
        world.note(Note::AcceptFailed { door: at, errno });
        world.coverage.count(Cell::AcceptFailed(errno));
        // These say nothing about the next accept.
        let again = errno == ECONNABORTED || errno == EINTR;
        world.doors[at].failed(again, world.now);
        if errno == ECONNABORTED
            && let Some(lost) = world.doors[at].backlog.pop_front()
        {
            world.conns[lost].socket.rst = true;
        }
    }

    /// Closes a listener, once it may be. What its backlog still holds is reset.
    fn close_door(&mut self, at: usize) -> bool {
        let door = &mut self.world.doors[at];
        if !door.may_close {
            return false;
        }
        door.state = State::Stopped;
        for lost in mem::take(&mut door.backlog) {
            self.world.conns[lost].socket.rst = true;
        }
        self.world.note(Note::Stopped { door: at });
        true
    }

    /// Gives a connection a token: mostly one that was given back just now, so that what comes late would hit it.
    fn name(&mut self, id: Id) -> Token {
        let world = &mut self.world;
        let free = if world.dice.chance(700) { world.free.last() } else { world.free.first() };
        let token = match free.copied() {
            Some(token) => {
                world.free.remove(&token);
                let is_fresh = self.freed.contains(&token);
                world.coverage.trick(if is_fresh { Trick::TokenReusedInBatch } else { Trick::TokenReused });
                token
            }
            None => {
                world.by_token.push(None);
                u32::try_from(world.by_token.len() - 1).expect("few connections")
            }
        };
        world.by_token[token as usize] = Some(id);
        world.conns[id].token = token;
        world.open.insert(id);
        world.count_accepted(id);
        world.note(Note::Accepted(id, token));
        Token(token)
    }

    pub(super) fn coverage(&self) -> &Coverage {
        &self.world.coverage
    }
}

impl Proactor for Engine {
    fn start_accepting(&mut self, listener: ListenerId) {
        let door = listener.index();
        self.world.note(Note::Starts { door });
        self.world.doors[door].start(self.world.now);
        if self.world.drain.stage() == Stage::Serving {
            self.maybe_signal();
        }
    }

    fn pause_accepting(&mut self, listener: ListenerId) {
        let door = listener.index();
        self.world.note(Note::Pauses { door });
        let stragglers = self.world.dice.below(3) as u32;
        self.world.doors[door].pause(self.world.now, stragglers);
    }

    fn refuse_handshakes(&mut self, listener: ListenerId) {
        let door = listener.index();
        self.world.note(Note::Refuses { door });
        self.world.doors[door].refuse(self.world.now);
        // The stage may have risen since the `wait`: the worker has seen it now.
        self.judge.begin_turn(&mut self.world);
    }

    fn stop_accepting(&mut self, listener: ListenerId) {
        let door = listener.index();
        self.world.note(Note::Stops { door });
        self.judge.stops(&mut self.world, door);
        self.world.doors[door].stop();
        let after = self.world.delay();
        self.world.put(after, Happening::DoorMayClose(door));
    }

    fn submit(&mut self, token: Token, op: Op) {
        let id = self.id(token);
        let world = &mut self.world;
        world.note(Note::Submits(id, op));
        let deadlines = world.swarm.deadlines;
        world.conns[id].books.ask(op, world.now, &deadlines, &mut world.coverage);
        world.submit(id, op);
        self.maybe_signal();
    }

    fn is_dry(&mut self, token: Token) -> bool {
        let id = self.id(token);
        let is_dry = self.world.look(id);
        self.world.conns[id].books.looked(is_dry, &mut self.world.coverage);
        self.maybe_signal();
        is_dry
    }

    fn part(&mut self, token: Token) -> u32 {
        let id = self.id(token);
        let world = &mut self.world;
        let owed = world.conns[id].socket.part(&mut world.dice);
        world.note(Note::Parts(id, owed));
        world.conns[id].books.parted(owed, world.now, self.judge.expected(), &mut world.coverage);
        owed
    }

    fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        assert!(completions.is_empty(), "completions that nobody has looked at");
        self.judge.end_turn(&mut self.world, timeout);
        self.steps += 1;
        self.world.note(Note::Waits(timeout));
        let limit = timeout.map(|timeout| self.world.now + timeout);
        let had_ready = self.has_ready();
        let is_early = self.pass_time(limit);
        if is_early {
            self.world.coverage.trick(Trick::Spurious);
        } else {
            self.hand_out(completions);
        }
        self.world.note(Note::Returns(completions.len()));
        self.judge.note_handed_out(completions.len(), timeout, is_early || had_ready);
        self.judge.begin_turn(&mut self.world);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.epoch + self.world.now
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.flag).into()
    }
}
