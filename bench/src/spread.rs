//! Five numbers that say where a sample lies and how far it scatters.

use std::fmt;

use serde::Serialize;

/// The quartiles and the extremes of a sample: a median alone hides whether two samples overlap.
///
/// ```
/// use finwait_bench::spread::Spread;
///
/// let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
/// assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
/// assert_eq!((spread.lower, spread.upper), (1.75, 3.25));
/// assert_eq!(Spread::of(&[7.0]).upper, 7.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest value.
    pub min: f64,
    /// The lower quartile, interpolated.
    pub lower: f64,
    /// The median, interpolated.
    pub median: f64,
    /// The upper quartile, interpolated.
    pub upper: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of `sample`, in any order.
    ///
    /// # Panics
    /// When `sample` is empty.
    #[must_use]
    pub fn of(sample: &[f64]) -> Self {
        assert!(!sample.is_empty(), "nothing was measured");
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            min: sorted[0],
            lower: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            upper: quantile(&sorted, 0.75),
            max: sorted[sorted.len() - 1],
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, lower, median, upper, max } = self;
        write!(f, "median {median:.3}  quartiles {lower:.3} to {upper:.3}  range {min:.3} to {max:.3}")
    }
}

fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}
