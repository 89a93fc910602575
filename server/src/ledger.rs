//! The disconnect-data ledger: a grand total of the transactions of all clients, each of which tells its own total with
//! its FIN and is told the grand one with ours. `server/LEDGER.md` has the protocol.
//!
//! - `session`: what one client has said; it does no I/O.
//! - `reply`: what is said to it.
//! - `books`: the grand total and the sessions that it was made of lately; no I/O either.
//! - `store`: the books in a file.
//! - `committer`: the thread that writes them there.
//! - `desk`: where a worker hands claims in and gets the answers.
//! - `teller`: who does so for its connections.

pub mod books;
mod committer;
mod desk;
pub mod reply;
pub mod session;
pub mod store;
mod teller;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use books::{Books, HORIZON};
use committer::{Committer, Job};
pub use desk::Answer;
use desk::{Awaited, Mailbox};
pub use reply::ReplyLine;
use reply::{Boot, Reply, Status};
use session::{AtFin, Claim};
use store::{Open, OpenError, open_file};
pub use teller::{Account, Branch, Fin, Teller};

/// The ledger, shared by all workers. When the last of its handles and desks is dropped everything that was handed in is
/// answered, and the file is closed.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Shared>);

/// How a ledger is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many sessions are remembered, at least 1.
    pub horizon: usize,
    /// How its file is opened; tests put faults in here.
    pub open: Open,
}

impl Default for Options {
    fn default() -> Self {
        Self { horizon: HORIZON, open: open_file }
    }
}

#[derive(Debug)]
struct Shared {
    boot: Boot,
    /// All that was ever added: with a file, what a restart would show.
    grand_total: Arc<AtomicU64>,
    keeping: Keeping,
}

#[derive(Debug)]
enum Keeping {
    Memory(Mutex<Books>),
    File(Committer),
}

impl Ledger {
    /// One that begins with nothing, and ends with the process.
    #[must_use]
    pub fn in_memory(options: Options) -> Self {
        let keeping = Keeping::Memory(Mutex::new(Books::new(options.horizon)));
        Self(Arc::new(Shared { boot: Boot::by_chance(), grand_total: Arc::default(), keeping }))
    }

    /// One that goes on where the file at `path` ends, which is created if there is none.
    ///
    /// # Errors
    /// When another process has the file open, another program wrote it, it is damaged, or the system refuses it; the
    /// message has the remedy.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let boot = Boot::by_chance();
        let grand_total = Arc::default();
        let keeping = Keeping::File(Committer::start(path, options, boot, Arc::clone(&grand_total))?);
        Ok(Self(Arc::new(Shared { boot, grand_total, keeping })))
    }

    /// The number of the time since this ledger was opened.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.0.boot
    }

    /// All that was ever added: with a file, what a restart would show.
    #[must_use]
    pub fn grand_total(&self) -> u64 {
        self.0.grand_total.load(Ordering::Acquire)
    }

    /// What is said to a client whose connection we end, before our FIN.
    #[must_use]
    pub fn draining(&self, seen: u64) -> Reply {
        self.reply(Status::Draining, seen)
    }

    /// A desk for one worker, which `waker` wakes when answers came that are not given at once.
    #[must_use]
    pub fn desk(&self, waker: Waker) -> Desk {
        Desk { ledger: self.clone(), mailbox: Arc::new(Mailbox::new(waker)), answered: Vec::new() }
    }

    fn reply(&self, status: Status, seen: u64) -> Reply {
        Reply { status, seen, grand_total: self.grand_total(), boot: self.boot() }
    }
}

impl Shared {
    fn post(&self, books: &Mutex<Books>, claim: Claim, seen: u64) -> Reply {
        let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = books.post(claim, seen);
        // Under the lock, so that no later total is overtaken by this one.
        self.grand_total.store(books.grand_total(), Ordering::Release);
        Reply { status: verdict.status, seen, grand_total: verdict.grand_total, boot: self.boot }
    }
}

/// One worker's access to the ledger.
#[derive(Debug)]
pub struct Desk {
    ledger: Ledger,
    mailbox: Arc<Mailbox>,
    /// Answers that were fetched from the mailbox, or never went there.
    answered: Vec<(u64, Answer)>,
}

impl Desk {
    /// Hands in what a client has said, whose transactions we counted as `seen`. The answer comes under `token`, which
    /// means nothing here: by [`Desk::answers`], at once where no disk has to be waited for.
    pub fn submit(&mut self, token: u64, at_fin: AtFin, seen: u64) {
        let shared = &self.ledger.0;
        let answer = match (at_fin, &shared.keeping) {
            (AtFin::Plain, Keeping::Memory(_) | Keeping::File(_)) => Answer::Bare,
            (AtFin::Malformed, Keeping::Memory(_) | Keeping::File(_)) => {
                Answer::Replied(self.ledger.reply(Status::Malformed, seen))
            }
            (AtFin::Claim(claim), Keeping::Memory(books)) => Answer::Replied(shared.post(books, claim, seen)),
            (AtFin::Claim(claim), Keeping::File(committer)) => {
                committer.submit(Job { claim, seen, awaited: Awaited::new(token, &self.mailbox) });
                return;
            }
        };
        self.answered.push((token, answer));
    }

    /// The answers that came since, each once.
    pub fn answers(&mut self) -> impl Iterator<Item = (u64, Answer)> {
        self.mailbox.fetch(&mut self.answered);
        self.answered.drain(..)
    }
}
