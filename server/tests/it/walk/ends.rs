//! Every connection can end: from each state, by whatever happens, by the orderly way, and by expiry alone.

use finwait_server::conn::{Event, Fault, Outcome};

use super::observer::Fin;
use super::world::{Step, Wire, World};
use super::{ECHO, Graph, LEDGER};

/// More steps than any way to the end takes; a way that is longer goes round in circles.
const STEPS_MAX: usize = 64;

fn graphs() -> impl Iterator<Item = Graph> {
    ECHO.into_iter().chain(LEDGER).map(Graph::walk)
}

#[test]
fn from_every_state_the_close_can_be_reached() {
    for graph in graphs() {
        let mut comes_from = vec![Vec::new(); graph.states.len()];
        for transition in &graph.transitions {
            comes_from[transition.to].push(transition.from);
        }
        let mut can_end: Vec<bool> = graph.states.iter().map(|world| world.seen.closed).collect();
        let mut open: Vec<usize> = (0..can_end.len()).filter(|&at| can_end[at]).collect();
        while let Some(at) = open.pop() {
            for &from in &comes_from[at] {
                if !can_end[from] {
                    can_end[from] = true;
                    open.push(from);
                }
            }
        }
        let stuck = can_end.iter().position(|&can| !can);
        assert!(stuck.is_none(), "no way to the close from {:?}", stuck.map(|at| &graph.states[at]));
    }
}

/// The peer is silent: it neither sends, nor reads, nor ends. Only our own cancel completes anything.
#[test]
fn expiry_alone_closes_every_connection() {
    for graph in graphs() {
        for start in &graph.states {
            let mut world = start.clone();
            world.take(Step::Event(Event::Expired));
            for _ in 0..STEPS_MAX {
                let own = world.steps().into_iter().find(|step| is_our_own(step, world.wire));
                let Some(step) = own else { break };
                world.take(step);
            }
            assert!(world.seen.closed, "an expired connection hangs, from {start:?}");
        }
    }
}

fn is_our_own(step: &Step, wire: Wire) -> bool {
    let Step::Event(event) = step else { return false };
    match event {
        Event::Closed | Event::Failed { fault: Fault::Cancelled, .. } => true,
        // This completion was there before our cancel.
        Event::Failed { fault: Fault::Reset, .. } => wire == Wire::ResetOvertaken,
        Event::Failed { .. } | Event::Received { .. } | Event::PeerFin { .. } | Event::Sent(_) => false,
        Event::FinSent | Event::Drain | Event::Dry | Event::Parted { .. } | Event::Expired => false,
    }
}

/// The peer reads everything and sends its FIN, but only after ours: a drain must not wait for it.
#[test]
fn a_drain_ends_gracefully_before_the_peer_has_to() {
    for graph in graphs() {
        for start in graph.states.iter().filter(|world| is_healthy(world)) {
            let mut world = start.clone();
            world.take(Step::Event(Event::Drain));
            for _ in 0..STEPS_MAX {
                let steps = world.steps();
                if let Some(&step) = steps.iter().rev().find(|step| is_friendly(step)) {
                    world.take(step);
                } else if steps.contains(&Step::PeerFins) {
                    assert!(world.seen.fin == Fin::Sent, "a drain waits for the peer's FIN, from {start:?}");
                    world.take(Step::PeerFins);
                }
            }
            assert_eq!(world.conn.outcome(), Some(Outcome::Graceful), "drained from {start:?}");
        }
    }
}

/// The peer ends first, and the end is orderly without any help of ours.
#[test]
fn a_peers_fin_ends_gracefully() {
    for graph in graphs() {
        for start in graph.states.iter().filter(|world| is_healthy(world)) {
            let mut world = start.clone();
            if world.steps().contains(&Step::PeerFins) {
                world.take(Step::PeerFins);
            }
            for _ in 0..STEPS_MAX {
                if let Some(&step) = world.steps().iter().rev().find(|step| is_friendly(step)) {
                    world.take(step);
                }
            }
            assert_eq!(world.conn.outcome(), Some(Outcome::Graceful), "ended by the peer from {start:?}");
        }
    }
}

/// Nothing has gone wrong so far.
fn is_healthy(world: &World) -> bool {
    world.wire == Wire::Up && world.seen.cause.is_none() && world.seen.close.is_none()
}

/// A completion that brings the connection forward.
fn is_friendly(step: &Step) -> bool {
    match step {
        Step::PeerSends | Step::PeerFins | Step::PeerResets => false,
        Step::Event(event) => match event {
            Event::Received { .. } | Event::PeerFin { .. } | Event::Sent(_) => true,
            Event::FinSent | Event::Closed | Event::Dry | Event::Parted { .. } => true,
            Event::Failed { .. } | Event::Drain | Event::Expired => false,
        },
    }
}
