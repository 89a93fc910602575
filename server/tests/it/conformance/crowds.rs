//! Thousands of connections that end together, against a child process, so that each side has descriptors of its own.

use crate::support::{Engine, Peer, Program, graceful, many_sockets, programs};

programs!(
    ten_thousand_half_closed_peers_that_read_late,
    a_thousand_in_the_backlog_at_the_drain,
    three_thousand_with_unread_bytes_at_the_drain,
    five_thousand_idle_connections_drained,
);

/// Their echoes are in the kernel and their FINs are read: the program holds no byte for any of them.
fn ten_thousand_half_closed_peers_that_read_late(engine: Engine) {
    const PEERS: usize = 10_000;
    const LEN: usize = 2000;
    let _alone = many_sockets();
    let program = Program::start(engine, &[]);
    let before = program.resident();
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect()).collect();
    peers.iter().for_each(|peer| peer.send(LEN));
    peers.iter().for_each(Peer::fin);
    // The last one is served after the others.
    peers[PEERS - 1].echo(LEN);
    let growth = program.resident().saturating_sub(before);
    // What one turn leases for those that it serves at once may stay in the heap; a block each would be 640 MB.
    assert!(growth < 96 << 20, "it grew by {growth} bytes");
    peers.iter().for_each(Peer::echo_and_eof);
    let ended = program.end();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, (PEERS * LEN) as u64)));
}

/// They connected, sent and half-closed, and were never accepted before the signal came.
fn a_thousand_in_the_backlog_at_the_drain(engine: Engine) {
    const PEERS: usize = 1000;
    const LEN: usize = 1000;
    let _alone = many_sockets();
    for grace in ["0s", "1s"] {
        let program = Program::start(engine, &["--drain-grace", grace]);
        program.stop();
        let peers: Vec<_> = (0..PEERS).map(|_| program.connect()).collect();
        peers.iter().for_each(|peer| peer.send(LEN));
        peers.iter().for_each(Peer::fin);
        program.signal("TERM");
        program.go_on();
        peers.iter().for_each(Peer::echo_and_eof);
        let ended = program.ended();
        assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, (PEERS * LEN) as u64)));
    }
}

/// More than an engine hears of in one turn: the drain begins while most of these bytes are in the kernel, unannounced.
fn three_thousand_with_unread_bytes_at_the_drain(engine: Engine) {
    const PEERS: usize = 3000;
    const LEN: usize = 1000;
    let _alone = many_sockets();
    let program = Program::start(engine, &["--drain-grace", "0s"]);
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
    program.stop();
    peers.iter().for_each(|peer| peer.send(LEN));
    program.signal("TERM");
    program.go_on();
    peers.iter().for_each(Peer::echo_and_eof);
    peers.iter().for_each(Peer::fin);
    let ended = program.ended();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, (PEERS * (LEN + 1)) as u64)));
}

fn five_thousand_idle_connections_drained(engine: Engine) {
    const PEERS: u64 = 5000;
    let _alone = many_sockets();
    let program = Program::start(engine, &["--drain-grace", "0s"]);
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
    program.signal("TERM");
    peers.iter().for_each(Peer::echo_and_eof);
    peers.iter().for_each(Peer::fin);
    let ended = program.ended();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS, PEERS)));
}
