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
    run_with(seed, None, is_logged, |_| {})
}

/// Runs `seed` with some of what it draws changed, by a test that says its name.
pub(super) fn run_with(
    seed: u64,
    changed_by: Option<&'static str>,
    is_logged: bool,
    change: impl Fn(&mut Swarm),
) -> Report {
    let mut dice = Dice::new(seed);
    let mut swarm = Swarm::draw(&mut dice);
    change(&mut swarm);
    let log = Log::new(seed, changed_by, format!("{swarm:#?}"), is_logged);
    let settings = Settings {
        window: swarm.window,
        deadlines: swarm.deadlines,
        grace: swarm.grace,
        drain_timeout: swarm.drain_timeout,
        places: Arc::new(Places::new(swarm.places_max)),
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
    if is_logged {
        report.log = engine.world.log.to_string();
    }
    report
}
