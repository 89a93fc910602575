//! What the comparison has found: what `--json` prints, and the screen shows.

use serde::Serialize;

use super::generator::Generator;
use super::load::{Load, Sample};
use super::rows::{Bound, Figure, Goal};
use crate::spread::Spread;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Raised when a reader of older ones would go wrong.
    pub schema: &'static str,
    /// The machine.
    pub machine: String,
    /// The command line.
    pub command: String,
    /// When it began, by the wall clock.
    pub started_unix_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// A calibration's round trip: the median of all, which normalised figures refer to.
    pub calibration_ns: f64,
    /// Sets of rounds that were taken again.
    pub repeated: usize,
    /// Sets of rounds that count although the machine did not settle: they widen the spread, in no direction.
    pub unsettled: usize,
    /// What the load shows of itself where there is hardly anything to measure.
    pub generator: Generator,
    /// Rows that could not be measured, and why.
    pub failed: Vec<String>,
    /// Row by row.
    pub rows: Vec<RowFindings>,
}

/// One row.
#[derive(Debug, Serialize)]
pub struct RowFindings {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// A message or a connection.
    pub unit: &'static str,
    /// Units per second that everyone was offered, where there is a rate.
    pub offered: Option<f64>,
    /// Everyone, ours first, the floor last.
    pub sides: Vec<SideFindings>,
    /// The same program on both sides: what a difference has to be larger than.
    pub noise: Vec<Ratio>,
    /// Who met whom.
    pub ratios: Vec<Ratio>,
    /// Every round that a ratio was taken from, match by match.
    pub rounds: Vec<Vec<Vec<Sample>>>,
}

/// One side of a row.
#[derive(Debug, Serialize)]
pub struct SideFindings {
    /// Its name.
    pub name: String,
    /// Its work.
    pub load: Load,
    /// Why there are no figures: what it did wrong.
    pub wrong: Option<String>,
    /// CPU-nanoseconds of the server for each unit, at the offered rate.
    pub cpu_ns: Option<Spread>,
    /// The same at the pace of `calibration_ns`.
    pub normalised_cpu_ns: Option<f64>,
    /// The same in units of the floor's.
    pub floors: Option<f64>,
    /// Medians over the rounds, at the offered rate.
    pub p50_ns: Option<f64>,
    /// See `p50_ns`.
    pub p99_ns: Option<f64>,
    /// See `p50_ns`.
    pub p99_9_ns: Option<f64>,
    /// Frozen storm.
    pub thaw_to_last_eof_ns: Option<f64>,
    /// At saturation.
    pub saturation: Option<Saturation>,
    /// Idle connections.
    pub memory: Option<Memory>,
    /// Rounds that are not summed up yet.
    #[serde(skip)]
    pub(super) samples: Vec<Sample>,
}

impl SideFindings {
    pub(super) fn new(name: &str, load: &Load) -> Self {
        Self {
            name: name.to_owned(),
            load: load.clone(),
            wrong: None,
            cpu_ns: None,
            normalised_cpu_ns: None,
            floors: None,
            p50_ns: None,
            p99_ns: None,
            p99_9_ns: None,
            thaw_to_last_eof_ns: None,
            saturation: None,
            memory: None,
            samples: Vec::new(),
        }
    }

    /// Sums up what was collected.
    pub(super) fn conclude(&mut self) {
        let samples = &self.samples;
        let spread = |figure: Figure| {
            let values: Vec<f64> = samples.iter().filter_map(|sample| figure.of(sample)).collect();
            (!values.is_empty()).then(|| Spread::of(&values))
        };
        let median = |figure| spread(figure).map(|spread| spread.median);
        self.cpu_ns = spread(Figure::Cpu);
        self.p50_ns = median(Figure::P50);
        self.p99_ns = median(Figure::P99);
        self.p99_9_ns = median(Figure::P999);
        self.thaw_to_last_eof_ns = median(Figure::Thaw);
    }

    /// What its CPU per unit would have been at this pace of the machine.
    fn normalise(&mut self, pace_ns: f64) {
        let values: Vec<f64> =
            self.samples.iter().map(|sample| sample.cpu_ns() * pace_ns / sample.calibration_ns).collect();
        self.normalised_cpu_ns = (!values.is_empty()).then(|| Spread::of(&values).median);
    }
}

impl Findings {
    /// Takes the median of all calibrations as the machine's pace, and says what every figure would have been at it.
    pub(super) fn normalise(&mut self) {
        let sides = || self.rows.iter().flat_map(|row| &row.sides);
        let all: Vec<f64> =
            sides().flat_map(|side| &side.samples).map(|sample| sample.calibration_ns).collect();
        if all.is_empty() {
            return;
        }
        let pace_ns = Spread::of(&all).median;
        self.calibration_ns = pace_ns;
        self.rows.iter_mut().flat_map(|row| &mut row.sides).for_each(|side| side.normalise(pace_ns));
    }

    /// Whether every goal is met.
    pub(super) fn all_met(&self) -> bool {
        self.rows.iter().flat_map(|row| &row.ratios).all(|ratio| ratio.must != Some(false))
    }
}

/// A closed loop, as fast as it goes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Saturation {
    /// Units per second.
    pub per_second: f64,
    /// Share of its core that the server used.
    pub server: f64,
    /// Share of its time that the load had something to do.
    pub load: f64,
    /// Whether the load was the limit.
    pub client_bound: bool,
}

/// Bytes of an idle connection beyond a bare socket: the slope between two numbers of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Resident.
    pub resident: f64,
    /// The kernel's.
    pub slab: f64,
    /// Both.
    pub bytes: f64,
}

/// What came of a match for one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Against whom.
    pub against: String,
    /// Of what.
    pub figure: Figure,
    /// Whether it is the other's in units of ours (more is better) or ours in units of the other's (less is).
    pub more_is_better: bool,
    /// Over the sets of rounds.
    pub spread: Spread,
    /// How many.
    pub pairs: usize,
    /// How many of them were taken on a machine that did not settle.
    pub unsettled: usize,
    /// Whether it lies outside of what the same program shows against itself; without that no winner is named.
    pub outside_noise: bool,
    /// What it has to be, if anything.
    pub goal: Option<Goal>,
    /// Whether it does.
    pub must: Option<bool>,
    /// Whether it does more.
    pub reach: Option<bool>,
}

impl Ratio {
    /// From the values of all sets; `noise` is the same figure of the same program against itself.
    #[must_use]
    pub fn new(against: &str, goal: (Figure, Option<Bound>), values: &[f64], noise: Option<&Spread>) -> Self {
        let (figure, bound) = goal;
        let more_is_better = match bound {
            Some(Bound::AtLeast { .. }) => true,
            Some(Bound::AtMost { .. } | Bound::NotWorse) => false,
            None => figure == Figure::Cpu,
        };
        let spread = Spread::of(values);
        let noise = noise.copied();
        let outside_noise = noise
            .is_some_and(|noise| spread.lower > noise.upper.max(1.0) || spread.upper < noise.lower.min(1.0));
        let (must, reach) = match bound {
            None => (None, None),
            Some(Bound::AtLeast { must, reach }) => (Some(spread.lower >= must), Some(spread.lower >= reach)),
            Some(Bound::AtMost { must, reach }) => (Some(spread.upper <= must), Some(spread.upper <= reach)),
            Some(Bound::NotWorse) => {
                let most = noise.map_or(1.0, |noise| noise.upper.max(1.0));
                let least = noise.map_or(1.0, |noise| noise.lower.min(1.0));
                (Some(spread.median <= most), Some(spread.upper < least))
            }
        };
        let goal = bound.map(|bound| Goal { figure, bound });
        Self {
            against: against.to_owned(),
            figure,
            more_is_better,
            spread,
            pairs: values.len(),
            unsettled: 0,
            outside_noise,
            goal,
            must,
            reach,
        }
    }
}
