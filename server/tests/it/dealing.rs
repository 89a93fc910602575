//! One listening socket for several workers, where the kernel does not balance: one accepts and deals out in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use finwait_server::drain::{Drain, Stage};
use finwait_server::engine::{self, Descriptors, EngineKind};
use finwait_server::listener::{self, Source};
use finwait_server::metrics::{Metrics, Tally};
use finwait_server::policy::{Deadlines, Places};
use finwait_server::sys::Balance;
use finwait_server::worker::{Ready, Settings};

use crate::support::{LIMIT, Peer, graceful, wait_until};

const WORKERS: usize = 4;

/// Workers of the readiness engine on one address, without the server around them.
struct Team {
    addr: SocketAddr,
    drain: Arc<Drain>,
    workers: Vec<(Arc<Metrics>, JoinHandle<io::Result<()>>)>,
}

#[test]
fn connections_are_dealt_to_each_worker_in_turn() {
    let team = Team::start(Duration::ZERO, None);
    let peers: Vec<_> = (0..WORKERS * 25).map(|_| Peer::connect(team.addr)).collect();
    peers.iter().for_each(|peer| peer.send(1000));
    peers.iter().for_each(|peer| peer.echo(1000));
    team.drain.raise(Stage::Draining);
    peers.iter().for_each(Peer::echo_and_eof);
    peers.iter().for_each(Peer::fin);
    for tally in team.join() {
        assert_eq!(tally, graceful(25, 25 * 1000));
    }
}

/// What was accepted and handed over, and what was not accepted yet, when the drain began: all of it is served.
#[test]
fn just_dealt_connections_are_served_in_a_drain() {
    for round in 0..20 {
        let team = Team::start(Duration::from_millis(round % 2 * 20), None);
        let peers: Vec<_> = (0..50).map(|_| Peer::connect(team.addr)).collect();
        peers.iter().for_each(|peer| peer.send(100));
        team.drain.raise(Stage::Draining);
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(sum(&team.join()), graceful(50, 50 * 100));
    }
}

/// The dealer has connections of its own, and the others have to hear that there will be no more.
#[test]
fn a_drain_ends_workers_that_never_had_a_connection() {
    for connections in 0..WORKERS {
        let team = Team::start(Duration::from_millis(50), None);
        let peers: Vec<_> = (0..connections).map(|_| Peer::connect(team.addr)).collect();
        peers.iter().for_each(|peer| peer.send(1));
        peers.iter().for_each(|peer| peer.echo(1));
        team.drain.raise(Stage::Draining);
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(sum(&team.join()), graceful(connections as u64, connections as u64));
    }
}

#[test]
fn places_hold_across_hands() {
    let team = Team::start(Duration::from_millis(50), Some(2));
    let peers: Vec<_> = (0..30).map(|_| Peer::connect(team.addr)).collect();
    peers.iter().for_each(|peer| peer.send(10));
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
    wait_until("all have ended", || sum(&team.tallies()).ended() == 30);
    team.drain.raise(Stage::Draining);
    assert_eq!(sum(&team.join()), graceful(30, 300));
}

#[test]
fn one_worker_needs_no_dealer() {
    let (_, sources) = bind(1);
    assert!(matches!(sources[..], [Source::Socket(_)]), "{sources:?}");
}

impl Team {
    fn start(grace: Duration, conns_max: Option<u32>) -> Self {
        let (addr, sources) = bind(WORKERS);
        let drain = Arc::new(Drain::default());
        let places = Arc::new(Places::new(conns_max));
        let workers = sources.into_iter().map(|source| {
            let metrics = Arc::new(Metrics::default());
            let second = Duration::from_secs(1);
            let settings = Settings {
                window: 65_536,
                deadlines: Deadlines { idle: None, stall: second * 60, linger: second * 60 },
                grace,
                drain_timeout: second * 60,
                places: Arc::clone(&places),
                ledger: None,
                drain: Arc::clone(&drain),
                metrics: Arc::clone(&metrics),
            };
            let (ready, heard) = Ready::channel();
            let run = engine::run(EngineKind::Mio, Descriptors::Normal);
            let thread = std::thread::spawn(move || run(vec![source], &settings, &ready));
            heard.recv().unwrap().unwrap();
            (metrics, thread)
        });
        let workers = workers.collect();
        Self { addr, drain, workers }
    }

    fn tallies(&self) -> Vec<Tally> {
        self.workers.iter().map(|(metrics, _)| metrics.tally()).collect()
    }

    /// Joins every worker, and returns what each one counted, without the time.
    fn join(self) -> Vec<Tally> {
        let (sender, joined) = channel();
        let count = self.workers.len();
        for (metrics, thread) in self.workers {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send((thread.join(), metrics.tally())));
        }
        let ends = (0..count).map(|_| {
            let (result, tally) = joined.recv_timeout(LIMIT).expect("a worker did not end");
            result.expect("no worker panics").unwrap();
            assert_eq!(tally.accepted, tally.ended(), "{tally:?}");
            Tally { drain_ns: 0, ..tally }
        });
        ends.collect()
    }
}

fn bind(workers: usize) -> (SocketAddr, Vec<Source>) {
    let (addr, sources) =
        listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), workers, Balance::Deal).unwrap();
    assert_eq!(sources.len(), workers);
    (addr, sources)
}

fn sum(tallies: &[Tally]) -> Tally {
    tallies.iter().fold(Tally::default(), |mut sum, &tally| {
        sum += tally;
        sum
    })
}
