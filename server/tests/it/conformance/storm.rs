//! A drain while clients reconnect as fast as they can: whoever got in is served to the end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use finwait_server::engine::EngineKind;

use crate::support::{Peer, Program, engines, wait_until};

engines!(reconnecting_clients_at_the_drain);

const CLIENTS: usize = 32;
const ROUNDS: u32 = 20;
/// The longest that a client waits for a handshake. Those that the server refuses are never answered.
const PATIENCE: Duration = Duration::from_millis(150);

/// A connect that fails or is not answered is fine once the drain has begun; a connection that was made and is then
/// reset or cut is not.
fn reconnecting_clients_at_the_drain(engine: EngineKind) {
    for round in 0..ROUNDS {
        let program = Program::start(engine, &["--log-level", "warn"]);
        let (served, draining) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| reconnect(program.addrs()[0], &served, &draining));
            }
            wait_until("the storm blows", || served.load(Ordering::Relaxed) >= 500);
            program.signal("TERM");
            draining.store(true, Ordering::Relaxed);
        });
        let ended = program.ended();
        let tally = ended.tally;
        assert_eq!((ended.code, tally.graceful), (Some(0), tally.accepted), "round {round}: {tally:?}");
        assert!(tally.graceful >= served.load(Ordering::Relaxed), "round {round}: {tally:?}");
    }
}

fn reconnect(addr: SocketAddr, served: &AtomicU64, draining: &AtomicBool) {
    loop {
        match Peer::try_connect(addr, PATIENCE) {
            Ok(peer) => {
                peer.send(64);
                peer.fin();
                peer.echo_and_eof();
                served.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if draining.load(Ordering::Relaxed) => return,
            // The signal may be on its way, and on a busy machine a handshake may take its time.
            Err(_) => {}
        }
    }
}
