//! Servers that stand still: on the generator's word, which must never leave them so, and on somebody else's.

use std::time::Duration;

use finwait_loadgen::outcome::Outcome;
use serde_json::Value;

use crate::support::{
    Finished, Generator, Judged, children, is_at_work, is_gone, is_stopped, signal, wait_until,
};

/// The moment in which a server stands still is short, and may be missed on a busy machine.
const TRIES: u32 = 20;

/// The generator's own embedded server, as a separate process of the test's.
struct Target {
    process: Generator,
    addr: String,
}

impl Target {
    fn start() -> Self {
        let process = Generator::start(&["target", "--workers", "1"]);
        wait_until("it listens", || process.stdout().contains('\n'));
        let line: Value = serde_json::from_str(&process.stdout()).unwrap();
        Self { addr: line["addr"].as_str().unwrap().to_owned(), process }
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it, which takes one that runs: its tally.
    fn end(mut self) -> Value {
        self.process.close_stdin();
        let Finished { code, stdout, stderr } = self.process.finish();
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(stdout.lines().nth(1).unwrap()).unwrap()
    }
}

#[test]
fn the_embedded_server_is_stopped_and_goes_on() {
    let judged = Judged::run(&["storm", "-c", "100", "--frozen"]);
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 100)], "{}", judged.explained());
    assert_eq!(judged.at("/config/frozen"), true);
    let thaw = judged.count("/generator/thaw_to_last_eof_ns");
    let completion = judged.count("/generator/completion_ns");
    assert!(0 < thaw && thaw <= completion, "{thaw} {completion}");
    // Everybody was issued before anybody was answered.
    let spread = u128::from(judged.count("/generator/issue_spread_ns"));
    let fastest = judged.shortest("shutdown").as_nanos();
    assert!(fastest + spread >= u128::from(completion - thaw), "{}", judged.explained());
    assert_eq!(judged.count("/server/tally/accepted"), 100);
    assert_eq!(judged.at("/server/contradictions"), &serde_json::json!([]));
}

#[test]
fn a_server_of_its_own_is_stopped_and_goes_on() {
    let target = Target::start();
    let pid = target.pid().to_string();
    let judged = Judged::run(&["storm", &target.addr, "-c", "100", "--frozen", "--server-pid", &pid]);
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 100)], "{}", judged.explained());
    assert!(judged.count("/generator/thaw_to_last_eof_ns") > 0);
    assert_eq!(judged.count("/config/server_pid"), u64::from(target.pid()));
    assert!(judged.at("/server").is_null(), "it is not ours");
    assert!(!is_stopped(target.pid()));
    assert_eq!(target.end()["tally"]["graceful"], 100);
}

/// The named process is stopped, but another one serves: what is reported then is not how long the server took.
#[test]
fn a_process_that_does_not_serve_is_told_from_the_server() {
    let (server, other) = (Target::start(), Target::start());
    let pid = other.pid().to_string();
    // Large enough a tail that issuing takes longer than the first ending.
    let args = ["storm", &server.addr, "-c", "200", "--tail", "32KiB", "--frozen", "--server-pid", &pid];
    let judged = Judged::run(&args);
    assert!(judged.at("/generator/thaw_to_last_eof_ns").is_null(), "{}", judged.explained());
    assert!(matches!(judged.code, Some(1 | 4)), "{}", judged.explained());
    assert!(judged.code == Some(4) || judged.verdict().contains("not the one"), "{}", judged.verdict());
    wait_until("it goes on", || !is_stopped(other.pid()));
    assert_eq!(server.end()["tally"]["graceful"], 200);
    other.end();
}

/// A generator that was stopped while it kept a server stopped, so that there is time to do something to it.
fn caught(target: &Target, timeout: &str) -> Generator {
    let pid = target.pid().to_string();
    // Many, so that issuing takes its time.
    let args = ["storm", &target.addr, "-c", "1000", "-t", "1", "--timeout", timeout, "--json", "--frozen"];
    let args = [&args[..], &["--server-pid", &pid]].concat();
    for _ in 0..TRIES {
        let generator = Generator::start(&args);
        wait_until("the server stands still, or it is too late", || {
            is_stopped(target.pid()) || is_gone(generator.pid())
        });
        generator.signal("STOP");
        wait_until("the generator stands still", || is_stopped(generator.pid()) || is_gone(generator.pid()));
        if is_stopped(target.pid()) {
            return generator;
        }
    }
    panic!("in {TRIES} tries the server was not found stopped");
}

#[test]
fn a_server_is_not_left_stopped_by_a_signal() {
    for name in ["INT", "TERM", "HUP", "QUIT", "KILL", "ABRT", "SEGV"] {
        let target = Target::start();
        let generator = caught(&target, "1h");
        generator.signal(name);
        generator.signal("CONT");
        wait_until("the server goes on", || !is_stopped(target.pid()));
        wait_until("the generator has ended", || is_gone(generator.pid()));
        assert!(!is_stopped(target.pid()), "{name}");
        // It serves, and it ends when it is told to.
        let judged = Judged::run(&["churn", &target.addr, "-n", "10"]);
        judged.ended(&[(Outcome::Clean, 10)], 0);
        target.end();
    }
}

/// The watcher is a process too: whoever ends it does not keep the server from going on.
#[test]
fn a_server_is_not_left_stopped_by_the_end_of_its_watcher() {
    for name in ["TERM", "KILL"] {
        let target = Target::start();
        let generator = caught(&target, "1h");
        let watchers = children(generator.pid());
        assert!(!watchers.is_empty(), "somebody watches");
        watchers.iter().for_each(|&watcher| signal(watcher, name));
        if name == "TERM" {
            generator.signal("KILL");
        }
        generator.signal("CONT");
        wait_until("the server goes on", || !is_stopped(target.pid()));
        wait_until("the generator has ended", || is_gone(generator.pid()));
        target.end();
    }
}

/// Stopped itself, the generator cannot let the server go on: another process does, when the time is over.
#[test]
fn a_server_is_not_left_stopped_by_a_generator_that_stands_still() {
    let target = Target::start();
    let generator = caught(&target, "100ms");
    wait_until("the server goes on", || !is_stopped(target.pid()));
    assert!(is_stopped(generator.pid()));
    generator.signal("CONT");
    let finished = generator.finish();
    assert!(finished.code.is_some(), "{}", finished.stderr);
    target.end();
}

/// An embedded server has nobody else who would let it go on.
#[test]
fn an_embedded_server_is_not_left_stopped_by_a_kill() {
    for _ in 0..TRIES {
        let generator = Generator::start(&["storm", "--frozen", "-c", "1000", "-t", "1"]);
        let mut all = Vec::new();
        wait_until("the embedded server stands still, or it is too late", || {
            all = children(generator.pid());
            all.iter().any(|&child| is_stopped(child)) || is_gone(generator.pid())
        });
        generator.signal("STOP");
        wait_until("it stands still", || is_stopped(generator.pid()) || is_gone(generator.pid()));
        if !all.iter().any(|&child| is_stopped(child)) {
            continue;
        }
        generator.signal("KILL");
        wait_until("they have ended", || all.iter().all(|&child| is_gone(child)));
        return;
    }
    panic!("in {TRIES} tries the server was not found stopped");
}

/// What does not fit into the buffers of a server that stands still is sent when it goes on, and is not waited for.
#[test]
fn a_large_tail_does_not_keep_the_server_stopped() {
    let judged = Judged::run(&["storm", "--frozen", "-c", "3", "--tail", "32MiB"]);
    judged.ended(&[(Outcome::Clean, 3)], 0);
    let elapsed = Duration::from_nanos(judged.count("/generator/elapsed_ns"));
    assert!(elapsed < Duration::from_secs(9), "less than the timeout: {elapsed:?}");
}

/// Stops a server for a while in the middle of a churn.
fn stalled(scenario: &[&str], pause: Duration) -> Judged {
    let target = Target::start();
    let generator = Generator::start(&[scenario, &[&target.addr, "--json"]].concat());
    wait_until("it is busy", || is_at_work(target.pid()));
    signal(target.pid(), "STOP");
    wait_until("it stands still", || is_stopped(target.pid()));
    std::thread::sleep(pause);
    signal(target.pid(), "CONT");
    let judged = Judged::from(generator.finish());
    assert_eq!(judged.outcomes().len(), 1, "{}", judged.explained());
    assert!(judged.count("/outcomes/clean") > 100, "{}", judged.explained());
    target.end();
    judged
}

/// Whatever stops a server for a while, the time is in the latency of the connections that it kept waiting, while every
/// one of them ends cleanly: all of the 64 wait, for their first echo or, where they were being shut down, for the EOF.
#[test]
fn a_pause_of_the_whole_server_is_a_latency() {
    let pause = Duration::from_millis(400);
    let judged = stalled(&["churn", "-c", "64", "-d", "1500ms"], pause);
    let shutdown = judged.longest("shutdown");
    let longest = judged.longest("echo").max(shutdown);
    // On a busy host the generator itself was late to send what then waited: 391 ms were seen.
    assert!(longest >= pause * 3 / 4, "{longest:?}: {}", judged.explained());
    assert!(longest < 10 * pause, "{longest:?}: {}", judged.explained());
    let slowest = judged.exemplars(Outcome::Clean)[0]["shutdown_ns"].as_u64().unwrap();
    assert_eq!(u128::from(slowest), shutdown.as_nanos(), "it can be looked up");
}

/// An open loop goes on with its schedule, and everyone who came meanwhile waited: from the planned moment on they are
/// counted, so that a server which stands still does not hide it by slowing its client.
#[test]
fn a_pause_of_the_whole_server_is_waited_for_by_many() {
    let pause = Duration::from_millis(400);
    let judged = stalled(&["churn", "-r", "300", "-d", "2s", "-c", "1000"], pause);
    // The first that came met all of it, but for the time between two.
    assert!(judged.longest("scheduled_shutdown") >= pause * 9 / 10, "{}", judged.explained());
    // Some 120 of 600 came meanwhile, so that the slowest tenth met half of it.
    let p90 = judged.count("/latency/scheduled_shutdown/p90_ns");
    assert!(u128::from(p90) >= (pause / 3).as_nanos(), "{p90}: {}", judged.explained());
}
