//! When a run is about its generator: each reason by itself, and none where there is none.

use finwait_loadgen::outcome::{Outcome, Outcomes};
use finwait_loadgen::report::{Generator, Latency, Rate, Rtt};
use finwait_loadgen::validity::{Facts, Findings, examine};

use crate::sample;

/// A run without fault, for a test to spoil.
struct Run {
    latency: Latency,
    rate: Rate,
    outcomes: Outcomes,
    generator: Generator,
    closed_loop: bool,
    books: bool,
    rtt: Option<Rtt>,
    interrupted: bool,
}

impl Run {
    /// 2,000 shutdowns of 1 ms, seen within 20 us.
    fn new() -> Self {
        let mut run = Self {
            latency: Latency::new(20_000_000_000),
            rate: Rate { offered: None, achieved: None, missed: 0 },
            outcomes: Outcomes::default(),
            generator: Generator {
                valid: true,
                invalid: Vec::new(),
                elapsed_ns: 1_000_000_000,
                setup_ns: None,
                issue_spread_ns: None,
                completion_ns: None,
                thaw_to_last_eof_ns: None,
                cpu_ns: 500_000_000,
                utilisation: 0.5,
                busy: 0.5,
                bytes_sent: 0,
                bytes_received: 0,
            },
            closed_loop: false,
            books: false,
            rtt: None,
            interrupted: false,
        };
        run.see(2000, 1_000_000, 20_000);
        run
    }

    fn see(&mut self, count: u64, shutdown_ns: u64, observation_ns: u64) {
        for _ in 0..count {
            self.latency.shutdown.record(shutdown_ns);
            self.latency.observation.record(observation_ns);
            self.latency.shutdown_earliest.record(shutdown_ns - observation_ns);
            self.outcomes[Outcome::Clean] += 1;
        }
    }

    fn examine(&self) -> Findings {
        examine(&Facts {
            latency: &self.latency,
            rate: &self.rate,
            outcomes: &self.outcomes,
            generator: &self.generator,
            closed_loop: self.closed_loop,
            books: self.books,
            rtt: self.rtt.as_ref(),
            interrupted: self.interrupted,
        })
    }

    /// What the only reason says that it is invalid for.
    #[track_caller]
    fn only_reason(&self) -> String {
        let [reason] = &self.examine().invalid[..] else { panic!("{:?}", self.examine()) };
        assert!(reason.remedy.is_some(), "{reason:?}");
        reason.what.clone()
    }
}

#[test]
fn a_run_without_fault_is_valid() {
    let findings = Run::new().examine();
    assert!(findings.invalid.is_empty() && findings.warnings.is_empty(), "{findings:?}");
}

#[test]
fn looking_too_seldom_makes_a_run_invalid_at_the_median_and_at_p99() {
    let mut run = Run::new();
    run.see(3000, 1_000_000, 500_000);
    assert!(run.only_reason().contains("shutdown's p50 is 1000 us as it was seen, and may have been 500 us"));

    // 2 % were long because nobody looked: their own share of all looks is too small for observation's p50, and the
    // p99 that they make is theirs.
    let mut run = Run::new();
    run.see(50, 5_000_000, 4_000_000);
    assert!(run.only_reason().contains("shutdown's p99 is 5"), "{:?}", run.examine());
}

#[test]
fn late_looks_that_shift_no_percentile_do_no_harm() {
    let mut run = Run::new();
    // Long they were in any case.
    run.see(50, 50_000_000, 500_000);
    assert!(run.examine().invalid.is_empty(), "{:?}", run.examine());
}

#[test]
fn looking_is_fine_enough_where_it_can_be_no_finer() {
    let mut run = Run::new();
    run.see(100_000, 30_000, 12_000);
    assert!(run.examine().invalid.is_empty(), "{:?}", run.examine());
    run.see(300_000, 30_000, 13_000);
    assert!(run.only_reason().contains("p50"), "{:?}", run.examine());
}

#[test]
fn in_a_closed_loop_the_generators_limit_is_only_to_be_minded() {
    let mut run = Run { closed_loop: true, ..Run::new() };
    run.see(3000, 1_000_000, 500_000);
    run.generator.busy = 0.99;
    let findings = run.examine();
    assert!(findings.invalid.is_empty(), "{findings:?}");
    assert!(findings.warnings.iter().any(|found| found.what.starts_with("Client-bound")), "{findings:?}");
}

#[test]
fn a_ledgers_books_are_right_however_late_they_are_looked_at() {
    let mut run = Run { books: true, ..Run::new() };
    run.see(3000, 1_000_000, 500_000);
    let findings = run.examine();
    assert!(findings.invalid.is_empty(), "{findings:?}");
    assert!(findings.warnings.iter().any(|found| found.what.contains("too seldom")), "{findings:?}");
}

/// What counts is whether the thread had time to spare, not how late the ends of connections were seen.
#[test]
fn of_round_trips_the_generators_time_is_looked_at() {
    let run = |offered, achieved, busy| {
        let rtt = Rtt { achieved: Some(achieved), busy, ..sample::messages(offered) };
        let mut run = Run { rtt: Some(rtt), ..Run::new() };
        run.see(3000, 1_000_000, 500_000);
        run
    };
    let minds = |run: &Run, words: &str| {
        let Findings { invalid, warnings } = run.examine();
        assert!(invalid.is_empty() && warnings.len() == 1, "{invalid:?} {warnings:?}");
        assert!(warnings[0].what.contains(words) && warnings[0].remedy.is_some(), "{warnings:?}");
    };
    for well in [run(Some(1000.0), 990.0, 0.5), run(None, 1000.0, 0.5)] {
        let findings = well.examine();
        assert!(findings.invalid.is_empty() && findings.warnings.is_empty(), "{findings:?}");
    }
    minds(&run(None, 1000.0, 0.95), "Client-bound");
    minds(&run(Some(1000.0), 990.0, 0.95), "Client-bound");
    // With time to spare it is the target that is slow, and without it nobody knows.
    minds(&run(Some(1000.0), 900.0, 0.5), "The target did not keep up: 900 messages per second");
    assert!(run(Some(1000.0), 900.0, 0.95).only_reason().contains("busy 95 % of the time"));
    let cut_short = Run { interrupted: true, ..run(Some(1000.0), 100.0, 0.5) };
    assert!(cut_short.examine().warnings.is_empty(), "an interrupted schedule says nothing");
}

#[test]
fn a_rate_that_was_not_achieved_makes_a_run_invalid() {
    let run = |achieved| Run {
        rate: Rate { offered: Some(1000.0), achieved: Some(achieved), missed: 0 },
        ..Run::new()
    };
    assert!(run(979.0).only_reason().contains("979 connections per second"));
    assert!(run(981.0).examine().invalid.is_empty());
    let cut_short = Run { interrupted: true, ..run(100.0) };
    assert!(cut_short.examine().invalid.is_empty(), "an interrupted schedule says nothing");
}

#[test]
fn one_missed_start_makes_a_run_invalid() {
    let rate = Rate { offered: Some(1000.0), achieved: Some(1000.0), missed: 1 };
    assert!(Run { rate, ..Run::new() }.only_reason().contains("missed"));
}

#[test]
fn every_local_failure_makes_a_run_invalid_and_no_other_does() {
    for outcome in Outcome::ALL {
        let mut run = Run::new();
        run.outcomes[outcome] += 1;
        assert_eq!(!run.examine().invalid.is_empty(), outcome.is_local(), "{outcome:?}");
    }
}
