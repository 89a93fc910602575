//! Peers that do not read hold up themselves and nobody else, in bounded memory, and lose nothing by it.

use std::num::NonZeroU32;
use std::thread;

use finwait_server::config::Config;
use finwait_server::engine::EngineKind;

use crate::support::{
    Engine, Peer, Program, Running, config, engines, graceful, many_sockets, outcomes, programs, shows,
    wait_until_still,
};

engines!(
    no_more_than_the_window_is_owed,
    peers_that_never_read_hurt_nobody,
    full_peers_that_read_at_last_get_everything,
    half_closed_full_peers_get_everything,
    a_byte_each_does_not_take_all_buffers,
);
programs!(sender_that_does_not_read_is_held_back, more_arrives_at_once_than_there_are_buffers,);

/// The writer blocks, the program does not hoard, and all of it arrives once it is read.
fn sender_that_does_not_read_is_held_back(engine: Engine) {
    const LEN: usize = 64 << 20;
    // The window and the buffers of both engines are a few megabytes; a program that hoards takes 64.
    const GROWTH_MAX: u64 = 12 << 20;
    let program = Program::start(engine, &[]);
    let before = program.resident();
    let peer = program.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            peer.send(LEN);
            peer.fin();
        });
        let taken = wait_until_still(|| peer.sent());
        assert!(taken < LEN as u64, "nothing held the sender back");
        let growth = program.resident().saturating_sub(before);
        assert!(growth < GROWTH_MAX, "it grew by {growth} bytes for one peer that does not read");
        peer.echo_and_eof();
    });
    let ended = program.end();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(1, LEN as u64)));
}

fn no_more_than_the_window_is_owed(engine: Engine) {
    for window in [1024, 100_000] {
        let server = narrow_server(engine, window);
        let peer = server.connect_narrow();
        let owed = server.fill(std::slice::from_ref(&peer));
        assert!(owed <= u64::from(window), "{owed} bytes are owed under a window of {window}");
        peer.fin();
        peer.echo_and_eof();
        assert_eq!(server.end(), graceful(1, peer.sent()));
    }
}

fn peers_that_never_read_hurt_nobody(engine: Engine) {
    let count = crowd(engine, 200);
    let server = narrow_server(engine, 64 << 10);
    let peers = connect_full(&server, count);
    let other = server.connect();
    for _ in 0..100 {
        other.send(10_000);
        other.echo(10_000);
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            other.send(4 << 20);
            other.fin();
        });
        other.echo_and_eof();
    });
    peers.into_iter().for_each(Peer::reset);
    let tally = server.end();
    let count = count as u64;
    assert_eq!((tally.accepted, tally.graceful, tally.reset), (count + 1, 1, count));
}

/// Together they owe more than the shared buffers of an engine hold (4 MiB).
fn full_peers_that_read_at_last_get_everything(engine: Engine) {
    let _alone = many_sockets();
    let server = narrow_server(engine, 16 << 10);
    let count = crowd(engine, 300);
    let peers = connect_full(&server, count);
    peers.iter().for_each(|peer| peer.echo(usize::try_from(peer.sent()).unwrap()));
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
    assert_eq!(server.end(), graceful(count as u64, total(&peers)));
}

fn half_closed_full_peers_get_everything(engine: Engine) {
    let _alone = many_sockets();
    let server = narrow_server(engine, 16 << 10);
    let count = crowd(engine, 300);
    let peers = connect_full(&server, count);
    peers.iter().for_each(Peer::fin);
    let other = server.connect_and_echo();
    other.fin();
    other.echo_and_eof();
    peers.iter().for_each(Peer::echo_and_eof);
    assert_eq!(server.end(), graceful(count as u64 + 1, total(&peers) + 1));
}

/// Peers that are full up to a few owed bytes each: an engine that lends whole shared buffers runs out of them.
fn a_byte_each_does_not_take_all_buffers(engine: Engine) {
    const PEERS: usize = 200;
    let server = narrow_server(engine, 1);
    if !shows("a_byte_each_does_not_take_all_buffers", engine) {
        let peers: Vec<_> = (0..PEERS).map(|_| server.connect()).collect();
        peers.iter().for_each(|peer| peer.send(1000));
        let other = server.connect_and_echo();
        drop(peers);
        other.fin();
        other.echo_and_eof();
        assert_eq!(server.end().accepted, PEERS as u64 + 1);
        return;
    }
    let peers = connect_full(&server, PEERS);
    let tally = server.tally();
    // Now and then a kernel with buffers this small waits for a probe of its own before it takes the last bytes.
    let owed = tally.bytes_owed - tally.bytes_echoed;
    assert!(owed > PEERS as u64 * 9 / 10, "each is owed a byte, and that makes {owed}");
    let other = server.connect();
    for _ in 0..100 {
        other.send(100);
        other.echo(100);
    }
    other.fin();
    other.echo_and_eof();
    peers.into_iter().for_each(Peer::reset);
    let expected = outcomes(server.end());
    assert_eq!((expected.graceful, expected.reset), (1, PEERS as u64));
}

/// Ten megabytes are ready in one turn, and an engine's shared buffers hold four: the rest has to wait its turn.
fn more_arrives_at_once_than_there_are_buffers(engine: Engine) {
    const PEERS: usize = 250;
    const LEN: usize = 40_000;
    let program = Program::start(engine, &[]);
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
    program.stop();
    peers.iter().for_each(|peer| peer.send(LEN));
    program.go_on();
    peers.iter().for_each(|peer| peer.echo(LEN));
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
    let ended = program.end();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, (PEERS * (LEN + 1)) as u64)));
}

/// As many peers as `count`, but for an engine that Wine's emulation of readiness keeps busy for minutes with them.
fn crowd(engine: Engine, count: usize) -> usize {
    if cfg!(windows) && engine.kind == EngineKind::Mio { count / 10 } else { count }
}

fn narrow_server(engine: Engine, window: u32) -> Running {
    Running::start_with(&Config { window: NonZeroU32::new(window).unwrap(), ..config(engine) })
}

/// Peers that have sent until nothing moves any more, and have read nothing.
fn connect_full(server: &Running, count: usize) -> Vec<Peer> {
    let peers: Vec<_> = (0..count).map(|_| server.connect_narrow()).collect();
    server.fill(&peers);
    peers
}

fn total(peers: &[Peer]) -> u64 {
    peers.iter().map(Peer::sent).sum()
}
