//! What is added to the books, and when it is forgotten.

use finwait_server::ledger::books::{Books, Entry, Verdict};
use finwait_server::ledger::reply::Status;
use finwait_server::ledger::session::AtFin;
use finwait_server::ledger::{Answer, Ledger, Options};

use super::{Teller, claim, said};

fn post(books: &mut Books, session: u128, total: u64, seen: u64) -> (Status, u64) {
    let Verdict { status, grand_total } = books.post(claim(session, total), seen);
    (status, grand_total)
}

#[test]
fn totals_add_up() {
    let mut books = Books::new(10);
    assert_eq!(post(&mut books, 1, 5, 5), (Status::Ok, 5));
    assert_eq!(post(&mut books, 2, 0, 0), (Status::Ok, 5));
    assert_eq!(post(&mut books, 3, 1, 1), (Status::Ok, 6));
    assert_eq!(books.grand_total(), 6);
}

#[test]
fn a_repeated_session_is_told_what_it_was_told() {
    let mut books = Books::new(10);
    assert_eq!(post(&mut books, 1, 5, 5), (Status::Ok, 5));
    assert_eq!(post(&mut books, 2, 2, 2), (Status::Ok, 7));
    assert_eq!(post(&mut books, 1, 5, 5), (Status::Duplicate, 5));
    // However much of it was repeated.
    assert_eq!(post(&mut books, 1, 5, 0), (Status::Duplicate, 5));
    assert_eq!(post(&mut books, 1, 5, 9), (Status::Duplicate, 5));
    assert_eq!(books.grand_total(), 7);
}

#[test]
fn a_session_has_one_total() {
    let mut books = Books::new(10);
    assert_eq!(post(&mut books, 1, 5, 5), (Status::Ok, 5));
    assert_eq!(post(&mut books, 1, 6, 6), (Status::Mismatch, 5));
    assert_eq!(post(&mut books, 1, 5, 5), (Status::Duplicate, 5));
}

#[test]
fn a_mismatch_is_not_added_and_not_remembered() {
    let mut books = Books::new(10);
    assert_eq!(post(&mut books, 1, 5, 4), (Status::Mismatch, 0));
    assert_eq!(post(&mut books, 1, 5, 6), (Status::Mismatch, 0));
    assert_eq!(post(&mut books, 1, 5, 5), (Status::Ok, 5));
}

#[test]
fn the_grand_total_never_overflows() {
    let mut books = Books::new(10);
    assert_eq!(post(&mut books, 1, u64::MAX - 1, u64::MAX - 1), (Status::Ok, u64::MAX - 1));
    assert_eq!(post(&mut books, 2, 2, 2), (Status::Overflow, u64::MAX - 1));
    assert_eq!(post(&mut books, 2, 1, 1), (Status::Ok, u64::MAX));
    assert_eq!(post(&mut books, 3, 1, 1), (Status::Overflow, u64::MAX));
    assert_eq!(post(&mut books, 3, 0, 0), (Status::Ok, u64::MAX));
    assert_eq!(post(&mut books, 1, u64::MAX - 1, 0), (Status::Duplicate, u64::MAX - 1));
}

#[test]
fn the_oldest_session_is_forgotten_first() {
    let mut books = Books::new(3);
    for session in 1..=3 {
        assert_eq!(post(&mut books, session, 1, 1).0, Status::Ok);
    }
    assert_eq!(post(&mut books, 1, 1, 1), (Status::Duplicate, 1));
    // To be asked for does not make it younger.
    assert_eq!(post(&mut books, 4, 1, 1), (Status::Ok, 4));
    assert_eq!(post(&mut books, 2, 1, 1), (Status::Duplicate, 2));
    assert_eq!(post(&mut books, 1, 1, 1), (Status::Ok, 5));
    assert_eq!(books.entries().map(|entry| entry.claim.session.0).collect::<Vec<_>>(), [3, 4, 1]);
}

#[test]
fn books_are_restored_as_they_were() {
    let mut books = Books::new(4);
    for session in 1..=9 {
        post(&mut books, session, session as u64, session as u64);
    }
    let mut again = Books::new(4);
    for entry in books.entries() {
        assert!(again.restore(entry));
    }
    assert_eq!(again.grand_total(), 45);
    assert_eq!(post(&mut again, 7, 7, 7), (Status::Duplicate, 28));
    assert_eq!(post(&mut again, 5, 5, 5), (Status::Ok, 50));
}

#[test]
fn books_that_do_not_add_up_are_not_restored() {
    let entry = |session, total, grand_total| Entry { claim: claim(session, total), grand_total };
    assert!(!Books::new(4).restore(entry(1, 5, 4)), "less in all than in one");
    let mut books = Books::new(4);
    assert!(books.restore(entry(1, 5, 100)));
    assert!(!books.restore(entry(2, 5, 104)), "a sum that is wrong");
    assert!(!books.restore(entry(1, 5, 105)), "a session that is there");
    assert!(books.restore(entry(2, 5, 105)));
}

#[test]
fn in_memory_everything_is_answered_at_once_and_nobody_is_woken() {
    let ledger = Ledger::in_memory(Options::default());
    let (mut one, mut other) = (Teller::new(&ledger), Teller::new(&ledger));
    one.submit(1, claim(1, 5));
    one.desk.submit(2, AtFin::Plain, 3);
    one.desk.submit(3, AtFin::Malformed, 4);
    one.submit(4, claim(1, 5));
    let answers: Vec<_> = one.desk.answers().collect();
    let reply = |status, seen| {
        Answer::Replied(finwait_server::ledger::reply::Reply {
            status,
            seen,
            grand_total: 5,
            boot: ledger.boot(),
        })
    };
    let expected = [
        (1, reply(Status::Ok, 5)),
        (2, Answer::Bare),
        (3, reply(Status::Malformed, 4)),
        (4, reply(Status::Duplicate, 5)),
    ];
    assert_eq!(answers, expected);
    assert_eq!(one.desk.answers().count(), 0, "each once");
    assert_eq!(said(other.ask(claim(2, 2))), (Status::Ok, 7));
    assert_eq!((ledger.grand_total(), ledger.draining(3).grand_total), (7, 7));
    assert_eq!(
        ledger.draining(3).to_string(),
        format!("!disconnect status=draining seen=3 grand_total=7 boot={}", ledger.boot())
    );
    assert_eq!(one.wakes() + other.wakes(), 0);
}

/// Several workers at once: what they are told is one order, in which each total follows from the one before.
#[test]
fn workers_are_told_one_order() {
    const EACH: u64 = 20_000;
    let ledger = Ledger::in_memory(Options::default());
    let mut told: Vec<u64> = std::thread::scope(|scope| {
        let worker = |which: u128| {
            let mut teller = Teller::new(&ledger);
            move || -> Vec<u64> {
                let of = |number: u64| claim(which << 64 | u128::from(number), 1);
                (0..EACH).map(|number| teller.ask(of(number)).grand_total).collect()
            }
        };
        let threads: Vec<_> = (0..3).map(|which| scope.spawn(worker(which))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    told.sort_unstable();
    assert_eq!(told, (1..=3 * EACH).collect::<Vec<_>>());
}
