//! Round trips: every byte of a message is verified, each message is timed from when it was due and counted once, and
//! every other ending has its name, whatever the server does.
//!
//! - `program`: the same as a user of the program sees it.

mod program;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use finwait_loadgen::control::Control;
use finwait_loadgen::outcome::Outcome::{self, *};
use finwait_loadgen::rtt::{self, Mark, Measured, Rtt};

use crate::support::{Bytes, Impolite, Manner, refusing};

const SIZE: u64 = 64;
const MS: u64 = 1_000_000;

/// A server of one manner, for messages of 64 bytes.
fn serve(manner: Manner) -> Impolite {
    Impolite::start(manner, Bytes { first: SIZE, tail: 0 })
}

/// A short run against a server: four connections with messages of 64 bytes, one at a time.
fn short(server: &Impolite) -> Rtt {
    Rtt {
        remote: server.addr(),
        sources: Vec::new(),
        connections: 4,
        size: SIZE as u32,
        depth: 1,
        rate: None,
        burst: 1,
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(200),
        timeout: Duration::from_secs(30),
        spin: false,
    }
}

/// Runs it; whatever happens, the marks come in their order, each once, and the numbers add up.
#[track_caller]
fn run(rtt: &Rtt) -> Measured {
    run_until(rtt, &AtomicBool::default(), None)
}

/// The same, interrupted at a mark.
#[track_caller]
fn run_until(rtt: &Rtt, seen: &AtomicBool, interrupt_at: Option<Mark>) -> Measured {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut marks = Vec::new();
    let control = Control::new(Arc::clone(&interrupted));
    let measured = rtt::run(rtt, &control, &mut |mark| {
        marks.push(mark);
        if Some(mark) == interrupt_at {
            interrupted.store(true, Ordering::Relaxed);
            seen.store(true, Ordering::Relaxed);
        }
    });
    let measured = measured.unwrap();
    assert_eq!(marks, [Mark::Standing, Mark::Begin, Mark::End]);
    assert_eq!(measured.messages, measured.latency.len());
    assert_eq!(measured.messages, measured.summary.count());
    assert_eq!(measured.outcomes.total(), u64::from(rtt.connections));
    assert!(measured.late + measured.unsent <= measured.unfinished, "{measured:?}");
    assert!((0.0..=1.0).contains(&measured.busy), "{measured:?}");
    measured
}

fn ended(measured: &Measured) -> Vec<(Outcome, u64)> {
    measured.outcomes.iter().filter(|&(_, count)| count > 0).collect()
}

#[test]
fn a_closed_loop_has_a_message_under_way_in_each_place() {
    let server = serve(Manner::Polite);
    for depth in [1, 16] {
        let measured = run(&Rtt { depth, ..short(&server) });
        assert_eq!(ended(&measured), [(Clean, 4)]);
        assert!(measured.messages > 40, "{measured:?}");
        assert!(measured.bytes.abs_diff(measured.messages * SIZE) <= 4 * u64::from(depth) * SIZE);
        assert_eq!((measured.unfinished, measured.late), (4 * u64::from(depth), 4 * u64::from(depth)));
        assert!(measured.elapsed >= Duration::from_millis(200), "{measured:?}");
        // Warming up and the end are in these, and not in the window.
        let recorder = &measured.recorder;
        assert!(recorder.bytes_received > measured.bytes + 4 * SIZE, "{measured:?}");
        assert_eq!(recorder.bytes_sent, recorder.bytes_received);
    }
}

#[test]
fn an_open_loop_goes_round_at_its_rate() {
    let server = serve(Manner::Polite);
    let measured = run(&Rtt { rate: Some(2000.0), duration: Duration::from_millis(500), ..short(&server) });
    assert_eq!(ended(&measured), [(Clean, 4)]);
    // On a busy test machine the last of them may be late; none comes before its time.
    let due = measured.elapsed.as_secs_f64() * 2000.0;
    let known = measured.messages + measured.unfinished;
    assert!(known as f64 > due - 2.0 && (measured.messages as f64) < due + 100.0, "{due}: {measured:?}");
    assert!(measured.latency.min() > 1000, "no message is back before it was due: {measured:?}");
    // Each had its turn: none has more than one message more than another, but for those that were not sent in the end.
    let sent: Vec<u64> = measured.recorder.exemplars().iter().map(|exemplar| exemplar.sent).collect();
    assert_eq!(sent.len(), 4);
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(most - least <= SIZE * (1 + measured.unsent), "{sent:?}: {measured:?}");
}

/// Neither side of such an echo has room for a whole message: who would send all of it before reading stood still.
#[test]
fn large_messages_are_read_while_they_are_sent() {
    for (size, depth) in [(1 << 20, 4), (16 << 20, 1), (100_003, 7)] {
        let server = Impolite::start(Manner::Polite, Bytes { first: size.into(), tail: 0 });
        let warm_up = Duration::ZERO;
        let duration = Duration::from_millis(400);
        let measured = run(&Rtt { size, depth, connections: 2, warm_up, duration, ..short(&server) });
        assert_eq!(ended(&measured), [(Clean, 2)], "{size}");
        assert!(measured.bytes > 0, "{measured:?}");
        let back = measured.recorder.bytes_received / u64::from(size);
        assert_eq!(back, 2 + measured.messages + measured.late, "whole messages, and all that were sent");
    }
}

/// A connection ends in the middle of a large message, while there is more to be read and to be sent.
#[test]
fn a_large_message_that_is_cut_short_is_named() {
    let at = (3 << 20) + 17;
    for (manner, outcome) in [
        (Manner::EndAfter(at), EarlyEof),
        (Manner::ResetAfter(at), ResetBeforeDrain),
        (Manner::SilentAfter(at), EchoTimeout),
        (Manner::Flip(at), Corrupt),
    ] {
        let server = Impolite::start(manner, Bytes { first: 1 << 20, tail: 0 });
        let timeout = Duration::from_secs(if outcome == EchoTimeout { 1 } else { 30 });
        for depth in [1, 4] {
            let measured = run(&Rtt { size: 1 << 20, depth, timeout, ..short(&server) });
            assert_eq!(ended(&measured), [(outcome, 4)], "{manner:?} {depth}");
        }
    }
}

/// However a message comes back in pieces, and however many at once, each counts when its last byte is there.
#[test]
fn odd_pieces_are_put_together() {
    let server = serve(Manner::Pieces);
    for (size, depth) in [(1, 64), (64, 5), (1000, 3)] {
        let duration = Duration::from_millis(300);
        let measured = run(&Rtt { size, depth, warm_up: Duration::ZERO, duration, ..short(&server) });
        assert_eq!(ended(&measured), [(Clean, 4)], "{size}");
        assert!(measured.messages > 0, "{measured:?}");
        let all = 4 + measured.messages + measured.late;
        assert_eq!(measured.recorder.bytes_received, all * u64::from(size), "{measured:?}");
    }
}

/// Whatever a server does wrong while messages flow has a name, on every connection.
#[test]
fn wrong_endings_are_named() {
    for (manner, outcome) in [
        (Manner::Flip(SIZE * 9), Corrupt),
        (Manner::Flip(SIZE * 9 - 1), Corrupt),
        (Manner::TooManyHeld, Corrupt),
        (Manner::EndAfter(SIZE * 5), EarlyEof),
        (Manner::EndAfter(SIZE * 5 + 7), EarlyEof),
        (Manner::EndAfter(SIZE), EarlyEof),
        (Manner::ResetAfter(SIZE * 5 + 7), ResetBeforeDrain),
        (Manner::ResetWhileHeld, ResetBeforeDrain),
        (Manner::ResetInsteadOfFin, ResetAfterDrain),
        (Manner::OneTooMany, Corrupt),
    ] {
        for (depth, rate) in [(1, None), (8, None), (2, Some(2000.0))] {
            let server = serve(manner);
            let measured = run(&Rtt { depth, rate, ..short(&server) });
            assert_eq!(ended(&measured), [(outcome, 4)], "{manner:?} {depth} {rate:?}");
        }
    }
}

/// So has what does not come: each phase has its own timeout.
#[test]
fn silence_is_named() {
    for (manner, outcome, messages) in [
        (Manner::NeverRead, EchoTimeout, false),
        (Manner::NeverEcho, EchoTimeout, false),
        (Manner::SilentAfter(SIZE), EchoTimeout, false),
        (Manner::SilentAfter(SIZE * 2 + 7), EchoTimeout, true),
        (Manner::NeverFin, EofTimeout, true),
    ] {
        let server = serve(manner);
        let timeout = Duration::from_millis(300);
        let measured = run(&Rtt { warm_up: Duration::ZERO, timeout, ..short(&server) });
        assert_eq!(ended(&measured), [(outcome, 4)], "{manner:?}");
        assert_eq!(measured.messages > 0, messages, "{manner:?}: {measured:?}");
        assert!(measured.recorder.ran_ns < 10_000 * MS, "{manner:?}: {measured:?}");
    }
}

/// One that goes wrong leaves the others what they are.
#[test]
fn the_others_go_on() {
    let server = Impolite::start_mixed(Bytes { first: SIZE, tail: 0 }, |number| match number {
        1 => Manner::Flip(SIZE * 3),
        2 => Manner::EndAfter(SIZE * 4),
        5 => Manner::ResetUnanswered,
        _ => Manner::Polite,
    });
    for rate in [None, Some(2000.0)] {
        let measured = run(&Rtt { connections: 8, rate, ..short(&server) });
        assert_eq!(measured.outcomes[Clean], if rate.is_none() { 5 } else { 8 });
        assert_eq!(measured.connections, if rate.is_none() { 7 } else { 8 }, "who stood");
        assert!(measured.messages > 100, "{measured:?}");
    }
}

#[test]
fn where_nobody_stands_it_is_over_at_once() {
    let (_held, remote) = refusing();
    let server = serve(Manner::Polite);
    let measured = run(&Rtt { remote, duration: Duration::from_secs(3600), ..short(&server) });
    assert_eq!(ended(&measured), [(ConnectRefused, 4)]);
    assert_eq!((measured.connections, measured.messages), (0, 0));
    // Nor is anything waited for once the last has ended.
    let server = serve(Manner::EndAfter(SIZE * 3));
    let measured = run(&Rtt { duration: Duration::from_secs(3600), ..short(&server) });
    assert_eq!(ended(&measured), [(EarlyEof, 4)]);
}

/// 200 messages become due while the server does nothing for 200 ms: all of them show it, and not only the one that was
/// under way, as they do where the next one waits for the one before.
#[test]
fn latency_counts_from_the_planned_moment() {
    let stall = Manner::StallAfter(SIZE * 100, Duration::from_millis(200));
    let rtt = |server: &Impolite| Rtt {
        connections: 1,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(600),
        ..short(server)
    };
    for depth in [1, 1000] {
        let server = serve(stall);
        let measured = run(&Rtt { depth, rate: Some(1000.0), ..rtt(&server) });
        assert_eq!(ended(&measured), [(Clean, 1)]);
        for (ms, least) in [(150, 45), (100, 90), (50, 135)] {
            let late = measured.latency.count_between(ms * MS, u64::MAX);
            assert!(late >= least, "{late} took {ms} ms and longer with depth {depth}: {measured:?}");
        }
        assert!(measured.summary.max_ns() > Some(195 * MS), "{measured:?}");
    }
    let server = serve(stall);
    let measured = run(&rtt(&server));
    let late = measured.latency.count_between(50 * MS, u64::MAX);
    assert!((1..20).contains(&late) && measured.messages > 200, "{late}: {measured:?}");
}

/// The messages of a burst are due and sent together, and bursts are as far apart as their messages would be.
#[test]
fn a_burst_is_due_at_once_and_sent_at_once() {
    const BURST: u32 = 8;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let mut reads = 0;
        loop {
            let read = stream.read(&mut bytes).unwrap();
            if read == 0 {
                return reads;
            }
            reads += 1;
            stream.write_all(&bytes[..read]).unwrap();
        }
    });
    let whole = short(&serve(Manner::Polite));
    let (rate, duration) = (Some(400.0), Duration::from_millis(500));
    let warm_up = Duration::ZERO;
    let rtt =
        Rtt { remote, connections: 1, depth: 2 * BURST, burst: BURST, rate, duration, warm_up, ..whole };
    let measured = run(&rtt);
    assert_eq!(ended(&measured), [(Clean, 1)]);
    let bursts = (measured.elapsed.as_secs_f64() * 400.0 / f64::from(BURST)).ceil() as u64;
    assert_eq!(measured.messages + measured.unfinished, bursts * u64::from(BURST), "{measured:?}");
    // Behind the one message that each connection has first.
    let reads = echo.join().unwrap();
    assert!(reads <= bursts + 1, "{reads} reads of {bursts} bursts");
}

/// A server that does not keep up: nothing is dropped, and what it owes at the end is known.
#[test]
fn what_waits_for_a_place_is_unfinished_at_the_end() {
    let server = serve(Manner::StallAfter(SIZE * 3, Duration::from_millis(700)));
    let duration = Duration::from_millis(500);
    let measured =
        run(&Rtt { rate: Some(400.0), depth: 5, warm_up: Duration::ZERO, duration, ..short(&server) });
    assert_eq!(ended(&measured), [(Clean, 4)]);
    // The first message of each is none of the schedule's.
    assert_eq!(measured.messages, 8, "{measured:?}");
    let due = (measured.elapsed.as_secs_f64() * 400.0).ceil() as u64;
    assert!((measured.messages + measured.unfinished).abs_diff(due) <= 1, "{due}: {measured:?}");
    assert_eq!(measured.late, 4 * 5, "all places are taken, and the server goes on in the end: {measured:?}");
    assert_eq!(measured.unsent, measured.unfinished - measured.late);
    assert!(measured.recorder.outcomes[Clean] == 4);
}

/// For whoever measures connections that do nothing.
#[test]
fn without_a_duration_nothing_flows() {
    let server = serve(Manner::Polite);
    for rate in [None, Some(1000.0)] {
        let measured = run(&Rtt { duration: Duration::ZERO, rate, ..short(&server) });
        assert_eq!(ended(&measured), [(Clean, 4)]);
        assert_eq!((measured.messages, measured.bytes, measured.unfinished), (0, 0, 0));
        assert_eq!(measured.recorder.bytes_sent, 4 * SIZE);
    }
}

#[test]
fn an_interrupt_ends_it_with_what_there_is() {
    let hour = Duration::from_secs(3600);
    let server = serve(Manner::Polite);
    for mark in [Mark::Standing, Mark::Begin] {
        let seen = AtomicBool::default();
        let measured = run_until(&Rtt { duration: hour, ..short(&server) }, &seen, Some(mark));
        assert!(seen.load(Ordering::Relaxed));
        assert_eq!(ended(&measured), [(Censored, 4)], "{mark:?}");
    }
    // What is awaited for long is given up as well.
    let server = serve(Manner::SilentAfter(SIZE * 2));
    let rtt = Rtt { timeout: hour, ..short(&server) };
    let measured = run_until(&rtt, &AtomicBool::default(), Some(Mark::End));
    assert_eq!(ended(&measured), [(Censored, 4)]);
}

#[test]
fn looking_without_a_pause_comes_to_the_same() {
    let server = serve(Manner::Polite);
    for rate in [None, Some(1000.0)] {
        let measured = run(&Rtt { spin: true, rate, ..short(&server) });
        assert_eq!(ended(&measured), [(Clean, 4)]);
        assert!(measured.messages > 40, "{measured:?}");
    }
    // Looking in vain is not being busy.
    let measured = run(&Rtt { spin: true, rate: Some(10.0), ..short(&server) });
    assert!(measured.busy < 0.5, "{measured:?}");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let server = serve(Manner::Polite);
    let whole = short(&server);
    for wrong in [
        Rtt { connections: 0, ..whole.clone() },
        Rtt { size: 0, ..whole.clone() },
        Rtt { size: rtt::SIZE_MAX + 1, ..whole.clone() },
        Rtt { depth: 0, ..whole.clone() },
        Rtt { depth: rtt::DEPTH_MAX + 1, ..whole.clone() },
        Rtt { burst: 0, ..whole.clone() },
        Rtt { depth: 3, burst: 4, ..whole.clone() },
        Rtt { connections: 1 << 20, depth: 65, ..whole.clone() },
        Rtt { rate: Some(0.0), ..whole.clone() },
        Rtt { rate: Some(f64::NAN), ..whole },
    ] {
        let error = rtt::run(&wrong, &Control::default(), &mut |_| unreachable!()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{wrong:?}");
    }
}
