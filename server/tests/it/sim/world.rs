//! Everything outside of the worker: connections, listeners, and what happens to them in virtual time.
//!
//! The world moves only inside of `wait` (and where a look or a signal is raced). What happens is put into an agenda
//! with its time; what happened at one time happens in the order in which it was put there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use finwait_server::conn::{Event, Fault, Op, OpKind};
use finwait_server::drain::{Drain, Stage};
use finwait_server::policy::{ACCEPT_QUIET, Places};

use super::books::Books;
use super::coverage::{Coverage, Trick};
use super::dice::Dice;
use super::door::{Door, State};
use super::log::{Id, Log, Note};
use super::peer::{Did, Peer};
use super::socket::{Flight, PeerFin, Socket, Wire};
use super::swarm::{Rates, Swarm};

/// Something that is to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Connect {
        door: usize,
    },
    PeerWrites(Id),
    PeerReads(Id),
    /// The kernel looks whether an operation can end.
    Try(Id, OpKind),
    Cancel(Id, OpKind),
    Close(Id),
    Fed(Id),
    /// The ledger answers a FIN.
    Answers(Id),
    Breaks(Id, Fault),
    Signal(Stage),
    Others,
    Calm,
    DoorMayClose(usize),
}

pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
    pub(super) books: Books,
    pub(super) token: u32,
    pub(super) door: usize,
}

/// What the engine can hand out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    Event(Id, Event),
    Woken,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) dice: Dice,
    pub(super) swarm: Swarm,
    pub(super) rates: Rates,
    pub(super) log: Log,
    pub(super) coverage: Coverage,
    pub(super) conns: Vec<Connection>,
    /// Those that the worker knows, by their age.
    pub(super) open: BTreeSet<Id>,
    /// Who has a token, and which are free.
    pub(super) by_token: Vec<Option<Id>>,
    pub(super) free: BTreeSet<u32>,
    pub(super) doors: Vec<Door>,
    pub(super) ready: Vec<Ready>,
    pub(super) drain: Arc<Drain>,
    places: Arc<Places>,
    /// Places that other workers have.
    pub(super) others: u32,
    agenda: BTreeMap<(Duration, u64), Happening>,
    put: u64,
}

impl World {
    pub(super) fn new(
        mut dice: Dice,
        swarm: Swarm,
        log: Log,
        drain: Arc<Drain>,
        places: Arc<Places>,
    ) -> Self {
        let mut plan = Vec::new();
        // Many come at once, and a few of them later.
        let span = swarm.calm_at.max(Duration::from_millis(1));
        let mut at = Duration::ZERO;
        for _ in 0..swarm.crowd.conns {
            if dice.chance(300) {
                at = dice.moment(span.as_micros() as u64);
            }
            // Some of them around the signal.
            let is_last = !swarm.is_patient && dice.chance(swarm.crowd.last);
            let at = if is_last { swarm.drain_at + dice.moment(100_000) } else { at };
            let door = dice.below(swarm.doors as u64) as usize;
            plan.push((at, Happening::Connect { door }));
        }
        plan.push((swarm.calm_at, Happening::Calm));
        if !swarm.drain_at.is_zero() {
            plan.push((swarm.drain_at, Happening::Signal(Stage::Draining)));
        }
        plan.extend(swarm.expire_at.map(|at| (at, Happening::Signal(Stage::Expiring))));
        if swarm.others {
            plan.extend((0..4).map(|_| (dice.moment(span.as_micros() as u64), Happening::Others)));
        }
        let mut world = Self {
            now: Duration::ZERO,
            rates: swarm.rates,
            log,
            coverage: Coverage::default(),
            conns: Vec::new(),
            open: BTreeSet::new(),
            by_token: Vec::new(),
            free: BTreeSet::new(),
            doors: (0..swarm.doors).map(|_| Door::new()).collect(),
            ready: Vec::new(),
            drain,
            places,
            others: 0,
            agenda: BTreeMap::new(),
            put: 0,
            dice,
            swarm,
        };
        for (at, happening) in plan {
            world.put(at, happening);
        }
        world
    }

    pub(super) fn note(&mut self, note: Note) {
        self.log.note(self.now, note);
    }

    /// Puts something into the agenda.
    pub(super) fn put(&mut self, after: Duration, happening: Happening) {
        self.agenda.insert((self.now + after, self.put), happening);
        self.put += 1;
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Option<Duration> {
        self.agenda.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Lets everything happen that is due.
    pub(super) fn happen_all(&mut self) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= self.now
        {
            let happening = entry.remove();
            self.happen(happening);
        }
    }

    /// How long the kernel takes for something.
    pub(super) fn delay(&mut self) -> Duration {
        if self.dice.chance(self.rates.slow) {
            self.coverage.trick(Trick::Slow);
            return self.dice.moment(5000);
        }
        Duration::ZERO
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connect { door } => self.connect(door),
            Happening::PeerWrites(id) => self.peer_writes(id),
            Happening::PeerReads(id) => self.peer_reads(id),
            Happening::Try(id, op) => {
                let was = self.conns[id].socket.answer;
                let event = self.conns[id].socket.attempt(op, &mut self.dice, &self.rates);
                if self.conns[id].socket.answer != was && event.is_none() {
                    let after = if self.dice.chance(500) { self.dice.moment(20_000) } else { Duration::ZERO };
                    self.put(after, Happening::Answers(id));
                }
                self.end(id, event);
            }
            Happening::Cancel(id, op) => {
                let event = self.conns[id].socket.cancel(op, &mut self.dice, &self.rates);
                self.end(id, event);
            }
            Happening::Close(id) => self.end(id, Some(Event::Closed)),
            Happening::Fed(id) => {
                self.conns[id].socket.starved = false;
                self.poke(id, OpKind::Recv);
            }
            Happening::Answers(id) => {
                let socket = &mut self.conns[id].socket;
                // Cancelled, or failed: its connection is gone.
                if socket.answer == Flight::Pending(()) {
                    socket.answer = Flight::Done;
                    self.coverage.trick(Trick::Answered);
                    self.poke(id, OpKind::Recv);
                }
            }
            Happening::Breaks(id, fault) => {
                if !self.conns[id].socket.is_over() {
                    self.note(Note::Breaks(id));
                    self.breaks(id, fault);
                }
            }
            Happening::Signal(stage) => self.signal(stage),
            Happening::Others => self.others(),
            Happening::Calm => self.calm(),
            Happening::DoorMayClose(door) => self.doors[door].may_close = true,
        }
    }

    /// The end of an operation goes into the ring, and its consequences into the world.
    fn end(&mut self, id: Id, event: Option<Event>) {
        let Some(event) = event else { return };
        self.ready.push(Ready::Event(id, event));
        match event {
            Event::Sent(_) | Event::FinSent | Event::Closed => self.wake_reader(id),
            Event::PeerFin { .. } => {
                if let Wire::Overtaken(_) = self.conns[id].socket.wire {
                    self.coverage.trick(Trick::Overtaken);
                    self.poke(id, OpKind::Send);
                }
            }
            Event::Failed { .. } => self.poke_all(id),
            Event::Received { .. } | Event::Drain | Event::Dry => {}
            Event::Parted { .. } | Event::Expired => {}
        }
    }

    pub(super) fn poke(&mut self, id: Id, op: OpKind) {
        let after = self.delay();
        self.put(after, Happening::Try(id, op));
    }

    fn poke_all(&mut self, id: Id) {
        self.poke(id, OpKind::Recv);
        self.poke(id, OpKind::Send);
    }

    fn breaks(&mut self, id: Id, fault: Fault) {
        self.conns[id].socket.breaks(fault, self.swarm.purges);
        self.poke_all(id);
    }

    fn connect(&mut self, door: usize) {
        let Door { state, refused, .. } = &self.doors[door];
        if *state == State::Stopped {
            return;
        }
        if let Some(refused) = *refused {
            // With a filter only a handshake that was under way is still completed.
            let is_late = self.now > refused + ACCEPT_QUIET;
            if self.swarm.filter && (is_late || self.dice.chance(500)) {
                return self.coverage.trick(Trick::RefusedAtTheDoor);
            }
            self.coverage.trick(Trick::HandshakesGoOn);
        }
        let id = self.conns.len();
        let peer = Peer::draw(&mut self.dice, &self.swarm);
        let after = peer.starts_after(&mut self.dice);
        if self.dice.chance(self.swarm.crowd.dies) {
            let fault = self.dice.pick(&[Fault::Aborted, Fault::TimedOut]);
            let after = self.dice.span(100);
            self.put(after, Happening::Breaks(id, fault));
        }
        let ledger = self.dice.chance(self.swarm.crowd.ledger);
        self.conns.push(Connection {
            socket: Socket::new(self.swarm.send_room, ledger),
            peer,
            books: Books::new(self.swarm.window),
            token: u32::MAX,
            door,
        });
        self.doors[door].backlog.push_back(id);
        self.note(Note::Connects(id, door));
        self.put(after, Happening::PeerWrites(id));
    }

    fn peer_writes(&mut self, id: Id) {
        let Connection { socket, peer, .. } = &mut self.conns[id];
        let turn = peer.write(socket, &self.swarm);
        self.peer_did(id, turn.did);
        if let Some(after) = turn.next {
            self.put(after, Happening::PeerWrites(id));
        }
    }

    fn peer_reads(&mut self, id: Id) {
        let Connection { socket, peer, .. } = &mut self.conns[id];
        peer.is_reading = false;
        let turn = peer.read(socket, &self.swarm);
        self.peer_did(id, turn.did);
        if let Some(after) = turn.next {
            if turn.did == Some(Did::ReadFin) {
                self.put(after, Happening::PeerWrites(id));
            } else {
                self.wake_reader(id);
            }
        }
    }

    fn peer_did(&mut self, id: Id, did: Option<Did>) {
        let Some(did) = did else { return };
        self.note(Note::Peer(id, did));
        match did {
            Did::Sent(_) | Did::Fin | Did::Closed => self.poke(id, OpKind::Recv),
            Did::Reset => {
                if self.swarm.purges {
                    self.coverage.trick(Trick::QueuePurged);
                }
                self.poke_all(id);
            }
            Did::Read(_) => self.poke(id, OpKind::Send),
            Did::ReadFin => self.coverage.trick(Trick::PeerReadsFin),
            Did::ReadReset => self.coverage.trick(Trick::PeerReadsReset),
        }
    }

    /// There is something to read for a peer.
    fn wake_reader(&mut self, id: Id) {
        let peer = &mut self.conns[id].peer;
        if !peer.ended && !peer.is_reading {
            peer.is_reading = true;
            let pace = peer.read_pace();
            self.put(pace, Happening::PeerReads(id));
        }
    }

    /// Raises the stage of the server, as a signal does.
    pub(super) fn signal(&mut self, stage: Stage) {
        if self.drain.stage() < stage {
            self.note(Note::Signal(stage));
            self.drain.raise(stage);
        }
    }

    /// Another worker takes a place, or gives one back.
    fn others(&mut self) {
        if self.others > 0 && self.dice.chance(600) {
            self.others_leave(1);
        } else if self.places.take() {
            self.others += 1;
        }
        self.note(Note::PlacesOfOthers(self.others));
        if self.swarm.others && self.drain.stage() == Stage::Serving {
            let after = self.dice.span(200);
            self.put(after, Happening::Others);
        }
    }

    pub(super) fn others_leave(&mut self, count: u32) {
        for _ in 0..count {
            self.places.give_back();
            self.others -= 1;
        }
    }

    fn calm(&mut self) {
        self.note(Note::Calm);
        self.rates = Rates::default();
        self.others_leave(self.others);
        self.swarm.others = false;
    }

    /// Starts what the worker asked for.
    pub(super) fn submit(&mut self, id: Id, op: Op) {
        self.conns[id].socket.submit(op);
        match op {
            Op::Recv { .. } | Op::Discard => {
                if op != Op::Discard && self.dice.chance(self.rates.starves) {
                    self.conns[id].socket.starved = true;
                    self.note(Note::Starved(id));
                    self.coverage.trick(Trick::Starved);
                    let after = self.dice.span(60);
                    self.put(after, Happening::Fed(id));
                } else {
                    self.poke(id, OpKind::Recv);
                }
            }
            Op::Send { .. } => self.poke(id, OpKind::Send),
            Op::Fin => self.poke(id, OpKind::Fin),
            Op::Cancel => {
                for op in [OpKind::Recv, OpKind::Send, OpKind::Fin] {
                    let after = self.delay();
                    self.put(after, Happening::Cancel(id, op));
                }
            }
            Op::Close | Op::Reset => {
                let after = self.delay();
                self.put(after, Happening::Close(id));
            }
        }
    }

    /// A true look, and sometimes something that arrives right behind it.
    pub(super) fn look(&mut self, id: Id) -> bool {
        let socket = &mut self.conns[id].socket;
        assert!(socket.recv != Flight::None, "a look without a receive in flight");
        let is_dry = socket.is_dry();
        if let Wire::Broken(_) = socket.wire
            && socket.unread() == 0
            && socket.peer_fin != PeerFin::Queued
            && self.dice.chance(500)
        {
            // MSG_PEEK reports an error as any receive does, and the next one finds none.
            socket.wire = Wire::Dead;
            self.coverage.trick(Trick::LookTookReset);
            self.poke_all(id);
        }
        self.coverage.trick(if is_dry { Trick::DryLook } else { Trick::WetLook });
        self.note(Note::Looks(id, is_dry));
        if is_dry && self.dice.chance(self.rates.raced) {
            self.coverage.trick(Trick::RacedLook);
            self.peer_writes(id);
        }
        is_dry
    }

    /// How a connection looks at the moment of its accept.
    pub(super) fn count_accepted(&mut self, id: Id) {
        let socket = &self.conns[id].socket;
        let early = [
            (socket.arrived > 0, Trick::BytesBeforeAccept),
            (socket.peer_fin == PeerFin::Queued, Trick::FinBeforeAccept),
            (socket.wire != Wire::Up, Trick::ResetBeforeAccept),
        ];
        for (_, trick) in early.into_iter().filter(|&(is_so, _)| is_so) {
            self.coverage.trick(trick);
        }
    }
}
