//! Runs against the embedded server: everything ends cleanly, and both accounts of it agree.

use finwait_loadgen::outcome::Outcome;

use crate::support::{Bytes, Generator, Impolite, Judged, Manner, wait_until};

/// What must hold when the embedded server has served so many connections of 64 + 64 bytes, and nothing went wrong.
#[track_caller]
fn both_agree(judged: &Judged, connections: u64) {
    assert_eq!(judged.outcomes(), [(Outcome::Clean, connections)], "{}", judged.explained());
    assert_eq!(judged.at("/target/name"), "embedded");
    assert_eq!(judged.at("/target/embedded"), true);
    assert_eq!(judged.count("/server/tally/accepted"), connections);
    assert_eq!(judged.count("/server/tally/graceful"), connections);
    assert_eq!(judged.count("/server/tally/bytes_echoed"), connections * 128);
    assert_eq!(judged.count("/generator/bytes_sent"), connections * 128);
    assert_eq!(judged.count("/generator/bytes_received"), connections * 128);
    assert_eq!(judged.at("/server/contradictions"), &serde_json::json!([]));
    assert!(judged.count("/server/cpu_ns") > 0 && judged.count("/generator/cpu_ns") > 0);
    for histogram in ["shutdown", "drain", "eof_tail", "connect", "echo", "close", "observation"] {
        assert_eq!(judged.samples(histogram), connections, "{histogram}");
    }
    assert_eq!(judged.samples("shutdown_or_deadline"), connections);
}

/// On a busy test machine looking is coarse: a run may say that it is invalid, and then it must say why.
#[track_caller]
fn is_clean_or_says_why_not(judged: &Judged) {
    let reasons = judged.at("/generator/invalid").as_array().unwrap();
    assert_eq!(judged.at("/generator/valid"), reasons.is_empty());
    assert_eq!(judged.code, Some(if reasons.is_empty() { 0 } else { 4 }), "{}", judged.explained());
    for reason in reasons {
        let why = reason["what"].as_str().unwrap();
        assert!(why.contains("looked too seldom"), "{why}: {}", judged.explained());
    }
}

#[test]
fn a_storm() {
    let judged = Judged::run(&["storm", "-c", "200"]);
    both_agree(&judged, 200);
    is_clean_or_says_why_not(&judged);
    assert_eq!(judged.at("/scenario"), "storm");
    assert_eq!((judged.at("/rate/offered"), judged.at("/rate/achieved")), (&().into(), &().into()));
    // Every one was planned for the moment at which the barrier fell, which is before it was issued.
    assert_eq!(judged.samples("scheduled_shutdown"), 200);
    assert!(judged.longest("scheduled_shutdown") >= judged.longest("shutdown"));
    let spread = judged.count("/generator/issue_spread_ns");
    let completion = judged.count("/generator/completion_ns");
    assert!(0 < spread && spread <= completion, "{spread} {completion}");
    assert!(u128::from(completion) >= judged.longest("shutdown").as_nanos(), "{}", judged.explained());
    assert!(judged.count("/generator/setup_ns") > 0);
    assert!(judged.at("/generator/thaw_to_last_eof_ns").is_null(), "nothing was frozen");
}

/// When all stand ready nothing happens for as long as was wished for, and only then all of them end.
#[test]
fn a_storm_that_is_held() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 64 });
    let judged = Judged::run(&["storm", server.target(), "-c", "20", "--hold", "400ms"]);
    is_clean_or_says_why_not(&judged);
    assert_eq!(judged.count("/config/hold_ns"), 400_000_000);
    for exemplar in judged.exemplars(Outcome::Clean) {
        let (echoed, parted) = (exemplar["echoed_ns"].as_u64(), exemplar["t0_ns"].as_u64());
        assert!(parted.unwrap() - echoed.unwrap() >= 400_000_000, "{exemplar:#}");
    }
    assert!(judged.count("/generator/setup_ns") >= 400_000_000, "{}", judged.explained());
    // An interrupt does not wait for it.
    let generator = Generator::start(&["storm", server.target(), "-c", "20", "--hold", "1h", "--json"]);
    wait_until("all stand ready", || server.begun() == 40);
    generator.signal("INT");
    let judged = Judged::from(generator.finish());
    judged.ended(&[(Outcome::Censored, 20)], 130);
}

/// Sixteen source addresses at least, or half of the ports of one would soon be used up.
#[test]
fn sources_rotate_on_loopback() {
    let judged = Judged::run(&["storm", "-c", "40"]);
    assert!(judged.at("/config/sources").as_array().unwrap().len() >= 16);
    let judged = Judged::run(&["storm", "-c", "40", "-b", "127.0.0.77", "-b", "127.0.1.0/30"]);
    assert_eq!(
        judged.at("/config/sources"),
        &serde_json::json!(["127.0.0.77", "127.0.1.1", "127.0.1.2"]),
        "hosts of a network, in order"
    );
    both_agree(&judged, 40);
    for exemplar in judged.exemplars(Outcome::Clean) {
        let local = exemplar["local"].as_str().unwrap();
        let (ip, _port) = local.rsplit_once(':').unwrap();
        assert!(["127.0.0.77", "127.0.1.1", "127.0.1.2"].contains(&ip), "{local}");
    }
}

#[test]
fn several_threads_share_the_work() {
    let judged = Judged::run(&["storm", "-c", "201", "-t", "3"]);
    both_agree(&judged, 201);
    assert_eq!(judged.count("/config/threads"), 3);
    let judged = Judged::run(&["churn", "-n", "101", "-c", "10", "-t", "3"]);
    both_agree(&judged, 101);
}

/// Each thread has a slot at least: with fewer slots than threads there are fewer threads.
#[test]
fn a_single_connection_suffices() {
    let judged = Judged::run(&["storm", "-c", "1", "-t", "4"]);
    both_agree(&judged, 1);
    assert_eq!((judged.code, judged.count("/config/threads")), (Some(0), 1));
}

#[test]
fn a_churn_by_count() {
    let judged = Judged::run(&["churn", "-n", "500", "-c", "16"]);
    both_agree(&judged, 500);
    // A closed loop follows the server, so that its own limit does not make it invalid.
    assert_eq!(judged.code, Some(0), "{}", judged.explained());
    assert_eq!(judged.count("/config/connections"), 16);
    assert!(judged.at("/rate/offered").is_null());
    assert!(judged.at("/rate/achieved").as_f64().unwrap() > 1.0);
    assert_eq!(judged.count("/rate/missed"), 0);
    // Nothing was planned.
    assert_eq!(judged.samples("scheduled_shutdown"), 0);
    for field in ["issue_spread_ns", "completion_ns", "setup_ns", "thaw_to_last_eof_ns"] {
        assert!(judged.at("/generator")[field].is_null(), "{field} is for storms");
    }
}

/// At the end of the time no cycle starts; those under way finish.
#[test]
fn a_churn_by_time() {
    let judged = Judged::run(&["churn", "-d", "300ms", "-c", "4"]);
    let connections = judged.count("/outcomes/clean");
    assert!(connections > 4, "{connections}");
    both_agree(&judged, connections);
    let elapsed = judged.count("/generator/elapsed_ns");
    assert!(elapsed >= 250_000_000, "{elapsed}");
}

/// Whichever comes first.
#[test]
fn a_count_ends_a_churn_before_its_time() {
    let judged = Judged::run(&["churn", "-d", "1h", "-n", "20"]);
    both_agree(&judged, 20);
    let judged = Judged::run(&["churn", "-d", "200ms", "-n", "100m"]);
    assert_eq!(judged.outcomes().len(), 1, "{}", judged.explained());
}

/// A thread that cannot even poll, here for want of descriptors, leaves no other waiting at the barrier.
#[test]
fn a_thread_that_fails_ends_the_run() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 64 });
    let args = ["storm", server.target(), "-c", "236", "-t", "236", "--json"];
    let judged = Judged::from(Generator::start_in_shell("ulimit -n 300;", &args).finish());
    assert!(matches!(judged.code, Some(1 | 4)), "{}", judged.explained());
}

/// Issuing takes longer than the timeout here. Whoever waits for its turn waits for the generator, not for the server.
#[test]
fn nobody_times_out_before_its_turn() {
    let judged = Judged::run(&["storm", "-c", "4000", "--timeout", "20ms"]);
    let (proven, late) = (judged.samples("echo"), judged.count("/outcomes/echo_timeout"));
    let sent = judged.count("/generator/bytes_sent");
    assert!(
        sent >= proven * 128 + late * 64,
        "{sent} bytes of {proven} that stood ready: {}",
        judged.explained()
    );
}

/// One connection that hangs until its timeout says nothing about how fast the others went.
#[test]
fn a_straggler_does_not_slow_a_closed_loop() {
    let server = Impolite::start_mixed(Bytes { first: 64, tail: 64 }, |number| match number {
        20 => Manner::NeverFin,
        _ => Manner::Polite,
    });
    let judged = Judged::run(&["churn", server.target(), "-c", "4", "-d", "500ms", "--timeout", "4s"]);
    let started = server.accepted();
    assert_eq!(judged.outcomes(), [(Outcome::Clean, started - 1), (Outcome::EofTimeout, 1)]);
    let achieved = judged.at("/rate/achieved").as_f64().unwrap();
    assert!(achieved > started as f64 / 2.0, "{achieved} of {started} in half a second");
}
