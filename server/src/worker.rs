//! The loop, written once for every engine: completions in, machine, operations out.
//!
//! A turn takes every completion before it acts, so that a receive and a send that ended together become one new
//! send. Sends come before receives (the machine orders them), and both before new accepts.

mod accepting;
mod ending;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::conn::{Conn, Event, Op};
use crate::drain::Drain;
use crate::ledger::Branch;
use crate::metrics::Metrics;
use crate::policy::{Deadlines, Places, ROOM, TAKE_RETRY};
use crate::proactor::{Completion, ListenerId, Proactor, Token};

use accepting::Gate;
use ending::Ending;

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most bytes that one connection may owe.
    pub window: u32,
    /// How long a connection may wait for its peer.
    pub deadlines: Deadlines,
    /// In a drain, the time in which connections may end by themselves.
    pub grace: Duration,
    /// From the start of a drain until what is left is expired.
    pub drain_timeout: Duration,
    /// The places under `--max-connections`, shared by all workers.
    pub places: Arc<Places>,
    /// The ledger, if there is one, and which listeners are its own.
    pub ledger: Option<Branch>,
    /// The stage of the whole server.
    pub drain: Arc<Drain>,
    /// This worker's counters.
    pub metrics: Arc<Metrics>,
}

/// Tells whoever started a worker, once, whether its engine could be set up.
#[derive(Debug)]
pub struct Ready(SyncSender<io::Result<()>>);

impl Ready {
    /// A teller, and where it is heard. One that is dropped in silence is heard as an end of the channel.
    #[must_use]
    pub fn channel() -> (Self, Receiver<io::Result<()>>) {
        let (sender, receiver) = sync_channel(1);
        (Self(sender), receiver)
    }

    /// Says how it went.
    pub fn tell(&self, result: io::Result<()>) {
        // Nobody listens any more when another worker failed first.
        let _ = self.0.send(result);
    }
}

/// Tells whether `engine` could be set up, and runs a worker on it if so.
///
/// # Errors
/// As [`run`]. A failure to set up is told, not returned.
pub fn serve(
    engine: io::Result<impl Proactor>,
    listeners: usize,
    settings: &Settings,
    ready: &Ready,
) -> io::Result<()> {
    match engine {
        Ok(mut engine) => {
            ready.tell(Ok(()));
            run(&mut engine, listeners, settings)
        }
        Err(error) => {
            ready.tell(Err(error));
            Ok(())
        }
    }
}

/// Serves `listeners` listeners until the server is drained and the last connection is closed.
///
/// # Errors
/// When the engine breaks ([`Proactor::wait`]); the connections that were open are then lost with it.
pub fn run(proactor: &mut impl Proactor, listeners: usize, settings: &Settings) -> io::Result<()> {
    settings.drain.subscribe(proactor.waker());
    let now = proactor.now();
    let gates = (0..listeners).map(|_| Gate::new()).collect();
    let mut worker = Worker {
        proactor,
        settings,
        slots: Vec::with_capacity(ROOM),
        open: 0,
        gates,
        waiting: VecDeque::new(),
        unsettled: Vec::new(),
        takes: Vec::new(),
        hurried: false,
        ending: None,
        now,
        swept: now,
        logged: None,
    };
    worker.run()
}

/// A connection, as the loop sees it: one line of the cache.
#[repr(align(64))]
struct Slot {
    conn: Conn,
    /// When the peer last moved things on: see [`Deadlines::due`].
    touched: Instant,
    fin_at: Instant,
    /// It holds one of the [`Places`]; without one it waits, unread, as if it were still in the backlog.
    placed: bool,
    /// It stands in `unsettled`.
    unsettled: bool,
    /// It stands in `takes`.
    taking: bool,
}

const _: () = assert!(size_of::<Option<Slot>>() == 64);

struct Worker<'a, P> {
    proactor: &'a mut P,
    settings: &'a Settings,
    /// Connections by token.
    slots: Vec<Option<Slot>>,
    open: usize,
    /// Listeners by id.
    gates: Vec<Gate>,
    /// Accepted beyond `--max-connections`, oldest first.
    waiting: VecDeque<Token>,
    /// Connections whose machine took in events in this turn and has not been asked for operations yet.
    unsettled: Vec<Token>,
    /// Connections whose last take waits for the receive in flight.
    takes: Vec<Token>,
    /// A send was started whose end something waits for: the next wait does not block.
    hurried: bool,
    ending: Option<Ending>,
    now: Instant,
    swept: Instant,
    /// When failing accepts were last logged.
    logged: Option<Instant>,
}

impl<P: Proactor> Worker<'_, P> {
    fn run(&mut self) -> io::Result<()> {
        for id in 0..self.gates.len() {
            self.proactor.start_accepting(listener_id(id));
        }
        let mut completions = Vec::new();
        let mut moved = true;
        loop {
            // Before the first wait too: a drain that began before the worker subscribed has woken nobody.
            self.advance_ending();
            self.sweep();
            self.look_for_dry();
            self.settle();
            self.reopen_gates();
            if self.is_over() {
                return Ok(());
            }
            let hurried = std::mem::take(&mut self.hurried);
            let timeout = if hurried { Some(Duration::ZERO) } else { self.timeout(moved) };
            self.proactor.wait(timeout, &mut completions)?;
            self.now = self.proactor.now();
            moved = !completions.is_empty();
            for completion in completions.drain(..) {
                self.complete(completion);
            }
        }
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Event(token, event) => self.take_in(token, event),
            Completion::Accepted { listener, token } => self.accepted(listener, token),
            Completion::AcceptFailed { listener, error } => self.accept_failed(listener, &error),
            Completion::AcceptStopped { listener } => self.gates[listener.index()].stopped(),
            // The stage, the only thing that others change, is looked at in every turn.
            Completion::Woken => {}
        }
    }

    /// Lets the machine take in one event, and accounts for it.
    fn take_in(&mut self, token: Token, event: Event) {
        let now = self.now;
        let metrics = &self.settings.metrics;
        let slot = slot(&mut self.slots, token);
        let owed_before = slot.conn.owed();
        slot.conn.handle(event);
        match event {
            Event::Received { taken, owed } => {
                let kept = slot.conn.owed() - owed_before;
                metrics.receive(taken, kept, owed - kept);
                if owed_before == 0 {
                    slot.touched = now;
                }
            }
            Event::PeerFin { .. } => {
                metrics.owe(slot.conn.owed() - owed_before);
                if owed_before == 0 {
                    slot.touched = now;
                }
            }
            Event::Sent(sent) => {
                metrics.send(sent);
                slot.touched = now;
            }
            Event::Closed => return self.closed(token),
            Event::FinSent | Event::Failed { .. } | Event::Drain | Event::Dry => {}
            Event::Parted { .. } | Event::Expired => {}
        }
        if !slot.unsettled {
            slot.unsettled = true;
            self.unsettled.push(token);
        }
    }

    /// Asks the machines that took in events for their next operations.
    fn settle(&mut self) {
        // By index: what a submit causes comes back from `wait`, never from here, so the list does not grow.
        for index in 0..self.unsettled.len() {
            let token = self.unsettled[index];
            let Some(slot) = self.slots[token.index()].as_mut().filter(|slot| slot.unsettled) else {
                continue;
            };
            slot.unsettled = false;
            loop {
                while let Some(op) = slot.conn.next_op() {
                    match op {
                        Op::Fin => (slot.touched, slot.fin_at) = (self.now, self.now),
                        // Our FIN waits for it, and engines may tell of a send only when something else happens.
                        Op::Send { .. } => self.hurried |= slot.conn.is_ending(),
                        Op::Recv { .. } | Op::Discard | Op::Cancel | Op::Close | Op::Reset => {}
                    }
                    self.proactor.submit(token, op);
                }
                if !slot.conn.is_parting() {
                    break;
                }
                let owed = self.proactor.part(token);
                if slot.conn.owed() == 0 {
                    slot.touched = self.now;
                }
                slot.conn.handle(Event::Parted { owed });
                self.settings.metrics.owe(owed);
            }
            if slot.conn.is_taking() && !slot.taking {
                slot.taking = true;
                self.takes.push(token);
            }
        }
        self.unsettled.clear();
    }

    /// Tells those whose last take waits for a receive that the kernel holds nothing for it, where that is so. The
    /// others get their bytes from a later `wait`, which does not block while any is left.
    fn look_for_dry(&mut self) {
        let mut index = 0;
        while index < self.takes.len() {
            let token = self.takes[index];
            let slot = slot(&mut self.slots, token);
            let over = !slot.conn.is_taking();
            if over || self.proactor.is_dry(token) {
                slot.taking = false;
                self.takes.swap_remove(index);
                if !over {
                    self.take_in(token, Event::Dry);
                }
            } else {
                index += 1;
            }
        }
    }

    /// Expires or drains the connections whose deadline has passed.
    fn sweep(&mut self) {
        if self.now.saturating_duration_since(self.swept) < self.settings.deadlines.sweep_every() {
            return;
        }
        self.swept = self.now;
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots[index].as_ref().filter(|slot| slot.placed) else {
                continue;
            };
            if let Some(event) = self.settings.deadlines.due(&slot.conn, slot.touched, slot.fin_at, self.now)
            {
                self.take_in(token(index), event);
            }
        }
    }

    fn closed(&mut self, token: Token) {
        let slot = self.slots[token.index()].take().expect("a closed connection was open");
        let outcome = slot.conn.outcome().expect("a closed connection has an outcome");
        self.settings.metrics.end(outcome, self.ending.is_some());
        tracing::debug!(token = token.0, ?outcome, "closed");
        self.open -= 1;
        if slot.taking {
            self.takes.retain(|&taking| taking != token);
        }
        if slot.placed {
            self.settings.places.give_back();
        }
        self.place_waiting();
        self.retry_gates();
    }

    /// How long the next `wait` may block.
    fn timeout(&self, moved: bool) -> Option<Duration> {
        if !self.takes.is_empty() {
            return Some(if moved { Duration::ZERO } else { TAKE_RETRY });
        }
        let sweep = (self.open > 0).then(|| self.swept + self.settings.deadlines.sweep_every());
        let next = [sweep, self.next_gate(), self.next_ending()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(self.now))
    }

    fn is_over(&self) -> bool {
        let over = self.ending.is_some() && self.open == 0 && self.gates.iter().all(Gate::is_stopped);
        if over && let Some(ending) = &self.ending {
            self.settings.metrics.drained(self.now.saturating_duration_since(ending.began()));
        }
        over
    }
}

/// The slot of an open connection. That the engine speaks of no other is the rule that tokens rest on.
fn slot(slots: &mut [Option<Slot>], token: Token) -> &mut Slot {
    slots[token.index()].as_mut().expect("an event for a connection that is open")
}

fn token(index: usize) -> Token {
    Token(u32::try_from(index).expect("fewer than 2^32 connections"))
}

fn listener_id(index: usize) -> ListenerId {
    ListenerId(u32::try_from(index).expect("fewer than 2^32 listeners"))
}
