//! A server inside this process, and what its tally must say at the end.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::channel;

use finwait_server::config::Config;
use finwait_server::engine::EngineChoice;
use finwait_server::metrics::Tally;
use finwait_server::server::{Handle, Server};

use super::{Engine, LIMIT, Peer, wait_until_still};

/// A server that is expired when its test ends, however that ends.
pub(crate) struct Running {
    server: Option<Server>,
    handle: Handle,
    /// Every connection is an echo.
    echoes: bool,
}

/// One worker of `engine` on a free port; for the rest the defaults.
pub(crate) fn config(engine: Engine) -> Config {
    Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        engine: EngineChoice::Forced(engine.kind),
        descriptors: engine.descriptors,
        workers: NonZeroUsize::MIN,
        ..Config::default()
    }
}

/// What the tally says when `conns` connections ended gracefully after `bytes` bytes in all.
pub(crate) fn graceful(conns: u64, bytes: u64) -> Tally {
    Tally {
        accepted: conns,
        graceful: conns,
        bytes_received: bytes,
        bytes_owed: bytes,
        bytes_echoed: bytes,
        ..Tally::default()
    }
}

/// The outcomes of `tally` without its bytes, for cases where only the peer's kernel knows how far an echo came.
pub(crate) fn outcomes(tally: Tally) -> Tally {
    Tally { bytes_received: 0, bytes_owed: 0, bytes_echoed: 0, bytes_discarded: 0, ..tally }
}

impl Running {
    /// Starts a server with [`config`].
    #[track_caller]
    pub(crate) fn start(engine: Engine) -> Self {
        Self::start_with(&config(engine))
    }

    /// Starts a server; an engine that cannot run here fails the test.
    #[track_caller]
    pub(crate) fn start_with(config: &Config) -> Self {
        let server = Server::start(config).unwrap_or_else(|error| panic!("{error}"));
        let handle = server.handle();
        Self { server: Some(server), handle, echoes: config.ledger.is_empty() }
    }

    /// Its first address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.server().addrs()[0]
    }

    /// The server itself.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("not joined yet")
    }

    /// What it counted up to now.
    pub(crate) fn tally(&self) -> Tally {
        self.server().tally()
    }

    /// A client of its first address.
    #[track_caller]
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.addr())
    }

    /// A client with small buffers.
    #[track_caller]
    pub(crate) fn connect_narrow(&self) -> Peer {
        Peer::connect_narrow(self.addr())
    }

    /// A client whose connection has been accepted: it has had a byte echoed.
    #[track_caller]
    pub(crate) fn connect_and_echo(&self) -> Peer {
        let peer = self.connect();
        peer.send(1);
        peer.echo(1);
        peer
    }

    /// Has `peers`, which read nothing, send until nothing moves any more on either side and bytes are owed to them;
    /// returns how many.
    #[track_caller]
    pub(crate) fn fill(&self, peers: &[Peer]) -> u64 {
        let moved = || {
            let tally = self.tally();
            tally.bytes_received + tally.bytes_echoed
        };
        let sent = || peers.iter().map(Peer::sent).sum::<u64>();
        let mut rounds = 0;
        loop {
            let before = (moved(), sent());
            peers.iter().for_each(|peer| peer.send_what_fits(usize::MAX));
            wait_until_still(moved);
            // Read one after the other, what was echoed last: a look at a server that moves shows too few.
            let tally = self.tally();
            let owed = tally.bytes_owed.saturating_sub(tally.bytes_echoed);
            // The server may make room after its last look: full is who could send nothing to one that took nothing.
            // And kernels too stand still for a while, until a timer of theirs has them ask for room once more: then
            // nothing is owed.
            let is_still = (moved(), sent()) == before;
            if is_still && owed > 0 {
                return owed;
            }
            rounds += 1;
            assert!(rounds < 100, "{owed} bytes are owed to peers that read nothing: these are never full");
        }
    }

    /// Begins the drain.
    pub(crate) fn drain(&self) {
        self.handle.drain();
    }

    /// Whether its drain has begun.
    pub(crate) fn is_ending(&self) -> bool {
        self.handle.is_draining()
    }

    /// Gives up on what is open.
    pub(crate) fn expire(&self) {
        self.handle.expire();
    }

    /// Drains, and joins: see [`Running::join`].
    #[track_caller]
    pub(crate) fn end(self) -> Tally {
        self.drain();
        self.join()
    }

    /// Joins a server that is draining, checks that its tally adds up, and returns it without the time.
    #[track_caller]
    pub(crate) fn join(mut self) -> Tally {
        let server = self.server.take().expect("joined once");
        let (sender, joined) = channel();
        // On a thread of its own, for `join` has no limit.
        std::thread::spawn(move || sender.send(server.join()));
        let tally = joined.recv_timeout(LIMIT).expect("the server did not end").unwrap();
        assert!(tally.drain_ns > 0, "a drain takes some time");
        if self.echoes {
            adds_up(&tally);
        } else {
            assert_eq!(tally.accepted, tally.ended(), "{tally:?}");
        }
        Tally { drain_ns: 0, ..tally }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.expire();
    }
}

/// What holds for every tally of an echo that has ended.
#[track_caller]
pub(super) fn adds_up(tally: &Tally) {
    assert_eq!(tally.accepted, tally.ended(), "{tally:?}");
    assert_eq!(tally.bytes_received, tally.bytes_owed + tally.bytes_discarded, "{tally:?}");
    assert!(tally.bytes_echoed <= tally.bytes_owed, "{tally:?}");
    assert!(tally.expired_in_drain <= tally.expired, "{tally:?}");
    if tally.graceful == tally.accepted {
        assert_eq!(tally.bytes_echoed, tally.bytes_owed, "{tally:?}");
    }
}
