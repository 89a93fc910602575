//! The completion engine on Windows: one port per worker, and a receive of no bytes on every connection that waits.
//!
//! A receive of no bytes ends when there is something to take, so that an idle connection owns no buffer, a reset is
//! always told, and nothing that was taken out of the socket can be lost by a cancel. The bytes are then read into a
//! leased block, and sent from there. Each worker has a port and its connections to itself: one port served by several
//! threads would hand the ends of one connection's receive and send to two of them, and each machine would need a lock.
//! So one worker accepts and deals, because Windows balances no listeners.

mod bytes;
mod door;
mod overlap;
mod peer;
mod port;
mod socket;

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

use self::bytes::Pool;
use self::door::{Acceptor, Door, Turn, Way, Wish};
use self::peer::{Peer, Want};
use self::port::{BATCH, Port};
use self::socket::Accepted;
use crate::conn::{Event, Op};
use crate::ledger::{Answer, Branch, Teller};
use crate::listener::Source;
use crate::proactor::{Completion, ListenerId, Proactor, Token};
use crate::worker::{self, Ready, Settings};

/// How often one `wait` goes back to the port when it had more than a batch.
const BATCHES_MAX: u32 = 8;

/// Runs one worker on this engine until it is drained. `ready` is told once whether it could be set up.
///
/// # Errors
/// As GetQueuedCompletionStatusEx.
pub fn run(sources: Vec<Source>, settings: &Settings, ready: &Ready) -> io::Result<()> {
    let listeners = sources.len();
    worker::serve(Iocp::new(sources, settings.ledger.as_ref()), listeners, settings, ready)
}

struct Iocp {
    port: Arc<Port>,
    entries: Box<[OVERLAPPED_ENTRY]>,
    doors: Vec<Door>,
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    pool: Pool,
    teller: Teller,
    answers: Vec<(u32, u32, Answer)>,
    /// Ended already, to be handed out by the next `wait`.
    done: Vec<Completion>,
    /// Connections with a receive that can be tried now.
    work: Vec<Token>,
    now: Instant,
}

/// One place for a connection. What names it to the port carries the generation, so that a completion which came too
/// late would be seen, and is asserted never to come.
#[derive(Default)]
struct Slot {
    generation: u32,
    peer: Option<Peer>,
    /// It stands in `work`.
    queued: bool,
}

/// Whom a completion is for.
#[derive(Clone, Copy)]
enum Key {
    Wake,
    Door(ListenerId),
    Conn(Token, u32),
}

const _: () = assert!(usize::BITS == 64, "a completion key holds a kind, a generation and a place");
const GENERATION: u32 = 0x00ff_ffff;

impl Key {
    fn pack(self) -> usize {
        match self {
            Self::Wake => 0,
            Self::Door(listener) => 1 << 60 | listener.index(),
            Self::Conn(token, generation) => 2 << 60 | (generation as usize) << 32 | token.index(),
        }
    }

    fn unpack(key: usize) -> Self {
        let low = key as u32;
        match key >> 60 {
            0 => Self::Wake,
            1 => Self::Door(ListenerId(low)),
            2 => Self::Conn(Token(low), (key >> 32) as u32 & GENERATION),
            kind => unreachable!("a completion of kind {kind}"),
        }
    }
}

impl Iocp {
    fn new(sources: Vec<Source>, ledger: Option<&Branch>) -> io::Result<Self> {
        let port = Arc::new(Port::new(Key::Wake.pack())?);
        let mut doors = Vec::new();
        for (index, source) in sources.into_iter().enumerate() {
            let key = Key::Door(ListenerId(u32::try_from(index).map_err(io::Error::other)?)).pack();
            doors.push(Door::new(match source {
                Source::Socket(listener) => Way::Listener(Acceptor::new(listener, &port, key)?, None),
                Source::Dealer(listener, dealer) => {
                    Way::Listener(Acceptor::new(listener, &port, key)?, Some(dealer))
                }
                Source::Hand(hand) => {
                    hand.wake_with(Arc::clone(&port).into());
                    Way::Hand(hand)
                }
            }));
        }
        let teller = Teller::new(ledger, Arc::clone(&port).into());
        Ok(Self {
            port,
            entries: vec![OVERLAPPED_ENTRY::default(); BATCH].into(),
            doors,
            slots: Vec::new(),
            vacant: Vec::new(),
            pool: Pool::default(),
            teller,
            answers: Vec::new(),
            done: Vec::new(),
            work: Vec::new(),
            now: clock(),
        })
    }

    fn peer(&mut self, token: Token) -> &mut Peer {
        self.slots[token.index()].peer.as_mut().expect("an operation on an open connection")
    }

    fn event(&mut self, token: Token, event: Event) {
        self.done.push(Completion::Event(token, event));
    }

    /// Gives an accepted connection a place and a name, and starts its first look.
    fn adopt(&mut self, listener: ListenerId, accepted: Accepted) {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 connections")
        });
        let token = Token(index);
        let slot = &mut self.slots[token.index()];
        let key = Key::Conn(token, slot.generation).pack();
        // Reads are tried when something is there, and must not wait when it was not.
        let ready = accepted.set_nonblocking(true).and_then(|()| self.port.adopt(&accepted, key));
        if let Err(error) = ready {
            // A FIN would say that there was nothing to echo; should this fail too, there is nothing left to try.
            let _ = accepted.set_linger(Some(Duration::ZERO));
            self.vacant.push(index);
            tracing::warn!("a connection cannot be served, and is reset: {error}");
            return;
        }
        slot.peer = Some(Peer::new(accepted, self.teller.open(listener.index())));
        self.done.push(Completion::Accepted { listener, token });
    }

    fn queue_if_ready(&mut self, token: Token) {
        let slot = &mut self.slots[token.index()];
        if !slot.queued && slot.peer.as_ref().is_some_and(Peer::is_ready) {
            slot.queued = true;
            self.work.push(token);
        }
    }

    /// Tries the receive that is asked for, if there is one.
    fn receive(&mut self, token: Token) {
        let Some(peer) = &mut self.slots[token.index()].peer else { return };
        let event = peer.receive(token, &mut self.pool, &mut self.teller);
        self.done.extend(event.map(|event| Completion::Event(token, event)));
        // A look that ended at once, after a read that found nothing.
        self.queue_if_ready(token);
    }

    /// Hands over the FINs that the ledger has answered.
    fn hand_over_fins(&mut self) {
        self.teller.answers(&mut self.answers);
        for (index, claim, answer) in self.answers.drain(..) {
            let Some(peer) = &mut self.slots[index as usize].peer else { continue };
            let event = peer.answered(claim, answer, &mut self.pool);
            self.done.extend(event.map(|event| Completion::Event(Token(index), event)));
        }
    }

    fn close_if_over(&mut self, token: Token) {
        let slot = &mut self.slots[token.index()];
        if let Some(peer) = slot.peer.take_if(|peer| peer.is_closable()) {
            peer.end(&mut self.pool);
            slot.generation = slot.generation.wrapping_add(1) & GENERATION;
            self.vacant.push(token.0);
            self.event(token, Event::Closed);
        }
    }

    fn complete(&mut self, entry: &OVERLAPPED_ENTRY) {
        match Key::unpack(entry.lpCompletionKey) {
            Key::Wake => {
                self.port.seen_wake();
                self.doors.iter_mut().for_each(|door| door.hinted = true);
                self.done.push(Completion::Woken);
            }
            Key::Door(listener) => {
                let (accepted, turn) = self.doors[listener.index()].ended(entry.lpOverlapped);
                if let Some(accepted) = accepted {
                    self.adopt(listener, accepted);
                }
                self.turned(listener, turn);
            }
            Key::Conn(token, generation) => {
                let slot = &mut self.slots[token.index()];
                assert!(generation == slot.generation, "an operation ended of a connection that is gone");
                let peer = slot.peer.as_mut().expect("an operation ended of an open connection");
                if peer.is_look(entry.lpOverlapped) {
                    peer.look_ended();
                    self.receive(token);
                } else {
                    let event = peer.send_ended(&mut self.pool);
                    self.event(token, event);
                }
                self.close_if_over(token);
            }
        }
    }

    fn turned(&mut self, listener: ListenerId, turn: Turn) {
        match turn {
            Turn::GoesOn => {}
            Turn::Stopped => self.done.push(Completion::AcceptStopped { listener }),
            Turn::Failed(error) => self.done.push(Completion::AcceptFailed { listener, error }),
        }
    }

    fn tend_doors(&mut self) {
        let mut came = Vec::new();
        for index in 0..self.doors.len() {
            let listener = ListenerId(u32::try_from(index).expect("fewer than 2^32 listeners"));
            let turn = self.doors[index].tend(&mut came);
            for accepted in came.drain(..) {
                self.adopt(listener, accepted);
            }
            self.turned(listener, turn);
        }
    }
}

impl Proactor for Iocp {
    fn start_accepting(&mut self, listener: ListenerId) {
        self.doors[listener.index()].wish(Wish::Accept);
    }

    fn pause_accepting(&mut self, listener: ListenerId) {
        self.doors[listener.index()].wish(Wish::Pause);
    }

    fn refuse_handshakes(&mut self, _listener: ListenerId) {
        // Windows has no such filter: what bounds a drain is one backlog's worth of connections per listener.
    }

    fn stop_accepting(&mut self, listener: ListenerId) {
        self.doors[listener.index()].wish(Wish::Stop);
    }

    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Recv { max } => self.peer(token).want(Want::Keep(max as usize)),
            Op::Discard => self.peer(token).want(Want::Discard),
            Op::Send { len } => {
                let peer = self.slots[token.index()].peer.as_mut().expect("a send on an open connection");
                let event = peer.send(len, &mut self.pool);
                self.done.extend(event.map(|event| Completion::Event(token, event)));
            }
            Op::Fin => {
                let peer = self.slots[token.index()].peer.as_mut().expect("a FIN on an open connection");
                let event = peer.fin(&mut self.pool);
                self.event(token, event);
            }
            Op::Cancel => self.peer(token).cancel(),
            Op::Close => self.peer(token).close(),
            Op::Reset => self.peer(token).reset(),
        }
        self.queue_if_ready(token);
        self.close_if_over(token);
    }

    fn is_dry(&mut self, token: Token) -> bool {
        self.peer(token).is_dry()
    }

    fn part(&mut self, token: Token) -> u32 {
        let peer = self.slots[token.index()].peer.as_mut().expect("parting from an open connection");
        peer.part(&mut self.teller, &mut self.pool)
    }

    fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        let busy = !self.done.is_empty()
            || !self.work.is_empty()
            || self.teller.has_answers()
            || self.doors.iter().any(|door| door.hinted);
        let mut timeout = if busy { Some(Duration::ZERO) } else { timeout };
        for _ in 0..BATCHES_MAX {
            let mut entries = std::mem::take(&mut self.entries);
            let taken = self.port.take(&mut entries, timeout);
            self.now = clock();
            let taken = taken.inspect(|&taken| {
                for entry in &entries[..taken] {
                    self.complete(entry);
                }
            });
            self.entries = entries;
            if taken? < BATCH {
                break;
            }
            timeout = Some(Duration::ZERO);
        }
        for token in std::mem::take(&mut self.work) {
            self.slots[token.index()].queued = false;
            self.receive(token);
        }
        self.hand_over_fins();
        self.tend_doors();
        completions.append(&mut self.done);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.port).into()
    }
}

#[expect(clippy::disallowed_methods, reason = "an engine is where time comes from")]
fn clock() -> Instant {
    Instant::now()
}
