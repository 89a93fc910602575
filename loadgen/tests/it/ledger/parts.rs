//! The reply's grammar, the bytes, the books, and what replies say of each other.

use finwait_loadgen::ledger::answer::{Answer, REPLY_MAX, Reply, Said, Status};
use finwait_loadgen::ledger::book::Book;
use finwait_loadgen::ledger::draw::{Draw, Mix};
use finwait_loadgen::ledger::lines::Lines;
use finwait_loadgen::ledger::{Attempt, Earlier, Manner, Session, order};
use finwait_loadgen::outcome::Outcome;

const RIGHT: &str = "!disconnect status=ok seen=2 grand_total=20 boot=5d1f0c3ea1f08e7c6ad34aee0a8d3b52\n";
const BOOT: u128 = 0x5d1f_0c3e_a1f0_8e7c_6ad3_4aee_0a8d_3b52;

pub(super) fn reply(status: Status, seen: u64, grand_total: u64) -> Reply {
    Reply { status, seen, grand_total, boot: BOOT }
}

#[test]
fn a_reply_is_what_the_grammar_says_and_nothing_else() {
    assert_eq!(Reply::parse(RIGHT.as_bytes()), Some(reply(Status::Ok, 2, 20)));
    let most = format!("{}", u64::MAX);
    let with = |from: &str, to: &str| Reply::parse(RIGHT.replace(from, to).as_bytes());
    for status in Status::ALL {
        assert_eq!(with("=ok", &format!("={}", status.name())), Some(reply(status, 2, 20)));
    }
    assert_eq!(with("=20", &format!("={most}")).map(|reply| reply.grand_total), Some(u64::MAX));
    assert_eq!(with("=20", "=0").map(|reply| reply.grand_total), Some(0));
    for (from, to) in [
        ("\n", ""),
        ("\n", "\r\n"),
        ("\n", " \n"),
        ("!d", "d"),
        ("!d", " !d"),
        ("disconnect", "Disconnect"),
        ("=ok", "=OK"),
        ("=ok", "="),
        ("=ok", "=fine"),
        ("seen=2", "seen=02"),
        ("seen=2", "seen=+2"),
        ("seen=2", "seen="),
        ("seen=2", "seen=-2"),
        ("=20", "=00"),
        ("=20", "=18446744073709551616"),
        ("=20", "=0x20"),
        (" boot", "  boot"),
        (" boot", "\tboot"),
        ("seen=2 grand_total=20", "grand_total=20 seen=2"),
        ("5d1f", "5D1f"),
        ("5d1f", "5d1"),
        ("5d1f", "5d1f0"),
        ("5d1f", "5d1g"),
        ("5d1f", "+d1f"),
        (" boot=", " boots="),
        ("=20 ", "=20 x=1 "),
        ("3b52", "3b52 x=1"),
        ("seen=2", "seen=2\u{661}"),
    ] {
        assert_eq!(with(from, to), None, "{from:?} -> {to:?}");
    }
}

#[test]
fn an_answer_is_told_piece_by_piece() {
    let said = |pieces: &[&str]| {
        let mut answer = Answer::default();
        pieces.iter().for_each(|piece| answer.take(piece.as_bytes()));
        answer.said()
    };
    let whole = Said::Whole(reply(Status::Ok, 2, 20));
    assert_eq!(said(&[]), Said::Nothing);
    for cut in 1..RIGHT.len() {
        assert_eq!(said(&[&RIGHT[..cut]]), Said::Part);
        assert_eq!(said(&[&RIGHT[..cut], &RIGHT[cut..]]), whole);
    }
    assert_eq!(said(&[RIGHT, "x"]), Said::Bad);
    assert_eq!(said(&["!disconnect total=2 session="]), Said::Echoed);
    assert_eq!(said(&["hello\n"]), Said::Bad);
    assert_eq!(said(&[&"x".repeat(REPLY_MAX)]), Said::Part);
    assert_eq!(said(&[&"x".repeat(REPLY_MAX), "y"]), Said::Bad);
    // The longest there is.
    let longest = RIGHT.replace("=ok", "=duplicate").replace("=20", "=18446744073709551615");
    let longest = longest.replace("=2 ", "=18446744073709551615 ");
    assert_eq!(longest.len(), REPLY_MAX);
    assert!(matches!(said(&[&longest]), Said::Whole(_)));
}

#[test]
fn lines_are_lines_and_a_claim_stands_behind_them() {
    for (total, line_bytes) in [(1, 1), (3, 2), (5, 64), (2, 5000), (70, 100)] {
        let lines = Lines::new(Session { id: 0xab, total }, line_bytes);
        let len = usize::try_from(lines.echoed() + lines.claim()).unwrap();
        let mut all = vec![0; len];
        lines.fill(7, 0, &mut all);
        let text = String::from_utf8(all.clone()).unwrap();
        let parts: Vec<&str> = text.split_inclusive('\n').collect();
        let (claim, transactions) = parts.split_last().unwrap();
        assert_eq!(*claim, format!("!disconnect total={total} session={:032x}\n", 0xab));
        assert_eq!(transactions.len() as u64, total);
        assert!(transactions.iter().all(|line| line.len() as u64 == line_bytes && !line.contains('!')));
        // Piece by piece it is the same, and what differs is found where it does.
        for step in [1, 3, 64, 4097] {
            for from in (0..len).step_by(step) {
                let mut piece = vec![0; step.min(len - from)];
                lines.fill(7, from as u64, &mut piece);
                assert_eq!(piece, all[from..from + piece.len()]);
            }
        }
        let echoed = usize::try_from(lines.echoed()).unwrap();
        assert_eq!(lines.matching(7, 0, &all), echoed);
        for wrong in [0, echoed / 2, echoed - 1] {
            let mut got = all.clone();
            got[wrong] ^= 1;
            assert_eq!(lines.matching(7, 0, &got), wrong);
        }
        assert_eq!(lines.matching(7, lines.echoed(), b"!x"), 0);
        assert!(line_bytes < 5 || lines.matching(8, 0, &all) < echoed, "another connection's");
    }
}

#[test]
fn chance_keeps_its_shares_and_its_places() {
    let mix = Mix { reset: 10, stall: 20, repeat: 30 };
    let mut draw = Draw::new(3);
    let visits: Vec<_> = (0..5000).map(|_| draw.visit(20, 64, mix)).collect();
    let count =
        |manner| visits.iter().filter(|visit| visit.trouble.is_some_and(|it| it.manner == manner)).count();
    assert!((400..600).contains(&count(Manner::Reset)), "{}", count(Manner::Reset));
    assert!((850..1150).contains(&count(Manner::Stall)), "{}", count(Manner::Stall));
    let again = visits.iter().filter(|visit| visit.again).count();
    assert!((1350..1650).contains(&again), "{again}");
    assert!(visits.iter().all(|visit| !visit.again || visit.trouble.is_none()));
    let claim = Lines::new(visits[0].session, 64).claim();
    let places = |manner, places: std::ops::RangeInclusive<u64>| {
        visits
            .iter()
            .filter_map(|visit| visit.trouble)
            .any(|it| it.manner == manner && it.at.is_some_and(|at| places.contains(&at)))
    };
    let whole = 20 * 64 + claim;
    for (from, to) in [(64, 20 * 64), (20 * 64 + 1, whole - 1), (whole, whole)] {
        assert!(places(Manner::Reset, from..=to) && places(Manner::Stall, from..=to), "{from} to {to}");
    }
    assert!(!places(Manner::Reset, 0..=63) && !places(Manner::Stall, 0..=63), "the first line is whole");
    let mut ids: Vec<u128> = visits.iter().map(|visit| visit.session.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), visits.len());
}

#[test]
fn books_know_what_is_known() {
    let mut book = Book::default();
    book.base = Some(100);
    let of = |id| Session { id, total: 10 };
    let bounds = |book: &Book| (book.sums().answered, book.sums().unseen, book.sums().open_sessions);
    book.note(of(1), Some(reply(Status::Ok, 10, 110)), false);
    book.note(of(2), None, true);
    book.note(of(3), None, false);
    book.note(of(4), Some(reply(Status::Draining, 10, 110)), false);
    book.note(of(5), Some(reply(Status::Mismatch, 9, 110)), false);
    book.note(Session { id: 6, total: 0 }, None, true);
    assert_eq!(bounds(&book), (10, 10, 3));
    assert_eq!(
        [109, 110, 115, 120, 121].map(|total| book.allows(total).unwrap()),
        [false, true, true, true, false]
    );
    let earlier: Vec<_> = book.repetitions().iter().map(|visit| (visit.session.id, visit.earlier)).collect();
    assert_eq!(earlier, [(2, Earlier::Unseen), (3, Earlier::Nothing), (4, Earlier::Nothing)]);
    // Once is enough, and a later attempt that saw nothing takes nothing back.
    book.note(of(2), Some(reply(Status::Duplicate, 10, 120)), false);
    book.note(of(2), None, true);
    book.note(of(1), Some(reply(Status::Duplicate, 10, 110)), false);
    assert_eq!(bounds(&book), (20, 0, 2));
    assert_eq!(book.allows(120), Some(true));
    assert_eq!(book.grown(90), Some(-10));
}

/// An `ok` whose FIN went out at `fin`, and whose reply came at `replied`.
fn ok(id: u128, total: u64, grand_total: u64, fin: u64, replied: u64) -> Attempt {
    Attempt {
        session: Session { id, total },
        earlier: Earlier::Nothing,
        connection: 0,
        outcome: Outcome::Clean,
        started: 0,
        fin: Some(fin),
        replied: Some(replied),
        ended: replied,
        reply: Some(reply(Status::Ok, total, grand_total)),
        may_be_added: false,
    }
}

fn of_boot(boot: u128, attempt: Attempt) -> Attempt {
    Attempt { reply: attempt.reply.map(|reply| Reply { boot, ..reply }), ..attempt }
}

#[test]
fn replies_that_can_be_are_no_contradiction() {
    for right in [
        vec![ok(1, 10, 10, 1, 9), ok(2, 10, 20, 1, 9), ok(3, 10, 30, 10, 20)],
        // At the same time, in whatever order.
        vec![ok(1, 10, 30, 1, 9), ok(2, 20, 20, 5, 12)],
        // Zeros add nothing, wherever they stand, and others may have added in between.
        vec![
            ok(1, 0, 0, 1, 2),
            ok(2, 10, 10, 3, 4),
            ok(3, 0, 10, 5, 6),
            ok(4, 0, 10, 5, 6),
            ok(5, 5, 50, 7, 8),
        ],
        // Another boot begins with other books.
        vec![
            of_boot(1, ok(1, 10, 100, 1, 2)),
            of_boot(2, ok(2, 10, 10, 3, 4)),
            of_boot(2, ok(3, 10, 20, 5, 6)),
        ],
        // Which of two boots was first is not known where they were seen at the same time.
        vec![
            of_boot(1, ok(1, 10, 10, 1, 5)),
            of_boot(2, ok(2, 10, 10, 2, 6)),
            of_boot(1, ok(3, 10, 20, 3, 7)),
        ],
    ] {
        assert_eq!(order::contradictions(&right), [""; 0]);
    }
}

#[test]
fn replies_that_cannot_be_are_found() {
    for (wrong, words) in [
        (vec![ok(1, 10, 20, 1, 9), ok(2, 10, 20, 1, 9)], "one of them was not added"),
        (vec![ok(1, 10, 20, 1, 9), ok(2, 10, 15, 1, 9)], "one of them was not added"),
        (vec![ok(1, 10, 20, 1, 9), ok(2, 0, 15, 1, 9)], "one of them was not added"),
        (vec![ok(1, 10, 50, 1, 9), ok(2, 10, 40, 10, 19)], "the grand total fell"),
        (vec![ok(1, 10, 50, 1, 9), ok(2, 10, 40, 10, 19), ok(3, 0, 35, 30, 31)], "(and 1 more)"),
        (vec![ok(1, 10, 50, 1, 9), ok(2, 10, 55, 10, 19)], "the grand total fell"),
        (
            vec![of_boot(1, ok(1, 1, 1, 1, 2)), of_boot(2, ok(2, 1, 1, 3, 4)), of_boot(1, ok(3, 1, 2, 5, 6))],
            "by turns",
        ),
    ] {
        let found = order::contradictions(&wrong);
        assert!(found.iter().any(|found| found.contains(words)), "no {words:?}: {found:?}");
    }
}
