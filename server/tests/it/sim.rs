//! A simulator: the real worker loop and the real drain over a simulated kernel, clock and peers, all from one seed.
//!
//! A run is one seed. It draws the settings of a worker, how often each thing goes wrong and what kind of peers come
//! (`swarm`), and lets the worker serve them until it is drained. A step is one call of `wait`. After each, the
//! books of every connection (`books`) and of the whole worker (`judge`) are looked at, so a run fails where a rule is
//! broken and not where it shows. It then prints its seed and the last of what happened; the seed is the whole run.
//!
//! - `FINWAIT_SIM_SEED=7`: the seed that `replay` runs, with everything that happens (`--nocapture`).
//! - `FINWAIT_SIM_STEPS=1000000`: how many steps `fresh_seeds` makes.

mod books;
mod coverage;
mod dice;
mod door;
mod engine;
mod judge;
mod log;
mod peer;
mod run;
mod socket;
mod swarm;
mod world;

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use finwait_server::policy::BACKLOG;
pub(crate) use run::run_script;
use run::{Report, run, run_with};
use swarm::{Crowd, Rates};

/// Seeds that are run every time, enough to meet every cell of the coverage some times.
const FIXED: u64 = 2000;

/// Times that the fixed seeds meet each cell, at least.
const LEAST: u64 = 5;

/// Steps made with fresh seeds.
const STEPS: u64 = 500_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn fixed_seeds() {
    let mut all = Report::default();
    for seed in 0..FIXED {
        all.add(&run(seed, false));
    }
    println!("{}{FIXED} seeds, {} steps, {} connections", all.coverage, all.steps, all.conns);
    all.coverage.assert_full(LEAST);
}

#[test]
fn fresh_seeds() {
    let steps = number("FINWAIT_SIM_STEPS").unwrap_or(STEPS);
    // Small ones, so that they can be told over the phone; the standard library's is the only chance at hand.
    let first = RandomState::new().hash_one(0) >> 16;
    let (mut all, mut seed) = (Report::default(), first);
    while all.steps < steps {
        all.add(&run(seed, false));
        seed += 1;
    }
    println!("{}seeds {first} to {}: {} steps, {} connections", all.coverage, seed - 1, all.steps, all.conns);
}

/// Where handshakes cannot be refused, one backlog's worth of further connections is the bound.
#[test]
fn a_storm_does_not_hold_a_drain_open() {
    let storm = BACKLOG + 500;
    let report = run_with(1, Some("storm"), false, |swarm| {
        swarm.rates = Rates::default();
        swarm.crowd = Crowd { conns: storm, bytes_max: 3, ..Crowd::default() };
        swarm.window = 16;
        (swarm.doors, swarm.places_max, swarm.descriptors, swarm.others) = (1, None, usize::MAX, false);
        swarm.filter = false;
        (swarm.drain_at, swarm.expire_at) = (Duration::from_millis(1), None);
        (swarm.calm_at, swarm.is_patient) = (Duration::from_millis(60), false);
        (swarm.grace, swarm.drain_timeout) = (Duration::from_secs(10), Duration::from_secs(20));
    });
    let conns = report.conns;
    assert!(conns > u64::from(BACKLOG) && conns < storm.into(), "{conns} came in, and {storm} wanted to");
}

/// What a fuzzer does, which makes up scripts of bytes: here the plainest ones.
#[test]
fn scripts() {
    let (mut steps, mut conns) = (0, 0);
    for byte in 0..=u8::MAX {
        let [more_steps, more_conns] = run_script(&[byte; 200]);
        (steps, conns) = (steps + more_steps, conns + more_conns);
    }
    assert!(steps > 2000 && conns > 200, "{steps} steps, {conns} connections");
}

/// One seed with everything that happens, twice: the second time must not differ.
#[test]
fn replay() {
    let seed = number("FINWAIT_SIM_SEED").unwrap_or(1);
    let once = run(seed, true);
    println!("{}", once.log);
    assert!(once.log == run(seed, true).log, "seed {seed} does not replay exactly");
}
