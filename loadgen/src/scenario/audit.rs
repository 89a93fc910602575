//! A run at a ledger: the grand total is asked for, the crowd claims its totals, the grand total is asked for again,
//! and who saw no reply repeats its claim, until the books must be exact.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::conclude::ended_per_second;
use super::conduct::{Conducted, Round};
use super::{Account, Claims, Run, Surroundings};
use crate::clock::Nanos;
use crate::control::Control;
use crate::ledger::answer::{Reply, Status};
use crate::ledger::book::Book;
use crate::ledger::draw::Draw;
use crate::ledger::history::History;
use crate::ledger::{Attempt, Earlier, Manner, Trouble, Visit, order};
use crate::outcome::Outcome;
use crate::pacer::Pacer;
use crate::report;
use crate::swarm::{Task, Visits};

/// Who asks for the grand total keeps its FIN back for this long: a reply that comes before it is seen.
const KEPT_BACK_NS: Nanos = 50_000_000;
/// How often the grand total is asked for at the start, where a history says that the server was just started again.
const STARTS_MAX: u64 = 8;
/// The wait before something is tried again, doubled each time.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// A wait is cut into these, so that an interrupt is noticed.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// Sessions that a ledger remembers: those before them would be added again.
const REMEMBERED: u64 = 1 << 18;

/// The books that a run keeps, and what it is to do for them.
#[derive(Debug)]
pub(super) struct Books {
    claims: Claims,
    book: Book,
    history: Option<History>,
    /// Sessions that an earlier run left.
    recalled: u64,
    draw: Draw,
    moments: Vec<report::Moment>,
    attempts: Vec<Attempt>,
    failed: Option<String>,
}

impl Books {
    /// Those of a book, which a history may have filled.
    pub(super) fn new(claims: Claims, book: Book, history: Option<History>) -> Self {
        let draw = Draw::new(claims.seed);
        let recalled = book.sums().sessions;
        Self {
            claims,
            book,
            history,
            recalled,
            draw,
            moments: Vec::new(),
            attempts: Vec::new(),
            failed: None,
        }
    }
}

/// A run under way.
struct Audit<'a> {
    run: &'a Run<'a>,
    around: &'a Surroundings,
    books: Books,
    conducted: Conducted,
    /// The number of the next connection: their bytes differ.
    next_id: u64,
}

impl Run<'_> {
    /// Runs sessions at a ledger, to their end.
    pub(super) fn audit(&self, books: Books, around: &Surroundings) -> (Conducted, Account) {
        let conducted = Conducted::new(self.clock, self.timeout_ns());
        let mut audit = Audit { run: self, around, books, conducted, next_id: 0 };
        audit.all();
        let Audit { books, mut conducted, .. } = audit;
        let ledger = books.account();
        if let Some(failed) = books.failed {
            conducted.failed.get_or_insert(failed);
        }
        (conducted, Account { ledger: Some(ledger), ..Account::default() })
    }
}

impl Audit<'_> {
    fn all(&mut self) {
        let starts = if self.books.history.is_some() { STARTS_MAX } else { 1 };
        if !self.ask("start", starts) {
            return;
        }
        let Claims { sessions, transactions, line_bytes, mix, tries, .. } = self.books.claims;
        if sessions > 0 {
            let draw = &mut self.books.draw;
            let visits = (0..sessions).map(|_| draw.visit(transactions, line_bytes, mix)).collect();
            // With fewer slots than sessions nobody can wait for all others.
            let all_at_once = self.run.fit.connections >= sessions;
            let rate = self.visit(visits, all_at_once);
            self.conducted.crowd = rate.filter(|_| !all_at_once);
            if !self.ask("crowd", tries.max(1)) {
                return;
            }
        }
        self.settle(tries);
    }

    /// Repeats every session that saw no reply, until all did, or it was tried often enough.
    fn settle(&mut self, tries: u64) {
        let mut wait = WAIT_MIN;
        for nth in 0..tries {
            let visits = self.books.book.repetitions();
            if visits.is_empty() || self.is_interrupted() {
                break;
            }
            if nth > 0 {
                self.wait(&mut wait);
            }
            let open = visits.len();
            self.visit(visits, false);
            // Nobody was answered: before everybody tries again, one does.
            let is_better = self.books.book.repetitions().len() < open;
            if !is_better && nth + 1 < tries && !self.ask("settling", tries) {
                return;
            }
        }
        let is_settled = self.books.moments.last().is_some_and(|last| last.sums == self.books.book.sums());
        if !is_settled && !self.is_interrupted() {
            self.ask("settled", tries.max(1));
        }
    }

    /// Asks for the grand total, again and again while there is hope; whether it was told.
    fn ask(&mut self, name: &'static str, tries: u64) -> bool {
        let mut wait = WAIT_MIN;
        let mut told = None;
        for nth in 0..tries {
            if self.is_interrupted() {
                break;
            }
            if nth > 0 {
                self.wait(&mut wait);
            }
            let session = self.books.draw.session(0);
            let trouble = Trouble { manner: Manner::Stall, at: Some(u64::MAX), wait_ns: KEPT_BACK_NS };
            let visit = Visit { session, earlier: Earlier::Nothing, trouble: Some(trouble), again: false };
            self.visit(vec![visit], false);
            let last = self.books.attempts.last();
            let reply = last.and_then(|last| last.reply).filter(|reply| reply.status == Status::Ok);
            if reply.is_some() || !last.is_some_and(|last| may_pass(last.outcome)) {
                told = reply;
                break;
            }
        }
        self.note(name, told);
        told.is_some()
    }

    /// Keeps a moment at which the grand total was told, or was not.
    fn note(&mut self, name: &'static str, told: Option<Reply>) {
        let books = &mut self.books;
        if let Some(reply) = told {
            books.book.base.get_or_insert(reply.grand_total);
            let at = self.run.clock.unix_ns(self.run.clock.now());
            if let Some(Err(error)) = books.history.as_mut().map(|history| history.begin(reply, at)) {
                books.failed.get_or_insert(format!("--history cannot be written: {error}"));
            }
        }
        books.moments.push(report::Moment {
            name,
            grand_total: told.map(|reply| reply.grand_total),
            boot: told.map(|reply| format!("{:032x}", reply.boot)),
            grown: told.and_then(|reply| books.book.grown(reply.grand_total)).map(saturated),
            holds: told.and_then(|reply| books.book.allows(reply.grand_total)),
            sums: books.book.sums(),
        });
    }

    /// Makes visits, and enters what came of them; how many ended per second.
    fn visit(&mut self, visits: Vec<Visit>, barrier: bool) -> Option<f64> {
        let again = visits.iter().filter(|visit| visit.again).count();
        let goal = (visits.len() + again) as u64;
        let tasks = self.tasks(visits, barrier);
        self.next_id += goal;
        let round = Round { around: self.around, embedded: None, barrier, goal: Some(goal) };
        // Threads count on it, so each crowd has its own.
        let control = Control::new(Arc::clone(&self.around.interrupted));
        let mut conducted = self.run.round(&round, &control, tasks);
        let mut attempts = std::mem::take(&mut conducted.recorder.attempts);
        let books = &mut self.books;
        // In the order in which they ended, so that a repetition stands behind what it repeats.
        attempts.sort_by_key(|attempt| attempt.ended);
        for attempt in &attempts {
            books.book.note(attempt.session, attempt.reply, attempt.may_be_added);
        }
        let written = books.history.as_mut().map(|history| history.append(&attempts, self.run.clock));
        if let Some(Err(error)) = written {
            books.failed.get_or_insert(format!("--history cannot be written: {error}"));
        }
        books.attempts.extend(attempts);
        let rate = ended_per_second(&conducted.recorder);
        self.conducted.add(conducted);
        rate
    }

    /// The visits, dealt to the threads.
    fn tasks(&self, visits: Vec<Visit>, barrier: bool) -> Vec<Task> {
        let threads = self.run.threads;
        let mut dealt = vec![VecDeque::new(); threads as usize];
        for (index, visit) in visits.into_iter().enumerate() {
            dealt[index % threads as usize].push_back(visit);
        }
        let line_bytes = self.books.claims.line_bytes;
        let deal = |(nth, next): (u32, VecDeque<Visit>)| {
            let mut task = self.run.task(nth, 0);
            task.plan.barrier = barrier;
            task.pacer = Pacer::closed(Some(next.len() as u64), None);
            task.ids.0 += self.next_id;
            task.visits = Some(Visits { next, line_bytes });
            task
        };
        (0..threads).zip(dealt).map(deal).collect()
    }

    fn wait(&self, wait: &mut Duration) {
        let mut left = *wait;
        while !left.is_zero() && !self.is_interrupted() {
            let step = left.min(WAIT_STEP);
            thread::sleep(step);
            left -= step;
        }
        *wait = (*wait * 2).min(WAIT_MAX);
    }

    fn is_interrupted(&self) -> bool {
        self.around.interrupted.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Books {
    /// The account of it.
    fn account(&self) -> report::Ledger {
        let Claims { transactions, line_bytes, mix, tries, seed, ref history, .. } = self.claims;
        let mut boots: Vec<u128> =
            self.attempts.iter().filter_map(|attempt| Some(attempt.reply?.boot)).collect();
        boots.sort_unstable();
        boots.dedup();
        let sums = self.book.sums();
        report::Ledger {
            transactions,
            line_bytes,
            reset_percent: mix.reset,
            stall_percent: mix.stall,
            repeat_percent: mix.repeat,
            tries,
            seed,
            history: history.as_ref().map(|path| path.display().to_string()),
            recalled: self.recalled,
            base: self.book.base,
            sums,
            moments: self.moments.clone(),
            boots: boots.len() as u64,
            contradictions: order::contradictions(&self.attempts),
            forgets: sums.sessions > REMEMBERED,
        }
    }
}

/// Whether it may be otherwise in a moment: the server is not there, or is ending.
fn may_pass(outcome: Outcome) -> bool {
    outcome.is_connect()
        || matches!(
            outcome,
            Outcome::ResetBeforeDrain
                | Outcome::ResetAfterDrain
                | Outcome::EarlyEof
                | Outcome::DrainTimeout
                | Outcome::LedgerLost
                | Outcome::LedgerDraining
        )
}

fn saturated(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}
