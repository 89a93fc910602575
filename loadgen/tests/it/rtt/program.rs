//! Round trips as the program does them: against the embedded server, and against others, to the exit code.

use finwait_loadgen::outcome::Outcome::*;

use super::{SIZE, serve};
use crate::support::{Bytes, Generator, Impolite, Judged, Manner, run, wait_until};

/// Both sides of the same connections agree, to the byte.
#[test]
fn the_embedded_server_agrees() {
    for more in [&[][..], &["--depth", "16"], &["-r", "2k"], &["-s", "256KiB", "--depth", "2"]] {
        let args = [&["rtt", "-c", "20", "-d", "300ms", "--warm-up", "50ms"], more].concat();
        let judged = Judged::run(&args);
        assert_eq!(judged.outcomes(), [(Clean, 20)], "{}", judged.explained());
        // On a busy test machine a rate may not be kept, and must be said not to be then.
        let is_valid = judged.at("/generator/valid") == true;
        assert_eq!(judged.code, Some(if is_valid { 0 } else { 4 }), "{}", judged.explained());
        assert_eq!(judged.at("/scenario"), "rtt");
        assert_eq!(judged.count("/rtt/connections"), 20);
        assert!(judged.count("/rtt/messages") > 20, "{}", judged.explained());
        let bytes = judged.count("/generator/bytes_sent");
        assert_eq!(judged.count("/server/tally/bytes_echoed"), bytes);
        assert_eq!(judged.count("/generator/bytes_received"), bytes);
        assert_eq!(judged.count("/server/tally/graceful"), 20);
        assert!(judged.count("/rtt/window_ns") >= 300_000_000);
        assert!(judged.count("/generator/setup_ns") > 0 && judged.count("/rtt/cpu_ns") > 0);
        assert_eq!(judged.count("/config/warm_up_ns"), 50_000_000);
        // Connections have no rate here.
        assert!(judged.at("/rate/offered").is_null() && judged.at("/rate/achieved").is_null());
        assert!(judged.verdict().contains("came back as they were sent"), "{}", judged.verdict());
    }
}

#[test]
fn a_wrong_byte_is_a_failure_with_a_name() {
    let server = serve(Manner::Flip(SIZE * 20 + 3));
    let judged = Judged::run(&["rtt", server.target(), "-c", "3", "-d", "10s"]);
    judged.ended(&[(Corrupt, 3)], 1);
    assert!(judged.verdict().contains("a wrong byte"), "{}", judged.verdict());
    let server = serve(Manner::SilentAfter(SIZE * 4));
    let judged = Judged::run(&["rtt", server.target(), "-c", "3", "-d", "10s", "--timeout", "200ms"]);
    judged.ended(&[(EchoTimeout, 3)], 1);
    assert!(judged.verdict().contains("waited in vain for an echo"), "{}", judged.verdict());
}

/// Nothing came back while messages counted: nothing is known, and that is no success.
#[test]
fn a_window_without_a_message_is_no_success() {
    let server = serve(Manner::StallAfter(SIZE, std::time::Duration::from_millis(400)));
    let judged = Judged::run(&["rtt", server.target(), "-c", "2", "-d", "50ms", "--warm-up", "10ms"]);
    judged.ended(&[(Clean, 2)], 1);
    assert!(judged.verdict().starts_with("No message came back"), "{}", judged.verdict());
}

/// A target that is slower than the schedule: its latency says so, and the report does.
#[test]
fn a_target_that_does_not_keep_up_is_told_of() {
    // Some 40 ms after messages begin to count it stands still, and beyond their end.
    let server = serve(Manner::StallAfter(SIZE * 60, std::time::Duration::from_millis(900)));
    let judged = Judged::run(&["rtt", server.target(), "-c", "4", "-r", "1k", "-d", "400ms"]);
    judged.ended(&[(Clean, 4)], 0);
    assert!(judged.count("/rtt/unfinished") > 200, "{}", judged.explained());
    let warnings = judged.at("/warnings").to_string();
    assert!(warnings.contains("did not keep up"), "{warnings}");
}

#[test]
fn an_interrupt_reports_what_there_is() {
    let server = Impolite::start(Manner::Polite, Bytes { first: SIZE, tail: 0 });
    let generator = Generator::start(&["rtt", server.target(), "-c", "4", "-d", "1h", "--json"]);
    wait_until("messages flow", || server.begun() == 4);
    generator.signal("INT");
    let judged = Judged::from(generator.finish());
    judged.ended(&[(Censored, 4)], 130);
    assert!(judged.verdict().starts_with("Interrupted"), "{}", judged.verdict());
}

#[test]
fn what_cannot_be_is_refused() {
    let many = run(&["rtt", "-c", "1m", "--depth", "100"]);
    assert!(many.code == Some(2) && many.stderr.contains("use fewer of either"), "{}", many.stderr);
    let burst = run(&["rtt", "-r", "1k", "--depth", "3", "--burst", "4"]);
    assert!(burst.code == Some(2) && burst.stderr.contains("use --depth 4 or more"), "{}", burst.stderr);
    for (args, why) in [
        (["--burst", "2"], "--rate"),
        (["--size", "0"], "1 to 16MiB"),
        (["--size", "17MiB"], "1 to 16MiB"),
        (["--depth", "0"], "1 to 4096"),
        (["--depth", "4097"], "1 to 4096"),
        (["-c", "0"], "from 1 on"),
        (["-r", "0"], "a rate per second"),
        (["-d", "0s"], "more than 0"),
        (["--warm-up", "2"], "a duration like"),
    ] {
        let finished = run(&[&["rtt"], &args[..]].concat());
        assert_eq!(finished.code, Some(2), "{args:?}");
        assert!(finished.stderr.contains(why), "{args:?}: {}", finished.stderr);
    }
}

#[test]
fn the_screen_says_what_was_measured() {
    let screen = run(&["rtt", "-c", "5", "-d", "200ms", "-r", "1k", "--depth", "3", "--burst", "2"]).stdout;
    // Lines are broken where they get too long.
    let running = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "rtt: 5 connections, 1,000/s messages planned for 200 ms to the embedded finwait-server",
        "one after the other has 2 messages due at once on a schedule, with up to 3 messages under way",
        "of 1,000/s offered",
        "round trip from the planned moment of a message to its last byte",
        "How round trips spread: messages by time",
    ] {
        assert!(running.contains(words), "no {words:?}:\n{screen}");
    }
    assert!(screen.lines().all(|line| line.chars().count() <= 100), "{screen}");
}
