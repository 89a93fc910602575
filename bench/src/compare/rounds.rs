//! Rounds back to back, between calibrations that agree, on a quiet machine.

use oorandom::Rand32;

use super::calibration::Calibration;
use super::entrant::CPUS;
use super::load::Sample;
use crate::{Result, machine, platform};

/// Calibrations around one set of rounds may differ by this much. A machine of its own keeps within 1.05; with less than
/// this, a busy host of virtual ones let no set pass at all.
const AGREE: f64 = 1.3;
/// After so many spoilt sets for each one wanted the best of them have to do: half of them, and none where nothing is
/// claimed. On a busy host a second half was as often spoilt as the first.
const SPOILT_MAX: f64 = 0.5;

/// What runs rounds, and what it knows of the machine.
#[derive(Debug)]
pub(super) struct Rounds {
    calibration: Calibration,
    chance: Rand32,
    /// Sets that were taken again, because the machine changed its pace or others worked on it.
    pub repeated: usize,
    /// Sets that count although it did, after as many tries as there may be.
    pub unsettled: usize,
    patient: bool,
}

/// Why a set of rounds says nothing.
enum Spoilt {
    /// The machine has changed its pace by this factor.
    Pace(f64),
    /// Others took so many percent of a CPU.
    Others(f64),
}

impl Rounds {
    /// With an order that a seed shuffles. `patient`: whether spoilt sets are taken again.
    ///
    /// # Errors
    /// When this machine has no loopback.
    pub(super) fn new(seed: u64, patient: bool) -> Result<Self> {
        Ok(Self {
            calibration: Calibration::new()?,
            chance: Rand32::new(seed),
            repeated: 0,
            unsettled: 0,
            patient,
        })
    }

    /// Runs `count` sets of the `players`' rounds, each in another order; `round` runs one. The samples of a set stand in
    /// the order of `players`.
    ///
    /// # Errors
    /// When a round fails, or the machine does not get quiet at all.
    pub(super) fn run(
        &mut self,
        count: usize,
        players: &[usize],
        mut round: impl FnMut(usize) -> Result<Sample>,
    ) -> Result<Vec<Vec<Sample>>> {
        let mut sets = Vec::with_capacity(count);
        let mut spoilt_sets: Vec<(f64, Vec<Sample>)> = Vec::new();
        let more = if self.patient { (SPOILT_MAX * count as f64).ceil() as usize } else { 0 };
        while sets.len() + spoilt_sets.len() < count + more && sets.len() < count {
            let forward = (sets.len() + spoilt_sets.len()).is_multiple_of(2);
            let (set, spoilt) = self.set(players, forward, &mut round)?;
            let Some(why) = spoilt else {
                sets.push(set);
                continue;
            };
            let by = match why {
                Spoilt::Pace(factor) => factor,
                Spoilt::Others(percent) => {
                    if self.patient {
                        machine::wait_for_quiet()?;
                    }
                    1.0 + percent
                }
            };
            spoilt_sets.push((by, set));
        }
        // What was measured so far is not thrown away, but neither is it taken for more than it is.
        spoilt_sets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let missing = count - sets.len();
        self.repeated += spoilt_sets.len() - missing;
        self.unsettled += missing;
        for (_, mut set) in spoilt_sets.into_iter().take(missing) {
            set.iter_mut().for_each(|sample| sample.unsettled = true);
            sets.push(set);
        }
        Ok(sets)
    }

    /// One set. Two alternate; more are shuffled.
    fn set(
        &mut self,
        players: &[usize],
        forward: bool,
        round: &mut impl FnMut(usize) -> Result<Sample>,
    ) -> Result<(Vec<Sample>, Option<Spoilt>)> {
        let mut order: Vec<usize> = (0..players.len()).collect();
        if let [_, _] = players {
            if !forward {
                order.reverse();
            }
        } else {
            self.shuffle(&mut order);
        }
        let mut samples = vec![Sample::default(); players.len()];
        let mut calibrations = vec![self.calibrate()?];
        for at in order {
            samples[at] = round(players[at])?;
            calibrations.push(self.calibrate()?);
            let around = &calibrations[calibrations.len() - 2..];
            samples[at].calibration_ns = (around[0] + around[1]) / 2.0;
        }
        let [slowest, fastest] = [f64::max, f64::min].map(|which| calibrations.iter().copied().reduce(which));
        let pace = slowest.zip(fastest).map_or(1.0, |(slowest, fastest)| slowest / fastest);
        let others =
            samples.iter().map(|sample| sample.cost.percent(sample.cost.others_cpu)).fold(0.0, f64::max);
        let spoilt = if others > machine::QUIET_PERCENT {
            Some(Spoilt::Others(others))
        } else {
            (pace > AGREE).then_some(Spoilt::Pace(pace))
        };
        Ok((samples, spoilt))
    }

    /// On the servers' core, which the load leaves alone meanwhile.
    fn calibrate(&mut self) -> Result<f64> {
        platform::pin_to(CPUS[0])?;
        let trip = self.calibration.trip_ns();
        platform::pin_to(CPUS[1])?;
        Ok(trip?)
    }

    /// In an order that chance has drawn.
    pub(super) fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            let other = self.chance.rand_range(0..last as u32 + 1) as usize;
            order.swap(last, other);
        }
    }
}
