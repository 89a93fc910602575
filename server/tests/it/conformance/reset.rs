//! A RST at every point of a connection's life is counted as one, and hurts nobody else.

use std::time::Duration;
use std::{slice, thread};

use finwait_server::config::Config;
use finwait_server::metrics::Tally;

use crate::support::{
    Engine, Peer, Program, Running, config, engines, graceful, outcomes, programs, shows, wait_until,
};

engines!(
    right_after_connecting,
    idle,
    mid_echo,
    owed_bytes_and_no_receive,
    after_half_close_with_bytes_owed,
    during_the_grace,
    after_our_fin,
    closed_with_our_bytes_unread,
    among_others,
);
programs!(before_accept, before_accept_with_bytes_in_the_queue,);

const RESET: Tally = Tally { accepted: 1, reset: 1, ..NOTHING };
const NOTHING: Tally = Tally {
    accepted: 0,
    graceful: 0,
    reset: 0,
    aborted: 0,
    expired: 0,
    shutdown_failed: 0,
    expired_in_drain: 0,
    bytes_received: 0,
    bytes_owed: 0,
    bytes_echoed: 0,
    bytes_discarded: 0,
    drain_ns: 0,
};

fn before_accept(engine: Engine) {
    before_accept_with("before_accept", engine, 0);
}

fn before_accept_with_bytes_in_the_queue(engine: Engine) {
    before_accept_with("before_accept_with_bytes_in_the_queue", engine, 1000);
}

/// Nobody is told of the reset but the one who accepts.
fn before_accept_with(case: &str, engine: Engine, len: usize) {
    const PEERS: u64 = 50;
    let program = Program::start(engine, &[]);
    program.stop();
    for _ in 0..PEERS {
        let peer = program.connect();
        peer.send(len);
        peer.reset();
    }
    let good = program.connect();
    good.send(1000);
    program.go_on();
    good.echo(1000);
    good.fin();
    good.echo_and_eof();
    let ended = program.end();
    assert_eq!(ended.code, Some(0));
    let tally = outcomes(ended.tally);
    if shows(case, engine) {
        let expected = Tally { accepted: PEERS + 1, graceful: 1, reset: PEERS, ..NOTHING };
        assert_eq!(tally, expected, "{}", ended.stderr);
    } else {
        let (accepted, graceful) = (tally.accepted, tally.graceful);
        assert!(accepted <= PEERS + 1 && graceful >= 1, "{tally:?}");
        assert_eq!(tally, Tally { accepted, graceful, reset: accepted - graceful, ..NOTHING });
    }
}

fn right_after_connecting(engine: Engine) {
    let server = Running::start(engine);
    for _ in 0..200 {
        server.connect().reset();
    }
    let good = server.connect_and_echo();
    good.fin();
    good.echo_and_eof();
    let tally = server.end();
    let expected = Tally { reset: 200, accepted: 201, ..graceful(1, 1) };
    if shows("right_after_connecting", engine) {
        assert_eq!(tally, expected);
    } else {
        let (accepted, graceful) = (tally.accepted, tally.graceful);
        assert!(accepted <= 201 && graceful >= 1, "{tally:?}");
        assert_eq!(tally, Tally { reset: accepted - graceful, accepted, graceful, ..expected });
    }
}

fn idle(engine: Engine) {
    let server = Running::start(engine);
    server.connect_and_echo().reset();
    wait_until("it ends", || server.tally().ended() == 1);
    assert_reset(Tally { graceful: 0, reset: 1, ..graceful(1, 1) }, server.end(), shows("idle", engine));
}

fn mid_echo(engine: Engine) {
    let told = shows("mid_echo", engine);
    for _ in 0..20 {
        let server = Running::start(engine);
        let peer = server.connect();
        thread::scope(|scope| {
            scope.spawn(|| peer.send(1 << 20));
            peer.echo(100_000);
            // The sender ends because this thread reads on.
            peer.echo((1 << 20) - 100_000 - 1);
        });
        peer.send_what_fits(1 << 20);
        peer.reset();
        assert_reset(RESET, outcomes(server.end()), told);
    }
}

/// The server is not receiving, for its window is full: only the send can tell.
fn owed_bytes_and_no_receive(engine: Engine) {
    let server = Running::start(engine);
    let peer = connect_full(&server);
    peer.reset();
    wait_until("the reset is counted", || server.tally().reset == 1);
    assert_eq!(outcomes(server.end()), RESET);
}

fn after_half_close_with_bytes_owed(engine: Engine) {
    let server = Running::start(engine);
    let peer = connect_full(&server);
    peer.fin();
    peer.reset();
    wait_until("the reset is counted", || server.tally().reset == 1);
    assert_eq!(outcomes(server.end()), RESET);
}

fn during_the_grace(engine: Engine) {
    const GRACE: Duration = Duration::from_secs(3600);
    let server = Running::start_with(&Config { drain_grace: GRACE, drain_timeout: GRACE, ..config(engine) });
    let (idle, full) = (server.connect_and_echo(), connect_full(&server));
    server.drain();
    idle.reset();
    full.reset();
    let expected = Tally { accepted: 2, reset: 2, ..NOTHING };
    assert_reset(expected, outcomes(server.join()), shows("during_the_grace", engine));
}

fn after_our_fin(engine: Engine) {
    let server = Running::start_with(&Config { drain_grace: Duration::ZERO, ..config(engine) });
    let peer = server.connect_and_echo();
    server.drain();
    peer.echo_and_eof();
    peer.reset();
    let expected = Tally { graceful: 0, reset: 1, ..graceful(1, 1) };
    assert_reset(expected, server.join(), shows("after_our_fin", engine));
}

/// A plain close: the kernel makes it a RST, for it throws bytes away.
fn closed_with_our_bytes_unread(engine: Engine) {
    let server = Running::start(engine);
    let peer = server.connect();
    peer.send(10_000);
    wait_until("the echo is sent", || server.tally().bytes_echoed == 10_000);
    // One byte seen means that the rest is there, or on its way into a queue that is never read.
    peer.echo(1);
    drop(peer);
    wait_until("it ends", || server.tally().ended() == 1);
    let expected = Tally { graceful: 0, reset: 1, ..graceful(1, 10_000) };
    assert_reset(expected, server.end(), shows("closed_with_our_bytes_unread", engine));
}

fn among_others(engine: Engine) {
    let server = Running::start(engine);
    let good: Vec<_> = (0..50).map(|_| server.connect_and_echo()).collect();
    for _ in 0..20 {
        let bad: Vec<_> = (0..20).map(|_| server.connect()).collect();
        bad.iter().for_each(|peer| peer.send(5000));
        good.iter().for_each(|peer| peer.send(500));
        bad.into_iter().for_each(Peer::reset);
        good.iter().for_each(|peer| peer.echo(500));
    }
    good.iter().for_each(Peer::fin);
    good.iter().for_each(Peer::echo_and_eof);
    let tally = outcomes(server.end());
    if shows("among_others", engine) {
        assert_eq!(tally, Tally { accepted: 450, graceful: 50, reset: 400, ..NOTHING });
    } else {
        let (accepted, graceful) = (tally.accepted, tally.graceful);
        assert!(accepted <= 450 && graceful >= 50, "{tally:?}");
        assert_eq!(tally, Tally { accepted, graceful, reset: accepted - graceful, ..NOTHING });
    }
}

/// Where a RST is not told, but reads as EOF, it may be counted as one.
#[track_caller]
fn assert_reset(expected: Tally, tally: Tally, told: bool) {
    let missed = if told { 0 } else { expected.reset.saturating_sub(tally.reset) };
    let (graceful, reset) = (expected.graceful + missed, expected.reset - missed);
    assert_eq!(tally, Tally { graceful, reset, ..expected });
}

/// A peer that is owed bytes, has sent until nothing moves any more, and has read nothing.
fn connect_full(server: &Running) -> Peer {
    let peer = server.connect_narrow();
    server.fill(slice::from_ref(&peer));
    peer
}
