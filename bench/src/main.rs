//! The program: the comparison, the servers that finwait is measured beside, and the floor under all of them.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use finwait_bench::many::{self, crowd};
use finwait_bench::peers::{self, Failure};
use finwait_bench::{compare, floor, platform};
use finwait_loadgen::{config::Thaw, freeze};

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Finwait beside other servers.
#[derive(Parser)]
#[command(name = "finwait-bench", version)]
struct Cli {
    /// End with this process, which is the one that started us.
    #[arg(long, value_name = "PID", hide = true)]
    end_with: Option<u32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure our engines beside others, each on one core, the load on the other.
    Compare(compare::Args),
    /// Hold more connections at one process than it may have descriptors, then let each echo, half-close and end.
    Many(many::Args),
    /// Run one of the servers until it is killed; its first line is `listening on ADDR:PORT`.
    Peer(peers::Args),
    /// Run what the kernel alone costs for the same work, likewise.
    Floor(floor::Args),
    /// Is one of the processes that `many` gets its connections from.
    #[command(hide = true)]
    Crowd(crowd::Args),
    /// Continues a stopped process when its standard input ends, as the generator's library starts it.
    #[command(hide = true)]
    Thaw(Thaw),
    /// Says that somebody else listens as soon as it does, for servers that do not say it themselves.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    SayWhen(peers::programs::SayWhen),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(why) = cli.end_with.map_or(Ok(()), platform::end_with) {
        return fail(FAILED, &why);
    }
    match cli.command {
        Command::Compare(args) => match compare::run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            // The report has said which goal was missed.
            Ok(false) => ExitCode::from(FAILED),
            Err(why) => fail(FAILED, &why),
        },
        Command::Many(args) => match many::run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(FAILED),
            Err(why) => fail(FAILED, &why),
        },
        Command::Crowd(args) => match crowd::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => fail(FAILED, &why),
        },
        Command::Peer(args) => ended(peers::run(args)),
        Command::Floor(args) => ended(floor::run(&args)),
        Command::Thaw(thaw) => freeze::thaw(thaw.pid.get(), thaw.after),
        #[cfg(target_os = "linux")]
        Command::SayWhen(args) => ended(peers::programs::say_when(&args)),
    }
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => fail(USAGE, &why),
        Err(Failure::Failed(why)) => fail(FAILED, &why),
    }
}

fn fail(code: u8, why: &impl Display) -> ExitCode {
    eprintln!("finwait-bench: {why}");
    ExitCode::from(code)
}
