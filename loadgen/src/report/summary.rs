//! A histogram of nanoseconds, and what is said about it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Samples that must lie beyond a percentile before it is worth a number.
const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// The percentiles of every report, with the names of their fields.
pub const QUANTILES: [(&str, f64); 5] =
    [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p99_9_ns", 0.999), ("p99_99_ns", 0.9999)];

/// A histogram of nanoseconds at three significant digits, with the exact extremes beside it.
#[derive(Clone, Debug)]
pub struct Summary {
    histogram: Histogram<u64>,
    min_ns: u64,
    max_ns: u64,
    total_ns: u128,
    saturated: u64,
}

impl Summary {
    /// An empty one, for times up to `limit_ns`; longer ones count there, and are counted as saturated.
    #[must_use]
    pub fn new(limit_ns: u64) -> Self {
        let histogram = Histogram::new_with_bounds(1, limit_ns.max(2), 3);
        Self {
            histogram: histogram.expect("1 ns to any limit from 2 on at three digits is a valid range"),
            min_ns: u64::MAX,
            max_ns: 0,
            total_ns: 0,
            saturated: 0,
        }
    }

    /// Adds one time.
    pub fn record(&mut self, ns: u64) {
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        self.total_ns += u128::from(ns);
        if ns > self.histogram.high() {
            self.saturated += 1;
        }
        self.histogram.saturating_record(ns);
    }

    /// Adds those of another with the same limit.
    ///
    /// # Panics
    /// When the other's limit is higher.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("histograms of one run have one shape");
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.total_ns += other.total_ns;
        self.saturated += other.saturated;
    }

    /// Times recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Times beyond the limit.
    #[must_use]
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The shortest, exactly.
    #[must_use]
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min_ns)
    }

    /// The longest, exactly.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// The mean, exactly, rounded down.
    #[must_use]
    pub fn mean_ns(&self) -> Option<u64> {
        let count = u128::from(self.count());
        (count > 0).then(|| u64::try_from(self.total_ns / count).unwrap_or(u64::MAX))
    }

    /// The time that the share `quantile` of the samples does not exceed; `None` with fewer than ten samples beyond.
    #[must_use]
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        // A count as a float is exact up to 2^53, and a quantile like 0.9 leaves a shade less than 10 of 100.
        let beyond = (self.count() as f64 * (1.0 - quantile) * 1e6).round() / 1e6;
        (beyond >= SAMPLES_BEYOND_MIN)
            .then(|| self.histogram.value_at_quantile(quantile).clamp(self.min_ns, self.max_ns))
    }

    /// The histogram itself.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// The histogram in base64, V2 deflate: what other tools of HdrHistogram read.
    fn hdr(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram, &mut bytes)
            .expect("a histogram of 64-bit counts fits in memory");
        STANDARD.encode(bytes)
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Summary", QUANTILES.len() + 6)?;
        fields.serialize_field("count", &self.count())?;
        fields.serialize_field("min_ns", &self.min_ns())?;
        for (name, quantile) in QUANTILES {
            fields.serialize_field(name, &self.quantile_ns(quantile))?;
        }
        fields.serialize_field("max_ns", &self.max_ns())?;
        fields.serialize_field("mean_ns", &self.mean_ns())?;
        fields.serialize_field("saturated", &self.saturated)?;
        fields.serialize_field("hdr", &self.hdr())?;
        fields.end()
    }
}
