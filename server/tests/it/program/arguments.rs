//! Defaults, usage errors, and the engine that is chosen.

use std::path::Path;

use clap::Parser;
use finwait_server::config::{Cli, Config};
use finwait_server::engine::{self, Descriptors, EngineChoice, EngineKind};

use crate::support::{Engine, Program, graceful, programs, run_to_end};

programs!(a_forced_engine_is_named,);

/// Two places say what the defaults are: a server that is embedded and one that is run must be the same.
#[test]
fn defaults_of_the_command_line_are_those_of_the_library() {
    let cli = Cli::try_parse_from(["finwait-server"]).unwrap();
    assert_eq!(format!("{:?}", Config::from(cli.serve)), format!("{:?}", Config::default()));
}

#[test]
fn every_flag_reaches_the_configuration() {
    let cli = Cli::try_parse_from([
        "finwait-server",
        "--listen=127.0.0.1:1,[::1]:2",
        "--listen=127.0.0.1:3",
        "--ledger=127.0.0.1:4",
        "--ledger-file=totals",
        "--engine=mio",
        "--descriptors=direct",
        "--workers=3",
        "--window=64KiB",
        "--max-connections=10k",
        "--idle-timeout=1m",
        "--stall-timeout=2s",
        "--linger-timeout=3s",
        "--drain-grace=0s",
        "--drain-timeout=4s",
    ]);
    let config = Config::from(cli.unwrap().serve);
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "[::1]:2", "127.0.0.1:3"]);
    assert_eq!(config.ledger, ["127.0.0.1:4".parse().unwrap()]);
    assert_eq!(config.ledger_file.as_deref(), Some(Path::new("totals")));
    assert_eq!(config.engine, EngineChoice::Forced(EngineKind::Mio));
    assert_eq!(config.descriptors, Descriptors::Direct);
    assert_eq!((config.workers.get(), config.window.get(), config.conns_max), (3, 65_536, Some(10_000)));
    let seconds = |duration: std::time::Duration| duration.as_secs();
    assert_eq!(config.idle_timeout.map(seconds), Some(60));
    assert_eq!([config.stall_timeout, config.linger_timeout].map(seconds), [2, 3]);
    assert_eq!([config.drain_grace, config.drain_timeout].map(seconds), [0, 4]);
}

/// The first line names the flag and what was wrong with it; nothing is printed on stdout.
#[test]
fn usage_errors_end_with_exit_code_2_and_a_clear_line() {
    for (args, named) in [
        (&["--window", "12"][..], "--window"),
        (&["--window", "lots"], "--window"),
        (&["--workers", "0"], "--workers"),
        (&["--workers", "1025"], "--workers"),
        (&["--listen", "nowhere"], "--listen"),
        (&["--listen", "127.0.0.1:65536"], "--listen"),
        (&["--ledger", "nowhere"], "--ledger"),
        (&["--ledger-file", "totals"], "--ledger"),
        (&["--engine", "steam"], "--engine"),
        (&["--descriptors", "none"], "--descriptors"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--idle-timeout", "0s"], "--idle-timeout"),
        (&["--stall-timeout", "soon"], "--stall-timeout"),
        (&["--drain-grace=-1s"], "--drain-grace"),
        (&["--log-level", "loud"], "--log-level"),
        (&["--colour"], "--colour"),
        (&["serve"], "serve"),
        (&["check"], "<ADDR>"),
    ] {
        let ended = run_to_end(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}: {}", ended.stderr);
        let head: Vec<_> = ended.stderr.lines().take(2).collect();
        assert!(head[0].starts_with("error: "), "{args:?}: {}", ended.stderr);
        assert!(head.join(" ").contains(named), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn help_and_version_succeed_on_stdout() {
    let help = run_to_end(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for text in ["--drain-grace", "check", "Exit codes", "SIGTERM", "FINWAIT_LISTEN"] {
        assert!(help.stdout.contains(text), "no {text} in {}", help.stdout);
    }
    let version = run_to_end(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout.trim(), concat!("finwait-server ", env!("CARGO_PKG_VERSION")));
}

/// `auto` says what it chose, and why when that is not the best one.
#[test]
fn auto_names_the_engine() {
    let chosen = engine::choose(EngineChoice::Auto, Descriptors::Normal).unwrap();
    let program = Program::start_with_engine("auto", &[]);
    assert_eq!(program.engine_announced(), chosen.kind.name());
    let ended = program.end();
    let line = ended.stderr.lines().next().unwrap();
    assert!(line.contains(&format!("engine {}", chosen.kind)), "{line}");
    assert_eq!(line.contains("WARN"), chosen.fallback.is_some(), "{line}");
}

fn a_forced_engine_is_named(engine: Engine) {
    let program = Program::start(engine, &[]);
    let announced = (program.engine_announced(), program.descriptors_announced());
    assert_eq!(announced, (engine.kind.name(), engine.descriptors.name()));
    let ended = program.end();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(0, 0)));
    let line = ended.stderr.lines().next().unwrap();
    assert!(line.contains("INFO") && line.contains(&format!("engine {}", engine.kind)), "{line}");
    assert_eq!(line.contains("direct descriptors"), engine.descriptors == Descriptors::Direct, "{line}");
}
