//! The ring with next to no memory: completions overflow, buffers run out, entries wait, and nothing is lost by it.

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
use finwait_server::policy::{Deadlines, Places};
use finwait_server::sys::Balance;
use finwait_server::worker::{Ready, Settings};

use crate::support::{LIMIT, Peer, graceful, outcomes, wait_until};

/// Entries for hardly anything; and the buffers of a server.
const FEW_ENTRIES: [Sizes; 2] = [
    Sizes { submissions: 1, completions: 2, buffers: 64, buffer_len: 65_536, shared: true, table: 0 },
    Sizes { submissions: 4096, completions: 4096, buffers: 64, buffer_len: 65_536, shared: false, table: 0 },
];
/// Two buffers that hold next to nothing, in a ring like the server's.
const FEW_BUFFERS: [Sizes; 2] = [
    Sizes { submissions: 4096, completions: 32_768, buffers: 2, buffer_len: 64, shared: true, table: 0 },
    Sizes { submissions: 4096, completions: 32_768, buffers: 2, buffer_len: 64, shared: false, table: 0 },
];
/// Both at once.
const FEW_OF_ALL: Sizes =
    Sizes { submissions: 1, completions: 2, buffers: 2, buffer_len: 64, shared: true, table: 0 };

/// A worker on the ring, without the server around it.
struct Worker {
    addr: SocketAddr,
    drain: Arc<Drain>,
    metrics: Arc<Metrics>,
    thread: JoinHandle<io::Result<()>>,
}

#[test]
fn completions_overflow_and_none_is_lost() {
    for sizes in FEW_ENTRIES {
        let worker = Worker::start(sizes, 65_536);
        echoes_exactly(&worker, 300, 5000);
        assert_eq!(worker.end(), graceful(300, 300 * 5000));
    }
}

#[test]
fn two_small_buffers_serve_everyone() {
    for sizes in FEW_BUFFERS {
        let worker = Worker::start(sizes, 65_536);
        echoes_exactly(&worker, 50, 20_000);
        assert_eq!(worker.end(), graceful(50, 50 * 20_000));
    }
}

/// Peers that do not read hold every buffer there is, until their bytes move out.
#[test]
fn slow_readers_leave_two_small_buffers_to_others() {
    for sizes in FEW_BUFFERS.into_iter().chain([FEW_OF_ALL]) {
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
    for round in 0..40 {
        let sizes = if round % 2 == 0 { FEW_ENTRIES[0] } else { FEW_OF_ALL };
        let worker = Worker::start(sizes, 65_536);
        let peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(worker.addr)).collect();
        peers.iter().for_each(|peer| peer.send(1));
        peers.iter().for_each(|peer| peer.echo(1));
        let len = 1 + round * 50;
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
    let worker = Worker::start(FEW_OF_ALL, 65_536);
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
        let (addr, mut sources) =
            listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1, Balance::Kernel).unwrap();
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
        let source = sources.remove(0);
        let thread = thread::spawn(move || uring::run_with(vec![source], &settings, &ready, sizes));
        heard.recv().unwrap().unwrap();
        Self { addr, drain, metrics, thread }
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
