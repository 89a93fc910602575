//! One run: a seed becomes a world, the real worker runs in it until it is drained, and what it left is judged.

use std::sync::Arc;

use finwait_server::drain::Drain;
use finwait_server::metrics::Metrics;
use finwait_server::policy::Places;
use finwait_server::worker::{self, Settings};

use super::coverage::Coverage;
use super::dice::Dice;
use super::engine::Engine;
use super::judge::Judge;
use super::log::Log;
use super::swarm::Swarm;
use super::world::World;
use crate::support::clock;

/// What came of a run, or of many.
#[derive(Default)]
pub(super) struct Report {
    /// Calls of `wait`.
    pub(super) steps: u64,
    pub(super) conns: u64,
    pub(super) coverage: Coverage,
    /// What happened, where it was asked for.
    pub(super) log: String,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.conns += other.conns;
        self.coverage.add(&other.coverage);
    }
}

/// Runs `seed`. A run that breaks a rule panics, and prints the seed and the last of its log.
pub(super) fn run(seed: u64, is_logged: bool) -> Report {
    play(Dice::new(&[], seed), Log::new(seed, None, is_logged), |_| {})
}

/// Runs what the bytes of a script say, and then what seed 0 does. How many steps it took, and connections.
pub(crate) fn run_script(script: &[u8]) -> [u64; 2] {
    let report = play(Dice::new(script, 0), Log::new(0, Some("a script"), false), |_| {});
    [report.steps, report.conns]
}

/// Runs `seed` with some of what it draws changed, by a test that says its name.
pub(super) fn run_with(
    seed: u64,
    changed_by: Option<&'static str>,
    is_logged: bool,
    change: impl Fn(&mut Swarm),
) -> Report {
    play(Dice::new(&[], seed), Log::new(seed, changed_by, is_logged), change)
}

fn play(mut dice: Dice, mut log: Log, change: impl Fn(&mut Swarm)) -> Report {
    let mut swarm = Swarm::draw(&mut dice);
    change(&mut swarm);
    log.begin(format!("{swarm:#?}"));
    let settings = Settings {
        window: swarm.window,
        deadlines: swarm.deadlines,
        grace: swarm.grace,
        drain_timeout: swarm.drain_timeout,
        places: Arc::new(Places::new(swarm.places_max)),
        ledger: None,
        drain: Arc::new(Drain::default()),
        metrics: Arc::new(Metrics::default()),
    };
    let (doors, places_max) = (swarm.doors, swarm.places_max);
    let world = World::new(dice, swarm, log, Arc::clone(&settings.drain), Arc::clone(&settings.places));
    let judge = Judge::new(settings.clone(), places_max);
    let mut engine = Engine::new(world, judge, clock());
    worker::run(&mut engine, doors, &settings).expect("the engine never breaks");
    engine.judge.finish(&engine.world);
    let mut report =
        Report { steps: engine.steps, conns: engine.world.conns.len() as u64, ..Report::default() };
    report.coverage.add(engine.coverage());
    if engine.world.log.is_full() {
        report.log = engine.world.log.to_string();
    }
    report
}
