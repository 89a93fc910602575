//! Every reachable state of the machine and of the world around it, and the promise in each of them.
//!
//! The walk is breadth-first and complete: the world (`world`) does everything that a peer, a kernel and a driver
//! may do, in every order, within small bounds; the observer (`observer`) judges every operation and every state.
//! A panic inside the machine counts as a failure too. When something fails, the shortest way to it is printed.

mod ends;
mod events;
pub(crate) mod observer;
pub(crate) mod world;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use finwait_server::conn::{Event, Fault, Op, OpKind};
use world::{Bounds, Protocol, Step, World};

/// The worlds of the echo: the window at, below and above what a receive may bring.
const ECHO: [Bounds; 3] = [echo(1, 5), echo(2, 5), echo(3, 5)];

/// The worlds where what is owed is not what was taken.
const LEDGER: [Bounds; 2] = [ledger(1, 2), ledger(3, 3)];

const fn echo(window: u32, bytes: u32) -> Bounds {
    Bounds { protocol: Protocol::Echo, window, bytes }
}

const fn ledger(window: u32, bytes: u32) -> Bounds {
    Bounds { protocol: Protocol::Ledger, window, bytes }
}

/// One thing that happened somewhere.
pub(crate) struct Transition {
    pub(crate) from: usize,
    pub(crate) step: Step,
    pub(crate) ops: Vec<Op>,
    pub(crate) to: usize,
}

/// Every reachable state, and every way between them.
pub(crate) struct Graph {
    pub(crate) states: Vec<World>,
    pub(crate) transitions: Vec<Transition>,
}

impl Graph {
    /// Walks everything that can be reached within `bounds`.
    pub(crate) fn walk(bounds: Bounds) -> Self {
        let start = World::new(bounds);
        let mut graph = Self { states: vec![start.clone()], transitions: Vec::new() };
        let mut known = HashMap::from([(start, 0)]);
        // The state and the step by which a state was first reached; the start has none.
        let mut origins = vec![None];
        let mut from = 0;
        while from < graph.states.len() {
            for step in graph.states[from].steps() {
                let mut world = graph.states[from].clone();
                let ops = {
                    let _trail = Trail { origins: &origins, from, step };
                    world.take(step)
                };
                let to = match known.entry(world) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        graph.states.push(entry.key().clone());
                        origins.push(Some((from, step)));
                        *entry.insert(graph.states.len() - 1)
                    }
                };
                graph.transitions.push(Transition { from, step, ops, to });
            }
            from += 1;
        }
        graph
    }
}

/// Prints the way to the step that panicked.
struct Trail<'a> {
    origins: &'a [Option<(usize, Step)>],
    from: usize,
    step: Step,
}

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut steps = vec![self.step];
        let mut at = self.from;
        while let Some((from, step)) = self.origins[at] {
            steps.push(step);
            at = from;
        }
        eprintln!("the shortest way there:");
        for step in steps.iter().rev() {
            eprintln!("  {step:?}");
        }
    }
}

/// Walks `bounds`, says how far it came, and fails when that is less than the floors: a world that no longer does
/// anything would keep every promise.
fn walk_at_least(bounds: Bounds, states_min: usize, transitions_min: usize) {
    let graph = Graph::walk(bounds);
    let (states, transitions) = (graph.states.len(), graph.transitions.len());
    println!("{bounds:?}: {states} states, {transitions} transitions");
    assert!(states >= states_min, "only {states} states");
    assert!(transitions >= transitions_min, "only {transitions} transitions");
}

#[test]
fn an_echo_keeps_the_promise_in_every_state() {
    for (bounds, (states_min, transitions_min)) in
        ECHO.into_iter().zip([(10_000, 37_000), (33_000, 130_000), (45_000, 180_000)])
    {
        walk_at_least(bounds, states_min, transitions_min);
    }
}

#[test]
fn a_protocol_that_owes_less_or_more_keeps_the_promise_in_every_state() {
    for (bounds, (states_min, transitions_min)) in LEDGER.into_iter().zip([(3_700, 13_800), (20_000, 83_000)])
    {
        walk_at_least(bounds, states_min, transitions_min);
    }
}

/// The floors above count; this looks that nothing of the machine's interface was left out.
#[test]
fn the_walk_meets_every_operation_every_event_and_every_fault() {
    let graph = Graph::walk(echo(2, 3));
    let has_event = |event| graph.transitions.iter().any(|transition| transition.step == Step::Event(event));
    let has_op = |op| graph.transitions.iter().any(|transition| transition.ops.contains(&op));
    let ops =
        [Op::Recv { max: 1 }, Op::Discard, Op::Send { len: 2 }, Op::Fin, Op::Cancel, Op::Close, Op::Reset];
    for op in ops {
        assert!(has_op(op), "{op:?} is never asked for");
    }
    let received = Event::Received { taken: 2, owed: 2 };
    let events = [received, Event::PeerFin { owed: 0 }, Event::Sent(1), Event::FinSent, Event::Closed];
    let ends = [Event::Drain, Event::Dry, Event::Parted { owed: 0 }, Event::Expired];
    for event in events.into_iter().chain(ends) {
        assert!(has_event(event), "{event:?} never happens");
    }
    for op in [OpKind::Recv, OpKind::Send, OpKind::Fin] {
        for fault in [Fault::Reset, Fault::Aborted, Fault::TimedOut, Fault::Cancelled, Fault::Local] {
            assert!(has_event(Event::Failed { op, fault }), "{op:?} never fails with {fault:?}");
        }
    }
    assert!(has_event(Event::Failed { op: OpKind::Fin, fault: Fault::Shutdown }), "shutdown never fails");
}
