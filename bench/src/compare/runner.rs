//! Runs a row: everyone is started, found right, driven to saturation, and then measured in turns at one rate.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::entrant::{Entrant, Side};
use super::findings::{Ratio, RowFindings, Saturation, SideFindings};
use super::load::{Load, Sample};
use super::rounds::Rounds;
use super::rows::{Bound, Figure, Match, Row};
use super::{gate, memory};
use crate::Result;
use crate::spread::Spread;

/// Rounds of everyone at saturation, and of the floor at the offered rate.
const SATURATING: usize = 3;
const FLOORS: usize = 5;
/// A load with less to do than this is not the limit.
const CLIENT_BOUND: f64 = 0.95;

/// What runs rows.
pub(super) struct Runner {
    program: PathBuf,
    rounds: Rounds,
    pairs: usize,
    round: Duration,
    quick: bool,
    progress: ProgressBar,
}

/// Everyone of a row, as far as they could be started and were right.
struct Field {
    entrants: Vec<Option<Entrant>>,
    sides: Vec<SideFindings>,
}

impl Runner {
    pub(super) fn new(pairs: usize, round: Duration, quick: bool, rows: &[Row]) -> Result<Self> {
        let steps: usize = rows.iter().map(|row| row.matches.len() + 2).sum();
        let progress = ProgressBar::new(steps as u64);
        progress.set_draw_target(ProgressDrawTarget::stderr());
        progress
            .set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} (still {eta}) {msg}")?);
        let program = std::env::current_exe()?;
        Ok(Self { program, rounds: Rounds::new(steps as u64, !quick)?, pairs, round, quick, progress })
    }

    /// Sets of rounds that were taken again, and that count although the machine did not settle.
    pub(super) fn spoilt(&self) -> [usize; 2] {
        [self.rounds.repeated, self.rounds.unsettled]
    }

    /// Says what is done now: in the bar on a terminal, as a line elsewhere.
    fn tell(&self, what: &str) {
        if self.progress.is_hidden() {
            eprintln!("{what}");
        }
        self.progress.set_message(what.to_owned());
    }

    pub(super) fn row(&mut self, row: &Row) -> Result<RowFindings> {
        let load = &row.entrants[0].1;
        if let Load::Idle { connections } = *load {
            self.tell(&format!("{}: {}", row.name, row.about));
            let findings = memory::measure(&self.program, row, connections, if self.quick { 1 } else { 3 })?;
            self.progress.inc(row.matches.len() as u64 + 2);
            return Ok(findings);
        }
        self.tell(&format!("{}: starting everyone, and looking whether they are right", row.name));
        let mut field = self.start(row)?;
        self.tell(&format!("{}: saturation", row.name));
        let offered = self.saturate(row, &mut field)?;
        self.progress.inc(1);
        let mut findings = RowFindings {
            name: row.name,
            about: row.about,
            unit: load.unit(),
            offered,
            sides: field.sides,
            noise: Vec::new(),
            ratios: Vec::new(),
            rounds: Vec::new(),
        };
        let noise = self.noise(row, offered)?;
        findings.noise = figures(row)
            .into_iter()
            .filter_map(|figure| Some(Ratio::new("itself", (figure, None), &values(&noise, figure)?, None)))
            .collect();
        self.progress.inc(1);
        for pairing in &row.matches {
            self.tell(&format!("{}: {}", row.name, pairing.name));
            if pairing.who.iter().all(|&who| field.entrants[who].is_some()) {
                let sets = self.sets(row, &pairing.who, &field.entrants, offered)?;
                findings.take(row, pairing, sets);
            }
            self.progress.inc(1);
        }
        self.floor(row, offered, &mut findings)?;
        findings.conclude();
        Ok(findings)
    }

    fn start(&self, row: &Row) -> Result<Field> {
        let mut field = Field { entrants: Vec::new(), sides: Vec::new() };
        for (index, (side, load)) in row.entrants.iter().enumerate() {
            let mut findings = SideFindings::new(&side.name, load);
            let started = Entrant::start(&self.program, side, load).and_then(|entrant| {
                gate::pass(&entrant, &self.program, self.round)?;
                Ok(entrant)
            });
            // That a peer is wrong is a finding; that we are ends everything.
            let entrant = match started {
                Ok(entrant) => Some(entrant),
                Err(error) if index == 0 => return Err(format!("{}: {error}", row.name).into()),
                Err(error) => {
                    eprintln!("{}: {}: no figures: {error}", row.name, side.name);
                    findings.wrong = Some(error.to_string());
                    None
                }
            };
            field.entrants.push(entrant);
            field.sides.push(findings);
        }
        Ok(field)
    }

    /// As fast as they go, and the rate that is offered to all from then on: half of what the slowest can.
    fn saturate(&mut self, row: &Row, field: &mut Field) -> Result<Option<f64>> {
        if !row.entrants.iter().any(|(_, load)| load.has_rate()) || row.rate.is_some() {
            return Ok(row.rate);
        }
        let mut order: Vec<usize> = (0..field.entrants.len()).collect();
        let mut all = vec![Vec::new(); order.len()];
        for _ in 0..SATURATING {
            self.rounds.shuffle(&mut order);
            for &index in &order {
                let Some(entrant) = &field.entrants[index] else { continue };
                let sample = entrant.round(&self.program, None, self.round)?;
                all[index].push((
                    sample.cost.per_second(),
                    sample.cost.percent(sample.cost.server_cpu) / 100.0,
                    sample.busy,
                ));
            }
        }
        let mut slowest = f64::INFINITY;
        for (samples, side) in all.iter().zip(&mut field.sides).filter(|(samples, _)| !samples.is_empty()) {
            let median = |of: fn(&(f64, f64, f64)) -> f64| {
                Spread::of(&samples.iter().map(of).collect::<Vec<_>>()).median
            };
            let (per_second, server, load) = (median(|s| s.0), median(|s| s.1), median(|s| s.2));
            let client_bound = load > CLIENT_BOUND && server < CLIENT_BOUND;
            side.saturation = Some(Saturation { per_second, server, load, client_bound });
            slowest = slowest.min(per_second);
        }
        let has_rate = row.entrants.iter().all(|(_, load)| load.has_rate());
        Ok(Some((slowest / 2.0).floor()).filter(|_| has_rate))
    }

    fn sets(
        &mut self,
        row: &Row,
        who: &[usize],
        entrants: &[Option<Entrant>],
        rate: Option<f64>,
    ) -> Result<Vec<Vec<Sample>>> {
        let (program, round) = (&self.program, self.round * row.length);
        self.rounds.run(self.pairs, who, |index| {
            entrants[index].as_ref().expect("a match of those who run").round(program, rate, round)
        })
    }

    /// The same program as both sides.
    fn noise(&mut self, row: &Row, rate: Option<f64>) -> Result<Vec<Vec<Sample>>> {
        self.tell(&format!("{}: the same program as both sides", row.name));
        let (side, load) = &row.entrants[0];
        let both = [side, side].map(|side| Entrant::start(&self.program, side, load).map(Some));
        let both = both.into_iter().collect::<Result<Vec<_>>>()?;
        self.sets(row, &[0, 1], &both, rate)
    }

    /// What the kernel alone takes for the same.
    fn floor(&mut self, row: &Row, rate: Option<f64>, findings: &mut RowFindings) -> Result<()> {
        let load = &row.entrants[0].1;
        let Some(side) = Side::floor(load) else { return Ok(()) };
        let mut found = SideFindings::new(&side.name, load);
        let result = Entrant::start(&self.program, &side, load).and_then(|floor| {
            let (program, round) = (&self.program, self.round * row.length);
            self.rounds.run(FLOORS, &[0], |_| floor.round(program, rate, round))
        });
        match result {
            Ok(sets) => found.samples = sets.into_iter().flatten().collect(),
            Err(error) => found.wrong = Some(error.to_string()),
        }
        findings.sides.push(found);
        Ok(())
    }
}

/// What is looked at in a row: CPU, the times, and what its goals name.
fn figures(row: &Row) -> Vec<Figure> {
    let mut figures = vec![Figure::Cpu, Figure::P50, Figure::P99, Figure::P999];
    if row.entrants.iter().any(|(_, load)| matches!(load, Load::Storm { .. })) {
        figures.push(Figure::Thaw);
    }
    figures
}

/// Ours in units of theirs, set by set; with four players how much more ours has grown.
fn values(sets: &[Vec<Sample>], figure: Figure) -> Option<Vec<f64>> {
    sets.iter()
        .map(|set| {
            let values = set.iter().map(|sample| figure.of(sample)).collect::<Option<Vec<_>>>()?;
            match values[..] {
                [ours, theirs] => Some(ours / theirs),
                [ours, ours_little, theirs, theirs_little] => {
                    Some((ours / ours_little) / (theirs / theirs_little))
                }
                _ => None,
            }
        })
        .collect()
}

impl RowFindings {
    /// Takes in what came of a match.
    fn take(&mut self, row: &Row, pairing: &Match, sets: Vec<Vec<Sample>>) {
        for figure in figures(row) {
            let Some(values) = values(&sets, figure) else { continue };
            let goal = pairing.goals.iter().find(|goal| goal.figure == figure);
            let bound = goal.map(|goal| goal.bound);
            let upside = match bound {
                Some(Bound::AtLeast { .. }) => true,
                Some(Bound::AtMost { .. } | Bound::NotWorse) => false,
                None => figure == Figure::Cpu,
            };
            let turn = |values: Vec<f64>| {
                values.into_iter().map(|v| if upside { 1.0 / v } else { v }).collect::<Vec<_>>()
            };
            let noise = self.noise.iter().find(|noise| noise.figure == figure).map(|noise| noise.spread);
            let unsettled = sets.iter().filter(|set| set.iter().any(|sample| sample.unsettled)).count();
            let ratio = Ratio::new(&pairing.name, (figure, bound), &turn(values), noise.as_ref());
            self.ratios.push(Ratio { unsettled, ..ratio });
        }
        for set in &sets {
            for (&who, sample) in pairing.who.iter().zip(set) {
                self.sides[who].samples.push(sample.clone());
            }
        }
        self.rounds.push(sets);
    }

    /// Sums up what each side's rounds came to.
    fn conclude(&mut self) {
        self.sides.iter_mut().for_each(SideFindings::conclude);
        let floor = self
            .sides
            .iter()
            .rfind(|side| side.name == "floor")
            .and_then(|floor| floor.cpu_ns)
            .map(|spread| spread.median);
        for side in &mut self.sides {
            side.floors = side.cpu_ns.zip(floor).map(|(cpu, floor)| cpu.median / floor);
        }
    }
}
