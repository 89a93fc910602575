//! What the generator costs beyond the cycle itself: side by side with a bare epoll client that measures nothing.
//!
//! A generator that is slow sees its own queue and calls it the server's latency. So it is held against what one core
//! can do at all: the same cycle, the same addresses, the same server, rounds back to back in pairs. Only ratios inside
//! a pair are compared: the host changes its pace by a third within half a minute.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use finwait_bench::cost::Cost;
use finwait_bench::pairs::{self, Pair};
use finwait_bench::server::Server;
use finwait_bench::{Result, program_beside};

use crate::client::Client;

#[cfg(target_os = "linux")]
mod bare;
mod client;
mod report;

#[cfg(not(target_os = "linux"))]
mod bare {
    //! There is no epoll here.

    use std::io;
    use std::time::Duration;

    pub(crate) struct Round {
        pub(crate) completed: u64,
        pub(crate) elapsed: Duration,
    }

    pub(crate) fn run(_port: u16, _time: Duration) -> io::Result<Round> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this comparison runs on Linux"))
    }
}

/// Connections in flight.
const SLOTS: usize = 64;
/// Bytes of each of the two messages of a connection: the generator's default.
const MESSAGE_BYTES: usize = 64;
/// Addresses that connections are made from, 127.0.0.2 and on: the generator's default on loopback.
const SOURCES: u64 = 16;

const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;

/// Before the first pair the server meets its caches, its pools and its page faults.
const WARM_UP: Duration = Duration::from_secs(1);

/// The generator (A) and a bare epoll client (B) in the same cycle: rate, and CPU per connection.
#[derive(Parser)]
struct Args {
    /// Pairs of rounds, for each engine.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Pairs in which the bare client runs against itself: the noise floor.
    #[arg(long, default_value_t = 5)]
    bb: usize,
    /// The server's engine [default: one after the other].
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// The finwait-server to run; without it the one built beside this example.
    #[arg(long)]
    server: Option<PathBuf>,
    /// The finwait-loadgen to run; without it the one built beside this example.
    #[arg(long)]
    loadgen: Option<PathBuf>,
    #[command(subcommand)]
    client: Option<Bare>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Uring,
    Mio,
}

#[derive(Subcommand)]
enum Bare {
    /// The bare client, as this program starts it.
    #[command(hide = true)]
    Bare {
        /// Where the server listens on 127.0.0.1.
        port: u16,
        /// No connection starts after this.
        time_ns: u64,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.client {
        Some(Bare::Bare { port, time_ns }) => {
            client::run_bare(port, Duration::from_nanos(time_ns)).map(|()| true)
        }
        None => compare(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        // The report has said which goal was missed.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("judge: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the goals are met on every engine.
fn compare(args: &Args) -> Result<bool> {
    let time = Duration::try_from_secs_f64(args.secs)?;
    if args.rounds == 0 || time.is_zero() {
        return Err("without rounds there is nothing to compare".into());
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing, add --release");
    }
    let program = |given: &Option<PathBuf>, name| given.clone().map_or_else(|| program_beside(name), Ok);
    let server = program(&args.server, "finwait-server")?;
    let generator = Client::Generator(program(&args.loadgen, "finwait-loadgen")?);
    let bare = Client::Bare(std::env::current_exe()?);
    let engines = match args.engine {
        Some(Engine::Uring) => &["uring"][..],
        Some(Engine::Mio) => &["mio"],
        None => &["uring", "mio"],
    };
    report::print_conditions(args.rounds, args.secs);
    let mut met = true;
    for engine in engines {
        let flags = ["--engine", engine, "--workers", "1", "--listen", "127.0.0.1:0"];
        let server = Server::start_apart(&server, &flags, [SERVER_CPU, CLIENT_CPU])?;
        for client in [&generator, &bare] {
            client.round(&server, WARM_UP)?;
        }
        let noise = run(&format!("{engine} B/B"), &server, [&bare, &bare], args.bb, time)?;
        let pairs = run(&format!("{engine} A/B"), &server, [&generator, &bare], args.rounds, time)?;
        met &= report::print_results(engine, [generator.name(), bare.name()], &pairs, &noise);
    }
    Ok(met)
}

fn run(
    name: &str,
    server: &Server,
    [a, b]: [&Client; 2],
    count: usize,
    time: Duration,
) -> Result<Vec<Pair<Cost>>> {
    pairs::run(
        name,
        count,
        || a.round(server, time),
        || b.round(server, time),
        |pair| {
            let [a, b] = [&pair.a, &pair.b].map(|cost| (cost.per_second(), report::client_us(cost)));
            let (rate, cpu) = (pair.ratio(Cost::per_second), pair.ratio(report::client_us));
            format!(
                "{:.0} and {:.0} a second, ratio {rate:.3}; {:.2} and {:.2} us each, ratio {cpu:.3}",
                a.0, b.0, a.1, b.1
            )
        },
    )
}
