//! Interrupts: a partial report, and no process left behind.

use finwait_loadgen::outcome::Outcome;

use crate::support::{
    Bytes, Generator, Impolite, Judged, Manner, children, cpu_ticks, group, is_gone, wait_until,
};

const BYTES: Bytes = Bytes { first: 64, tail: 64 };

/// All stand where they wait for something that does not come.
#[test]
fn an_interrupt_counts_what_was_under_way() {
    for (manner, name) in [(Manner::NeverRead, "INT"), (Manner::NeverTail, "TERM"), (Manner::NeverFin, "INT")]
    {
        for scenario in [["storm", "-c", "20"], ["churn", "-c", "20"]] {
            let server = Impolite::start(manner, BYTES);
            let args = [&scenario[..], &[server.target(), "--timeout", "1h", "--json"]].concat();
            let generator = Generator::start(&args);
            wait_until("all are under way", || {
                server.accepted() == 20 && (manner == Manner::NeverRead || server.begun() == 20)
            });
            generator.signal(name);
            let judged = Judged::from(generator.finish());
            judged.ended(&[(Outcome::Censored, 20)], 130);
            let latency = judged.at("/latency").as_object().unwrap();
            let about_us = ["loop_lag", "start_lag"];
            for (name, summary) in latency.iter().filter(|(name, _)| !about_us.contains(&name.as_str())) {
                assert_eq!(summary["count"], 0, "{name}: censored ones are in no histogram");
            }
            assert!(judged.verdict().starts_with("Interrupted"), "{}", judged.verdict());
        }
    }
}

/// What had ended until then is reported.
#[test]
fn an_interrupt_is_no_loss_of_what_was_done() {
    let server = Impolite::start(Manner::Polite, BYTES);
    let generator = Generator::start(&["churn", server.target(), "-c", "4", "-d", "1h", "--json"]);
    wait_until("some have ended", || server.accepted() > 50);
    generator.signal("INT");
    let judged = Judged::from(generator.finish());
    assert_eq!(judged.code, Some(130), "{}", judged.explained());
    let clean = judged.count("/outcomes/clean");
    let censored = judged.count("/outcomes/censored");
    assert!(clean > 40 && censored <= 4, "{}", judged.explained());
    assert_eq!(judged.outcomes().iter().map(|(_, count)| count).sum::<u64>(), clean + censored);
}

/// Wrong endings before an interrupt are named; the exit code is the interrupt's.
#[test]
fn an_interrupt_goes_before_a_wrong_ending() {
    let server = Impolite::start_mixed(BYTES, |number| match number {
        0..10 => Manner::TruncateWithFin,
        _ => Manner::NeverFin,
    });
    let generator = Generator::start(&["churn", server.target(), "-c", "5", "-n", "15", "--json"]);
    wait_until("the last are under way", || server.begun() == 15);
    generator.signal("INT");
    let judged = Judged::from(generator.finish());
    judged.ended(&[(Outcome::Truncated, 10), (Outcome::Censored, 5)], 130);
    assert!(judged.verdict().contains("cut short"), "{}", judged.verdict());
}

/// The embedded server of a generator, once it is there.
fn embedded(generator: &Generator) -> Vec<u32> {
    let mut found = Vec::new();
    wait_until("there is an embedded server", || {
        found = children(generator.pid());
        !found.is_empty()
    });
    found
}

/// Waits until it has used some hundredths of a second.
fn wait_until_it_serves(servers: &[u32]) {
    wait_until("the embedded server works", || servers.iter().any(|&server| cpu_ticks(server) > 3));
}

#[test]
fn an_interrupt_ends_the_embedded_server() {
    let generator = Generator::start(&["churn", "-c", "4", "-d", "1h", "--json"]);
    let servers = embedded(&generator);
    for &server in &servers {
        // A terminal interrupts the whole group: the server must live until the connections have ended.
        assert_ne!(group(server), group(generator.pid()));
    }
    wait_until_it_serves(&servers);
    generator.signal("INT");
    let judged = Judged::from(generator.finish());
    assert_eq!(judged.code, Some(130), "{}", judged.explained());
    assert!(judged.count("/outcomes/clean") > 0, "{}", judged.explained());
    assert_eq!(judged.at("/server/contradictions"), &serde_json::json!([]));
    assert!(servers.iter().all(|&server| is_gone(server)), "{servers:?}");
}

/// Nobody is there to end it: that its standard input ends must suffice.
#[test]
fn a_killed_generator_leaves_no_server_behind() {
    let generator = Generator::start(&["churn", "-c", "4", "-d", "1h"]);
    let servers = embedded(&generator);
    wait_until_it_serves(&servers);
    generator.signal("KILL");
    wait_until("the embedded server has ended", || servers.iter().all(|&server| is_gone(server)));
    assert_eq!(generator.finish().code, None);
}

/// Whoever does not want to wait for the report interrupts again: one that has half-closed is waited for, a second long,
/// while one that has not is ended at once, by which it is seen that the first interrupt has had its effect.
#[test]
fn a_second_interrupt_ends_at_once() {
    let server = Impolite::start_mixed(BYTES, |number| match number {
        0 => Manner::NeverFin,
        _ => Manner::NeverEcho,
    });
    let generator = Generator::start(&["churn", server.target(), "-c", "2", "--timeout", "1h", "--json"]);
    wait_until("one has half-closed, and the other cannot", || server.parted() == 1 && server.begun() == 2);
    generator.signal("INT");
    wait_until("one is ended", || server.done() == 1);
    generator.signal("INT");
    let finished = generator.finish();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(130), ""), "no report");
}
