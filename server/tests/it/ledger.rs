//! The ledger without a network: what it makes of bytes, its books, and the file that it keeps them in.
//!
//! - `model`: what a whole input means, in a page of slow code; the fuzz target has it too.
//! - `session`: tables, every way to cut an input up, and made-up inputs against the model.
//! - `reply`: what is said, byte for byte.
//! - `books`: what is added, and when it is forgotten.
//! - `disk`: a disk that loses power, stalls and fails, under the real database.
//! - `commit`: nothing is answered that such a disk could take back, and nothing waits for it that need not.
//! - `file`: files that are there, are not, or are somebody else's.
//! - `killed`: a process that is killed at any instant.

mod books;
mod commit;
mod disk;
mod file;
#[cfg(not(windows))]
mod killed;
mod model;
mod reply;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use finwait_server::ledger::reply::{Reply, Status};
use finwait_server::ledger::session::{AtFin, Claim, SessionId};
use finwait_server::ledger::{Answer, Desk, Ledger};

use crate::support::wait_until;

/// A worker's place, and how often it was woken.
struct Teller {
    desk: Desk,
    wakes: Arc<Wakes>,
    answers: Vec<(u64, Answer)>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Teller {
    fn new(ledger: &Ledger) -> Self {
        let wakes = Arc::new(Wakes::default());
        let desk = ledger.desk(Waker::from(Arc::clone(&wakes)));
        Self { desk, wakes, answers: Vec::new() }
    }

    fn submit(&mut self, token: u64, claim: Claim) {
        self.desk.submit(token, AtFin::Claim(claim), claim.total);
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// Waits for so many answers in all, and returns what came since it was last asked.
    #[track_caller]
    fn wait(&mut self, answers: usize) -> Vec<(u64, Answer)> {
        wait_until("the ledger answers", || {
            self.answers.extend(self.desk.answers());
            self.answers.len() >= answers
        });
        assert_eq!(self.answers.len(), answers, "more answers than questions");
        std::mem::take(&mut self.answers)
    }

    /// One claim and its reply.
    #[track_caller]
    fn ask(&mut self, claim: Claim) -> Reply {
        self.submit(7, claim);
        match self.wait(1)[..] {
            [(7, Answer::Replied(reply))] => reply,
            ref other => panic!("not a reply: {other:?}"),
        }
    }
}

fn claim(session: u128, total: u64) -> Claim {
    Claim { total, session: SessionId(session) }
}

fn said(reply: Reply) -> (Status, u64) {
    (reply.status, reply.grand_total)
}
