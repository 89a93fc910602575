//! Connections per second of *server CPU*, side by side with the echo server that tokio teaches.
//!
//! On loopback the client costs more than the server, so connections per second compare the client with itself.
//! What the server saves shows in its CPU time. Sides run back to back in pairs and only ratios inside a pair are
//! compared: the same program was seen a third faster half a minute later, on a host that nobody else seemed to use.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::machine::Usage;
use crate::report::{Pair, Sample};
use crate::server::{Cpu, Server};

mod client;
mod machine;
mod peer;
mod platform;
mod report;
mod server;

const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;

/// Before the first pair each server meets its caches, its pools and its page faults.
const WARM_UP: Duration = Duration::from_secs(1);

/// Pairs spoilt by other work, for each one wanted, after which there is no point in going on.
const NOISY_MAX_PER_PAIR: usize = 4;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Connections per server CPU-second under churn: finwait-server (A) and a tokio echo server (B).
#[derive(Parser)]
struct Args {
    /// Pairs of rounds.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Pairs in which side A runs against itself: the noise floor.
    #[arg(long, default_value_t = 5)]
    aa: usize,
    /// What side A runs on; `tokio` makes both sides the same program.
    #[arg(long, value_enum, default_value_t = Engine::Uring)]
    engine: Engine,
    /// The finwait-server to run; without it the one built beside this example.
    #[arg(long)]
    server: Option<PathBuf>,
    #[command(subcommand)]
    peer: Option<Peer>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Uring,
    Mio,
    Tokio,
}

#[derive(Subcommand)]
enum Peer {
    /// Side B, as this program starts it.
    #[command(hide = true)]
    Tokio,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.peer {
        Some(Peer::Tokio) => peer::run().map_err(Into::into),
        None => compare(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("churn: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<()> {
    let time = Duration::try_from_secs_f64(args.secs)?;
    if args.rounds == 0 || time.is_zero() {
        return Err("without rounds there is nothing to compare".into());
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing, add --release");
    }
    let a = Side::ours(args)?;
    let again = Side::ours(args)?;
    let b = Side::tokio()?;
    for side in [&a, &again, &b] {
        side.round(WARM_UP)?;
    }
    let noise = pairs("A/A", [&a, &again], args.aa, time)?;
    let pairs = pairs("A/B", [&a, &b], args.rounds, time)?;
    report::print_conditions(args.rounds, args.secs);
    report::print_results([&a.name, &b.name], &pairs, &noise);
    Ok(())
}

/// One of the servers compared.
struct Side {
    name: String,
    server: Server,
}

impl Side {
    fn ours(args: &Args) -> Result<Self> {
        let engine = match args.engine {
            Engine::Uring => "uring",
            Engine::Mio => "mio",
            Engine::Tokio => return Self::tokio(),
        };
        let program = match &args.server {
            Some(program) => program.clone(),
            None => beside_this_example()?,
        };
        let args = ["--engine", engine, "--workers", "1", "--listen", "0.0.0.0:0"];
        Self::start(format!("finwait {engine}"), &program, &args)
    }

    fn tokio() -> Result<Self> {
        Self::start("tokio".to_owned(), &std::env::current_exe()?, &["tokio"])
    }

    fn start(name: String, program: &Path, args: &[&str]) -> Result<Self> {
        let pin_to = |cpu| platform::pin_to(cpu).map_err(|error| format!("pinning to CPU {cpu}: {error}"));
        // The server inherits the CPU of the thread that starts it.
        pin_to(SERVER_CPU)?;
        let server = Server::start(program, args);
        pin_to(CLIENT_CPU)?;
        Ok(Self { name, server: server? })
    }

    /// One round, in which every connection must end as it should.
    fn round(&self, time: Duration) -> Result<Sample> {
        let (machine_before, client_before) = (Usage::now()?, Cpu::of("self")?);
        let server_before = self.server.cpu()?;
        let round = client::run(self.server.port, time).map_err(|error| format!("{}: {error}", self.name))?;
        let server = self.server.cpu()?.since(&server_before);
        let (machine, client) = (Usage::now()?, Cpu::of("self")?.since(&client_before));
        if !round.failures.is_empty() {
            let failures: Vec<String> =
                round.failures.iter().map(|(what, count)| format!("{count} x {what}")).collect();
            let (name, completed) = (&self.name, round.completed);
            return Err(
                format!("{name}: {completed} connections were right, and {}", failures.join(", ")).into()
            );
        }
        if server.threads_ended > 0 {
            let (name, ended) = (&self.name, server.threads_ended);
            eprintln!("{name}: {ended} threads ended in this round, and their CPU time is missing");
        }
        let busy = machine.busy.saturating_sub(machine_before.busy);
        Ok(Sample {
            conns: round.completed,
            elapsed: round.elapsed,
            server_cpu: server.cpu,
            client_cpu: client.cpu,
            // Ticks are coarser than nanoseconds: on a quiet machine the difference may fall below 0.
            others_cpu: busy.saturating_sub(server.cpu + client.cpu),
            steal: machine.steal.saturating_sub(machine_before.steal),
            fin_to_eof_ns: round.fin_to_eof_ns,
        })
    }
}

/// Runs pairs until `count` were quiet; every second one in the other order, as the second round of a pair may always
/// be the slower. Which pairs count depends on other work alone, never on the result.
fn pairs(name: &str, [a, b]: [&Side; 2], count: usize, time: Duration) -> Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(count);
    let mut noisy = 0;
    while pairs.len() < count {
        machine::wait_for_quiet()?;
        let pair = if pairs.len() % 2 == 0 {
            let a = a.round(time)?;
            Pair { a, b: b.round(time)? }
        } else {
            let b = b.round(time)?;
            Pair { a: a.round(time)?, b }
        };
        let others = pair.others_percent();
        if others > machine::QUIET_PERCENT {
            noisy += 1;
            eprintln!("{name}: a pair does not count, other work took {others:.0}% of a CPU");
            if noisy > count * NOISY_MAX_PER_PAIR {
                return Err("other work on this machine takes too much CPU to measure anything".into());
            }
            continue;
        }
        let (left, right) = (pair.a.per_cpu_second(), pair.b.per_cpu_second());
        pairs.push(pair);
        let (nth, ratio) = (pairs.len(), left / right);
        eprintln!("{name} {nth}/{count}: {left:.0} and {right:.0} a CPU-second, ratio {ratio:.3}");
    }
    Ok(pairs)
}

fn beside_this_example() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    // target/release/examples/churn -> target/release/finwait-server
    let folder = example.parent().and_then(Path::parent).ok_or("this program is in no target folder")?;
    let program = folder.join(format!("finwait-server{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        let build = "cargo build --release -p finwait-server";
        return Err(format!("{} is not there; build it with: {build}", program.display()).into());
    }
    Ok(program)
}
