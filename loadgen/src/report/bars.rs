//! A histogram as a handful of bars, with edges that are round numbers.

use super::summary::Summary;

/// The most rows where they are equally wide: what the eye takes in at once.
const EQUAL_MAX: usize = 12;

/// The most rows where they grow: most of them are the few slow ones, and the many must have some too.
const GROWING_MAX: usize = 16;

/// Edges within a decade, from coarse to fine.
const LADDERS: [&[u64]; 5] =
    [&[10], &[10, 30], &[10, 20, 50], &[10, 15, 20, 30, 50, 70], &[10, 12, 15, 20, 25, 30, 40, 50, 60, 80]];

/// Steps of equally wide rows, within a decade.
const STEPS: [u64; 4] = [10, 20, 25, 50];

/// How many times lay from `from_ns` on and below `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The shortest time that belongs here.
    pub from_ns: u64,
    /// The shortest that does not any more.
    pub to_ns: u64,
    /// Times in between.
    pub count: u64,
}

/// The rows of a histogram, without a gap; none where it is empty.
///
/// Rows are equally wide where the longest time is a few times the median, as in a storm: there the shape is the
/// queue. Otherwise they grow by about the same factor, because equal ones would hold everything in the first.
#[must_use]
pub fn rows(summary: &Summary) -> Vec<Row> {
    let histogram = summary.histogram();
    if histogram.is_empty() {
        return Vec::new();
    }
    // A recorded time stands for all that the histogram cannot tell from it; the shortest of them is in the row in
    // which a round time belongs.
    let recorded: Vec<(u64, u64)> = histogram
        .iter_recorded()
        .map(|step| (histogram.lowest_equivalent(step.value_iterated_to()), step.count_at_value()))
        .collect();
    let (low, high) = (recorded[0].0, recorded[recorded.len() - 1].0);
    let edges = if high / 4 <= histogram.value_at_quantile(0.5) {
        equal_edges(low, high, histogram.equivalent_range(high))
    } else {
        growing_edges(low, high)
    };
    let mut rows: Vec<Row> =
        edges.windows(2).map(|edge| Row { from_ns: edge[0], to_ns: edge[1], count: 0 }).collect();
    for (value, count) in recorded {
        let index = rows.partition_point(|row| row.to_ns <= value);
        rows[index].count += count;
    }
    rows
}

/// A bar in eighths of a character, as long as the count is beside the largest; a single one is seen.
#[must_use]
pub fn bar(count: u64, largest: u64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if count == 0 || largest == 0 {
        return String::new();
    }
    let eighths = u128::from(count) * width as u128 * 8 / u128::from(largest);
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).clamp(1, width * 8);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// Multiples of a round step that enclose the range, in as many rows as may be, none finer than the histogram.
fn equal_edges(low: u64, high: u64, finest: u64) -> Vec<u64> {
    let mut decade = 1;
    loop {
        // Tenths, so that a step of 2.5 is a whole number; below 10 ns there are no finer ones.
        for step in STEPS.iter().map(|step| step * decade / 10).filter(|&step| step >= finest.max(1)) {
            let (first, last) = (low / step, high / step);
            if last - first < EQUAL_MAX as u64 {
                return (first..=last + 1).map(|index| index.saturating_mul(step)).collect();
            }
        }
        decade = decade.saturating_mul(10);
    }
}

/// The finest ladder of round numbers that encloses the range in few enough rows.
fn growing_edges(low: u64, high: u64) -> Vec<u64> {
    let all = LADDERS.iter().rev().map(|ladder| ladder_edges(ladder, low, high));
    let mut all = all.filter(|edges| edges.len() <= GROWING_MAX + 1);
    all.next().unwrap_or_else(|| {
        // More than sixteen decades are no latency, but they must not be a panic either.
        let edges = ladder_edges(LADDERS[0], low, high);
        let last = edges[edges.len() - 1];
        edges[..GROWING_MAX].iter().copied().chain([last]).collect()
    })
}

fn ladder_edges(ladder: &[u64], low: u64, high: u64) -> Vec<u64> {
    // Up to 8 * 10^18, which is the last that fits.
    let decades = (0..18).map(|exponent| 10_u64.pow(exponent));
    let rungs = decades.flat_map(|decade| ladder.iter().map(move |rung| rung * decade / 10));
    let mut edges: Vec<u64> = std::iter::once(0).chain(rungs).chain([u64::MAX]).collect();
    // The fine rungs of the first decade fall together in whole nanoseconds.
    edges.dedup();
    let first = edges.partition_point(|&edge| edge <= low).saturating_sub(1);
    let last = edges.partition_point(|&edge| edge <= high).min(edges.len() - 1);
    edges[first..=last].to_vec()
}
