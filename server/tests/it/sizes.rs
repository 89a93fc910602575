//! The ring with next to no memory: completions overflow, buffers run out, entries wait, a table of direct descriptors is
//! full, and nothing is lost by it.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use finwait_server::drain::{Drain, Stage};
use finwait_server::engine::uring::{self, Sizes};
use finwait_server::listener;
use finwait_server::metrics::{Metrics, Tally};
use finwait_server::policy::{Deadlines, Places, REST_EVERY};
use finwait_server::sys::Balance;
use finwait_server::worker::{Ready, Settings};

use crate::support::{LIMIT, Peer, graceful, outcomes, wait_until, wait_until_still};

/// Entries for whatever comes, and the buffers of a server.
const AMPLE: Sizes = Sizes {
    submissions: 4096,
    completions: 32_768,
    buffers: 32,
    buffer_len: 131_072,
    shared: true,
    table: 0,
    rest_every: REST_EVERY,
};
/// Entries for hardly anything; and the buffers of a server.
const FEW_ENTRIES: [Sizes; 2] =
    [Sizes { submissions: 1, completions: 2, ..AMPLE }, Sizes { completions: 4096, shared: false, ..AMPLE }];
/// Two buffers that hold next to nothing, in a ring like the server's; or four, of which the kernel is given two.
const FEW_BUFFERS: [Sizes; 3] = [
    Sizes { buffers: 2, buffer_len: 64, ..AMPLE },
    Sizes { buffers: 4, buffer_len: 64, ..AMPLE },
    Sizes { buffers: 2, buffer_len: 64, shared: false, ..AMPLE },
];
/// A table that is full all the time.
const FEW_PLACES: Sizes = Sizes { table: 8, ..AMPLE };
/// Places enough for every connection of a case.
const ENOUGH: u32 = 1024;
/// Both at once.
const FEW_OF_ALL: Sizes = Sizes { buffers: 2, buffer_len: 64, ..FEW_ENTRIES[0] };

/// A worker on the ring, without the server around it.
struct Worker {
    addr: SocketAddr,
    /// Its second listener.
    other: SocketAddr,
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    thread: JoinHandle<io::Result<()>>,
}

#[test]
fn completions_overflow_and_none_is_lost() {
    for sizes in FEW_ENTRIES.into_iter().flat_map(all) {
        let worker = Worker::start(sizes, 65_536);
        echoes_exactly(&worker, 300, 5000);
        assert_eq!(worker.end(), graceful(300, 300 * 5000));
    }
}

#[test]
fn a_few_small_buffers_serve_everyone() {
    for sizes in FEW_BUFFERS.into_iter().flat_map(all) {
        let worker = Worker::start(sizes, 65_536);
        echoes_exactly(&worker, 50, 20_000);
        assert_eq!(worker.end(), graceful(50, 50 * 20_000));
    }
}

/// Peers that do not read hold every buffer there is, until their bytes move out.
#[test]
fn slow_readers_leave_a_few_small_buffers_to_others() {
    for sizes in FEW_BUFFERS.into_iter().chain([FEW_OF_ALL]).flat_map(all) {
        let worker = Worker::start(sizes, 4096);
        let slow: Vec<_> = (0..8).map(|_| Peer::connect_narrow(worker.addr)).collect();
        for peer in &slow {
            while worker.has_room_for(peer) {}
        }
        let other = Peer::connect(worker.addr);
        other.send(1000);
        other.echo(1000);
        other.fin();
        other.echo_and_eof();
        slow.iter().for_each(Peer::fin);
        slow.iter().for_each(Peer::echo_and_eof);
        let bytes = slow.iter().map(Peer::sent).sum::<u64>();
        assert_eq!(worker.end(), graceful(9, bytes + 1000));
    }
}

/// What was taken out of a socket and has its completion in the kernel's own list, because the queue is full, is not
/// known to anyone yet: a look into the socket finds it dry.
#[test]
fn a_drain_waits_for_completions_that_overflowed() {
    const PEERS: usize = 64;
    for round in 0..80 {
        let sizes = all(if round % 8 < 4 { FEW_ENTRIES[0] } else { FEW_OF_ALL })[round % 4];
        let worker = Worker::start(sizes, 65_536);
        let peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(worker.addr)).collect();
        peers.iter().for_each(|peer| peer.send(1));
        peers.iter().for_each(|peer| peer.echo(1));
        let len = 1 + round / 2 * 50;
        peers.iter().for_each(|peer| peer.send(len));
        worker.drain.raise(Stage::Draining);
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(worker.join(), graceful(PEERS as u64, (PEERS * (1 + len)) as u64));
    }
}

/// Cancels and closes have to find room in the queues too.
#[test]
fn resets_and_expiry_with_next_to_nothing() {
    for sizes in all(FEW_OF_ALL) {
        resets_and_expiry(Worker::start(sizes, 65_536));
    }
}

fn resets_and_expiry(worker: Worker) {
    let peers: Vec<_> = (0..100).map(|_| Peer::connect(worker.addr)).collect();
    for (index, peer) in peers.into_iter().enumerate() {
        peer.send(300);
        if index % 2 == 0 {
            peer.reset();
        } else {
            peer.echo(300);
        }
    }
    wait_until("the others are closed", || worker.metrics.tally().ended() == 100);
    let open: Vec<_> = (0..50).map(|_| Peer::connect(worker.addr)).collect();
    open.iter().for_each(|peer| peer.send(300));
    open.iter().for_each(|peer| peer.echo(300));
    worker.drain.raise(Stage::Expiring);
    open.iter().for_each(Peer::echo_to_reset);
    let expected = Tally { reset: 50, expired: 50, expired_in_drain: 50, ..outcomes(graceful(50, 0)) };
    assert_eq!(outcomes(worker.join()), Tally { accepted: 150, ..expected });
}

/// Nobody is accepted for whom there is no place: who waits sees neither an echo nor an end, and is served in turn.
#[test]
fn a_full_table_makes_others_wait() {
    const PEERS: usize = 20;
    let worker = Worker::start(FEW_PLACES, 65_536);
    let peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(worker.addr)).collect();
    peers.iter().for_each(|peer| peer.send(10));
    // The other listener keeps one for who comes there.
    let places = FEW_PLACES.table as usize - 1;
    peers.iter().take(places).for_each(|peer| peer.echo(10));
    for (index, peer) in peers.iter().enumerate() {
        if let Some(first) = peers.get(index + places) {
            first.hears_nothing_for(Duration::from_millis(20));
        }
        peer.fin();
        peer.echo_and_eof();
        if let Some(next) = peers.get(index + places) {
            next.echo(10);
        }
    }
    assert_eq!(worker.end(), graceful(PEERS as u64, 10 * PEERS as u64));
}

/// Each listener has a place for one who comes, as long as there is one at all: where all come to one of them, the
/// others' clients are served still, and theirs after the next close.
#[test]
fn a_table_is_shared_by_its_listeners() {
    let worker = Worker::start(FEW_PLACES, 65_536);
    let crowd: Vec<_> = (0..20).map(|_| Peer::connect(worker.addr)).collect();
    crowd.iter().for_each(|peer| peer.send(10));
    wait_until_still(|| worker.metrics.tally().accepted);
    assert_eq!(worker.metrics.tally().accepted, u64::from(FEW_PLACES.table) - 1);
    let others: Vec<_> = (0..2).map(|_| Peer::connect(worker.other)).collect();
    others.iter().for_each(|peer| peer.send(10));
    others[0].echo(10);
    others[1].hears_nothing_for(Duration::from_millis(50));
    for peer in crowd.iter().chain(&others) {
        peer.fin();
        peer.echo_and_eof();
    }
    assert_eq!(worker.end(), graceful(22, 220));
}

/// Those in the backlog are owed their echo as well. They get descriptors of the process, beside the direct ones.
#[test]
fn a_drain_serves_those_whom_the_table_kept_out() {
    const PEERS: usize = 50;
    let worker = Worker::start(FEW_PLACES, 65_536);
    let peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(worker.addr)).collect();
    peers.iter().for_each(|peer| peer.send(1000));
    peers[0].echo(1000);
    worker.drain.raise(Stage::Draining);
    peers.iter().for_each(Peer::echo_and_eof);
    peers.iter().for_each(Peer::fin);
    assert_eq!(worker.join(), graceful(PEERS as u64, 1000 * PEERS as u64));
}

/// Resets and failed accepts give their places back too: none is lost, however often the table was full.
#[test]
fn places_in_a_table_come_back() {
    const ROUNDS: u64 = 30;
    let worker = Worker::start(FEW_PLACES, 65_536);
    for _ in 0..ROUNDS {
        let peers: Vec<_> = (0..10).map(|_| Peer::connect(worker.addr)).collect();
        peers.iter().for_each(|peer| peer.send(1));
        let (bad, good): (Vec<_>, Vec<_>) =
            peers.into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
        bad.into_iter().for_each(|(_, peer)| peer.reset());
        for (_, peer) in good {
            peer.fin();
            peer.echo_and_eof();
        }
    }
    wait_until("all have ended", || worker.metrics.tally().ended() == 10 * ROUNDS);
    let tally = outcomes(worker.end());
    assert_eq!(
        tally,
        Tally { accepted: 10 * ROUNDS, reset: 5 * ROUNDS, ..outcomes(graceful(5 * ROUNDS, 0)) }
    );
}

/// With descriptors of the process, and with direct ones.
fn both(sizes: Sizes) -> [Sizes; 2] {
    [sizes, Sizes { table: ENOUGH, ..sizes }]
}

/// And with connections that rest between any two waits.
fn all(sizes: Sizes) -> [Sizes; 4] {
    let [normal, direct] = both(sizes);
    [normal, direct, restful(normal), restful(direct)]
}

fn restful(sizes: Sizes) -> Sizes {
    Sizes { rest_every: Duration::ZERO, ..sizes }
}

fn echoes_exactly(worker: &Worker, peers: usize, len: usize) {
    let peers: Vec<_> = (0..peers).map(|_| Peer::connect(worker.addr)).collect();
    for _ in 0..5 {
        peers.iter().for_each(|peer| peer.send(len / 5));
    }
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
}

impl Worker {
    fn start(sizes: Sizes, window: u32) -> Self {
        let window = NonZeroU32::new(window).expect("a window");
        let bind = || listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1, Balance::Kernel).unwrap();
        let [(addr, first), (other, second)] = [bind(), bind()];
        let sources = first.into_iter().chain(second).collect();
        let (drain, metrics) = (Arc::new(Drain::default()), Arc::new(Metrics::default()));
        let second = Duration::from_secs(1);
        let settings = Settings {
            window: window.get(),
            deadlines: Deadlines { idle: None, stall: second * 60, linger: second * 60 },
            grace: Duration::ZERO,
            drain_timeout: second * 60,
            places: Arc::new(Places::new(None)),
            ledger: None,
            drain: Arc::clone(&drain),
            metrics: Arc::clone(&metrics),
        };
        let (ready, heard) = Ready::channel();
        let thread = thread::spawn(move || uring::run_with(sources, &settings, &ready, sizes));
        heard.recv().unwrap().unwrap();
        Self { addr, other, drain, metrics, thread }
    }

    /// Whether `peer` could send more, and something moved by it.
    fn has_room_for(&self, peer: &Peer) -> bool {
        let before = peer.sent();
        peer.send_what_fits(1 << 20);
        thread::sleep(Duration::from_millis(20));
        peer.sent() > before && self.metrics.tally().ended() == 0
    }

    fn end(self) -> Tally {
        self.drain.raise(Stage::Draining);
        self.join()
    }

    /// Joins it, and returns what it counted, without the time.
    fn join(self) -> Tally {
        let (sender, joined) = channel();
        thread::spawn(move || sender.send(self.thread.join()));
        let result = joined.recv_timeout(LIMIT).expect("the worker did not end");
        result.expect("it does not panic").unwrap();
        Tally { drain_ns: 0, ..self.metrics.tally() }
    }
}
