//! The program: parse, run, print, exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use finwait_loadgen::config::{Cli, Command, Common};
use finwait_loadgen::embedded;
use finwait_loadgen::freeze;
use finwait_loadgen::output::Output;
use finwait_loadgen::report::{Report, screen};
use finwait_loadgen::scenario::{self, Failure, Job, Kind, Surroundings};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Storm(storm) => run(Job::storm(&storm), &storm.common),
        Command::Churn(churn) => run(Job::churn(&churn), &churn.common),
        Command::Health(health) => run(Job::health(&health), &health.common),
        Command::Ledger(ledger) => run(Job::ledger(&ledger), &ledger.common),
        Command::Rtt(rtt) => run(Job::rtt(&rtt), &rtt.common),
        Command::Target(target) => embedded::serve(target.workers),
        Command::Thaw(thaw) => freeze::thaw(thaw.pid.get(), thaw.after),
    }
}

fn run(job: Result<Job, String>, common: &Common) -> ExitCode {
    let job = match job {
        Ok(job) => job,
        Err(why) => return fail(USAGE, &why),
    };
    let output = match common.output.as_deref().map(Output::prepare).transpose() {
        Ok(output) => output,
        Err(error) => {
            return fail(USAGE, &format!("-o: the file cannot be written: {error}; choose another place"));
        }
    };
    let around = match surroundings(job.kind) {
        Ok(around) => around,
        Err(error) => return fail(FAILED, &format!("the program cannot be set up: {error}")),
    };
    match scenario::run(&job, &around) {
        Ok(report) => deliver(&job, &report, common.json, output),
        Err(Failure::Usage(why)) => fail(USAGE, &why),
        Err(Failure::Failed(why)) => fail(FAILED, &why),
    }
}

fn surroundings(kind: Kind) -> io::Result<Surroundings> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for &signal in signal_hook::consts::TERM_SIGNALS {
        // The second one ends the program at once; in this order, so that the first one does not.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(Surroundings { program: std::env::current_exe()?, interrupted, progress: kind != Kind::Health })
}

/// Prints and writes a report. What cannot be written must not hide the verdict.
fn deliver(job: &Job, report: &Report, json: bool, output: Option<Output>) -> ExitCode {
    let text = match serde_json::to_string(report) {
        Ok(text) => text + "\n",
        Err(error) => return fail(FAILED, &format!("the report cannot be put into JSON: {error}")),
    };
    let screen = match job.kind {
        Kind::Storm | Kind::Churn | Kind::Ledger | Kind::Rtt => screen::render(report),
        Kind::Health => screen::health_line(report) + "\n",
    };
    say(if json { &text } else { &screen });
    let mut code = report.verdict.exit_code;
    if let Some(Err(error)) = output.map(|output| output.write(&text)) {
        complain(&format!("-o: the report could not be written: {error}"));
        code = if code == 0 { FAILED } else { code };
    }
    ExitCode::from(code)
}

/// Prints a result, in colour where that is wanted. A reader that went away is no failure of the run.
fn say(text: &str) {
    let mut stdout = anstream::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        complain(&format!("cannot write to stdout: {error}"));
    }
}

fn fail(code: u8, why: &impl Display) -> ExitCode {
    complain(why);
    ExitCode::from(code)
}

fn complain(why: &impl Display) {
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(io::stderr(), "finwait-loadgen: {why}");
}
