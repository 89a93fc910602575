//! What the command line refuses, and what it says then: one clear line, exit code 2, and nothing done.

use std::fs;

use crate::support::{Bytes, Finished, Generator, Impolite, Judged, Manner, refusing, run};

/// A port of a network that is for documentation, where nobody is (RFC 5737).
const ELSEWHERE: &str = "192.0.2.1:7";

/// Asserts a usage error whose first lines contain each of `words`.
#[track_caller]
fn refuses(what: &[&str], finished: &Finished, words: &[&str]) {
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{what:?}: {}", finished.stderr);
    let head: Vec<_> = finished.stderr.lines().take(3).collect();
    let begins = ["error: ", "finwait-loadgen: "].iter().any(|begin| head[0].starts_with(begin));
    assert!(begins, "{what:?}: {}", finished.stderr);
    for word in words {
        assert!(head.join(" ").contains(word), "{what:?}, no {word:?}: {}", finished.stderr);
    }
}

/// The first line names the flag and what was wrong with it; nothing is printed on stdout.
#[test]
fn what_cannot_be_parsed_is_refused() {
    for (args, named) in [
        (&["--colour"][..], "--colour"),
        (&["storms"], "storms"),
        (&["storm", "--colour"], "--colour"),
        (&["storm", "-c", "0"], "--connections"),
        (&["storm", "-c", "lots"], "--connections"),
        (&["storm", "-c", "11m"], "--connections"),
        (&["storm", "-s", "0"], "--size"),
        (&["storm", "--tail", "2GiB"], "--tail"),
        (&["storm", "--timeout", "0s"], "--timeout"),
        (&["storm", "--timeout", "2h"], "--timeout"),
        (&["storm", "-t", "0"], "--threads"),
        (&["storm", "-t", "1025"], "--threads"),
        (&["storm", "-b", "nowhere"], "--bind"),
        (&["storm", "-b", "10.0.0.0/33"], "--bind"),
        (&["storm", "-n", "5"], "-n"),
        (&["storm", "127.0.0.1:7", "--server-pid", "1"], "--frozen"),
        (&["storm", "--frozen", "--server-pid", "1"], "<TARGET>"),
        (&["storm", "127.0.0.1:7", "--frozen", "--server-pid", "0"], "--server-pid"),
        (&["churn", "--frozen"], "--frozen"),
        (&["churn", "-n", "0"], "--count"),
        (&["churn", "-d", "0s"], "--duration"),
        (&["churn", "-d", "soon"], "--duration"),
        (&["churn", "-r", "0"], "--rate"),
        (&["churn", "-r", "nan"], "--rate"),
        (&["churn", "-r", "-5"], "-5"),
        (&["health", "-c", "5"], "-c"),
    ] {
        refuses(args, &run(args), &[named]);
    }
}

/// Without a subcommand the help is what helps, but the exit code does not say that anything was done.
#[test]
fn nothing_at_all_is_answered_with_the_help() {
    let finished = run(&[]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert!(finished.stderr.contains("storm") && finished.stderr.contains("Usage"), "{}", finished.stderr);
}

#[test]
fn a_target_that_is_none_is_refused() {
    for (target, word) in [
        ("nonsense", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:65536", "127.0.0.1:65536"),
        ("no-such-host.invalid:7", "no-such-host.invalid"),
    ] {
        for scenario in ["storm", "churn", "health"] {
            refuses(&[scenario, target], &run(&[scenario, target]), &[target, word]);
        }
    }
}

#[test]
fn addresses_that_are_not_ours_are_refused() {
    let (_socket, addr) = refusing();
    let target = addr.to_string();
    for (bind, word) in [("192.0.2.77", "192.0.2.77"), ("::1", "::1"), ("127.0.0.0/8", "65536")] {
        let args = ["churn", &target, "-n", "1", "-b", bind];
        refuses(&args, &run(&args), &["-b", word]);
    }
}

/// More connections than descriptors: the error says which limit it was, and how to raise it.
#[test]
fn more_connections_than_the_limits_allow_are_refused_with_the_remedy() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 64 });
    let target = server.target();
    for args in [["storm", target, "-c", "200"], ["churn", target, "-c", "200"]] {
        let finished = Generator::start_in_shell("ulimit -n 100;", &args).finish();
        refuses(&args, &finished, &["-c 200", "ulimit -Hn 264"]);
    }
    assert_eq!(server.accepted(), 0);
}

/// A storm that was not told how many takes what the limits allow, and says so.
#[test]
fn the_default_is_what_the_limits_allow() {
    let args = ["storm", "--json"];
    let judged = Judged::from(Generator::start_in_shell("ulimit -n 100;", &args).finish());
    let connections = judged.count("/config/connections");
    assert!((10..100).contains(&connections), "{connections}");
    let warnings = judged.at("/warnings").to_string();
    assert!(warnings.contains(&format!("{connections} connections instead of 10000")), "{warnings}");
    let counted: u64 = judged.outcomes().iter().map(|(_, count)| count).sum();
    assert_eq!(
        (counted, judged.count("/outcomes/clean")),
        (connections, connections),
        "{}",
        judged.explained()
    );
}

/// A limit between the soft one and the hard one is no limit: the generator raises its own.
#[test]
fn the_soft_limit_is_raised() {
    let finished = Generator::start_in_shell("ulimit -Sn 50;", &["storm", "-c", "100", "--json"]).finish();
    assert_eq!(Judged::from(finished).count("/outcomes/clean"), 100);
}

/// Half of the ports of an address each minute, for each address: a higher rate ends in TIME_WAIT, so it is not begun.
#[test]
fn a_rate_that_the_ports_do_not_last_for_is_refused_with_the_addresses_it_needs() {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let range: Vec<u64> = range.split_whitespace().map(|port| port.parse().unwrap()).collect();
    let ports = (range[1] - range[0] + 1).div_ceil(2);
    for rate in [1000, 5000] {
        let needed = (rate * 60_u64).div_ceil(ports);
        let args = ["churn", ELSEWHERE, "-d", "1s", "-r", &rate.to_string()];
        refuses(&args, &run(&args), &["-b", &needed.to_string(), "TIME_WAIT"]);
    }
}

#[test]
fn a_process_that_is_not_there_is_refused() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 64 });
    // Linux gives out no higher number.
    let args = ["storm", server.target(), "-c", "5", "--frozen", "--server-pid", "4194305"];
    refuses(&args, &run(&args), &["4194305"]);
    assert_eq!(server.accepted(), 0);
}

/// What cannot be written at the end is found out at the start, not after an hour.
#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_run() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 64 });
    let missing = "/nonexistent/run.json";
    for scenario in ["storm", "churn", "health"] {
        let args = [scenario, server.target(), "-o", missing];
        refuses(&args, &run(&args), &["-o", "/nonexistent"]);
    }
    assert_eq!(server.accepted(), 0);
}

#[test]
fn help_and_version_succeed_on_stdout() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for text in ["Examples:", "finwait-loadgen storm ", "churn", "health", "Exit codes", "130", "Units"] {
        assert!(help.stdout.contains(text), "no {text} in {}", help.stdout);
    }
    // What the generator starts of itself is nobody's business.
    assert!(!help.stdout.contains("thaw"), "{}", help.stdout);
    for (scenario, flags) in [
        ("storm", &["--connections", "--frozen", "--server-pid", "--threads"][..]),
        ("churn", &["--connections", "--rate", "--count", "--duration", "--threads"]),
        ("health", &[]),
    ] {
        let help = run(&[scenario, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        let common = ["HOST:PORT", "--size", "--tail", "--timeout", "--bind", "--json", "--output"];
        for text in flags.iter().chain(&common) {
            assert!(help.stdout.contains(text), "no {text} in {}", help.stdout);
        }
        let too_long = help.stdout.lines().find(|line| line.chars().count() > 100);
        assert_eq!(too_long, None);
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout.trim(), concat!("finwait-loadgen ", env!("CARGO_PKG_VERSION")));
}
