//! How bytes become a script: the one place that knows, so that another world can be played in without new corpora.
//!
//! The first three bytes say how large the world is. Each one after that takes the step of its number among those that
//! may happen next, so that every input is a legal life and no byte is wasted on one that is not.

use finwait_server::conn::{Event, Fault};

use crate::world::{Bounds, Protocol, Step, World};

/// The largest window; what a receive may bring are steps of their own, so many more would hide the others.
const WINDOW_MAX: u32 = 32;
/// More steps than any way from an expiry to the close takes.
const END_MAX: usize = 64;

/// Plays a script, and panics when a promise is broken: by the machine's own assertions, or by the observer.
pub fn play(data: &[u8]) {
    let &[protocol, window, bytes, ref choices @ ..] = data else { return };
    let protocol = if protocol % 4 == 0 { Protocol::Ledger } else { Protocol::Echo };
    let window = 1 + u32::from(window) % WINDOW_MAX;
    let mut world = World::new(Bounds { protocol, window, bytes: bytes.into() });
    for &choice in choices {
        let steps = world.steps();
        world.take(steps[usize::from(choice) % steps.len()]);
    }
    end(world);
}

/// Whatever has happened, an expiry leads to the close, and to one outcome.
fn end(mut world: World) {
    world.take(Step::Event(Event::Expired));
    for _ in 0..END_MAX {
        let Some(step) = world.steps().into_iter().find(is_our_own) else { break };
        world.take(step);
    }
    assert!(world.conn.outcome().is_some(), "an expired connection hangs: {world:?}");
}

/// What ends without the peer: our close, our cancel, and a RST whose report was on its way already.
fn is_our_own(step: &Step) -> bool {
    let Step::Event(event) = step else { return false };
    match event {
        Event::Closed => true,
        Event::Failed { fault: Fault::Cancelled | Fault::Reset, .. } => true,
        Event::Failed { .. } | Event::Received { .. } | Event::PeerFin { .. } | Event::Sent(_) => false,
        Event::FinSent | Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => false,
    }
}
