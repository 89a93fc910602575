//! The thread that keeps the books in a file: whatever waits is one transaction, and its answers come when that is on the
//! disk. No worker ever waits for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Options;
use super::books::{Books, Entry, Verdict};
use super::desk::{Answer, Awaited};
use super::reply::{Boot, Reply, Status};
use super::session::Claim;
use super::store::{OpenError, Store};

/// The most claims in one transaction, so that what one holds in memory is bounded. What waits is bounded by the
/// connections, for each claims once.
const BATCH_MAX: usize = 4096;

/// After the disk failed, how long the claims that come are left to wait before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A claim whose answer is awaited.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) claim: Claim,
    pub(super) seen: u64,
    pub(super) awaited: Awaited,
}

/// The thread, from outside.
#[derive(Debug)]
pub(super) struct Committer {
    /// `None` once it is to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Opens the file and starts the thread. `grand_total` is what is on the disk, from then on.
    pub(super) fn start(
        path: &Path,
        options: Options,
        boot: Boot,
        grand_total: Arc<AtomicU64>,
    ) -> Result<Self, OpenError> {
        let (store, books) = Store::open(path, options.open, options.horizon, 0)?;
        grand_total.store(books.grand_total(), Ordering::Release);
        let keeper =
            Keeper { path: path.to_owned(), options, boot, grand_total, kept: Kept::Open(store, books) };
        let (jobs, waiting) = channel();
        let thread = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || keeper.run(&waiting))
            .map_err(|error| OpenError::new(path, redb::Error::Io(error)))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands a claim in. If the thread is gone, the claim is dropped, and so answered.
    pub(super) fn submit(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("it takes jobs until it is dropped");
        drop(jobs.send(job));
    }
}

impl Drop for Committer {
    /// Everything that was handed in is answered first.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's thread panicked: this is a bug; nothing that it answered is lost");
        }
    }
}

/// The thread, from inside.
struct Keeper {
    path: PathBuf,
    options: Options,
    boot: Boot,
    grand_total: Arc<AtomicU64>,
    kept: Kept,
}

/// Whether the file can be written.
enum Kept {
    Open(Store, Books),
    /// Not since the disk failed, and what was said of that last.
    Failed(String),
}

impl Keeper {
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![first];
            batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
            self.reopen();
            let verdicts = self.post(&batch);
            // One turn of a worker for all of its answers.
            let woken: Vec<_> = batch
                .into_iter()
                .zip(verdicts.into_iter().flatten())
                .filter_map(|(job, verdict)| job.awaited.answer(self.reply(job.seen, verdict)))
                .collect();
            woken.iter().for_each(|mailbox| mailbox.wake());
        }
        match self.kept {
            Kept::Open(store, _) => {
                if let Err(error) = store.close() {
                    tracing::warn!(
                        "the ledger was not closed in order, and is repaired when it is opened: {error}"
                    );
                }
            }
            Kept::Failed(_) => {}
        }
    }

    /// Judges a batch and writes what was added; `None` when the disk failed: then no answer is known to be true.
    fn post(&mut self, batch: &[Job]) -> Option<Vec<Verdict>> {
        let (store, books) = match &mut self.kept {
            Kept::Open(store, books) => (store, books),
            Kept::Failed(_) => return None,
        };
        let mut added = Vec::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for job in batch {
            let verdict = books.post(job.claim, job.seen);
            if verdict.status == Status::Ok {
                added.push(Entry { claim: job.claim, grand_total: verdict.grand_total });
            }
            verdicts.push(verdict);
        }
        if !added.is_empty()
            && let Err(error) = store.add(&added)
        {
            let error = OpenError::new(&self.path, error);
            tracing::error!("{error}; until that is done, connections that claim a total are reset");
            // These books are ahead of what is known to be on the disk. The next ones are read from there.
            self.kept = Kept::Failed(error.to_string());
            return None;
        }
        self.grand_total.store(books.grand_total(), Ordering::Release);
        Some(verdicts)
    }

    /// After a failure, reads from the file what the disk has, which may be more than was answered, and goes on from that.
    fn reopen(&mut self) {
        let Kept::Failed(last) = &self.kept else { return };
        let least = self.grand_total.load(Ordering::Acquire);
        match Store::open(&self.path, self.options.open, self.options.horizon, least) {
            Ok((store, books)) => {
                tracing::info!("the ledger is kept in {} again", self.path.display());
                self.grand_total.store(books.grand_total(), Ordering::Release);
                self.kept = Kept::Open(store, books);
            }
            Err(error) => {
                let error = error.to_string();
                if error != *last {
                    tracing::error!("{error}");
                    self.kept = Kept::Failed(error);
                }
                thread::sleep(RETRY_PAUSE);
            }
        }
    }

    fn reply(&self, seen: u64, verdict: Verdict) -> Answer {
        let Verdict { status, grand_total } = verdict;
        Answer::Replied(Reply { status, seen, grand_total, boot: self.boot })
    }
}
