//! Every way to end a connection gets its own name, in a storm and in churn.

use std::net::SocketAddr;
use std::time::Duration;

use finwait_loadgen::outcome::Outcome;

use crate::support::{Bytes, Impolite, Judged, Manner, full, refusing};

mod sizes;

/// Not the same number twice, so that they are not mixed up.
const BYTES: Bytes = Bytes { first: 100, tail: 50 };

/// Connections of each run: with fewer than ten beyond it no percentile is told, so that a busy test machine, where the
/// looking is coarse, does not make a run invalid.
const CONNECTIONS: u64 = 12;

/// Bytes that an exemplar says it has sent and received; `None` where that is a matter of chance.
type Counted = Option<(u64, u64)>;

/// What a scenario is called and what it is told, beyond the target, to make twelve connections.
const STORM: &[&str] = &["storm", "-c", "12"];
const CHURN: &[&str] = &["churn", "-n", "12", "-c", "5"];

/// Makes a test in each scenario of each line: a manner, the outcome that it is to have, and the bytes that an exemplar
/// of it has sent and received.
macro_rules! endings {
    ($($name:ident: $manner:expr => $outcome:ident, $counted:expr;)+) => {
        mod storm {
            use super::*;
            $(#[test] fn $name() { judge(STORM, $manner, Outcome::$outcome, $counted); })+
        }
        mod churn {
            use super::*;
            $(#[test] fn $name() { judge(CHURN, $manner, Outcome::$outcome, $counted); })+
        }
    };
}

endings! {
    polite: Manner::Polite => Clean, Some((150, 150));
    close_early: Manner::CloseEarly => EarlyEof, Some((100, 50));
    eof_with_the_first_bytes: Manner::EofWhileHeld => EarlyEof, Some((100, 100));
    truncate_with_fin: Manner::TruncateWithFin => Truncated, Some((150, 149));
    truncate_with_reset: Manner::TruncateWithReset => ResetBeforeDrain, Some((150, 149));
    flip_the_first_byte: Manner::Flip(0) => Corrupt, None;
    flip_the_last_of_the_first_bytes: Manner::Flip(99) => Corrupt, None;
    flip_the_first_of_the_tail: Manner::Flip(100) => Corrupt, None;
    flip_the_last_byte: Manner::Flip(149) => Corrupt, Some((150, 150));
    one_too_many: Manner::OneTooMany => Corrupt, None;
    too_many_while_held: Manner::TooManyHeld => Corrupt, None;
    never_fin: Manner::NeverFin => EofTimeout, Some((150, 150));
    reset_instead_of_fin: Manner::ResetInsteadOfFin => ResetAfterDrain, Some((150, 150));
    reset_after_fin: Manner::ResetAfterFin => ResetAfterEof, Some((100, 50));
    never_read: Manner::NeverRead => EchoTimeout, Some((100, 0));
    never_echo: Manner::NeverEcho => EchoTimeout, Some((100, 0));
    never_read_the_tail: Manner::NeverTail => DrainTimeout, Some((150, 100));
    reset_unanswered: Manner::ResetUnanswered => ResetBeforeDrain, Some((100, 0));
    stall_then_finish: Manner::Pause(1, Duration::from_millis(300)) => Clean, Some((150, 150));
    stall_at_first: Manner::PauseFirst(1, Duration::from_millis(300)) => Clean, Some((150, 150));
}

/// Twelve connections to a server of one manner: all of them end as they must, and the report shows it.
#[track_caller]
fn judge(scenario: &[&str], manner: Manner, outcome: Outcome, counted: Counted) {
    let server = Impolite::start(manner, BYTES);
    let judged = run(scenario, server.addr(), timeout(outcome), &[]);
    let code = i32::from(outcome != Outcome::Clean);
    judged.ended(&[(outcome, CONNECTIONS)], code);
    assert_eq!(server.accepted(), CONNECTIONS);
    shows(&judged, outcome, counted);
    let verdict = judged.verdict();
    assert!(verdict.starts_with("All 12 ") && verdict.contains(words(outcome)), "{verdict}");
    // Latencies are those of clean connections; nothing was missed by looking at something else.
    assert_eq!(judged.samples("connect"), CONNECTIONS);
    if outcome != Outcome::Corrupt {
        let echoed = judged.exemplars(outcome)[0]["echoed_ns"].is_u64();
        assert_eq!(judged.samples("echo"), if echoed { CONNECTIONS } else { 0 }, "{}", judged.explained());
    }
}

/// A wait that is to end in vain is short; one that is not is never reached.
fn timeout(outcome: Outcome) -> &'static str {
    let in_vain = [Outcome::EchoTimeout, Outcome::DrainTimeout, Outcome::EofTimeout, Outcome::ConnectTimeout];
    if in_vain.contains(&outcome) { "500ms" } else { "30s" }
}

#[track_caller]
fn run(scenario: &[&str], addr: SocketAddr, timeout: &str, more: &[&str]) -> Judged {
    let (addr, size, tail) = (addr.to_string(), BYTES.first.to_string(), BYTES.tail.to_string());
    let common = [&addr, "--timeout", timeout, "-s", &size, "--tail", &tail];
    Judged::run(&[scenario, &common, more].concat())
}

/// The exemplars hold what is to be known of such an ending, and the verdict names it.
#[track_caller]
fn shows(judged: &Judged, outcome: Outcome, counted: Counted) {
    for exemplar in judged.exemplars(outcome) {
        for (field, is_known) in known(outcome) {
            assert_eq!(!exemplar[field].is_null(), is_known, "{field}: {exemplar:#}");
        }
        if let Some((sent, received)) = counted {
            assert_eq!(
                (&exemplar["sent"], &exemplar["received"]),
                (&sent.into(), &received.into()),
                "{exemplar:#}"
            );
        }
    }
}

/// Words of the verdict by which it is not mistaken for another.
fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Clean => "ended cleanly",
        Outcome::Truncated => "cut short with a clean FIN",
        Outcome::Corrupt => "a wrong byte",
        Outcome::ResetBeforeDrain => "reset before every byte was back",
        Outcome::ResetAfterDrain => "reset where the server's FIN was due",
        Outcome::ResetAfterEof => "reset right behind the server's FIN",
        Outcome::EarlyEof => "the server's FIN before the client had sent its own",
        Outcome::EchoTimeout => "waited in vain for an echo",
        Outcome::DrainTimeout => "stalled after the client's FIN",
        Outcome::EofTimeout => "every byte back, but not the server's FIN",
        Outcome::ConnectRefused
        | Outcome::ConnectTimeout
        | Outcome::ConnectReset
        | Outcome::ConnectUnreachable
        | Outcome::ShutdownFailed
        | Outcome::LocalPorts
        | Outcome::LocalFds
        | Outcome::LocalMemory
        | Outcome::LedgerTwice
        | Outcome::LedgerLost
        | Outcome::LedgerDuplicate
        | Outcome::LedgerChanged
        | Outcome::LedgerSeen
        | Outcome::LedgerMismatch
        | Outcome::LedgerMalformed
        | Outcome::LedgerOverflow
        | Outcome::LedgerEarly
        | Outcome::LedgerEchoed
        | Outcome::LedgerBadReply
        | Outcome::LedgerDraining
        | Outcome::SelfReset
        | Outcome::Censored => unreachable!("{outcome:?} is not of the table"),
    }
}

/// What an exemplar tells, and what it cannot: each time is there if it came.
fn known(outcome: Outcome) -> Vec<(&'static str, bool)> {
    let [t0, t2, t3, errno] = match outcome {
        Outcome::Clean => [true, true, true, false],
        Outcome::Truncated => [true, false, true, false],
        Outcome::EarlyEof => [false, false, true, false],
        Outcome::ResetAfterEof => [false, false, true, true],
        Outcome::ResetAfterDrain => [true, true, false, true],
        Outcome::EchoTimeout => [false, false, false, false],
        Outcome::DrainTimeout => [true, false, false, false],
        Outcome::EofTimeout => [true, true, false, false],
        // Before or after t0.
        Outcome::ResetBeforeDrain => {
            return vec![("t2_ns", false), ("t3_ns", false), ("errno", true), ("t4_ns", true)];
        }
        // A wrong byte may be found anywhere.
        Outcome::Corrupt => return vec![("errno", false), ("t4_ns", true)],
        Outcome::ConnectRefused => return vec![("errno", true), ("connected_ns", false)],
        Outcome::ConnectTimeout => return vec![("errno", false), ("connected_ns", false)],
        Outcome::ConnectReset
        | Outcome::ConnectUnreachable
        | Outcome::ShutdownFailed
        | Outcome::LocalPorts
        | Outcome::LocalFds
        | Outcome::LocalMemory
        | Outcome::LedgerTwice
        | Outcome::LedgerLost
        | Outcome::LedgerDuplicate
        | Outcome::LedgerChanged
        | Outcome::LedgerSeen
        | Outcome::LedgerMismatch
        | Outcome::LedgerMalformed
        | Outcome::LedgerOverflow
        | Outcome::LedgerEarly
        | Outcome::LedgerEchoed
        | Outcome::LedgerBadReply
        | Outcome::LedgerDraining
        | Outcome::SelfReset
        | Outcome::Censored => unreachable!("no server here causes it for sure"),
    };
    vec![("t0_ns", t0), ("t2_ns", t2), ("t3_ns", t3), ("errno", errno), ("t4_ns", true)]
}

mod connecting {
    use super::*;

    #[test]
    fn refused() {
        let (_socket, addr) = refusing();
        for scenario in [STORM, CHURN] {
            let judged = run(scenario, addr, "30s", &[]);
            judged.ended(&[(Outcome::ConnectRefused, CONNECTIONS)], 1);
            assert!(judged.verdict().contains("refused"), "{}", judged.verdict());
            shows(&judged, Outcome::ConnectRefused, Some((0, 0)));
            assert_eq!(judged.samples("connect"), 0);
        }
    }

    #[test]
    fn unanswered() {
        let (_listener, _only, addr) = full();
        for scenario in [STORM, CHURN] {
            let judged = run(scenario, addr, "500ms", &[]);
            judged.ended(&[(Outcome::ConnectTimeout, CONNECTIONS)], 1);
            assert!(judged.verdict().contains("not answered in time"), "{}", judged.verdict());
            shows(&judged, Outcome::ConnectTimeout, Some((0, 0)));
        }
    }

    /// The RST comes before the generator has sent its first bytes, or behind: that is a race, and either has a name.
    #[test]
    fn reset_at_once() {
        for scenario in [STORM, CHURN] {
            let server = Impolite::start(Manner::ResetAtOnce, BYTES);
            let judged = run(scenario, server.addr(), "30s", &[]);
            let outcomes = judged.outcomes();
            let of_resets = [Outcome::ConnectReset, Outcome::ResetBeforeDrain];
            assert!(outcomes.iter().all(|(outcome, _)| of_resets.contains(outcome)), "{outcomes:?}");
            let count: u64 = outcomes.iter().map(|(_, count)| count).sum();
            assert_eq!((count, judged.code), (CONNECTIONS, Some(1)), "{}", judged.explained());
        }
    }
}

mod held {
    use super::*;

    /// The connection that is last to be ready keeps the storm waiting until all others have got what they get.
    fn last_is_late(manner: Manner) -> Impolite {
        Impolite::start_mixed(BYTES, move |number| {
            let late = Manner::PauseFirst(1, Duration::from_millis(300));
            if number == CONNECTIONS - 1 { late } else { manner }
        })
    }

    /// The server's FIN comes while the connection waits for the storm, with everything that it was sent echoed.
    #[test]
    fn eof() {
        let server = last_is_late(Manner::EofWhileHeld);
        let judged = run(STORM, server.addr(), "30s", &[]);
        judged.ended(&[(Outcome::Clean, 1), (Outcome::EarlyEof, CONNECTIONS - 1)], 1);
        for exemplar in judged.exemplars(Outcome::EarlyEof) {
            assert_eq!(
                (&exemplar["received"], &exemplar["t0_ns"]),
                (&100.into(), &().into()),
                "{exemplar:#}"
            );
        }
    }

    #[test]
    fn reset() {
        let server = last_is_late(Manner::ResetWhileHeld);
        let judged = run(STORM, server.addr(), "30s", &[]);
        judged.ended(&[(Outcome::Clean, 1), (Outcome::ResetBeforeDrain, CONNECTIONS - 1)], 1);
        for exemplar in judged.exemplars(Outcome::ResetBeforeDrain) {
            assert_eq!(
                (&exemplar["received"], &exemplar["t0_ns"]),
                (&100.into(), &().into()),
                "{exemplar:#}"
            );
        }
    }

    /// An early EOF is held for 50 ms, and not for much longer: it takes a slot meanwhile.
    #[test]
    fn for_a_moment() {
        let server = Impolite::start(Manner::CloseEarly, BYTES);
        let judged = run(&["churn", "-n", "12", "-c", "1"], server.addr(), "30s", &[]);
        judged.ended(&[(Outcome::EarlyEof, CONNECTIONS)], 1);
        let time = |exemplar: &serde_json::Value, name: &str| exemplar[name].as_u64().unwrap();
        let exemplars = judged.exemplars(Outcome::EarlyEof);
        let held = exemplars.iter().map(|exemplar| time(exemplar, "t4_ns") - time(exemplar, "t3_ns"));
        assert!(held.clone().all(|held| held >= 50_000_000), "{}", judged.explained());
        assert!(held.min().is_some_and(|held| held < 70_000_000), "{}", judged.explained());
    }

    /// The RST comes when the FIN has been read: only a generator that holds such a connection for a moment sees it.
    /// It may come too late on a busy machine, but not each time.
    #[test]
    fn reset_after_the_eof_was_read() {
        let server = Impolite::start(Manner::ResetAfterFinRead, BYTES);
        for scenario in [STORM, CHURN] {
            let judged = run(scenario, server.addr(), "30s", &[]);
            let outcomes = judged.outcomes();
            let of_early = [Outcome::ResetAfterEof, Outcome::EarlyEof];
            assert!(outcomes.iter().all(|(outcome, _)| of_early.contains(outcome)), "{outcomes:?}");
            assert!(judged.count("/outcomes/reset_after_eof") > 0, "{}", judged.explained());
        }
    }
}

mod progress {
    use super::*;

    /// Each pause is shorter than the timeout, all of them together are longer: what comes in between starts it anew.
    #[test]
    fn starts_the_timeout_anew() {
        for manner in
            [Manner::Pause(5, Duration::from_millis(300)), Manner::PauseFirst(5, Duration::from_millis(300))]
        {
            for scenario in [STORM, CHURN] {
                let server = Impolite::start(manner, BYTES);
                let judged = run(scenario, server.addr(), "1s", &[]);
                judged.ended(&[(Outcome::Clean, CONNECTIONS)], 0);
            }
        }
    }

    /// A server's pause is in the latency, and in the phase in which it was made.
    #[test]
    fn a_pause_is_a_latency() {
        let pause = Duration::from_millis(200);
        for scenario in [STORM, CHURN] {
            let server = Impolite::start(Manner::Pause(2, pause), BYTES);
            let judged = run(scenario, server.addr(), "30s", &[]);
            judged.ended(&[(Outcome::Clean, CONNECTIONS)], 0);
            assert!(judged.shortest("shutdown") >= 2 * pause, "{}", judged.explained());
            assert!(judged.shortest("drain") >= 2 * pause, "{}", judged.explained());
            assert!(judged.shortest("echo") < pause, "{}", judged.explained());

            let server = Impolite::start(Manner::PauseFirst(2, pause), BYTES);
            let judged = run(scenario, server.addr(), "30s", &[]);
            judged.ended(&[(Outcome::Clean, CONNECTIONS)], 0);
            assert!(judged.shortest("echo") >= 2 * pause, "{}", judged.explained());
            assert!(judged.shortest("shutdown") < pause, "{}", judged.explained());
        }
    }
}

mod mixed {
    use super::*;

    /// Every fourth is cut short: exactly those are counted, among connections that pause long enough for the looking
    /// not to count.
    #[test]
    fn every_fourth_truncates() {
        let polite = Manner::Pause(1, Duration::from_millis(400));
        for scenario in [&["storm", "-c", "80"][..], &["churn", "-n", "80", "-c", "40"]] {
            let server =
                Impolite::start_mixed(
                    BYTES,
                    move |number| {
                        if number % 4 == 0 { Manner::TruncateWithFin } else { polite }
                    },
                );
            let judged = run(scenario, server.addr(), "30s", &[]);
            judged.ended(&[(Outcome::Clean, 60), (Outcome::Truncated, 20)], 1);
            assert_eq!(judged.samples("drain"), 60, "clean ones only");
            assert!(judged.verdict().contains("20 of 80"), "{}", judged.verdict());
        }
    }

    #[test]
    fn several_endings_are_told_apart() {
        let manners = [Manner::Polite, Manner::TruncateWithFin, Manner::ResetInsteadOfFin, Manner::Flip(120)];
        for scenario in [STORM, CHURN] {
            let server =
                Impolite::start_mixed(BYTES, move |number| manners[usize::try_from(number).unwrap() % 4]);
            let judged = run(scenario, server.addr(), "30s", &[]);
            let each = [Outcome::Clean, Outcome::Truncated, Outcome::Corrupt, Outcome::ResetAfterDrain];
            judged.ended(&each.map(|outcome| (outcome, CONNECTIONS / 4)), 1);
            each.iter().for_each(|&outcome| shows(&judged, outcome, None));
        }
    }
}
