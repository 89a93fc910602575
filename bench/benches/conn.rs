//! What the machine alone costs: nanoseconds that a connection spends in `Conn`, with no I/O around it.
//!
//! A TCP connection of 64 bytes costs a server some 20 us of CPU. These figures say how little of that is ours.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use finwait_server::conn::{Conn, Event, Op, Outcome};

const WINDOW_BYTES: u32 = 64 * 1024;
const MESSAGE_BYTES: u32 = 64;

const RECEIVED: Event = Event::Received { taken: MESSAGE_BYTES, owed: MESSAGE_BYTES };
const PEER_FIN: Event = Event::PeerFin { owed: 0 };

/// One echo on a connection whose receive is in flight; afterwards it is in flight again.
const ECHO: [Event; 2] = [RECEIVED, Event::Sent(MESSAGE_BYTES)];

/// A connection from accept to close: one echo, and the peer ends first.
const LIFE: [Event; 5] = [RECEIVED, Event::Sent(MESSAGE_BYTES), PEER_FIN, Event::FinSent, Event::Closed];

/// A drain in the middle of an echo: the last take finds nothing, what is owed goes out, then our FIN, then the
/// peer's.
const DRAIN: [Event; 7] = [
    Event::Drain,
    Event::Dry,
    Event::Parted { owed: 0 },
    Event::Sent(MESSAGE_BYTES),
    Event::FinSent,
    PEER_FIN,
    Event::Closed,
];

/// What every driver does: one event in, operations out until there are none.
fn step(conn: &mut Conn, event: Event, mut start: impl FnMut(Op)) {
    conn.handle(event);
    start_all(conn, &mut start);
}

fn start_all(conn: &mut Conn, mut start: impl FnMut(Op)) {
    while let Some(op) = conn.next_op() {
        start(op);
    }
}

/// The measured form: the optimizer may know neither the events nor what becomes of the operations.
fn run(conn: &mut Conn, events: &[Event]) {
    for event in black_box(events) {
        step(conn, *event, |op| {
            black_box(op);
        });
    }
}

/// A connection just accepted, its first receive in flight.
fn accepted() -> Conn {
    let mut conn = Conn::new(black_box(WINDOW_BYTES));
    start_all(&mut conn, |op| {
        black_box(op);
    });
    conn
}

/// A connection that owes one message: the send and the next receive are in flight.
fn owing() -> Conn {
    let mut conn = accepted();
    run(&mut conn, &[RECEIVED]);
    conn
}

/// The operations that `events` lead to. Checked before anything is timed: a bench of the wrong path measures well.
fn ops(conn: &mut Conn, events: &[Event]) -> Vec<Op> {
    let mut ops = Vec::new();
    for event in events {
        step(conn, *event, |op| ops.push(op));
    }
    ops
}

fn check_paths() {
    let send = Op::Send { len: MESSAGE_BYTES };
    let recv = Op::Recv { max: WINDOW_BYTES - MESSAGE_BYTES };

    assert_eq!(ops(&mut accepted(), &ECHO), [send, recv]);

    let mut conn = accepted();
    assert_eq!(ops(&mut conn, &LIFE), [send, recv, Op::Fin, Op::Close]);
    assert_eq!(conn.outcome(), Some(Outcome::Graceful));

    let mut conn = owing();
    assert_eq!(ops(&mut conn, &DRAIN), [Op::Fin, Op::Close]);
    assert_eq!(conn.outcome(), Some(Outcome::Graceful));
}

fn bench_conn(criterion: &mut Criterion) {
    check_paths();
    let mut group = criterion.benchmark_group("conn");
    group.bench_function("echo", |bencher| {
        let mut conn = accepted();
        bencher.iter(|| run(black_box(&mut conn), &ECHO));
    });
    group.bench_function("life", |bencher| {
        bencher.iter(|| {
            let mut conn = accepted();
            run(black_box(&mut conn), &LIFE);
            conn.outcome()
        });
    });
    group.bench_function("drain", |bencher| {
        let live = owing();
        bencher.iter(|| {
            // The copy of a few dozen bytes is timed with it; batching would cost more than that.
            let mut conn = black_box(&live).clone();
            run(black_box(&mut conn), &DRAIN);
            conn.outcome()
        });
    });
    group.finish();
}

criterion_group!(benches, bench_conn);
criterion_main!(benches);
