//! Every byte that came before our FIN comes back, whatever a connection is doing when the drain begins.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use finwait_server::config::Config;
use finwait_server::metrics::Tally;

use crate::support::{
    Engine, Peer, Program, Running, clock, config, engines, graceful, outcomes, programs, wait_until,
};

engines!(
    no_connections,
    right_after_the_start,
    idle_connections,
    silent_and_just_accepted_connections,
    ping_pong_across_the_drain,
    stream_across_the_drain,
    grace_lets_connections_end_by_themselves,
    grace_is_over_at_once_when_all_have_ended,
    new_connections_are_not_accepted,
    second_drain_changes_nothing,
    waiting_for_a_place,
    slow_reader_across_the_drain,
);
programs!(bytes_unread_at_the_drain,);

fn no_connections(engine: Engine) {
    for drain_grace in [Duration::ZERO, Duration::from_secs(60)] {
        let server = Running::start_with(&Config { drain_grace, ..config(engine) });
        let began = clock();
        assert_eq!(server.end(), Tally::default());
        assert!(began.elapsed() < Duration::from_secs(30), "an idle server waited for its grace");
    }
}

/// A worker that was told to start and has not looked around yet must not sleep through the drain.
fn right_after_the_start(engine: Engine) {
    for _ in 0..40 {
        let workers = 4.try_into().unwrap();
        let server = Running::start_with(&Config { workers, ..config(engine) });
        assert_eq!(server.end(), Tally::default());
    }
}

fn idle_connections(engine: Engine) {
    for drain_grace in [Duration::ZERO, Duration::from_millis(100)] {
        let server = Running::start_with(&Config { drain_grace, ..config(engine) });
        let peers: Vec<_> = (0..100).map(|_| server.connect_and_echo()).collect();
        server.drain();
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(server.join(), graceful(100, 100));
    }
}

/// Some have said nothing, some have sent bytes that nobody may have looked at, and most may not be accepted yet.
fn silent_and_just_accepted_connections(engine: Engine) {
    for round in 0..20 {
        let drain_grace = Duration::from_millis(round % 2 * 20);
        let server = Running::start_with(&Config { drain_grace, ..config(engine) });
        let peers: Vec<_> = (0..50)
            .map(|index| {
                let peer = server.connect();
                peer.send(index % 2 * 1000);
                peer
            })
            .collect();
        server.drain();
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(server.join(), graceful(50, 25 * 1000));
    }
}

/// The drain finds connections whose bytes it has not read: they are owed, for they came before our FIN.
fn bytes_unread_at_the_drain(engine: Engine) {
    // Together more than the shared buffers of an engine hold.
    const PEERS: usize = 200;
    const LEN: usize = 40_000;
    for args in [&["--drain-grace", "0s"][..], &["--drain-grace", "0s", "--window", "1KiB"]] {
        let program = Program::start(engine, args);
        let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
        program.stop();
        peers.iter().for_each(|peer| peer.send(LEN));
        program.signal("TERM");
        program.go_on();
        peers.iter().for_each(Peer::echo_to_eof);
        // A drain takes a window's worth, so that a peer which never stops cannot hold it up.
        let least = if args.len() == 2 { LEN as u64 } else { 1024 };
        peers.iter().for_each(|peer| assert!(peer.read() > least, "only {} bytes came back", peer.read()));
        peers.iter().for_each(Peer::fin);
        let ended = program.ended();
        assert_eq!((ended.code, ended.tally.graceful), (Some(0), PEERS as u64));
        assert_eq!(ended.tally.bytes_received, (PEERS * (LEN + 1)) as u64);
        assert_eq!(ended.tally.bytes_echoed, peers.iter().map(Peer::read).sum::<u64>());
    }
}

/// Each client sends a word, waits for it, and goes on until the FIN. What was sent and not echoed was discarded.
fn ping_pong_across_the_drain(engine: Engine) {
    const WORD: usize = 3000;
    for round in 0..10 {
        let drain_grace = Duration::from_millis(round % 2 * 20);
        let server = Running::start_with(&Config { drain_grace, ..config(engine) });
        let peers: Vec<_> = (0..16).map(|_| server.connect_and_echo()).collect();
        thread::scope(|scope| {
            for peer in &peers {
                scope.spawn(move || {
                    while peer.send_and_echo_or_eof(WORD) {}
                    peer.fin();
                });
            }
            wait_until("it is busy", || server.tally().bytes_echoed > 1_000_000);
            server.drain();
        });
        ends_gracefully_with(server, &peers);
    }
}

/// Senders that never pause, against readers that never stop.
fn stream_across_the_drain(engine: Engine) {
    for round in 0..6 {
        let drain_grace = Duration::from_millis(round % 2 * 20);
        let server = Running::start_with(&Config { drain_grace, ..config(engine) });
        let peers: Vec<_> = (0..8).map(|_| server.connect_and_echo()).collect();
        let seen_eof = Barrier::new(peers.len() + 1);
        thread::scope(|scope| {
            for peer in &peers {
                scope.spawn(|| {
                    peer.echo_to_eof();
                    seen_eof.wait();
                });
                scope.spawn(|| {
                    while !server.is_ending() {
                        peer.send(10_000);
                    }
                    // These may be echoed or discarded; they are sent in any case.
                    peer.send(100_000);
                    peer.fin();
                });
            }
            wait_until("it is busy", || server.tally().bytes_echoed > 4_000_000);
            server.drain();
            seen_eof.wait();
        });
        ends_gracefully_with(server, &peers);
    }
}

fn grace_lets_connections_end_by_themselves(engine: Engine) {
    const GRACE: Duration = Duration::from_secs(3600);
    let server = Running::start_with(&Config { drain_grace: GRACE, drain_timeout: GRACE, ..config(engine) });
    let peers: Vec<_> = (0..10).map(|_| server.connect_and_echo()).collect();
    server.drain();
    for peer in &peers {
        peer.send(100_000);
        peer.echo(100_000);
    }
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
    assert_eq!(server.join(), graceful(10, 10 * 100_001));
}

fn grace_is_over_at_once_when_all_have_ended(engine: Engine) {
    const GRACE: Duration = Duration::from_secs(3600);
    let server = Running::start_with(&Config { drain_grace: GRACE, drain_timeout: GRACE, ..config(engine) });
    let (ends_before, ends_within) = (server.connect_and_echo(), server.connect_and_echo());
    ends_before.fin();
    ends_before.echo_and_eof();
    server.drain();
    ends_within.hears_nothing_for(Duration::from_millis(200));
    drop(ends_within);
    assert_eq!(server.join(), graceful(2, 2));
}

fn new_connections_are_not_accepted(engine: Engine) {
    let server = Running::start(engine);
    let peer = server.connect_and_echo();
    server.drain();
    peer.echo_and_eof();
    // The listener is closed now, for its grace is over; this one keeps the server from ending.
    wait_until("a connection is refused", || {
        Peer::try_connect(server.addr(), Duration::from_millis(50)).is_err()
    });
    peer.fin();
    assert_eq!(outcomes(server.join()).reset, 0);
}

fn second_drain_changes_nothing(engine: Engine) {
    let server = Running::start(engine);
    let peer = server.connect_and_echo();
    server.drain();
    server.drain();
    peer.echo_and_eof();
    server.drain();
    peer.fin();
    assert_eq!(server.join(), graceful(1, 1));
}

/// Those that `--max-connections` keeps waiting, in the backlog or accepted, are served in a drain.
fn waiting_for_a_place(engine: Engine) {
    for drain_grace in [Duration::ZERO, Duration::from_millis(100)] {
        let server = Running::start_with(&Config { conns_max: Some(2), drain_grace, ..config(engine) });
        let peers: Vec<_> = (0..20).map(|_| server.connect()).collect();
        peers.iter().for_each(|peer| peer.send(1000));
        peers[..2].iter().for_each(|peer| peer.echo(1000));
        server.drain();
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(server.join(), graceful(20, 20 * 1000));
    }
}

fn slow_reader_across_the_drain(engine: Engine) {
    let server = Running::start_with(&Config { drain_grace: Duration::ZERO, ..config(engine) });
    let peer = server.connect_narrow();
    thread::scope(|scope| {
        let sender = scope.spawn(|| peer.send(2 << 20));
        wait_until("something is owed", || {
            let tally = server.tally();
            tally.bytes_owed > tally.bytes_echoed
        });
        server.drain();
        peer.echo_to_eof();
        sender.join().unwrap();
        peer.fin();
    });
    ends_gracefully_with(server, &[peer]);
}

/// What the server says it echoed is what the clients have read, and what it received is what they have sent.
fn ends_gracefully_with(server: Running, peers: &[Peer]) {
    let tally = server.join();
    assert_eq!((tally.accepted, tally.graceful), (peers.len() as u64, peers.len() as u64), "{tally:?}");
    assert_eq!(tally.bytes_echoed, peers.iter().map(Peer::read).sum::<u64>());
    assert_eq!(tally.bytes_received, peers.iter().map(Peer::sent).sum::<u64>());
}
