//! The readiness engine: mio underneath, completions on top, for wherever no completion interface may run.
//!
//! An operation that was submitted is tried when the socket is believed ready, and reported when it is done. A hint
//! of hang-up only means "look": what is queued is read first, and only a receive of 0 is the peer's FIN.

mod blocks;
mod door;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll};
use slab::Slab;
use socket2::SockRef;

use self::blocks::{Blocks, Pool, RECV_MAX};
use self::door::Door;
use crate::conn::{Event, Fault, Op, OpKind};
use crate::ledger::{Account, Answer, Branch, Fin, Teller};
use crate::listener::Source;
use crate::policy;
use crate::proactor::{Completion, ListenerId, Proactor, Token};
use crate::sys;
use crate::worker::{self, Ready, Settings};

/// Events taken from the kernel in one turn.
const EVENTS: usize = 1024;
/// Tokens from here on name listeners; connections have the small ones.
const DOORS: usize = usize::MAX / 2;
const WAKER: mio::Token = mio::Token(usize::MAX - 1);

/// Runs one worker on this engine until it is drained. `ready` is told once whether it could be set up.
///
/// # Errors
/// As epoll_wait(2), or its counterpart.
pub fn run(sources: Vec<Source>, settings: &Settings, ready: &Ready) -> io::Result<()> {
    let listeners = sources.len();
    worker::serve(Mio::new(sources, settings.ledger.as_ref()), listeners, settings, ready)
}

struct Mio {
    poll: Poll,
    events: Events,
    waker: Arc<MioWaker>,
    doors: Vec<Door>,
    peers: Slab<Peer>,
    pool: Pool,
    teller: Teller,
    answers: Vec<(u32, u32, Answer)>,
    /// Ended already, to be handed out by the next `wait`.
    done: Vec<Completion>,
    /// Peers with an operation that may move.
    work: Vec<usize>,
    now: Instant,
}

struct Peer {
    stream: TcpStream,
    /// Bytes received and not yet sent.
    bytes: Blocks,
    /// What the ledger knows of it, unless it is an echo.
    account: Option<Box<Account>>,
    recv: Option<Recv>,
    send: Option<u32>,
    /// The last look did not say "would block".
    readable: bool,
    writable: bool,
    /// Our FIN was asked for: nothing received from here on will be sent.
    discarding: bool,
    /// It stands in `work`.
    queued: bool,
}

#[derive(Clone, Copy)]
enum Recv {
    Keep(usize),
    Discard,
}

struct MioWaker(mio::Waker);

impl Wake for MioWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.0.wake() {
            tracing::error!("a worker could not be woken: {error}");
        }
    }
}

impl Mio {
    fn new(sources: Vec<Source>, ledger: Option<&Branch>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(MioWaker(mio::Waker::new(poll.registry(), WAKER)?));
        let mut doors = Vec::new();
        for (index, source) in sources.into_iter().enumerate() {
            let token = mio::Token(DOORS + index);
            doors.push(Door::open(source, poll.registry(), token, || Arc::clone(&waker).into())?);
        }
        let teller = Teller::new(ledger, Arc::clone(&waker).into());
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS),
            waker,
            doors,
            peers: Slab::new(),
            pool: Pool::default(),
            teller,
            answers: Vec::new(),
            done: Vec::new(),
            work: Vec::new(),
            now: clock(),
        })
    }

    fn peer(&mut self, token: Token) -> &mut Peer {
        &mut self.peers[token.index()]
    }

    fn fail(&mut self, token: Token, op: OpKind, fault: Fault) {
        self.done.push(Completion::Event(token, Event::Failed { op, fault }));
    }

    fn queue(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if !peer.queued {
            peer.queued = true;
            self.work.push(index);
        }
    }

    fn fin(&mut self, token: Token) {
        let peer = &mut self.peers[token.index()];
        peer.discarding = true;
        peer.bytes.clear(&mut self.pool);
        match peer.stream.shutdown(Shutdown::Write) {
            Ok(()) => self.done.push(Completion::Event(token, Event::FinSent)),
            Err(error) => self.fail(token, OpKind::Fin, policy::shutdown_fault(&error)),
        }
    }

    fn cancel(&mut self, token: Token) {
        let peer = self.peer(token);
        let (recv, send) = (peer.recv.take(), peer.send.take());
        peer.account.iter_mut().for_each(|account| account.give_up());
        if recv.is_some() {
            self.fail(token, OpKind::Recv, Fault::Cancelled);
        }
        if send.is_some() {
            self.fail(token, OpKind::Send, Fault::Cancelled);
        }
    }

    fn close(&mut self, token: Token) {
        let mut peer = self.peers.remove(token.index());
        assert!(peer.recv.is_none() && peer.send.is_none(), "closed with an operation in flight");
        peer.bytes.clear(&mut self.pool);
        if let Err(error) = self.poll.registry().deregister(&mut peer.stream) {
            tracing::error!("a socket could not be deregistered: {error}");
        }
        self.done.push(Completion::Event(token, Event::Closed));
    }

    /// Notes what the kernel says is ready.
    fn take_hints(&mut self, completions: &mut Vec<Completion>) {
        for event in &self.events {
            if event.token() == WAKER {
                completions.push(Completion::Woken);
                for door in &mut self.doors {
                    door.hint();
                }
            } else if let Some(door) = event.token().0.checked_sub(DOORS) {
                self.doors[door].hint();
            } else if let Some(peer) = self.peers.get_mut(event.token().0) {
                peer.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                peer.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
                if !peer.queued {
                    peer.queued = true;
                    self.work.push(event.token().0);
                }
            }
        }
    }

    /// Tries the operations that may move; sends first, for they free memory and the window.
    fn try_work(&mut self, completions: &mut Vec<Completion>) {
        for index in 0..self.work.len() {
            let at = self.work[index];
            let Some(peer) = self.peers.get_mut(at) else { continue };
            peer.queued = false;
            let token = Token(u32::try_from(at).expect("fewer than 2^32 connections"));
            let sent = peer.try_send(&mut self.pool);
            let received = peer.try_recv(token, &mut self.pool, &mut self.teller);
            completions
                .extend([sent, received].into_iter().flatten().map(|event| Completion::Event(token, event)));
        }
        self.work.clear();
    }

    /// Hands over the FINs that the ledger has answered.
    fn settle(&mut self, completions: &mut Vec<Completion>) {
        self.teller.answers(&mut self.answers);
        for (index, claim, answer) in self.answers.drain(..) {
            let Some(peer) = self.peers.get_mut(index as usize) else { continue };
            let event = peer.answered(claim, answer, &mut self.pool);
            completions.extend(event.map(|event| Completion::Event(Token(index), event)));
        }
    }

    fn accept(&mut self, completions: &mut Vec<Completion>) {
        for index in 0..self.doors.len() {
            let listener = ListenerId(u32::try_from(index).expect("fewer than 2^32 listeners"));
            let door = &mut self.doors[index];
            let taken = door.take(self.poll.registry(), |registry, mut stream| {
                let entry = self.peers.vacant_entry();
                registry.register(
                    &mut stream,
                    mio::Token(entry.key()),
                    Interest::READABLE | Interest::WRITABLE,
                )?;
                let token = Token(u32::try_from(entry.key()).map_err(io::Error::other)?);
                entry.insert(Peer::new(stream, self.teller.open(index)));
                completions.push(Completion::Accepted { listener, token });
                Ok(())
            });
            match taken {
                Ok(door::Taken::Some) => {}
                Ok(door::Taken::Stopped) => completions.push(Completion::AcceptStopped { listener }),
                Err(error) => completions.push(Completion::AcceptFailed { listener, error }),
            }
        }
    }
}

impl Proactor for Mio {
    fn start_accepting(&mut self, listener: ListenerId) {
        self.doors[listener.index()].start();
    }

    fn pause_accepting(&mut self, listener: ListenerId) {
        self.doors[listener.index()].pause();
    }

    fn refuse_handshakes(&mut self, listener: ListenerId) {
        self.doors[listener.index()].refuse_handshakes();
    }

    fn stop_accepting(&mut self, listener: ListenerId) {
        self.doors[listener.index()].stop();
    }

    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Recv { max } => self.peer(token).recv = Some(Recv::Keep(max as usize)),
            Op::Discard => self.peer(token).recv = Some(Recv::Discard),
            Op::Send { len } => self.peer(token).send = Some(len),
            Op::Fin => return self.fin(token),
            Op::Cancel => return self.cancel(token),
            Op::Close => return self.close(token),
            Op::Reset => {
                if let Err(error) = SockRef::from(&self.peer(token).stream).set_linger(Some(Duration::ZERO)) {
                    tracing::warn!(token = token.0, "SO_LINGER could not be set, so no RST is sent: {error}");
                }
                return self.close(token);
            }
        }
        let peer = self.peer(token);
        if (peer.recv.is_some() && peer.readable) || (peer.send.is_some() && peer.writable) {
            self.queue(token.index());
        }
    }

    fn is_dry(&mut self, token: Token) -> bool {
        let peer = self.peer(token);
        if peer.is_awaiting() {
            return false;
        }
        match peer.stream.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            // Bytes, a FIN or an error: the receive reports it.
            Ok(_) | Err(_) => {
                peer.readable = true;
                self.queue(token.index());
                false
            }
        }
    }

    fn part(&mut self, token: Token) -> u32 {
        let peer = &mut self.peers[token.index()];
        let line = peer.account.as_mut().and_then(|account| self.teller.part(account));
        line.map_or(0, |line| peer.bytes.push(line.as_ref(), &mut self.pool))
    }

    fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        completions.append(&mut self.done);
        let busy = !completions.is_empty()
            || !self.work.is_empty()
            || self.teller.has_answers()
            || self.doors.iter().any(Door::is_busy);
        let timeout = if busy { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        self.now = clock();
        self.take_hints(completions);
        self.try_work(completions);
        self.settle(completions);
        self.accept(completions);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.waker).into()
    }
}

impl Peer {
    fn new(stream: TcpStream, account: Option<Box<Account>>) -> Self {
        Self {
            stream,
            bytes: Blocks::default(),
            account,
            recv: None,
            send: None,
            readable: true,
            writable: true,
            discarding: false,
            queued: false,
        }
    }

    fn try_send(&mut self, pool: &mut Pool) -> Option<Event> {
        let len = self.send.filter(|_| self.writable)? as usize;
        let pieces = self.bytes.pieces(len);
        let asked: usize = pieces.iter().map(|piece| piece.len()).sum();
        match ignoring_interrupts(|| self.stream.write_vectored(&pieces)) {
            Ok(sent) => {
                self.send = None;
                // A short count means that the socket buffer is full: some kernels will say when it is not.
                self.writable = sent == asked || !sys::SHORT_COUNT_SUFFICES;
                self.bytes.consume(sent, pool);
                Some(Event::Sent(u32::try_from(sent).expect("no more than was asked for")))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                // Its peer reads slowly: a handful of bytes must not hold a whole block.
                self.bytes.shrink(pool);
                None
            }
            Err(error) => {
                self.send = None;
                Some(Event::Failed { op: OpKind::Send, fault: policy::fault(&error) })
            }
        }
    }

    fn is_awaiting(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.is_awaiting())
    }

    /// The ledger has answered the peer's FIN; nothing, where this peer waits for no such answer.
    fn answered(&mut self, claim: u32, answer: Answer, pool: &mut Pool) -> Option<Event> {
        if !self.account.as_mut()?.is_answered(claim) {
            return None;
        }
        self.recv = None;
        Some(match answer {
            Answer::Bare => Event::PeerFin { owed: 0 },
            Answer::Replied(reply) => Event::PeerFin { owed: self.bytes.push(reply.line().as_ref(), pool) },
            Answer::Lost => Event::Failed { op: OpKind::Recv, fault: Fault::Local },
        })
    }

    fn try_recv(&mut self, token: Token, pool: &mut Pool, teller: &mut Teller) -> Option<Event> {
        let recv = self.recv.filter(|_| self.readable && !self.is_awaiting())?;
        let keep = match recv {
            Recv::Keep(max) if !self.discarding => Some(max.min(RECV_MAX)),
            Recv::Keep(_) | Recv::Discard => None,
        };
        let buffer = match keep {
            Some(max) => self.bytes.space(max, pool),
            None => pool.scratch(),
        };
        let result = ignoring_interrupts(|| self.stream.read(buffer));
        let taken = *result.as_ref().unwrap_or(&0);
        let owed = match &mut self.account {
            Some(account) if keep.is_some() => account.take(&mut buffer[..taken]),
            Some(_) | None => taken,
        };
        if keep.is_some() {
            self.bytes.fill(owed, pool);
        }
        match result {
            Ok(0) => {
                let has_peer = || sys::has_peer(SockRef::from(&self.stream));
                let fin =
                    self.account.as_mut().map_or(Fin::Bare, |account| teller.fin(account, token.0, has_peer));
                let event = match fin {
                    Fin::Bare => Event::PeerFin { owed: 0 },
                    Fin::Reset => Event::Failed { op: OpKind::Recv, fault: Fault::Reset },
                    Fin::Withheld => return None,
                };
                self.recv = None;
                Some(event)
            }
            Ok(_) => {
                self.recv = None;
                // Still readable, even after a short count: a read also ends at an urgent mark, with more behind it.
                let [taken, owed] =
                    [taken, owed].map(|len| u32::try_from(len).expect("no more than was asked for"));
                Some(Event::Received { taken, owed })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            Err(error) => {
                self.recv = None;
                Some(Event::Failed { op: OpKind::Recv, fault: policy::fault(&error) })
            }
        }
    }
}

fn ignoring_interrupts(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an engine is where time comes from")]
fn clock() -> Instant {
    Instant::now()
}
