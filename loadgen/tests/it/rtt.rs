//! Round trips: every message is verified, timed from when it was due and counted once, whatever the server does to it.

use std::sync::Arc;
use std::time::Duration;

use finwait_loadgen::control::Control;
use finwait_loadgen::outcome::Outcome;
use finwait_loadgen::rtt::{self, Mark, Measured, Rtt};

use crate::support::{Bytes, Impolite, Manner};

/// A short run against a server: four connections, messages of 64 bytes, one at a time.
fn short(server: &Impolite) -> Rtt {
    Rtt {
        remote: server.addr(),
        sources: Vec::new(),
        connections: 4,
        size: 64,
        depth: 1,
        rate: None,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(200),
        timeout: Duration::from_secs(30),
        spin: false,
    }
}

fn run(rtt: &Rtt) -> (Measured, Vec<Mark>) {
    let mut marks = Vec::new();
    let measured = rtt::run(rtt, &Control::new(Arc::default()), &mut |mark| marks.push(mark)).unwrap();
    assert_eq!(marks, [Mark::Standing, Mark::Begin, Mark::End]);
    assert_eq!(measured.messages, measured.latency.len());
    (measured, marks)
}

fn ended(measured: &Measured) -> Vec<(Outcome, u64)> {
    measured.outcomes.iter().filter(|&(_, count)| count > 0).collect()
}

#[test]
fn a_closed_loop() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 0 });
    let (measured, _) = run(&short(&server));
    assert_eq!(ended(&measured), [(Outcome::Clean, 4)]);
    assert!(measured.messages > 40, "{}", measured.messages);
    eprintln!(
        "{} {} {:?} {} {} {}",
        measured.messages,
        measured.bytes,
        measured.elapsed,
        measured.unfinished,
        measured.late,
        measured.busy
    );
}

#[test]
fn an_open_loop() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 64, tail: 0 });
    let (measured, _) = run(&Rtt { rate: Some(5000.0), ..short(&server) });
    assert_eq!(ended(&measured), [(Outcome::Clean, 4)]);
    eprintln!(
        "{} {} {:?} {} {} {}",
        measured.messages,
        measured.bytes,
        measured.elapsed,
        measured.unfinished,
        measured.late,
        measured.busy
    );
}

#[test]
fn large_and_deep() {
    let server = Impolite::start(Manner::Polite, Bytes { first: 1 << 20, tail: 0 });
    let (measured, _) = run(&Rtt { size: 1 << 20, depth: 3, ..short(&server) });
    assert_eq!(ended(&measured), [(Outcome::Clean, 4)]);
    eprintln!(
        "{} {} {:?} {} {} {}",
        measured.messages,
        measured.bytes,
        measured.elapsed,
        measured.unfinished,
        measured.late,
        measured.busy
    );
}
