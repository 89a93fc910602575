//! One made-up client against every engine: each must do what the model allows, and where no race decides, the same.
//!
//! - `script`: what a client may do, and how such scripts are made up and shrunk.
//! - `play`: one script on a real socket, and what was seen on both sides.
//! - `model`: which endings a script allows.
//!
//! `PROPTEST_CASES` says how many scripts are tried; a failure prints the smallest script that fails still, and its
//! seed is kept in `differential.regressions`, to be tried first from then on.

mod model;
mod play;
mod script;

use std::fmt::Debug;
use std::panic::resume_unwind;
use std::time::Duration;

use finwait_server::config::Config;
use finwait_server::engine::{Descriptors, EngineKind};
use proptest::strategy::Strategy;
use proptest::test_runner::{self, FileFailurePersistence, TestRunner};

use crate::support::{Engine, Running, config, shows};
use play::{Seen, play};
use script::{Reading, Script, Step, WINDOWS};

#[cfg(not(windows))]
const ENGINES: [Engine; 4] = [
    Engine { kind: EngineKind::Uring, descriptors: Descriptors::Normal },
    Engine { kind: EngineKind::Uring, descriptors: Descriptors::Direct },
    Engine { kind: EngineKind::Mio, descriptors: Descriptors::Normal },
    Engine { kind: EngineKind::TokioUring, descriptors: Descriptors::Normal },
];
#[cfg(windows)]
const ENGINES: [Engine; 2] = [
    Engine { kind: EngineKind::Iocp, descriptors: Descriptors::Normal },
    Engine { kind: EngineKind::Mio, descriptors: Descriptors::Normal },
];
/// Scripts tried when `PROPTEST_CASES` does not say: some seconds of each test. Windows is Wine so far, and slow.
const CASES: u32 = if cfg!(windows) { 200 } else { 400 };
/// A server of its own for each script takes the time that a drain takes.
const CASES_ACROSS_A_DRAIN: u32 = if cfg!(windows) { 60 } else { 90 };
/// The longest that a failing script is shrunk.
const SHRINK_MAX_MS: u32 = 60_000;

#[test]
fn engines_do_the_same_with_any_client() {
    let told = told("engines_do_the_same_with_any_client");
    let fleet = Fleet::start();
    check(CASES, script::any_script(false), |script| fleet.try_out(&script, told));
    fleet.end();
}

#[test]
fn engines_do_the_same_with_any_client_across_a_drain() {
    let told = told("engines_do_the_same_with_any_client_across_a_drain");
    check(CASES_ACROSS_A_DRAIN, script::any_script(true), |script| try_out_alone(&script, told));
}

/// Scripts that found something once, in the server or planted in it.
#[test]
fn engines_do_the_same_with_known_clients() {
    let told = told("engines_do_the_same_with_known_clients");
    let plain = Reading { chunk: 65_536, pause_ms: 0 };
    let slow = Reading { chunk: 1, pause_ms: 3 };
    let scripts = [
        // A drain without a last take: the byte is in the kernel when it begins.
        Script::new(0, false, plain, vec![Step::Send(9), Step::Drain, Step::Send(1)]),
        Script::new(2, false, plain, vec![Step::Send(1000), Step::Drain, Step::Fin]),
        // A FIN that is handed over before the bytes which came early.
        Script::new(0, false, plain, vec![Step::Send(65_536), Step::Send(51), Step::Fin]),
        // A partial send that is counted as a whole one.
        Script::new(2, true, plain, vec![Step::Send(999), Step::Send(65_535)]),
        Script::new(1, true, slow, vec![Step::Send(20_000), Step::Fin]),
        // The RST comes while bytes are owed, behind a FIN, and behind our FIN.
        Script::new(0, false, plain, vec![Step::Send(100_000), Step::Reset]),
        Script::new(2, false, plain, vec![Step::Send(3000), Step::Fin, Step::Reset]),
        Script::new(2, false, plain, vec![Step::Send(3000), Step::Drain, Step::Echo(3000), Step::Reset]),
    ];
    for script in scripts {
        try_out_alone(&script, told);
    }
}

/// Whether each engine is told of a RST in `case`, and can count it.
fn told(case: &str) -> [bool; ENGINES.len()] {
    ENGINES.map(|engine| shows(case, engine))
}

/// Tries made-up scripts until one fails, and shrinks that one.
fn check<S: Strategy>(cases: u32, scripts: S, try_out: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let defaults = test_runner::Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { defaults.cases } else { cases };
    let config = test_runner::Config {
        cases,
        max_shrink_time: SHRINK_MAX_MS,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..defaults
    };
    // A panic is a failure like any other: the runner catches it and goes on to shrink.
    let result = TestRunner::new(config).run(&scripts, |script| {
        try_out(script);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Servers that serve script after script: one for each window on each engine.
struct Fleet(Vec<[Running; ENGINES.len()]>);

impl Fleet {
    fn start() -> Self {
        Self(WINDOWS.map(|window| ENGINES.map(|engine| start(engine, window))).into())
    }

    fn try_out(&self, script: &Script, told: [bool; ENGINES.len()]) {
        let servers = &self.0[script.window];
        judge(script, told, on_each(|index| play(script, &servers[index], model::since(&servers[index]))));
    }

    fn end(self) {
        for server in self.0.into_iter().flatten() {
            server.end();
        }
    }
}

fn try_out_alone(script: &Script, told: [bool; ENGINES.len()]) {
    let seen = on_each(|index| {
        let server = start(ENGINES[index], WINDOWS[script.window]);
        let mut seen = play(script, &server, |_| {});
        seen.tally = server.end();
        seen
    });
    judge(script, told, seen);
}

fn start(engine: Engine, window: u32) -> Running {
    let window = window.try_into().expect("no window of 0");
    Running::start_with(&Config { window, drain_grace: Duration::ZERO, ..config(engine) })
}

/// Plays on each engine at the same time, for most of it is waiting.
fn on_each(play: impl Fn(usize) -> Seen + Sync) -> [Seen; ENGINES.len()] {
    std::thread::scope(|scope| {
        let play = &play;
        let threads: [_; ENGINES.len()] = std::array::from_fn(|index| scope.spawn(move || play(index)));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn judge(script: &Script, told: [bool; ENGINES.len()], seen: [Seen; ENGINES.len()]) {
    for ((engine, told), seen) in ENGINES.iter().zip(told).zip(&seen) {
        model::judge(script, *engine, told, seen);
    }
    if model::is_decided(script, &seen) {
        let [first, others @ ..] = &seen;
        for (other, engine) in others.iter().zip(&ENGINES[1..]) {
            assert_eq!(
                first, other,
                "{} (left) and {engine} (right) differ, and no race explains it",
                ENGINES[0]
            );
        }
    }
}
