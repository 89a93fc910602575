//! Whether the figures are about the target: what the generator must have kept up with, and what to do when it did not.

use crate::outcome::Outcomes;
use crate::report::{Generator, Latency, Rate, Rtt, Summary, Warning};

/// How far a percentile of shutdown may lie from where it would be had every EOF come right after the last look without
/// it. The kernel's own percentile lies in between, and was seen at either end: this keeps it within 5 %.
const DOUBT_SHARE_MAX: f64 = 0.05;
/// Looking is hardly ever finer than this, between two looks lies one piece of work; it keeps percentiles within 10 us.
const DOUBT_FLOOR_NS: u64 = 12_000;
/// The share of the offered rate that must have been achieved.
const ACHIEVED_MIN: f64 = 0.98;
/// From here on a generator has no time to spare.
const BUSY_MAX: f64 = 0.9;

/// What is looked at.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The histograms.
    pub latency: &'a Latency,
    /// The rates.
    pub rate: &'a Rate,
    /// The outcomes.
    pub outcomes: &'a Outcomes,
    /// What the generator used.
    pub generator: &'a Generator,
    /// Whether the load followed the server: a closed loop of more than one connection.
    pub closed_loop: bool,
    /// Whether a ledger's books are what is judged, and not times.
    pub books: bool,
    /// What messages did, where those are what is judged.
    pub rtt: Option<&'a Rtt>,
    /// Whether the run was cut short: its rates say nothing then.
    pub interrupted: bool,
}

/// What makes a run invalid, and what is merely to be minded.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each by itself enough.
    pub invalid: Vec<Warning>,
    /// To be minded.
    pub warnings: Vec<Warning>,
}

/// Looks at everything that could have been the generator's doing.
#[must_use]
pub fn examine(facts: &Facts<'_>) -> Findings {
    let mut findings = Findings::default();
    local_failures(facts, &mut findings);
    if let Some(rtt) = facts.rtt {
        messages(facts, rtt, &mut findings);
        return findings;
    }
    offered_rate(facts, &mut findings);
    observation(facts, &mut findings);
    if facts.closed_loop && facts.generator.busy > BUSY_MAX {
        findings.warnings.push(warning(
            format!(
                "Client-bound: the generator was busy {:.0} % of the time, so the rate is its own, and latencies \
                 include its queues.",
                facts.generator.busy * 100.0
            ),
            "To load the target further add threads (-t) on idle processors; for its latency use a fixed rate (-r).",
        ));
    }
    findings
}

fn local_failures(facts: &Facts<'_>, findings: &mut Findings) {
    for (outcome, count) in facts.outcomes.iter().filter(|&(outcome, count)| outcome.is_local() && count > 0)
    {
        let what =
            format!("{count} connections failed on this side: {} ({}).", outcome.name(), outcome.meaning());
        let remedy = crate::report::verdict::remedy(outcome).map(str::to_owned);
        findings.invalid.push(Warning { what, remedy });
    }
}

fn offered_rate(facts: &Facts<'_>, findings: &mut Findings) {
    let Rate { offered: Some(offered), achieved, missed } = *facts.rate else { return };
    if facts.interrupted {
        return;
    }
    if missed > 0 {
        findings.invalid.push(warning(
            format!("{missed} planned starts were missed: no slot was free, or no time was left."),
            "Allow more connections at a time (-c), or lower the rate (-r); see whether the target keeps up at all.",
        ));
    }
    if let Some(achieved) = achieved.filter(|achieved| *achieved < ACHIEVED_MIN * offered) {
        findings.invalid.push(warning(
            format!("{achieved:.0} connections per second were started of {offered:.0} planned."),
            "Lower the rate (-r), add threads (-t), or give the generator processors of its own.",
        ));
    }
}

/// Messages are seen as they come, between two of other connections; so what counts is whether the thread had time to
/// spare. A schedule that a target does not keep up with is the target's affair: every wait is in the latency.
fn messages(facts: &Facts<'_>, rtt: &Rtt, findings: &mut Findings) {
    let is_bound = rtt.busy > BUSY_MAX;
    let busy = rtt.busy * 100.0;
    let slow = match (rtt.offered, rtt.achieved) {
        (Some(offered), Some(achieved)) if achieved < ACHIEVED_MIN * offered && !facts.interrupted => {
            Some((offered, achieved))
        }
        _ => None,
    };
    match slow {
        Some((offered, achieved)) if is_bound => findings.invalid.push(warning(
            format!(
                "{achieved:.0} messages per second came back of {offered:.0} planned, and the generator was busy \
                 {busy:.0} % of the time."
            ),
            "Lower the rate (-r), give the generator a processor of its own, or run several.",
        )),
        Some((offered, achieved)) => findings.warnings.push(warning(
            format!(
                "The target did not keep up: {achieved:.0} messages per second came back of {offered:.0} planned, and \
                 those that were due waited longer and longer."
            ),
            "Lower the rate (-r): with a queue that grows, latency is a matter of how long it was looked at.",
        )),
        None if is_bound => findings.warnings.push(warning(
            format!(
                "Client-bound: the generator was busy {busy:.0} % of the time, so the rate is its own, and latencies \
                 include its queues."
            ),
            "To load the target further run another generator on an idle processor; for its latency use a rate (-r) that \
             leaves this one time.",
        )),
        None => {}
    }
}

/// How long EOFs stood unseen: as that shifts the percentiles, which is what matters. Observation's own percentiles say
/// less: 1 % of late looks, too few for its p99, can be the very 1 % that makes shutdown's.
fn observation(facts: &Facts<'_>, findings: &mut Findings) {
    let Latency { shutdown, shutdown_earliest, .. } = facts.latency;
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let Some((took, earliest)) = both(shutdown, shutdown_earliest, quantile) else { continue };
        let doubt = took.saturating_sub(earliest);
        if doubt <= DOUBT_FLOOR_NS || doubt as f64 <= DOUBT_SHARE_MAX * took as f64 {
            continue;
        }
        let found = warning(
            format!(
                "The generator looked too seldom: shutdown's {name} is {} us as it was seen, and may have been {} us.",
                took / 1000,
                earliest / 1000
            ),
            "Let nothing else run on this host meanwhile, give the generator processors of its own (taskset), or less \
             to do: fewer connections (-c), a lower rate (-r).",
        );
        // In a closed loop the generator's limit is the expected one; books are as right when they are looked at late.
        if facts.closed_loop || facts.books {
            findings.warnings.push(found);
        } else {
            findings.invalid.push(found);
        }
    }
}

fn both(one: &Summary, other: &Summary, quantile: f64) -> Option<(u64, u64)> {
    Some((one.quantile_ns(quantile)?, other.quantile_ns(quantile)?))
}

fn warning(what: String, remedy: &str) -> Warning {
    Warning { what, remedy: Some(remedy.to_owned()) }
}
