//! Events out of place: those that may come late change nothing, those that nothing can have caused are refused.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use finwait_server::conn::{Conn, Event, Fault, OpKind};

use super::observer::Fin;
use super::world::World;
use super::{ECHO, Graph, LEDGER, echo};

fn assert_ignored(world: &World, event: Event) {
    let mut conn = world.conn.clone();
    conn.handle(event);
    assert_eq!(conn, world.conn, "{event:?} is stale and changes the machine");
    assert_eq!(conn.next_op(), None, "{event:?} is stale and starts something");
}

#[test]
fn stale_events_change_nothing() {
    let mut closing = 0;
    for bounds in ECHO.into_iter().chain(LEDGER) {
        for world in &Graph::walk(bounds).states {
            let seen = &world.seen;
            if seen.has_end() || seen.cause.is_some() {
                assert_ignored(world, Event::Drain);
            }
            if seen.cause.is_some() || seen.close.is_some() {
                assert_ignored(world, Event::Expired);
            }
            // In a drain with no receive in flight nothing was looked at: what the kernel holds is still to be taken.
            if !seen.is_taking() {
                assert_ignored(world, Event::Dry);
            }
            if seen.close.is_some() {
                closing += 1;
                for event in [Event::Drain, Event::Expired, Event::Dry] {
                    assert_ignored(world, event);
                }
            }
        }
    }
    assert!(closing > 0, "no connection was ever closed");
}

/// The events that no operation in flight can have caused.
fn impossible(world: &World) -> Vec<Event> {
    let seen = &world.seen;
    let fails = |op| Event::Failed { op, fault: Fault::Local };
    let mut events = vec![Event::Received { taken: 0, owed: 0 }, Event::Sent(0), Event::Sent(seen.send + 1)];
    events.extend([OpKind::Recv, OpKind::Send].map(|op| Event::Failed { op, fault: Fault::Shutdown }));
    if seen.receive.is_none() {
        events.extend([
            Event::Received { taken: 1, owed: 1 },
            Event::PeerFin { owed: 0 },
            fails(OpKind::Recv),
        ]);
    }
    if seen.send == 0 {
        events.push(fails(OpKind::Send));
    }
    if seen.fin != Fin::InFlight {
        events.extend([Event::FinSent, fails(OpKind::Fin)]);
    }
    if seen.close.is_none() || seen.closed {
        events.push(Event::Closed);
    }
    if !seen.is_parting() {
        events.push(Event::Parted { owed: 1 });
    }
    events
}

#[test]
fn impossible_events_are_refused() {
    let mut known = HashSet::new();
    for world in Graph::walk(echo(2, 2)).states {
        if !known.insert(world.conn.clone()) {
            continue;
        }
        for event in impossible(&world) {
            let mut conn = world.conn.clone();
            let refused = catch_unwind(AssertUnwindSafe(|| conn.handle(event))).is_err();
            assert!(refused, "{event:?} is taken in by {:?}", world.conn);
        }
    }
    assert!(known.len() > 1, "only {} states", known.len());
}

#[test]
fn a_window_of_nothing_is_refused() {
    assert!(catch_unwind(|| Conn::new(0)).is_err());
}
