//! The fast engine on Linux: one io_uring per worker, buffers leased from the ring only while their bytes are owed.
//!
//! Accepting is one multishot operation. A receive takes a provided buffer only when there is something to put in
//! it, and the bytes are sent from where they lie. A send never waits inside the kernel: when the socket is full the
//! engine polls for room instead, so that while a slow reader is waited for, its bytes can move out of the shared
//! buffers into memory of its own. What never waits is a plain system call: a send, a look for what comes at once, a
//! close, and `shutdown`, which in the ring always takes the detour through a kernel thread.

mod accept;
mod bytes;
mod descriptor;
mod direct;
mod kind;
mod pool;
mod probe;
mod prompt;
mod receive;
mod rest;
mod ring;
mod transmit;
mod wait;

use std::collections::VecDeque;
use std::io;
use std::mem::offset_of;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use io_uring::types::CancelBuilder;
use io_uring::{cqueue, opcode, squeue};
use socket2::SockRef;

use self::accept::Door;
use self::bytes::Bytes;
use self::descriptor::{Descriptor, TABLE_MAX, Table};
use self::direct::Look;
use self::kind::{GENERATION, KINDS, Kind, tag};
use self::pool::Pool;
use self::prompt::News;
use self::receive::{DISCARD_MAX, Inlet};
use self::ring::Ring;
use self::wait::SocketWaker;
use crate::conn::{Event, Fault, Op, OpKind};
use crate::ledger::{Account, Answer, Branch, Teller};
use crate::listener::Source;
use crate::policy::{self, Patience, REST_EVERY, ROOM};
use crate::proactor::{Completion, ListenerId, Proactor, Token};
use crate::sys;
use crate::worker::{self, Ready, Settings};

pub use self::probe::{Unavailable, probe, probe_direct};

/// How much memory a worker shares with the kernel. The server has the default; with next to nothing, everything that
/// is rare happens all the time, which is what tests want.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Submission entries; what does not fit waits.
    pub submissions: u32,
    /// Completion entries. A multishot accept can post thousands between two turns, and an overflow, though nothing is
    /// lost by it, is slow.
    pub completions: u32,
    /// Buffers to receive into; a power of two.
    pub buffers: u16,
    /// Bytes that each of them holds.
    pub buffer_len: u32,
    /// Many receives share a buffer, where the kernel knows how to (Linux 6.12).
    pub shared: bool,
    /// Connections that the ring's own file table has room for, as far as the limit of descriptors allows; 0: there is
    /// none, and they have descriptors of the process.
    pub table: u32,
    /// How often idle connections are looked for: one that has received nothing between two such looks rests.
    pub rest_every: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        let (buffers, buffer_len) = (32, pool::POOL_BYTES / 32);
        // Both rings are gone through from end to end, so what they take of the cache is their size: with 4,096 and 32,768
        // entries (768 KiB) a wake took 3 to 5 % longer. An enter brings some hundred completions, but for accepts.
        Self {
            submissions: 512,
            completions: 8192,
            buffers,
            buffer_len,
            shared: true,
            table: 0,
            rest_every: REST_EVERY,
        }
    }
}

/// Runs one worker on this engine until it is drained. `ready` is told once whether it could be set up.
///
/// # Errors
/// As io_uring_enter(2).
pub fn run(sources: Vec<Source>, settings: &Settings, ready: &Ready) -> io::Result<()> {
    run_with(sources, settings, ready, Sizes::default())
}

/// As [`run`], with direct descriptors: each worker's ring has a table of its own, and each table a limit of its own.
///
/// # Errors
/// As [`run`].
pub fn run_direct(sources: Vec<Source>, settings: &Settings, ready: &Ready) -> io::Result<()> {
    run_with(sources, settings, ready, Sizes { table: TABLE_MAX, ..Sizes::default() })
}

/// As [`run`], with as much memory as `sizes` says.
///
/// # Errors
/// As [`run`].
pub fn run_with(sources: Vec<Source>, settings: &Settings, ready: &Ready, sizes: Sizes) -> io::Result<()> {
    let listeners = sources.len();
    worker::serve(Uring::new(sources, settings.ledger.as_ref(), sizes), listeners, settings, ready)
}

struct Uring {
    ring: Ring,
    pool: Pool,
    table: Table,
    doors: Vec<Door>,
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// Receives that found no buffer, oldest first. They are tried again when one comes back: at once would fail
    /// at once, and a timer would spin.
    starved: VecDeque<(Token, u32)>,
    /// Connections that ask for a receive, for which the next wait looks first.
    prompt: Vec<Token>,
    /// Connections with bytes that came before they were asked for.
    eager: Vec<Token>,
    /// The kernel has multishot receives (Linux 6.0).
    multishot: bool,
    /// Connections that wait for room with bytes in the shared buffers.
    pinning: Vec<Token>,
    /// Sends that are over, each with what it has sent, of which the next `wait` tells.
    over: Vec<(Token, u32)>,
    /// Whether it has been worth it to stay awake, behind each kind of news.
    patience: [Patience; News::COUNT],
    /// The latest since the last wait.
    news: Option<News>,
    /// How often idle connections are looked for, when that last began, and how far it is.
    rest_every: Duration,
    rested: Instant,
    resting: usize,
    teller: Teller,
    answers: Vec<(u32, u32, Answer)>,
    /// Ended already, to be handed out by the next `wait`.
    done: Vec<Completion>,
    reaped: Vec<cqueue::Entry>,
    wake_reader: UnixStream,
    waker: Arc<SocketWaker>,
    now: Instant,
}

/// One place for a connection. What names it to the kernel carries the generation, so that a completion which came
/// too late would be seen, and is asserted never to come.
///
/// Each message finds it out of the first caches, so all that every message needs lies in one line of them (64 bytes); of
/// one with a direct descriptor, in two.
#[derive(Default)]
#[repr(C, align(64))]
struct Slot {
    bytes: Bytes,
    /// What the ledger knows of it, unless it is an echo.
    account: Option<Box<Account>>,
    inlet: Inlet,
    descriptor: Descriptor,
    generation: u32,
    send: Send,
    /// The loop has cancelled what was in flight.
    aborting: bool,
    /// Our FIN was asked for: nothing received from here on will be sent.
    discarding: bool,
    /// The close was asked for, and waits until nothing of this connection is left in the ring.
    close_held: bool,

    // The second line.
    /// Bytes asked to be sent, while the send is in the kernel or waits for room.
    send_len: u32,
    /// It stands in `pinning`.
    pinning: bool,
    /// Cancels that were submitted and whose own completions are still to come.
    cancels: u8,
    /// Looks and options of a direct descriptor that were submitted, for which the close waits too.
    looks: u8,
    look: Look,
    /// The peer's FIN is held back until it is known that the connection still stands.
    asks_for_peer: bool,
    /// The peer's FIN was handed over.
    peer_fin: bool,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(offset_of!(Slot, send_len) == 64 && size_of::<Slot>() == 128);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Send {
    #[default]
    None,
    /// In the kernel, of a direct descriptor, which looks at the bytes until its completion: they must not move.
    InKernel,
    /// Waiting for room in the socket; the kernel looks at no bytes.
    Polling,
    /// Over, of which the loop is still to be told.
    Over,
}

impl Uring {
    fn new(sources: Vec<Source>, ledger: Option<&Branch>, sizes: Sizes) -> io::Result<Self> {
        let ring = Ring::new(sizes, tag(Kind::Timer, 0, 0))?;
        let pool = Pool::register(&ring.submitter(), sizes)?;
        let table = Table::register(&ring.submitter(), sizes.table, sources.len())?;
        let (wake_reader, writer) = UnixStream::pair()?;
        wake_reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let waker = Arc::new(SocketWaker(writer));
        let teller = Teller::new(ledger, Arc::clone(&waker).into());
        let mut engine = Self {
            ring,
            pool,
            table,
            doors: sources.into_iter().map(Door::new).collect::<io::Result<_>>()?,
            slots: Vec::with_capacity(ROOM),
            vacant: Vec::new(),
            starved: VecDeque::new(),
            prompt: Vec::new(),
            eager: Vec::new(),
            multishot: true,
            pinning: Vec::new(),
            over: Vec::new(),
            patience: Default::default(),
            news: None,
            rest_every: sizes.rest_every,
            rested: clock(),
            resting: 0,
            teller,
            answers: Vec::new(),
            done: Vec::new(),
            reaped: Vec::new(),
            wake_reader,
            waker,
            now: clock(),
        };
        engine.poll_wake();
        Ok(engine)
    }

    /// Gives an accepted socket a place and a name.
    fn adopt(&mut self, listener: ListenerId, descriptor: Descriptor) -> Token {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 connections")
        });
        let slot = &mut self.slots[index as usize];
        slot.descriptor = descriptor;
        slot.account = self.teller.open(listener.index());
        // What comes before it is asked for would stand before what the ledger says last.
        slot.inlet.begin(slot.account.is_some());
        self.news = Some(News::Connection);
        Token(index)
    }

    fn slot(&mut self, token: Token) -> &mut Slot {
        &mut self.slots[token.index()]
    }

    fn tag(&self, token: Token, kind: Kind) -> u64 {
        tag(kind, self.slots[token.index()].generation, token.0)
    }

    /// Queues an entry that names no memory of ours, or memory of the pool, which outlives the ring.
    fn push(&mut self, token: Token, kind: Kind, entry: squeue::Entry) {
        let entry =
            entry.user_data(self.tag(token, kind)).flags(self.slots[token.index()].descriptor.flags());
        // SAFETY: receives write to the pool's buffers or (discards, looks) nowhere; an option lies in a constant; what
        // else there is names none.
        unsafe { self.ring.push(entry) };
    }

    fn event(&mut self, token: Token, event: Event) {
        self.done.push(Completion::Event(token, event));
    }

    fn fail(&mut self, token: Token, op: OpKind, fault: Fault) {
        self.event(token, Event::Failed { op, fault });
    }

    fn fin(&mut self, token: Token) {
        // Whatever is still here came after the machine had asked for the FIN.
        let slot = &mut self.slots[token.index()];
        slot.discarding = true;
        slot.bytes.clear(&mut self.pool);
        // A multishot receive would bring whatever a peer floods us with; a discard takes it in the kernel.
        self.pause_recv(token);
        let Descriptor::Normal(fd) = &self.slots[token.index()].descriptor else {
            return self.fin_direct(token);
        };
        match SockRef::from(fd).shutdown(Shutdown::Write) {
            Ok(()) => self.event(token, Event::FinSent),
            Err(error) => self.fail(token, OpKind::Fin, policy::shutdown_fault(&error)),
        }
    }

    fn reset(&mut self, token: Token) {
        let Descriptor::Normal(fd) = &self.slots[token.index()].descriptor else {
            return self.reset_direct(token);
        };
        if let Err(error) = SockRef::from(fd).set_linger(Some(Duration::ZERO)) {
            tracing::warn!(token = token.0, "SO_LINGER could not be set, so no RST is sent: {error}");
        }
        self.close(token);
    }

    fn cancel(&mut self, token: Token) {
        let slot = self.slot(token);
        slot.aborting = true;
        let send = match slot.send {
            Send::None | Send::Over => None,
            Send::InKernel => Some(Kind::Send),
            Send::Polling => Some(Kind::Poll),
        };
        let receive = slot.inlet.is_armed().then_some(Kind::Recv);
        for kind in [send, receive].into_iter().flatten() {
            self.cancel_entry(token, kind);
        }
        // A receive that waits for a buffer is in no kernel, and ends here.
        self.deliver(token);
    }

    /// Cancels one operation, by its tag: all on a descriptor are looked for among all that the ring has in flight, which
    /// took 9,000 connections that expired together 1.8 s, and everyone else with them.
    fn cancel_entry(&mut self, token: Token, kind: Kind) {
        let cancel = CancelBuilder::user_data(self.tag(token, kind));
        self.slot(token).cancels += 1;
        self.push(token, Kind::Cancel, opcode::AsyncCancel2::new(cancel).build());
    }

    fn close(&mut self, token: Token) {
        let slot = self.slot(token);
        assert!(!slot.inlet.is_asked() && slot.send == Send::None, "closed with an operation in flight");
        slot.close_held = true;
        if slot.inlet.is_armed() && slot.cancels == 0 {
            // The loop asks for nothing, but a multishot receive is still there.
            self.cancel(token);
        }
        self.close_if_held(token);
    }

    fn close_if_held(&mut self, token: Token) {
        let slot = &mut self.slots[token.index()];
        // Whatever is still to come speaks of this connection, and not of the next one in its place.
        if !slot.close_held || slot.inlet.is_armed() || slot.cancels > 0 || slot.looks > 0 {
            return;
        }
        slot.bytes.clear(&mut self.pool);
        // Inline, like `shutdown`: IORING_OP_CLOSE does the same work at the same place, and costs an entry, a
        // completion and often a turn of the loop on top.
        match std::mem::take(&mut slot.descriptor) {
            Descriptor::Normal(fd) => drop(fd),
            Descriptor::Direct(place) => self.close_direct(place),
            Descriptor::None => unreachable!("closed twice"),
        }
        let slot = &mut self.slots[token.index()];
        let generation = slot.generation.wrapping_add(1) & GENERATION;
        *slot = Slot { generation, ..Slot::default() };
        self.vacant.push(token.0);
        self.event(token, Event::Closed);
    }

    fn complete(&mut self, entry: &cqueue::Entry) {
        let user_data = entry.user_data();
        let kind = KINDS[(user_data >> 56) as usize];
        let index = user_data as u32;
        match kind {
            Kind::Accept => return self.accepted(ListenerId(index), entry.result(), entry.flags()),
            Kind::AcceptCancel => return,
            Kind::Wake => return self.woken(),
            Kind::Timer => return self.ring.rang(),
            Kind::Recv | Kind::Send | Kind::Poll | Kind::Cancel => {}
            Kind::Shutdown | Kind::FinLook | Kind::PeerLook | Kind::Look | Kind::Linger => {}
        }
        let token = Token(index);
        let generation = (user_data >> 32) as u32 & GENERATION;
        assert!(generation == self.slot(token).generation, "{kind:?} ended for a connection that is gone");
        match kind {
            Kind::Recv => self.received(token, entry.result(), entry.flags()),
            Kind::Send => self.sent(token, entry.result()),
            Kind::Poll => self.polled(token, entry.result()),
            Kind::Cancel => {
                let slot = self.slot(token);
                slot.cancels -= 1;
                if entry.result() == -libc::ENOENT {
                    slot.inlet.cancel_missed();
                }
                self.close_if_held(token);
            }
            Kind::Shutdown => self.shut(token, entry.result()),
            Kind::FinLook => self.fin_looked(token, entry.result()),
            Kind::PeerLook => self.peer_looked(token, entry.result()),
            Kind::Look => self.looked(token, entry.result()),
            Kind::Linger => self.lingered(token, entry.result()),
            Kind::Accept | Kind::AcceptCancel | Kind::Wake | Kind::Timer => unreachable!("handled above"),
        }
    }
}

impl Proactor for Uring {
    fn start_accepting(&mut self, listener: ListenerId) {
        self.accept(listener);
    }

    fn pause_accepting(&mut self, listener: ListenerId) {
        self.pause(listener);
    }

    fn refuse_handshakes(&mut self, listener: ListenerId) {
        self.doors[listener.index()].refuse_handshakes();
    }

    fn stop_accepting(&mut self, listener: ListenerId) {
        self.stop(listener);
    }

    fn submit(&mut self, token: Token, op: Op) {
        match op {
            Op::Recv { max } => self.recv(token, max),
            Op::Discard => self.recv(token, DISCARD_MAX),
            Op::Send { len } => {
                assert!(self.slot(token).send == Send::None, "a second send");
                self.send(token, len);
            }
            Op::Fin => self.fin(token),
            Op::Cancel => self.cancel(token),
            Op::Close => self.close(token),
            Op::Reset => self.reset(token),
        }
    }

    fn is_dry(&mut self, token: Token) -> bool {
        if self.is_awaiting(token) {
            return false;
        }
        let empty = match &self.slots[token.index()].descriptor {
            Descriptor::Normal(fd) => sys::is_empty(SockRef::from(fd)),
            Descriptor::Direct(_) | Descriptor::None => self.is_dry_direct(token),
        };
        // In this order: what a receive took out before the look has left its completion in the ring, or, where that is
        // full, with the kernel.
        empty && self.ring.is_empty() && !self.ring.has_more()
    }

    fn part(&mut self, token: Token) -> u32 {
        let slot = &mut self.slots[token.index()];
        assert!(
            slot.account.is_none() || !slot.inlet.has_early(),
            "bytes that are not owed lie before the last ones"
        );
        let line = slot.account.as_mut().and_then(|account| self.teller.part(account));
        line.map_or(0, |line| slot.bytes.end(line))
    }

    fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.wait_for(timeout)?;
        // The caller's list is as a rule empty: then the two change places, and nothing is copied.
        if completions.is_empty() {
            std::mem::swap(completions, &mut self.done);
        } else {
            completions.append(&mut self.done);
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.waker).into()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // A worker that fails leaves receives behind, and the kernel cancels them some time after the ring is gone.
        if self.slots.iter().any(|slot| slot.inlet.is_armed()) {
            self.pool.leak();
        }
    }
}

fn fault(errno: i32) -> Fault {
    match errno {
        libc::ECANCELED => Fault::Cancelled,
        _ => policy::fault(&io::Error::from_raw_os_error(errno)),
    }
}

#[expect(clippy::disallowed_methods, reason = "an engine is where time comes from")]
fn clock() -> Instant {
    Instant::now()
}
