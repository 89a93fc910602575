//! The floor as a program of its own; `finwait-bench floor` is the same.

use std::process::ExitCode;

use clap::Parser;
use finwait_bench::floor::{self, Args};

/// What the kernel alone costs for the work of a server.
#[derive(Parser)]
#[command(name = "floor", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    match floor::run(&Cli::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("floor: {why}");
            ExitCode::FAILURE
        }
    }
}
