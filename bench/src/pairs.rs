//! Rounds in pairs, in alternating order, at quiet moments.

use std::fmt;

use crate::Result;
use crate::cost::Cost;
use crate::machine;
use crate::spread::Spread;

/// Pairs spoilt by other work, for each one wanted, after which there is no point in going on.
const NOISY_MAX_PER_PAIR: usize = 4;

/// Two rounds back to back: a ratio taken between them survives a host that changes its pace.
#[derive(Clone, Copy, Debug)]
pub struct Pair<S> {
    /// The round of the one side.
    pub a: S,
    /// The round of the other.
    pub b: S,
}

impl<S: AsRef<Cost>> Pair<S> {
    /// A's figure in units of B's.
    pub fn ratio(&self, figure: impl Fn(&Cost) -> f64) -> f64 {
        figure(self.a.as_ref()) / figure(self.b.as_ref())
    }

    /// What other work took of a CPU, in the worse of the two rounds.
    fn others_percent(&self) -> f64 {
        [&self.a, &self.b]
            .map(AsRef::as_ref)
            .map(|cost| cost.percent(cost.others_cpu))
            .into_iter()
            .fold(0.0, f64::max)
    }
}

/// Runs pairs until `count` were quiet; every second one in the other order, as the second round of a pair may always
/// be the slower. Which pairs count depends on other work alone, never on the result. `figures` are printed for each.
///
/// # Errors
/// When a round fails, or the machine does not get quiet.
pub fn run<S: AsRef<Cost>, F: fmt::Display>(
    name: &str,
    count: usize,
    mut a: impl FnMut() -> Result<S>,
    mut b: impl FnMut() -> Result<S>,
    figures: impl Fn(&Pair<S>) -> F,
) -> Result<Vec<Pair<S>>> {
    let mut pairs = Vec::with_capacity(count);
    let mut noisy = 0;
    while pairs.len() < count {
        machine::wait_for_quiet()?;
        let pair = if pairs.len() % 2 == 0 {
            let a = a()?;
            Pair { a, b: b()? }
        } else {
            let b = b()?;
            Pair { a: a()?, b }
        };
        let others = pair.others_percent();
        if others > machine::QUIET_PERCENT {
            noisy += 1;
            eprintln!("{name}: a pair does not count, other work took {others:.0}% of a CPU");
            if noisy > count * NOISY_MAX_PER_PAIR {
                return Err("other work on this machine takes too much CPU to measure anything".into());
            }
            continue;
        }
        eprintln!("{name} {}/{count}: {}", pairs.len() + 1, figures(&pair));
        pairs.push(pair);
    }
    Ok(pairs)
}

/// The spread of a figure of each pair.
///
/// # Panics
/// When there are no pairs.
pub fn spread<S>(pairs: &[Pair<S>], figure: impl Fn(&Pair<S>) -> f64) -> Spread {
    Spread::of(&pairs.iter().map(figure).collect::<Vec<_>>())
}

/// The median of a figure of one side's rounds.
///
/// # Panics
/// When there are none.
pub fn median<'a>(costs: impl Iterator<Item = &'a Cost>, figure: impl Fn(&Cost) -> f64) -> f64 {
    Spread::of(&costs.map(figure).collect::<Vec<_>>()).median
}

/// One line that says how quiet the machine was: a neighbour on the server's CPU costs it its caches.
///
/// # Panics
/// When there are no pairs.
pub fn quiet<S: AsRef<Cost>>(pairs: &[Pair<S>]) -> String {
    let costs = || pairs.iter().flat_map(|pair| [pair.a.as_ref(), pair.b.as_ref()]);
    let others = Spread::of(&costs().map(|cost| cost.percent(cost.others_cpu)).collect::<Vec<_>>());
    let steal = Spread::of(&costs().map(|cost| cost.percent(cost.steal)).collect::<Vec<_>>());
    format!(
        "other work  {:.0}% of a CPU at the median, {:.0}% at most; stolen by the host {:.0}%, {:.0}%",
        others.median, others.max, steal.median, steal.max
    )
}
