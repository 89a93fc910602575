//! What a histogram says of its samples, and what it does not say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use finwait_loadgen::report::Summary;
use finwait_loadgen::report::summary::QUANTILES;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::{Value, json};

use crate::sample::{LIMIT_NS, ramp};

fn json_of(summary: &Summary) -> Value {
    serde_json::to_value(summary).unwrap()
}

#[test]
fn without_samples_there_are_no_figures() {
    let json = json_of(&Summary::new(LIMIT_NS));
    assert_eq!(json["count"], 0);
    assert_eq!(json["saturated"], 0);
    for name in ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns", "mean_ns"] {
        assert_eq!(json[name], Value::Null, "{name}");
    }
}

#[test]
fn the_fields_are_those_of_the_report() {
    let json = json_of(&ramp(10, 1, 10));
    let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut expected = [
        "count",
        "min_ns",
        "p50_ns",
        "p90_ns",
        "p99_ns",
        "p99_9_ns",
        "p99_99_ns",
        "max_ns",
        "mean_ns",
        "saturated",
        "hdr",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn a_percentile_needs_ten_samples_beyond_it() {
    for (quantile, enough) in [(0.5, 20), (0.9, 100), (0.99, 1_000), (0.999, 10_000), (0.9999, 100_000)] {
        assert!(QUANTILES.iter().any(|&(_, known)| known == quantile));
        assert_eq!(ramp(enough - 1, 1_000, 9_000).quantile_ns(quantile), None, "{quantile}");
        assert!(ramp(enough, 1_000, 9_000).quantile_ns(quantile).is_some(), "{quantile}");
    }
}

#[test]
fn percentiles_have_three_digits_and_stay_between_the_extremes() {
    let summary = ramp(1_001, 1_000_000, 2_000_000);
    for (quantile, exact) in [(0.5, 1_500_000.0), (0.9, 1_900_000.0), (0.99, 1_990_000.0)] {
        let ns = summary.quantile_ns(quantile).unwrap() as f64;
        assert!((ns - exact).abs() <= exact / 1_000.0, "{quantile}: {ns}");
    }
    let equal = ramp(1_000, 1_234_567, 1_234_567);
    assert_eq!(equal.quantile_ns(0.99), Some(1_234_567));
}

#[test]
fn extremes_and_mean_are_exact() {
    let mut summary = Summary::new(LIMIT_NS);
    for ns in [123_456_789, 987_654_321, 555_555_556] {
        summary.record(ns);
    }
    assert_eq!(summary.min_ns(), Some(123_456_789));
    assert_eq!(summary.max_ns(), Some(987_654_321));
    assert_eq!(summary.mean_ns(), Some(555_555_555));
}

#[test]
fn times_beyond_the_limit_are_counted_and_their_maximum_is_exact() {
    let mut summary = Summary::new(1_000_000);
    summary.record(500);
    summary.record(2_000_000);
    summary.record(3_000_000);
    assert_eq!((summary.count(), summary.saturated(), summary.max_ns()), (3, 2, Some(3_000_000)));
    assert!(summary.histogram().max() < 1_100_000);
}

#[test]
fn parts_add_up_to_the_whole() {
    let mut whole = ramp(500, 10_000, 20_000);
    whole.add(&ramp(500, 15_000, 90_000));
    whole.add(&Summary::new(LIMIT_NS));
    assert_eq!((whole.count(), whole.min_ns(), whole.max_ns()), (1_000, Some(10_000), Some(90_000)));
}

#[test]
fn other_tools_can_read_the_histogram() {
    let summary = ramp(1_000, 50_000, 9_000_000);
    let json = json_of(&summary);
    let text = json["hdr"].as_str().unwrap();
    // The cookie of V2 deflate, by which Java's reader knows it.
    assert!(text.starts_with("HISTFAAA"), "{text}");
    let bytes = STANDARD.decode(text).unwrap();
    let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    assert_eq!(&read, summary.histogram());
    assert_eq!(json["count"], json!(read.len()));
}
