//! Open loops: a schedule that does not wait for the server, and what becomes of a start that finds no free slot.

use std::net::SocketAddr;
use std::time::Duration;

use finwait_loadgen::outcome::Outcome;

use socket2::{Domain, Socket, Type};

use crate::support::{Bytes, Impolite, Judged, Manner};

const BYTES: Bytes = Bytes { first: 64, tail: 64 };

#[test]
fn a_rate_that_can_be_kept() {
    let judged = Judged::run(&["churn", "-r", "300", "-d", "1s"]);
    assert_eq!(judged.at("/rate/offered"), 300.0);
    let counted: u64 = judged.outcomes().iter().map(|(_, count)| count).sum();
    // The first start is at the beginning, so there is none at the end.
    assert_eq!(counted + judged.count("/rate/missed"), 300, "{}", judged.explained());
    assert_eq!(judged.outcomes(), [(Outcome::Clean, counted)]);
    assert_eq!(judged.samples("start_lag"), counted);
    // From the planned start on, so with connect and echo in it.
    assert_eq!(judged.samples("scheduled_shutdown"), counted);
    assert!(judged.shortest("scheduled_shutdown") > judged.shortest("shutdown"));
    let achieved = judged.at("/rate/achieved").as_f64().unwrap();
    assert!(achieved > 0.0 && achieved < 310.0, "{achieved}");
    if judged.code == Some(0) {
        assert!(achieved >= 0.98 * 300.0 && judged.count("/rate/missed") == 0, "{}", judged.explained());
    }
}

#[test]
fn a_count_ends_a_schedule() {
    let judged = Judged::run(&["churn", "-r", "100", "-n", "20"]);
    let counted: u64 = judged.outcomes().iter().map(|(_, count)| count).sum();
    assert_eq!(counted + judged.count("/rate/missed"), 20, "{}", judged.explained());
    // The last is planned 190 ms after the first, which may have been late.
    assert!(judged.count("/generator/elapsed_ns") >= 100_000_000, "{}", judged.explained());
}

/// Two slots, half a second each: of the hundred planned for a second a handful can be started, and the rest is told.
#[test]
fn starts_without_a_slot_are_missed_and_counted() {
    let server = Impolite::start(Manner::Pause(1, Duration::from_millis(500)), BYTES);
    let judged = Judged::run(&["churn", server.target(), "-r", "100", "-d", "1s", "-c", "2"]);
    let clean = judged.count("/outcomes/clean");
    assert_eq!(clean + judged.count("/rate/missed"), 100, "{}", judged.explained());
    assert!((2..10).contains(&clean), "{}", judged.explained());
    assert_eq!((judged.code, server.accepted()), (Some(4), clean), "{}", judged.explained());
    let reasons = judged.at("/generator/invalid").to_string();
    assert!(reasons.contains("missed"), "{reasons}");
    assert!(judged.verdict().contains("invalid"), "{}", judged.verdict());
    assert!(judged.at("/rate/achieved").as_f64().unwrap() < 50.0, "{}", judged.explained());
}

/// An invalid run still tells of wrong endings, but its exit code is that of an invalid one.
#[test]
fn an_invalid_run_names_wrong_endings_too() {
    let server = Impolite::start_mixed(BYTES, |number| match number {
        0 => Manner::TruncateWithFin,
        _ => Manner::Pause(1, Duration::from_millis(300)),
    });
    let judged = Judged::run(&["churn", server.target(), "-r", "50", "-d", "500ms", "-c", "1"]);
    assert_eq!((judged.code, judged.count("/outcomes/truncated")), (Some(4), 1), "{}", judged.explained());
    assert!(judged.verdict().contains("cut short"), "{}", judged.verdict());
}

/// The server's account is that of its connections, and the planned moments are not moved by a slow one.
#[test]
fn a_slow_server_does_not_slow_the_schedule() {
    let pause = Duration::from_millis(300);
    let server = Impolite::start(Manner::Pause(1, pause), BYTES);
    let judged = Judged::run(&["churn", server.target(), "-r", "50", "-d", "1s"]);
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 50)], "{}", judged.explained());
    assert_eq!(judged.count("/rate/missed"), 0);
    assert!(judged.shortest("shutdown") >= pause);
    // One after the other they would have taken 15 s.
    assert!(judged.count("/generator/elapsed_ns") < 5_000_000_000, "{}", judged.explained());
}

/// Between two looks lies a small part of a slow server's time, although the generator has nothing else to do than to
/// wait for it: with one long wait until the EOF came, nobody could say how long it had stood unseen.
#[test]
fn a_slow_server_is_looked_at_often() {
    let server = Impolite::start(Manner::Pause(1, Duration::from_millis(30)), BYTES);
    let judged = Judged::run(&["churn", server.target(), "-r", "20", "-n", "25"]);
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 25)], "{}", judged.explained());
    let of = |histogram: &str| judged.count(&format!("/latency/{histogram}/p50_ns"));
    let (looking, took) = (of("observation"), of("shutdown"));
    assert!(looking < took / 4, "{looking} of {took}: {}", judged.explained());
}

/// A schedule does not wait for first bytes that do not come back, as long as there are slots.
#[test]
fn a_schedule_has_all_of_its_slots() {
    // Nobody accepts; there is room for all of them in the backlog.
    let server = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    server.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    server.listen(4096).unwrap();
    let target = server.local_addr().unwrap().as_socket().unwrap().to_string();
    let args = ["churn", &target, "-r", "2k", "-n", "1500", "-c", "3000", "--timeout", "3s"];
    let judged = Judged::run(&args);
    assert_eq!(judged.count("/rate/missed"), 0, "{}", judged.explained());
    assert_eq!(judged.outcomes(), [(Outcome::EchoTimeout, 1500)], "{}", judged.explained());
}

#[test]
fn no_more_is_achieved_than_was_offered() {
    let judged = Judged::run(&["churn", "-r", "0.5", "-d", "300ms"]);
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 1)], "{}", judged.explained());
    assert_eq!(judged.at("/rate/achieved").as_f64(), Some(0.5), "{}", judged.explained());
}
