//! How a connection ends: from the client's FIN to the server's, and a server's drain of many that do nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use finwait_server::config::Config;
use finwait_server::engine::{self, Descriptors, EngineChoice, EngineKind};
use finwait_server::metrics::Tally;
use finwait_server::server::Server;
use finwait_server::sys;

const ENGINES: [EngineKind; 4] =
    [EngineKind::Uring, EngineKind::Mio, EngineKind::TokioUring, EngineKind::Iocp];
/// Idle connections that are drained.
const CROWDS: [usize; 2] = [100, 1_000];
const MESSAGE: [u8; 64] = [7; 64];

fn start(engine: EngineKind) -> Server {
    let config = Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        engine: EngineChoice::Forced(engine),
        workers: NonZeroUsize::MIN,
        drain_grace: Duration::ZERO,
        ..Config::default()
    };
    Server::start(&config).expect("the engine was found to run here")
}

/// A connection that has echoed once.
fn connect(server: &Server) -> TcpStream {
    let mut client = TcpStream::connect(server.addrs()[0]).expect("it listens");
    client.set_nodelay(true).expect("a socket of TCP");
    client.write_all(&MESSAGE).expect("a connection takes a message");
    client.read_exact(&mut MESSAGE.clone()).expect("a message comes back");
    client
}

fn expect_eof(client: &mut TcpStream) {
    loop {
        match client.read(&mut [0; 1]) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => panic!("an EOF is expected, and this came: {other:?}"),
        }
    }
}

/// Every connection must have ended properly, or what was timed is something else.
fn end(server: Server, connections: u64) -> Tally {
    server.drain();
    let tally = server.join().expect("the server ends");
    assert_eq!((tally.accepted, tally.graceful), (connections, connections));
    tally
}

#[expect(clippy::disallowed_methods, reason = "a bench is where time comes from")]
fn now() -> Instant {
    Instant::now()
}

fn fin_to_eof(server: &Server, times: u64) -> Duration {
    (0..times)
        .map(|_| {
            let mut client = connect(server);
            let begun = now();
            client.shutdown(Shutdown::Write).expect("an open connection");
            expect_eof(&mut client);
            begun.elapsed()
        })
        .sum()
}

/// From the first FIN that a client reads to the server's end. What comes before it is the listener's farewell.
fn drain(engine: EngineKind, connections: usize) -> Duration {
    let server = start(engine);
    let mut clients: Vec<_> = (0..connections).map(|_| connect(&server)).collect();
    server.drain();
    let mut begun = None;
    for mut client in clients.drain(..) {
        expect_eof(&mut client);
        begun.get_or_insert_with(now);
    }
    end(server, connections as u64);
    begun.expect("there are connections").elapsed()
}

fn bench_shutdown(criterion: &mut Criterion) {
    // Both ends of a thousand connections are here; where it cannot be raised, what there is may do.
    let _ = sys::raise_descriptor_limit();
    let mut group = criterion.benchmark_group("shutdown");
    group.sample_size(10);
    for engine in ENGINES
        .into_iter()
        .filter(|&kind| engine::choose(EngineChoice::Forced(kind), Descriptors::Normal).is_ok())
    {
        group.bench_function(BenchmarkId::new("fin-to-eof", engine.name()), |bencher| {
            bencher.iter_custom(|times| {
                let server = start(engine);
                let spent = fin_to_eof(&server, times);
                end(server, times);
                spent
            });
        });
        for connections in CROWDS {
            let id = BenchmarkId::new(format!("drain-{connections}"), engine.name());
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| drain(engine, connections)).sum());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench_shutdown);
criterion_main!(benches);
