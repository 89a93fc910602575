//! The tokio-uring engine: a task per connection on the runtime of that name, under the loop that all engines have.
//!
//! What the runtime lacks decides how this is built. It cannot cancel: an operation in flight stays until the socket
//! makes it end, by SHUT_RD for a receive, by a disconnect for a send. It cannot say that nothing is on its way to us:
//! bytes that a receive has taken may not have been handed out yet, so a socket counts as dry only when it was found
//! empty, everything that had ended by then was handed out, and it is still empty.

mod door;
mod peer;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;
use tokio_uring::Runtime;

use self::door::Door;
use self::peer::Peer;
use crate::conn::Op;
use crate::ledger::{Branch, Teller};
use crate::listener::Source;
use crate::proactor::{Completion, ListenerId, Proactor, Token};
use crate::worker::{self, Ready, Settings};

/// Entries for submissions; when they are full the runtime submits.
const SUBMISSIONS: u32 = 1024;
/// Entries for completions: one operation of each kind on some ten thousand connections. Beyond it the kernel keeps
/// them.
const COMPLETIONS: u32 = 32_768;
/// Turns of the runtime in which nothing new came, after which nothing is on its way: one looks at the ring, one wakes
/// whoever waits for what was found there, one lets them say it.
const QUIET_TURNS: u32 = 3;
/// Turns of the runtime in one `wait`, so that a storm does not keep the loop from its deadlines.
const TURNS_MAX: u32 = 64;
/// How long a ring may take that is told what was asked for.
const TOLD_MAX: Duration = Duration::from_millis(10);
/// A look at the ring that took longer has been stopped in between, as a rule by SIGSTOP, and is repeated.
const STOPPED: Duration = Duration::from_millis(100);

/// Runs one worker on this engine until it is drained. `ready` is told once whether it could be set up.
///
/// # Errors
/// As io_uring_enter(2).
pub fn run(sources: Vec<Source>, settings: &Settings, ready: &Ready) -> io::Result<()> {
    let listeners = sources.len();
    worker::serve(TokioUring::new(sources, settings.ledger.as_ref()), listeners, settings, ready)
}

/// Whether the runtime can be set up here. On a thread of its own, which the kernel may interrupt when it takes the
/// ring down.
///
/// # Errors
/// Why it cannot.
pub fn probe() -> io::Result<()> {
    let probe = std::thread::Builder::new().name("probe".into()).spawn(|| runtime().map(drop))?;
    probe.join().unwrap_or_else(|_| Err(io::Error::other("the runtime panicked")))
}

fn runtime() -> io::Result<Runtime> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(COMPLETIONS);
    Runtime::new(tokio_uring::builder().entries(SUBMISSIONS).uring_builder(&ring))
}

struct TokioUring {
    runtime: Runtime,
    shared: Rc<Shared>,
    doors: Vec<Rc<Door>>,
    /// How many times `wait` was called.
    turn: u64,
    now: Instant,
}

/// What the tasks and the loop have in common.
struct Shared {
    peers: RefCell<Slab<Rc<Peer>>>,
    /// Ended, to be handed out by `wait`.
    done: RefCell<Vec<Completion>>,
    teller: RefCell<Teller>,
    bell: Arc<Bell>,
}

/// Ends a `wait`, from this thread or another.
struct Bell {
    news: Notify,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.news.notify_one();
    }
}

impl Shared {
    fn push(&self, completion: Completion) {
        self.done.borrow_mut().push(completion);
        self.bell.news.notify_one();
    }

    fn admit(self: &Rc<Self>, listener: ListenerId, stream: std::net::TcpStream) -> io::Result<()> {
        // The runtime waits for the kernel, which must therefore be allowed to wait.
        stream.set_nonblocking(false)?;
        let mut peers = self.peers.borrow_mut();
        let entry = peers.vacant_entry();
        let token = Token(u32::try_from(entry.key()).map_err(io::Error::other)?);
        let account = self.teller.borrow().open(listener.index());
        let peer = Rc::new(Peer::new(token, stream, account));
        entry.insert(Rc::clone(&peer));
        drop(peers);
        tokio_uring::spawn(peer::serve(peer, Rc::clone(self)));
        self.push(Completion::Accepted { listener, token });
        Ok(())
    }

    /// Lets the tasks run until everything that has ended by now is in `done`.
    async fn settle(&self) {
        // When it has ended, every task has run that something was asked of, and the ring was told: of itself the runtime
        // does that only before it sleeps. A ring that refuses is told again in the next turn.
        drop(tokio::time::timeout(TOLD_MAX, tokio_uring::no_op()).await);
        let (mut before, mut quiet) = (self.done.borrow().len(), 0);
        for _ in 0..TURNS_MAX {
            // The runtime looks at the ring before it goes on here.
            tokio::task::yield_now().await;
            let now = self.done.borrow().len();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
            if quiet == QUIET_TURNS {
                return;
            }
        }
    }

    /// As [`Shared::settle`], and lets the tasks know what the ledger has answered.
    async fn settle_all(&self) {
        self.settle().await;
        let mut answers = Vec::new();
        self.teller.borrow_mut().answers(&mut answers);
        if answers.is_empty() {
            return;
        }
        for (index, claim, answer) in answers {
            if let Some(peer) = self.peers.borrow().get(index as usize) {
                peer.answered(claim, answer);
            }
        }
        self.settle().await;
    }

    /// As [`Shared::settle_all`], and returns the time: everything that had come by then, or all but a little before, is in
    /// `done`. Were it otherwise, deadlines would pass for bytes that came while this process was stopped.
    async fn look(&self) -> Instant {
        let begun = clock();
        self.settle_all().await;
        let now = clock();
        if now.saturating_duration_since(begun) < STOPPED {
            return now;
        }
        self.settle_all().await;
        clock()
    }

    async fn wait(&self, timeout: Option<Duration>) -> Instant {
        let now = self.look().await;
        // A FIN that came in the last turns may have been answered at once.
        if !self.done.borrow().is_empty() || self.teller.borrow().has_answers() {
            return now;
        }
        match timeout {
            Some(Duration::ZERO) => return now,
            // That the time is over says nothing that the loop does not see by itself.
            Some(timeout) => drop(tokio::time::timeout(timeout, self.bell.news.notified()).await),
            None => self.bell.news.notified().await,
        }
        self.look().await
    }
}

impl TokioUring {
    fn new(sources: Vec<Source>, ledger: Option<&Branch>) -> io::Result<Self> {
        let runtime = runtime()?;
        let bell = Arc::new(Bell { news: Notify::new(), rung: AtomicBool::new(false) });
        let teller = RefCell::new(Teller::new(ledger, Arc::clone(&bell).into()));
        let shared = Rc::new(Shared { peers: RefCell::default(), done: RefCell::default(), teller, bell });
        let mut doors = Vec::new();
        for (index, source) in sources.into_iter().enumerate() {
            let listener = ListenerId(u32::try_from(index).map_err(io::Error::other)?);
            doors.push(runtime.block_on(async { Door::open(listener, source, &shared) })?);
        }
        Ok(Self { runtime, shared, doors, turn: 0, now: clock() })
    }

    fn peer(&self, token: Token) -> Rc<Peer> {
        Rc::clone(&self.shared.peers.borrow()[token.index()])
    }
}

impl Proactor for TokioUring {
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
        let peer = self.peer(token);
        match op {
            Op::Recv { max } => peer.ask_recv(Some(max as usize)),
            Op::Discard => peer.ask_recv(None),
            Op::Send { len } => peer.ask_send(len as usize),
            Op::Fin => self.shared.push(Completion::Event(token, peer.fin())),
            Op::Cancel => peer.cancel(),
            Op::Close => peer.close(),
            Op::Reset => peer.reset(),
        }
    }

    fn is_dry(&mut self, token: Token) -> bool {
        self.peer(token).is_dry(self.turn)
    }

    fn part(&mut self, token: Token) -> u32 {
        self.peer(token).part(&mut self.shared.teller.borrow_mut())
    }

    fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.turn += 1;
        self.now = self.runtime.block_on(self.shared.wait(timeout));
        completions.append(&mut self.shared.done.borrow_mut());
        if self.shared.bell.rung.swap(false, Ordering::AcqRel) {
            completions.push(Completion::Woken);
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.shared.bell).into()
    }
}

#[expect(clippy::disallowed_methods, reason = "an engine is where time comes from")]
fn clock() -> Instant {
    Instant::now()
}
