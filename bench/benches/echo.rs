//! A round trip through each engine, by size and by the number of connections that have one under way.
//!
//! The server is a thread of this process, and nothing is pinned: it is a look at one engine before and after a change.
//! Engines beside each other and beside others are measured by `finwait-bench compare`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use finwait_server::config::Config;
use finwait_server::engine::{self, Descriptors, EngineChoice, EngineKind};
use finwait_server::server::Server;
use finwait_server::sys;

const ENGINES: [EngineKind; 4] =
    [EngineKind::Uring, EngineKind::Mio, EngineKind::TokioUring, EngineKind::Iocp];

/// Connections and bytes of a message.
const SHAPES: [(usize, usize); 4] = [(1, 64), (64, 64), (1_000, 64), (16, 16 << 10)];

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

/// One message on every connection, all under way at once. That they come back whole is part of it.
fn round(clients: &mut [TcpStream], message: &[u8], echo: &mut [u8]) {
    for client in &mut *clients {
        client.write_all(message).expect("a connection takes a message");
    }
    for client in clients {
        client.read_exact(echo).expect("a message comes back");
        assert!(echo == message, "another message came back");
    }
}

fn bench_echo(criterion: &mut Criterion) {
    // Both ends of a thousand connections are here; where it cannot be raised, what there is may do.
    let _ = sys::raise_descriptor_limit();
    let mut group = criterion.benchmark_group("echo");
    for engine in ENGINES
        .into_iter()
        .filter(|&kind| engine::choose(EngineChoice::Forced(kind), Descriptors::Normal).is_ok())
    {
        for (connections, size) in SHAPES {
            let server = start(engine);
            let connect = || {
                let client = TcpStream::connect(server.addrs()[0]).expect("it listens");
                client.set_nodelay(true).expect("a socket of TCP");
                client
            };
            let mut clients: Vec<_> = (0..connections).map(|_| connect()).collect();
            let message: Vec<u8> = (0..size).map(|at| (at * 31) as u8).collect();
            let mut echo = vec![0; size];
            group.throughput(Throughput::Elements(connections as u64));
            let id = BenchmarkId::new(engine.name(), format!("{connections}x{size}B"));
            group.bench_function(id, |bencher| bencher.iter(|| round(&mut clients, &message, &mut echo)));
            drop(clients);
            server.drain();
            server.join().expect("the server ends");
        }
    }
    group.finish();
}

criterion_group!(benches, bench_echo);
criterion_main!(benches);
