//! Descriptors and places run out, nothing spins, and whoever waited is served.

use std::thread;
use std::time::Duration;

use finwait_server::config::Config;

use crate::support::{
    Engine, Peer, Program, Running, clock, config, engines, graceful, programs, shows, wait_until,
};

engines!(no_more_than_the_places_are_served, places_are_shared_by_all_workers,);
programs!(descriptors_run_out_and_come_back, descriptors_run_out_and_the_drain_begins,);

/// More than the program has descriptors for, ring, listener and logs included.
const PEERS: usize = 100;
const FEW_DESCRIPTORS: &str = "ulimit -n 64;";

fn descriptors_run_out_and_come_back(engine: Engine) {
    if !shows("descriptors_run_out_and_come_back", engine) {
        let program = Program::start(engine, &[]);
        let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
        peers.iter().for_each(Peer::fin);
        peers.iter().for_each(Peer::echo_and_eof);
        let ended = program.end();
        assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, PEERS as u64)));
        return;
    }
    let program = Program::start_in_shell(engine, FEW_DESCRIPTORS, &[]);
    let peers = exhaust(&program);
    let (cpu_before, began) = (program.cpu_time(), clock());
    // What passes here is the time that a spinning program would burn.
    thread::sleep(Duration::from_millis(1500));
    let (cpu, wall) = (program.cpu_time() - cpu_before, began.elapsed());
    assert!(cpu < wall / 20, "it used {cpu:?} of {wall:?} while it could not accept");
    // Each that ends makes room for one that waits.
    for peer in peers {
        peer.echo(10);
        peer.fin();
        peer.echo_and_eof();
    }
    let ended = program.end();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, PEERS as u64 * 10)));
    let complaints = ended.stderr.matches("cannot accept").count();
    assert_eq!(complaints, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("ulimit -n"), "no remedy in {}", ended.stderr);
}

/// Those in the backlog are accepted as room is made, for as long as the grace lasts.
fn descriptors_run_out_and_the_drain_begins(engine: Engine) {
    let args = ["--drain-grace", "20s", "--drain-timeout", "40s"];
    if !shows("descriptors_run_out_and_the_drain_begins", engine) {
        let program = Program::start(engine, &args);
        let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
        program.signal("TERM");
        program.wait_for_log("draining");
        peers.iter().for_each(|peer| peer.send(10));
        peers.iter().for_each(|peer| peer.echo(10));
        peers.iter().for_each(Peer::fin);
        peers.iter().for_each(Peer::echo_and_eof);
        let ended = program.ended();
        assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, PEERS as u64 * 11)));
        return;
    }
    let program = Program::start_in_shell(engine, FEW_DESCRIPTORS, &args);
    let peers = exhaust(&program);
    program.signal("TERM");
    program.wait_for_log("draining");
    for peer in peers {
        peer.echo(10);
        peer.fin();
        peer.echo_and_eof();
    }
    let ended = program.ended();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, PEERS as u64 * 10)));
}

fn no_more_than_the_places_are_served(engine: Engine) {
    let server = Running::start_with(&Config { conns_max: Some(3), ..config(engine) });
    let mut peers: Vec<_> = (0..8).map(|_| server.connect()).collect();
    peers.iter().for_each(|peer| peer.send(10));
    peers[..3].iter().for_each(|peer| peer.echo(10));
    for waiting in &peers[3..] {
        waiting.hears_nothing_for(Duration::from_millis(50));
    }
    assert_eq!(server.tally().bytes_received, 30);
    // One ends: the next in the queue, and nobody else, takes its place.
    let first = peers.remove(0);
    first.fin();
    first.echo_and_eof();
    peers[2].echo(10);
    peers[3].hears_nothing_for(Duration::from_millis(250));
    for peer in peers.iter().take(2).chain(&peers[2..]) {
        peer.fin();
    }
    peers.iter().for_each(Peer::echo_and_eof);
    assert_eq!(server.end(), graceful(8, 80));
}

/// A place that one worker gives back is taken by another, which nobody wakes.
fn places_are_shared_by_all_workers(engine: Engine) {
    let workers = 4.try_into().unwrap();
    let server = Running::start_with(&Config { conns_max: Some(2), workers, ..config(engine) });
    let peers: Vec<_> = (0..40).map(|_| server.connect()).collect();
    peers.iter().for_each(|peer| peer.send(10));
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
    wait_until("all have ended", || server.tally().ended() == 40);
    assert_eq!(server.end(), graceful(40, 400));
}

/// Connects more clients than the program can accept, each with 10 bytes sent, and waits until it complains.
fn exhaust(program: &Program) -> Vec<Peer> {
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect()).collect();
    peers.iter().for_each(|peer| peer.send(10));
    program.wait_for_log("cannot accept");
    peers
}
