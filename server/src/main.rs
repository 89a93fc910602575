//! The program: parse, start, wait for signals, join, print, exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use finwait_server::check::check;
use finwait_server::config::{Cli, Command, Config, Serve};
use finwait_server::metrics::Tally;
use finwait_server::server::{Handle, Server, StartError};
use finwait_server::sys;
use serde::Serialize;
use serde_json::json;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const EXPIRED: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Check(probe)) => match check(&probe.addr, probe.timeout) {
            Ok(times) => {
                say(&times);
                ExitCode::SUCCESS
            }
            Err(why) => fail(FAILED, &why),
        },
        None => serve(cli.serve),
    }
}

fn serve(serve: Serve) -> ExitCode {
    log_from(serve.log_level);
    let json = serve.json;
    let config = Config::from(serve);
    match sys::raise_descriptor_limit() {
        Ok(limit) => tracing::debug!("up to {limit} descriptors"),
        Err(error) => tracing::warn!("the descriptor limit cannot be raised: {error}"),
    }
    let handle = Handle::default();
    let ending = handle.clone();
    let on_signal = move || if ending.is_draining() { ending.expire() } else { ending.drain() };
    if let Err(error) = sys::on_termination(on_signal) {
        return fail(FAILED, &format!("signals cannot be caught: {error}"));
    }
    let server = match Server::start_with(&config, &handle) {
        Ok(server) => server,
        Err(error @ StartError::Engine(_)) => return fail(USAGE, &error),
        Err(
            error @ (StartError::Ledger(_)
            | StartError::Listen(..)
            | StartError::Worker(_)
            | StartError::Sockets(_)),
        ) => return fail(FAILED, &error),
    };
    say_listening(&server, json);
    let ledger = server.ledger();
    match server.join() {
        Ok(tally) => {
            let grand = ledger
                .as_ref()
                .map(|ledger| Grand { grand_total: ledger.grand_total(), boot: ledger.boot().to_string() });
            say(&if json {
                json!(Ended { event: "tally", tally, ledger: grand }).to_string()
            } else {
                lines(&tally, grand)
            });
            if tally.expired_in_drain == 0 {
                return ExitCode::SUCCESS;
            }
            // Among those that were expired may be claims which wait for a disk. Whoever made them knows that it is not
            // known whether they count, so nobody waits for it.
            std::mem::forget(ledger);
            ExitCode::from(EXPIRED)
        }
        Err(error) => fail(FAILED, &error),
    }
}

fn say_listening(server: &Server, json: bool) {
    let echoes = server.addrs().iter().map(|addr| (addr, "echo"));
    let ledgers = server.ledger_addrs().iter().map(|addr| (addr, "ledger"));
    for (addr, protocol) in echoes.chain(ledgers) {
        if json {
            let (engine, descriptors) = (server.engine().name(), server.descriptors().name());
            say(&json!({
                "event": "listening",
                "addr": addr,
                "protocol": protocol,
                "engine": engine,
                "descriptors": descriptors,
            }));
        } else if protocol == "echo" {
            say(&format!("listening on {addr}"));
        } else {
            say(&format!("listening on {addr} for the {protocol}"));
        }
    }
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Ended {
    event: &'static str,
    #[serde(flatten)]
    tally: Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Grand>,
}

/// What the ledger came to.
#[derive(Serialize)]
struct Grand {
    grand_total: u64,
    boot: String,
}

fn lines(tally: &Tally, ledger: Option<Grand>) -> String {
    let mut lines = format!(
        "accepted {}: graceful {}, reset {}, aborted {}, expired {} ({} by the drain), shutdown_failed {}\n\
         bytes: received {}, owed {}, echoed {}, discarded {}\n\
         drained in {:?}",
        tally.accepted,
        tally.graceful,
        tally.reset,
        tally.aborted,
        tally.expired,
        tally.expired_in_drain,
        tally.shutdown_failed,
        tally.bytes_received,
        tally.bytes_owed,
        tally.bytes_echoed,
        tally.bytes_discarded,
        Duration::from_nanos(tally.drain_ns),
    );
    if let Some(Grand { grand_total, boot }) = ledger {
        lines.push_str(&format!("\nledger: grand total {grand_total}, boot {boot}"));
    }
    lines
}

/// Prints a result. A reader that went away must not take the server with it.
fn say(line: &impl Display) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        complain(&format!("cannot write to stdout: {error}; it said: {line}"));
    }
}

fn fail(code: u8, why: &impl Display) -> ExitCode {
    complain(why);
    ExitCode::from(code)
}

fn complain(why: &impl Display) {
    // There is nowhere left to say that stderr is closed.
    let _ = writeln!(io::stderr(), "finwait-server: {why}");
}

fn log_from(level: tracing_subscriber::filter::LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        // A closed stderr must not make logging panic.
        .log_internal_errors(false)
        .init();
}
