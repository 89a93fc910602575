//! What the comparison makes of its ratios: who has met a goal, and who is ahead.

use finwait_bench::compare::findings::Ratio;
use finwait_bench::compare::rows::{Bound, Figure};
use finwait_bench::spread::Spread;

/// From 1.10 to 1.30; the quartiles are 1.15 and 1.25.
const VALUES: [f64; 5] = [1.10, 1.15, 1.20, 1.25, 1.30];
/// What the same program showed against itself: quartiles 0.97 and 1.03.
const NOISE: [f64; 5] = [0.95, 0.97, 1.0, 1.03, 1.05];

fn judged(bound: Bound, values: &[f64]) -> (Option<bool>, Option<bool>) {
    let ratio = Ratio::new("other", (Figure::Cpu, Some(bound)), values, Some(&Spread::of(&NOISE)));
    (ratio.must, ratio.reach)
}

fn inverse(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| 1.0 / value).collect()
}

#[test]
fn more_counts_from_the_lower_quartile() {
    let judge = |must, reach| judged(Bound::AtLeast { must, reach }, &VALUES);
    assert_eq!(judge(1.15, 1.15), (Some(true), Some(true)));
    // The median is beyond it, a quarter of the rounds is not.
    assert_eq!(judge(1.15, 1.16), (Some(true), Some(false)));
    assert_eq!(judge(1.16, 1.2), (Some(false), Some(false)));
}

#[test]
fn less_counts_from_the_upper_quartile() {
    let judge = |must, reach| judged(Bound::AtMost { must, reach }, &VALUES);
    assert_eq!(judge(1.25, 1.25), (Some(true), Some(true)));
    assert_eq!(judge(1.25, 1.24), (Some(true), Some(false)));
    assert_eq!(judge(1.24, 1.2), (Some(false), Some(false)));
}

#[test]
fn not_worse_is_as_far_as_the_same_program_differs() {
    assert_eq!(judged(Bound::NotWorse, &VALUES), (Some(false), Some(false)));
    let level = [0.99, 1.0, 1.02, 1.03, 1.04];
    assert_eq!(judged(Bound::NotWorse, &level), (Some(true), Some(false)));
    assert_eq!(judged(Bound::NotWorse, &inverse(&VALUES)), (Some(true), Some(true)));
}

#[test]
fn no_winner_is_named_within_the_noise() {
    let noise = Spread::of(&NOISE);
    let is_told =
        |values: &[f64], noise| Ratio::new("other", (Figure::Cpu, None), values, noise).outside_noise;
    assert!(is_told(&VALUES, Some(&noise)));
    assert!(is_told(&inverse(&VALUES), Some(&noise)));
    // The median is outside, but a quarter of the rounds is not.
    assert!(!is_told(&[1.0, 1.02, 1.05, 1.06, 1.07], Some(&noise)));
    assert!(!is_told(&[0.9, 0.95, 0.96, 0.98, 1.0], Some(&noise)));
    // Without a measure of it nothing is claimed.
    assert!(!is_told(&VALUES, None));
}
