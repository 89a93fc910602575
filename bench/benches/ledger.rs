//! What the ledger costs beside an echo: reading lines, and claims in memory and on this machine's disk.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use finwait_server::ledger::session::{AtFin, Claim, Session, SessionId};
use finwait_server::ledger::{Desk, Ledger, Options};

/// A receive.
const CHUNK_BYTES: usize = 16 << 10;
/// Lengths of lines, their LF included.
const LINES: [usize; 4] = [1, 16, 64, 1024];
/// Claims that wait for their answer at a time.
const IN_FLIGHT: [u64; 3] = [1, 64, 1024];

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session: 16 KiB in lines of so many bytes");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    for line in LINES {
        let mut text = vec![b'x'; CHUNK_BYTES];
        text.iter_mut().skip(line - 1).step_by(line).for_each(|end| *end = b'\n');
        let mut session = Session::new();
        group.bench_function(line.to_string(), |bencher| {
            bencher.iter(|| black_box(&mut session).take(black_box(&mut text)));
        });
    }
    group.finish();
}

fn claims(criterion: &mut Criterion) {
    let path = std::env::temp_dir().join(format!("finwait-bench-ledger-{}", std::process::id()));
    let ledgers = [
        ("in memory", Ledger::in_memory(Options::default())),
        ("in a file", Ledger::open(&path, Options::default()).expect("a file in the temporary directory")),
    ];
    let mut session = 0;
    for (name, ledger) in ledgers {
        let mut desk = ledger.desk(Waker::from(Arc::new(Unpark(thread::current()))));
        let mut group = criterion.benchmark_group(format!("claims {name}, so many at a time"));
        for claims in IN_FLIGHT {
            group.throughput(Throughput::Elements(claims));
            group.bench_function(claims.to_string(), |bencher| {
                bencher.iter(|| settle(&mut desk, claims, &mut session));
            });
        }
        group.finish();
    }
    std::fs::remove_file(path).expect("the file that was made above");
}

/// Hands claims in and waits for all of their answers.
fn settle(desk: &mut Desk, claims: u64, session: &mut u128) {
    for token in 0..claims {
        *session += 1;
        desk.submit(token, AtFin::Claim(Claim { total: 1, session: SessionId(*session) }), 1);
    }
    let mut answered = 0;
    while answered < claims {
        match desk.answers().count() {
            0 => thread::park(),
            more => answered += more as u64,
        }
    }
}

criterion_group!(benches, lines, claims);
criterion_main!(benches);
