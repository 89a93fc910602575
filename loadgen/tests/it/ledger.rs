//! A ledger's books are found right or wrong, and what is wrong has a name.
//!
//! - `parts`: the reply's grammar, the bytes, the books, and what replies say of each other.
//! - `visits`: what the machine of a connection does otherwise beside a ledger.

mod parts;
mod visits;

use std::path::Path;
use std::sync::Arc;

use finwait_loadgen::outcome::Outcome::{self, *};
use serde_json::Value;

use crate::support::{Books, Generator, Judged, Ledger, Wrong, refusing, run, wait_until};

/// Sessions of most cases.
const SESSIONS: u64 = 60;

/// Runs sessions of 20 transactions, with a seed of which the trouble comes by everything.
#[track_caller]
fn judge(ledger: &Ledger, more: &[&str]) -> Judged {
    let args = ["ledger", ledger.target(), "-c", "60", "-n", "20", "--seed", "11", "--timeout", "30s"];
    // The later one of two counts, so a case may have a timeout of its own.
    let more: Vec<&str> = more.to_vec();
    let args: Vec<&str> = match more.contains(&"--timeout") {
        true => args[..8].iter().copied().chain(more).collect(),
        false => args.into_iter().chain(more).collect(),
    };
    Judged::run(&args)
}

/// The moment of that name.
#[track_caller]
fn moment<'a>(judged: &'a Judged, name: &str) -> &'a Value {
    let moments = judged.at("/ledger/moments").as_array().unwrap();
    moments.iter().find(|moment| moment["name"] == name).unwrap_or_else(|| panic!("no {name}: {moments:#?}"))
}

fn says(judged: &Judged, words: &str) {
    assert!(judged.verdict().contains(words), "no {words:?}: {}", judged.explained());
}

#[test]
fn an_honest_one_is_exact() {
    let ledger = Ledger::start(Wrong::Nowhere);
    let judged = judge(&ledger, &[]);
    // Two looks at the grand total.
    judged.ended(&[(Clean, SESSIONS + 2)], 0);
    assert_eq!(moment(&judged, "crowd")["grown"], 1200);
    assert_eq!(judged.count("/ledger/sums/answered"), 1200);
    assert_eq!(judged.count("/ledger/sums/unseen"), 0);
    assert_eq!(ledger.books().lock().unwrap().grand_total(), 1200);
    assert!(judged.verdict().starts_with("The grand total grew by exactly 1,200, the totals of 60 sessions"));
    // Claims and replies are no echo, and counted all the same.
    assert!(judged.count("/generator/bytes_sent") > 60 * 20 * 64);
    assert!(judged.at("/rate/achieved").is_null(), "all at once have no rate");
    // On a ledger that has something already, growth is what counts.
    let judged = Judged::run(&["ledger", ledger.target(), "-c", "5", "-n", "1", "-l", "1"]);
    judged.ended(&[(Clean, 7)], 0);
    assert_eq!((&judged.at("/ledger/base"), &moment(&judged, "crowd")["grown"]), (&&1200.into(), &5.into()));
}

/// With fewer slots than sessions nobody waits for the others: one follows the other, repetitions and trouble too.
#[test]
fn few_slots_are_enough_for_many_sessions() {
    let ledger = Ledger::start(Wrong::Nowhere);
    let judged = judge(&ledger, &["--slots", "3", "--reset", "10", "--stall", "10", "--repeat", "10"]);
    assert_eq!(judged.code, Some(0), "{}", judged.explained());
    assert_eq!((judged.count("/config/connections"), judged.count("/config/sessions")), (3, SESSIONS));
    assert_eq!(judged.count("/ledger/sums/answered"), 1200);
    assert_eq!(ledger.books().lock().unwrap().grand_total(), 1200);
    assert!(judged.at("/rate/achieved").as_f64().unwrap() > 1.0, "{}", judged.explained());
    // Nobody was made ready for a barrier.
    assert!(judged.at("/generator/setup_ns").is_null(), "{}", judged.explained());
    // More slots than sessions are as many.
    let judged = Judged::run(&["ledger", ledger.target(), "-c", "5", "-n", "1", "--slots", "100"]);
    assert_eq!((judged.code, judged.count("/config/connections")), (Some(0), 5));
}

#[test]
fn trouble_of_our_own_making_leaves_bounds_and_then_an_exact_sum() {
    let ledger = Ledger::start(Wrong::Nowhere);
    let judged = judge(&ledger, &["--reset", "40", "--stall", "20", "--repeat", "20"]);
    assert_eq!(judged.code, Some(0), "{}", judged.explained());
    let outcomes: Vec<Outcome> = judged.outcomes().into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, [Clean, SelfReset], "{}", judged.explained());
    let (crowd, settled) = (moment(&judged, "crowd"), moment(&judged, "settled"));
    assert_eq!((&crowd["holds"], &settled["holds"]), (&true.into(), &true.into()));
    assert!(crowd["sums"]["unseen"].as_u64() > Some(0) && crowd["sums"]["open_sessions"].as_u64() > Some(0));
    // Those that were reset before their claim were never in the dark.
    assert!(crowd["sums"]["unseen_sessions"].as_u64() < crowd["sums"]["open_sessions"].as_u64());
    assert_eq!((&settled["grown"], &settled["sums"]["answered"]), (&1200.into(), &1200.into()));
    // Without repetitions, bounds are all there is.
    let judged = judge(&Ledger::start(Wrong::Nowhere), &["--reset", "40", "--tries", "0"]);
    assert_eq!(judged.code, Some(1));
    says(&judged, "within its bounds");
}

#[test]
fn the_same_seed_makes_the_same_trouble() {
    let of = |ledger: &Ledger| {
        let judged = judge(ledger, &["--reset", "50", "--tries", "0"]);
        judged.count("/outcomes/self_reset")
    };
    let (one, other) = (Ledger::start(Wrong::Nowhere), Ledger::start(Wrong::Nowhere));
    // A RST that is due a moment after the FIN may come too late.
    assert!(of(&one).abs_diff(of(&other)) < 10);
    // On one ledger they are the same sessions.
    let judged = judge(&one, &[]);
    assert!(judged.count("/outcomes/ledger_duplicate") > 0, "{}", judged.explained());
}

/// Each is caught, has its name, and the run ends with 1.
macro_rules! caught {
    ($($name:ident: $wrong:ident $args:expr, $outcomes:expr, $words:expr;)+) => {
        $(#[test] fn $name() { is_caught(Wrong::$wrong, &$args, &$outcomes, $words); })+
    };
}

caught! {
    an_eof_without_a_reply: Mute [], [LedgerLost], "got the server's FIN and no reply";
    totals_that_count_twice: AddsTwice [], [], "1,200 more than was ever claimed";
    totals_that_are_forgotten: Forgets [], [], "of what was answered is missing";
    a_wrong_count: Miscounts [], [LedgerSeen], "other transactions than were sent";
    a_reply_before_the_fin: Hasty [], [LedgerEarly], "before the client had sent its FIN";
    a_grand_total_that_falls: Falls [], [], "contradict each other";
    a_boot_that_comes_back: Boots [], [], "were seen by turns";
    a_cut_echo: Truncates [], [Truncated], "cut short";
    an_echoed_claim: EchoesClaim [], [LedgerEchoed], "did not tell its grand total";
    sessions_that_are_not_remembered: Forgetful ["--repeat", "50"], [LedgerTwice], "more than was ever claimed";
    a_duplicate_with_another_total: Late ["--repeat", "50"], [LedgerChanged], "another grand total";
    a_duplicate_of_nothing: Suspicious [], [LedgerDuplicate], "called duplicates at the first claim";
    a_wrong_mismatch: Stubborn [], [LedgerMismatch], "told mismatch";
    bad_syntax: Babbles [], [LedgerBadReply], "what is no reply";
    a_line_too_many: Chatters [], [LedgerBadReply], "what is no reply";
    a_reset_for_a_reply: Aborts [], [ResetBeforeDrain], "reset before every byte was back";
    no_answer: Silent ["--timeout", "500ms"], [DrainTimeout], "stalled after the client's FIN";
    totals_without_a_fin: Eager ["--reset", "60"], [LedgerDuplicate], "called duplicates";
    a_drain: Drains [], [LedgerDraining], "ended by the server first";
}

#[track_caller]
fn is_caught(wrong: Wrong, more: &[&str], outcomes: &[Outcome], words: &str) {
    let judged = judge(&Ledger::start(wrong), more);
    assert_eq!(judged.code, Some(1), "{}", judged.explained());
    says(&judged, words);
    let found: Vec<Outcome> = judged.outcomes().into_iter().map(|(outcome, _)| outcome).collect();
    let expected = found.iter().filter(|outcome| ![Clean, SelfReset].contains(outcome));
    assert!(expected.eq(outcomes), "{found:?}: {}", judged.explained());
    assert!(judged.at("/verdict/remedy").is_string(), "{}", judged.explained());
}

/// Whoever got no answer, or one that says that nothing was added, repeats, and then the sum is exact.
#[test]
fn what_saw_no_reply_is_repeated_until_it_does() {
    for wrong in [Wrong::Mute, Wrong::Aborts, Wrong::Babbles, Wrong::Drains] {
        let judged = judge(&Ledger::start(wrong), &["--tries", "20"]);
        let settled = moment(&judged, "settled");
        assert_eq!(settled["grown"], 1200, "{wrong:?}: {}", judged.explained());
        assert_eq!((&settled["sums"]["open_sessions"], &settled["holds"]), (&0.into(), &true.into()));
    }
}

#[test]
fn nobody_there_is_said() {
    let (_socket, addr) = refusing();
    let judged = Judged::run(&["ledger", &addr.to_string(), "-c", "5"]);
    judged.ended(&[(ConnectRefused, 1)], 1);
    says(&judged, "did not tell its grand total");
    says(&judged, "refused");
}

#[test]
fn what_cannot_be_is_refused() {
    for (args, word) in [
        (&["ledger"][..], "HOST:PORT"),
        (&["ledger", "127.0.0.1:1", "-c", "0"], "--history"),
        (&["ledger", "127.0.0.1:1", "--reset", "60", "--stall", "41"], "at most 100"),
        (&["ledger", "127.0.0.1:1", "--reset", "101"], "--reset"),
        (&["ledger", "127.0.0.1:1", "-l", "65537"], "--line"),
        (&["ledger", "127.0.0.1:1", "-n", "0"], "--transactions"),
        (&["ledger", "127.0.0.1:1", "--seed", "9007199254740992"], "--seed"),
        (&["ledger", "127.0.0.1:1", "--history", "/nonexistent/x"], "/nonexistent/x"),
        (&["ledger", "127.0.0.1:1", "--size", "5"], "--size"),
    ] {
        let finished = run(args);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(finished.stderr.contains(word), "{args:?}: {}", finished.stderr);
    }
}

#[test]
fn its_help_says_how() {
    let help = run(&["ledger", "--help"]).stdout;
    for text in ["--history", "--tries", "--seed", "--reset", "kill -9", "O + U", "Examples"] {
        assert!(help.contains(text), "no {text}: {help}");
    }
}

/// Servers that are killed in the middle, and one history for all runs.
#[test]
fn a_history_is_checked_over_the_lives_of_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let history = history.to_str().unwrap();
    let mut ledger = Ledger::start(Wrong::Nowhere);
    let (addr, target, books) = (ledger.addr(), ledger.target().to_owned(), ledger.books());
    for life in 2..6 {
        let args =
            ["ledger", &target, "-c", "200", "-n", "5", "--tries", "1", "--history", history, "--json"];
        let generator = Generator::start(&args);
        let alive = ledger;
        wait_until("some were answered", || alive.claims() > 20 * life || !generator.stdout().is_empty());
        assert!(alive.claims() > 20 * life, "{}", generator.stdout());
        drop(alive);
        let killed = Judged::from(generator.finish());
        let start = moment(&killed, "start");
        assert_ne!(start["holds"], false, "{}", killed.explained());
        ledger = Ledger::on(addr, Wrong::Nowhere, u128::from(life), Arc::clone(&books));
    }
    let judged = Judged::run(&["ledger", &target, "-c", "0", "--history", history]);
    assert_eq!(judged.code, Some(0), "{}", judged.explained());
    assert_eq!(judged.count("/ledger/sums/answered"), 4 * 200 * 5);
    assert_eq!(books.lock().unwrap().grand_total(), 4 * 200 * 5);
    assert_eq!(judged.count("/ledger/recalled"), 800);
    drop(ledger);
    for (change, words) in [(-1, "1 of what was answered is missing"), (1, "1 more than was ever claimed")] {
        let wrong = Books::clone_of(&books);
        wrong.lock().unwrap().falsify(change);
        let ledger = Ledger::on(addr, Wrong::Nowhere, 9, wrong);
        let judged = Judged::run(&["ledger", ledger.target(), "-c", "0", "--history", history]);
        assert_eq!(judged.code, Some(1), "{}", judged.explained());
        says(&judged, words);
    }
    is_no_history(&target, Path::new(history));
}

/// What an earlier run left in the dark may be in the books, and is called a duplicate rightly.
#[test]
fn a_history_knows_what_was_left_in_the_dark() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let history = history.to_str().unwrap();
    let mute = Ledger::start(Wrong::Mute);
    let left = judge(&mute, &["--tries", "0", "--history", history]);
    assert!(left.count("/ledger/sums/unseen") > 0, "{}", left.explained());
    let ledger = Ledger::on(([127, 0, 0, 1], 0).into(), Wrong::Nowhere, 2, mute.books());
    let judged = Judged::run(&["ledger", ledger.target(), "-c", "0", "--history", history]);
    assert_eq!(judged.code, Some(0), "{}", judged.explained());
    assert_eq!(moment(&judged, "start")["sums"], *left.at("/ledger/sums"));
    assert_eq!(moment(&judged, "settled")["grown"], 1200);
}

/// A file that is something else is left alone.
#[track_caller]
fn is_no_history(target: &str, path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let cut = &text[..text.len() - 5];
    for wrong in ["{}\n", "{\"history\":\"x\",\"grand_total\":0,\"boot\":\"\",\"at_unix_ns\":0}\n", cut] {
        std::fs::write(path, wrong).unwrap();
        let finished = run(&["ledger", target, "-c", "0", "--history", path.to_str().unwrap()]);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains("line "), "{}", finished.stderr);
        assert_eq!(std::fs::read_to_string(path).unwrap(), wrong);
    }
}
