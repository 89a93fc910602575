//! What the machine of a connection does otherwise beside a ledger: the outcome of whatever comes behind the echo, and
//! trouble of its own making.

use finwait_loadgen::fault::Fault;
use finwait_loadgen::ledger::answer::{Reply, Status};
use finwait_loadgen::ledger::{Earlier, Manner, Session, Trouble, Visit};
use finwait_loadgen::outcome::Outcome::{self, *};
use finwait_loadgen::script::{Event, Op, Phase, Plan, Script};

use super::parts::reply;

const PLAN: Plan = Plan { size: 4, tail: 10, silent: 6, barrier: false, timeout_ns: 1000 };
/// Of two transactions.
const VISIT: Visit =
    Visit { session: Session { id: 1, total: 2 }, earlier: Earlier::Nothing, trouble: None, again: false };

fn line(reply: Reply) -> Vec<u8> {
    let Reply { status, seen, grand_total, boot } = reply;
    format!("!disconnect status={} seen={seen} grand_total={grand_total} boot={boot:032x}\n", status.name())
        .into_bytes()
}

/// What happens to a connection.
enum Step<'a> {
    To(Event),
    Said(&'a [u8]),
}
use Step::{Said, To};

const CONNECTED: Step<'_> = To(Event::Connected);
const EOF: Step<'_> = To(Event::Eof { looked: 1 });
const CHECKED: Step<'_> = To(Event::Checked { error: false });

fn sent(bytes: u64) -> Step<'static> {
    To(Event::Sent(bytes))
}

fn back(bytes: u64) -> Step<'static> {
    To(Event::Received(bytes))
}

fn after(visit: Visit, steps: &[Step<'_>]) -> Script {
    let mut script = Script::visiting(PLAN, visit, 1);
    for (step, now) in steps.iter().zip(2..) {
        match step {
            To(event) => script.handle(*event, now),
            Said(bytes) => script.reply(bytes, now),
        }
    }
    script
}

/// Up to the FIN, and the whole echo behind it.
fn parted() -> Vec<Step<'static>> {
    vec![CONNECTED, sent(4), back(4), sent(10), To(Event::HalfClosing), back(4)]
}

fn ended(earlier: Earlier, said: &[u8]) -> (Outcome, bool) {
    let mut steps = parted();
    steps.extend([Said(said), EOF, CHECKED, To(Event::Closed)]);
    let script = after(Visit { earlier, ..VISIT }, &steps);
    let attempt = script.attempt(5).unwrap();
    assert_eq!(attempt.outcome, script.outcome());
    (script.outcome(), attempt.may_be_added)
}

#[test]
fn every_reply_has_its_outcome() {
    let first = reply(Status::Ok, 2, 20);
    let answered = Earlier::Answered(first);
    for (earlier, status, seen, grand_total, outcome) in [
        (Earlier::Nothing, Status::Ok, 2, 20, Clean),
        (Earlier::Unseen, Status::Ok, 2, 20, Clean),
        (answered, Status::Ok, 2, 20, LedgerTwice),
        (Earlier::Nothing, Status::Ok, 3, 20, LedgerSeen),
        (answered, Status::Ok, 3, 20, LedgerTwice),
        (Earlier::Nothing, Status::Duplicate, 2, 20, LedgerDuplicate),
        (Earlier::Unseen, Status::Duplicate, 2, 99, Clean),
        (Earlier::Unseen, Status::Duplicate, 1, 99, LedgerSeen),
        (answered, Status::Duplicate, 2, 20, Clean),
        (answered, Status::Duplicate, 2, 21, LedgerChanged),
        (Earlier::Nothing, Status::Mismatch, 2, 20, LedgerMismatch),
        (Earlier::Nothing, Status::Mismatch, 1, 20, LedgerSeen),
        (Earlier::Nothing, Status::Malformed, 2, 20, LedgerMalformed),
        (Earlier::Nothing, Status::Overflow, 2, 20, LedgerOverflow),
        (Earlier::Nothing, Status::Draining, 2, 20, LedgerDraining),
    ] {
        let said = line(reply(status, seen, grand_total));
        assert_eq!(ended(earlier, &said), (outcome, false), "{earlier:?} {status:?} {seen} {grand_total}");
    }
    // Without a reply it may be in the books all the same.
    let whole = line(first);
    for (said, outcome) in [
        (&b""[..], LedgerLost),
        (&whole[..20], LedgerBadReply),
        (b"!disconnect total=2 ", LedgerEchoed),
        (b"\n", LedgerBadReply),
    ] {
        assert_eq!(ended(Earlier::Nothing, said), (outcome, true), "{said:?}");
    }
}

fn outcome<'a>(mut steps: Vec<Step<'a>>, then: Vec<Step<'a>>) -> Outcome {
    steps.extend(then);
    after(VISIT, &steps).outcome()
}

#[test]
fn a_reply_out_of_place_has_its_name() {
    let ok = line(reply(Status::Ok, 2, 20));
    let draining = line(reply(Status::Draining, 1, 20));
    let begun = || vec![CONNECTED, sent(4), back(4), sent(10)];
    let due = || To(Event::Due);
    assert_eq!(outcome(begun(), vec![back(4), Said(&ok), EOF, due(), CHECKED]), LedgerEarly);
    assert_eq!(
        outcome(begun(), vec![back(4), Said(&ok[..5]), To(Event::HalfClosing), Said(&ok[5..]), EOF, CHECKED]),
        LedgerEarly
    );
    // The server may end first, behind as much of the echo as it has read.
    assert_eq!(outcome(begun(), vec![back(1), Said(&draining), EOF, due(), CHECKED]), LedgerDraining);
    assert_eq!(
        outcome(vec![CONNECTED, sent(4), back(2)], vec![Said(&draining), EOF, due(), CHECKED]),
        LedgerDraining
    );
    let fin = || To(Event::HalfClosing);
    assert_eq!(outcome(begun(), vec![fin(), back(3), Said(&ok), EOF, CHECKED]), Truncated);
    assert_eq!(outcome(begun(), vec![fin(), back(3), EOF, CHECKED]), Truncated);
    assert_eq!(outcome(begun(), vec![fin(), back(4), due()]), DrainTimeout);
    assert_eq!(outcome(begun(), vec![fin(), back(4), Said(&ok), due()]), EofTimeout);
    let reset = || To(Event::ReceiveFailed(Fault::Reset));
    assert_eq!(outcome(begun(), vec![fin(), back(4), reset()]), ResetBeforeDrain);
    assert_eq!(outcome(begun(), vec![fin(), back(4), Said(&ok), reset()]), ResetAfterDrain);
    assert_eq!(outcome(begun(), vec![fin(), back(4), Said(&ok), To(Event::Interrupted)]), Censored);
    // Whatever is wrong with the end of the connection, it was answered.
    let mut steps = begun();
    steps.extend([fin(), back(4), Said(&ok), reset(), To(Event::Closed)]);
    let attempt = after(VISIT, &steps).attempt(0).unwrap();
    assert_eq!((attempt.reply, attempt.replied), (Some(reply(Status::Ok, 2, 20)), Some(8)));
}

fn with(manner: Manner, at: Option<u64>, wait_ns: u64) -> Visit {
    Visit { trouble: Some(Trouble { manner, at, wait_ns }), ..VISIT }
}

#[test]
fn a_reset_comes_where_it_is_to() {
    for at in 4..=14 {
        let mut steps = vec![CONNECTED, sent(4), back(4)];
        if at > 4 {
            let before = after(with(Manner::Reset, Some(at), 0), &steps);
            assert_eq!(before.op(), Some(Op::Send { offset: 4, len: at - 4 }));
            steps.push(sent(at - 4));
        }
        let script = after(with(Manner::Reset, Some(at), 0), &steps);
        assert_eq!(
            (script.op(), script.is_receiving(), script.due()),
            (Some(Op::Reset), false, None),
            "{at}"
        );
        // Even a whole claim counts only by the FIN behind it.
        steps.push(To(Event::Closed));
        let script = after(with(Manner::Reset, Some(at), 0), &steps);
        assert_eq!((script.outcome(), script.attempt(0).unwrap().may_be_added), (SelfReset, false));
    }
    let fin = || vec![CONNECTED, sent(4), back(4), sent(10), To(Event::HalfClosing)];
    let script = after(with(Manner::Reset, None, 0), &fin());
    assert_eq!((script.op(), script.attempt(0).unwrap().may_be_added), (Some(Op::Reset), true));
    let waiting = after(with(Manner::Reset, Some(14), 7), &[CONNECTED, sent(4), back(4), sent(10)]);
    assert_eq!((waiting.phase(), waiting.due()), (Phase::Stalling, Some(12)));
    let steps = [CONNECTED, sent(4), back(4), sent(10), To(Event::Due)];
    assert_eq!(after(with(Manner::Reset, Some(14), 7), &steps).op(), Some(Op::Reset));
    // Later, unless everything came before: the FIN was sent at 6.
    let later = with(Manner::Reset, None, 3);
    assert_eq!(after(later, &fin()).due(), Some(9));
    let mut steps = fin();
    steps.extend([back(1), back(1), To(Event::Due)]);
    assert_eq!((after(later, &steps).phase(), after(later, &steps).outcome()), (Phase::Resetting, SelfReset));
    let ok = line(reply(Status::Ok, 2, 20));
    let mut steps = fin();
    steps.extend([back(4), Said(&ok), EOF, CHECKED]);
    assert_eq!(after(later, &steps).outcome(), Clean);
    // Answered, then reset: it is in the books.
    let mut steps = fin();
    steps.extend([back(4), Said(&ok), To(Event::Due)]);
    let script = after(later, &steps);
    assert_eq!((script.outcome(), script.attempt(0).unwrap().reply.is_some()), (SelfReset, true));
}

#[test]
fn a_stall_neither_sends_nor_reads_and_then_goes_on() {
    for (at, goes_on) in [
        (Some(4), Some(Op::Send { offset: 4, len: 10 })),
        (Some(9), Some(Op::Send { offset: 9, len: 5 })),
        (Some(14), Some(Op::HalfClose)),
        (None, None),
    ] {
        let visit = with(Manner::Stall, at, 500);
        let mut steps = vec![CONNECTED, sent(4), back(4)];
        match at {
            Some(4) => {}
            Some(at) => steps.push(sent(at - 4)),
            None => steps.extend([sent(10), To(Event::HalfClosing)]),
        }
        let begun = steps.len() as u64 + 1;
        let script = after(visit, &steps);
        assert_eq!(
            (script.phase(), script.op(), script.is_receiving()),
            (Phase::Stalling, None, false),
            "{at:?}"
        );
        assert_eq!(script.due(), Some(begun + 500));
        steps.push(To(Event::Due));
        let script = after(visit, &steps);
        assert_eq!((script.op(), script.is_receiving()), (goes_on, true), "{at:?}");
        // The wait was ours, and counts against nobody.
        assert_eq!(script.due(), Some(begun + 1 + 1000));
    }
}

#[test]
fn who_only_asks_sends_a_claim_and_nothing_else() {
    let visit = Visit { session: Session { id: 1, total: 0 }, ..with(Manner::Stall, Some(u64::MAX), 50) };
    let plan = Plan { size: 0, tail: 6, silent: 6, barrier: false, timeout_ns: 1000 };
    let mut script = Script::visiting(plan, visit, 1);
    assert_eq!(script.first_bytes(), 6);
    script.handle(Event::Connected, 2);
    script.handle(Event::Sent(6), 3);
    assert_eq!((script.phase(), script.due()), (Phase::Stalling, Some(53)));
    script.handle(Event::Due, 53);
    assert_eq!(script.op(), Some(Op::HalfClose));
    script.handle(Event::HalfClosing, 54);
    script.reply(&line(reply(Status::Ok, 0, 20)), 55);
    script.handle(Event::Eof { looked: 54 }, 56);
    script.handle(Event::Checked { error: false }, 57);
    assert_eq!(script.outcome(), Clean);
}
