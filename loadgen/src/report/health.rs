//! One connection on one line, as a probe logs it.

use super::units::{grouped, span};
use super::{Exemplar, Report};
use crate::outcome::Outcome;

/// How one connection went, on one line without its end: the outcome, the target, what took how long, and what is
/// wrong with it.
#[must_use]
pub fn health_line(report: &Report) -> String {
    let target = &report.target;
    let embedded = if target.embedded { " (embedded finwait-server)" } else { "" };
    let Some(exemplar) = report.exemplars.first() else {
        return one_line(&format!("unknown: {}{embedded} {}", target.addr, report.verdict.sentence));
    };
    let outcome = exemplar.outcome;
    let mut line = format!("{}: {}{embedded} {}", outcome.name(), target.addr, steps(exemplar).join(", "));
    if outcome != Outcome::Clean {
        line = format!("{line}: {}", outcome.meaning());
        if exemplar.received < exemplar.expected && exemplar.connected_ns.is_some() {
            let (received, expected) = (grouped(exemplar.received), grouped(exemplar.expected));
            line = format!("{line}, {received} of {expected} bytes came back");
        }
    }
    if let Some(error) = error(exemplar) {
        line = format!("{line} ({error})");
    }
    // Where the outcome says it all, the verdict adds only what to do.
    if outcome == Outcome::Clean && report.verdict.exit_code != 0 {
        line = format!("{line}; {}", report.verdict.sentence.trim_end_matches('.'));
    }
    if let Some(remedy) = &report.verdict.remedy {
        line = format!("{line}. {remedy}");
    }
    one_line(&line)
}

/// The error that the operating system reported, with its number.
pub(super) fn error(exemplar: &Exemplar) -> Option<String> {
    match (&exemplar.error, exemplar.errno) {
        (Some(error), Some(errno)) => Some(format!("{error}, errno {errno}")),
        (Some(error), None) => Some(error.clone()),
        (None, Some(errno)) => Some(format!("errno {errno}")),
        (None, None) => None,
    }
}

/// What came to pass on the connection, with how long each took.
pub(super) fn steps(exemplar: &Exemplar) -> Vec<String> {
    let Exemplar { start_ns, connected_ns, echoed_ns, t0_ns, t2_ns, t3_ns, t4_ns, shutdown_ns, .. } =
        *exemplar;
    let between = |from: Option<u64>, to: Option<u64>| Some(span(to?.saturating_sub(from?)));
    let mut steps = Vec::new();
    if let Some(took) = between(Some(start_ns), connected_ns) {
        steps.push(format!("connect {took}"));
    }
    if let Some(took) = between(connected_ns, echoed_ns) {
        steps.push(format!("echo {took}"));
    }
    let drained = t2_ns.zip(t0_ns).is_some_and(|(t2, t0)| t2 > t0);
    let drain = if drained { between(t0_ns, t2_ns) } else { None };
    let last = if drained { t2_ns } else { t0_ns };
    let tail = between(last, t3_ns);
    let took = shutdown_ns.map(span).or_else(|| between(t0_ns, t3_ns));
    match (took, drain, tail) {
        (Some(took), Some(drain), Some(tail)) => {
            steps.push(format!("shutdown {took} (drain {drain}, EOF {tail} after)"));
        }
        (Some(took), _, _) if t2_ns.is_some() => {
            steps.push(format!("shutdown {took} (nothing was left to drain)"));
        }
        (Some(took), _, _) => steps.push(format!("EOF {took} after SHUT_WR")),
        (None, Some(drain), _) => steps.push(format!("drain {drain}, no EOF")),
        (None, None, _) if t0_ns.is_some() => steps.push("no EOF after SHUT_WR".to_owned()),
        (None, None, _) => {}
    }
    if let Some(took) = between(t3_ns.or(t0_ns), t4_ns).filter(|_| t3_ns.is_some()) {
        steps.push(format!("close {took}"));
    }
    if steps.is_empty() {
        steps.push("no connection".to_owned());
    }
    steps
}

/// A name or an error from elsewhere may hold a line's end, and a log line must not.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
