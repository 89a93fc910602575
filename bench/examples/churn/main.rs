//! Connections per second of *server CPU*, side by side with the echo server that tokio teaches.
//!
//! On loopback the client costs more than the server, so connections per second compare the client with itself.
//! What the server saves shows in its CPU time. Sides run back to back in pairs and only ratios inside a pair are
//! compared: the same program was seen a third faster half a minute later, on a host that nobody else seemed to use.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use finwait_bench::cost::{Cost, Meter};
use finwait_bench::server::{self, Server};
use finwait_bench::{Result, pairs, program_beside};

use crate::report::{Pair, Sample};

mod client;
mod peer;
mod report;

const SERVER_CPU: usize = 0;
const CLIENT_CPU: usize = 1;

/// Before the first pair each server meets its caches, its pools and its page faults.
const WARM_UP: Duration = Duration::from_secs(1);

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
    let noise = run("A/A", [&a, &again], args.aa, time)?;
    let pairs = run("A/B", [&a, &b], args.rounds, time)?;
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
            None => program_beside("finwait-server")?,
        };
        let args = ["--engine", engine, "--workers", "1", "--listen", "0.0.0.0:0"];
        Self::start(format!("finwait {engine}"), &program, &args)
    }

    fn tokio() -> Result<Self> {
        Self::start("tokio".to_owned(), &std::env::current_exe()?, &["tokio"])
    }

    fn start(name: String, program: &Path, args: &[&str]) -> Result<Self> {
        Ok(Self { name, server: Server::start_apart(program, args, [SERVER_CPU, CLIENT_CPU])? })
    }

    /// One round, in which every connection must end as it should.
    fn round(&self, time: Duration) -> Result<Sample> {
        let meter = Meter::start(&self.server, server::own_cpu)?;
        let round = client::run(self.server.port, time).map_err(|error| format!("{}: {error}", self.name))?;
        let cost = meter.stop(&self.name, round.completed, round.elapsed)?;
        if !round.failures.is_empty() {
            let failures: Vec<String> =
                round.failures.iter().map(|(what, count)| format!("{count} x {what}")).collect();
            let (name, completed) = (&self.name, round.completed);
            return Err(
                format!("{name}: {completed} connections were right, and {}", failures.join(", ")).into()
            );
        }
        Ok(Sample { cost, fin_to_eof_ns: round.fin_to_eof_ns })
    }
}

fn run(name: &str, [a, b]: [&Side; 2], count: usize, time: Duration) -> Result<Vec<Pair>> {
    pairs::run(
        name,
        count,
        || a.round(time),
        || b.round(time),
        |pair| {
            let [a, b] = [&pair.a, &pair.b].map(|sample| sample.cost.per_server_cpu_second());
            let ratio = pair.ratio(Cost::per_server_cpu_second);
            format!("{a:.0} and {b:.0} a CPU-second, ratio {ratio:.3}")
        },
    )
}
