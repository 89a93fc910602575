//! A drain while clients reconnect as fast as they can: whoever got in is served to the end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Engine, Peer, Program, programs, shows, wait_until};

programs!(reconnecting_clients_at_the_drain, reconnecting_clients_at_a_drain_without_grace,);

const CLIENTS: usize = 32;
const ROUNDS: u32 = 20;
/// The longest that a client waits for a handshake. Those that the server refuses are never answered.
const PATIENCE: Duration = Duration::from_millis(150);

/// A connect that fails or is not answered is fine once the drain has begun; a connection that was made and is then
/// reset or cut is not.
fn reconnecting_clients_at_the_drain(engine: Engine) {
    let refuses = shows("reconnecting_clients_at_the_drain", engine);
    for round in 0..ROUNDS {
        storm(engine, round, "1s", |peer| {
            if !refuses {
                return is_served(peer);
            }
            peer.send(64);
            peer.fin();
            peer.echo_and_eof();
            true
        });
    }
}

/// Our FIN may come before the client's first byte, which is then discarded: an EOF, and still no reset.
fn reconnecting_clients_at_a_drain_without_grace(engine: Engine) {
    let refuses = shows("reconnecting_clients_at_a_drain_without_grace", engine);
    for round in 0..ROUNDS {
        storm(engine, round, "0s", |peer| {
            if !refuses {
                return is_served(peer);
            }
            peer.send(64);
            peer.fin();
            peer.echo_to_eof();
            assert!(peer.read() == 64 || peer.read() == 0, "cut after {} bytes", peer.read());
            true
        });
    }
}

/// Where handshakes cannot be refused, one that ends while the listener is closed is reset: it was never accepted. Whoever
/// was accepted is served.
fn is_served(peer: &Peer) -> bool {
    let served = peer.try_send(64).is_ok() && peer.try_fin().is_ok() && peer.echo_to_eof_or_reset();
    assert!(peer.read() == 64 || peer.read() == 0, "cut after {} bytes", peer.read());
    served
}

fn storm(engine: Engine, round: u32, grace: &str, talk: impl Fn(&Peer) -> bool + Sync) {
    let workers = if round.is_multiple_of(2) { "1" } else { "4" };
    let args = ["--log-level", "warn", "--workers", workers, "--drain-grace", grace];
    let program = Program::start(engine, &args);
    let (served, draining) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| reconnect(program.addrs()[0], &served, &draining, &talk));
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

fn reconnect(
    addr: SocketAddr,
    served: &AtomicU64,
    draining: &AtomicBool,
    talk: &(impl Fn(&Peer) -> bool + Sync),
) {
    loop {
        match Peer::try_connect(addr, PATIENCE) {
            Ok(peer) => {
                if talk(&peer) {
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(_) if draining.load(Ordering::Relaxed) => return,
            // The signal may be on its way, and on a busy machine a handshake may take its time.
            Err(_) => {}
        }
    }
}
