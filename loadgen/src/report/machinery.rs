//! The two programs that a run is made of: whether the generator can be believed, and what the embedded server counted.

use serde_json::Value;

use super::latency::{self, Row};
use super::layout::{BAD, BOLD, GOOD, MIND, Page};
use super::screen::mind;
use super::units::{Scale, counted, grouped, share, span};
use super::{Report, Server};

/// Columns of the terms in both sections.
const WIDTH: usize = 11;

/// What is shown of a tally even where it is 0, and first.
const TALLY_FIRST: [&str; 2] = ["accepted", "graceful"];

/// Whether the figures can be believed, and what speaks for it.
pub(super) fn generator(page: &mut Page, report: &Report, scale: Scale) {
    let generator = &report.generator;
    page.heading("Can the figures be believed? The generator's own health");
    if generator.valid {
        page.item(GOOD, "valid", WIDTH, "yes: they are about the target, not about the generator");
    } else {
        page.item(MIND, "valid", WIDTH, "no: they are about the generator, not about the target");
        generator.invalid.iter().for_each(|reason| mind(page, reason));
    }
    let threads = counted(report.config.threads.into(), "thread", "threads");
    let text = format!(
        "{} of processor time, {} of {threads}; busy {} of the time, else waiting",
        span(generator.cpu_ns),
        share(generator.utilisation),
        share(generator.busy)
    );
    page.item(BOLD, "generator", WIDTH, &text);
    if report.rtt.is_none() {
        page.item(BOLD, "EOFs", WIDTH, &coarseness(report));
    }
    let latency = &report.latency;
    let row = |name, summary, meaning: &str| Row { name, summary, meaning: meaning.to_owned() };
    let start_lag = match report.rtt {
        Some(_) => "how long after its planned moment a message was sent that had a place",
        None => "how long after its planned moment a connection was started",
    };
    let mut rows = vec![
        row(
            "observation",
            &latency.observation,
            "how late an EOF can have been seen: from the last look without it (or SHUT_WR) to it",
        ),
        row("loop lag", &latency.loop_lag, "how long a thread was away from looking, each time"),
        row("start lag", &latency.start_lag, start_lag),
    ];
    rows.retain(|row| row.summary.count() > 0 && (report.rtt.is_none() || row.name != "observation"));
    if !rows.is_empty() {
        page.blank();
        latency::write(page, &rows, scale, false);
    }
}

/// The embedded server's account, where there is one.
pub(super) fn server(page: &mut Page, report: &Report) {
    let Some(server) = &report.server else { return };
    page.heading("The embedded server's own account");
    let workers = counted(server.workers.into(), "worker", "workers");
    let text = format!(
        "engine {}, {workers}; {} of processor time from its start to its end",
        server.engine,
        span(server.cpu_ns)
    );
    page.item(BOLD, "server", WIDTH, &text);
    page.item(BOLD, "tally", WIDTH, &tally(server));
    if server.contradictions.is_empty() {
        page.item(GOOD, "agreement", WIDTH, "it counted what the generator saw");
    }
    for contradiction in &server.contradictions {
        page.item(BAD, "contradicts", WIDTH, contradiction);
    }
}

/// Between which times the kernel's own figure lies, at the two percentiles by which a run is held valid.
fn coarseness(report: &Report) -> String {
    let at = |quantile| {
        let earliest = report.latency.shutdown_earliest.quantile_ns(quantile)?;
        Some((span(earliest), span(report.latency.shutdown.quantile_ns(quantile)?)))
    };
    let Some((earliest, latest)) = at(0.5) else {
        return "too few clean connections to say how late they were seen".to_owned();
    };
    let median = format!("as it came, shutdown's p50 lies between {earliest} and {latest}");
    match at(0.99) {
        Some((earliest, latest)) => format!("{median}, its p99 between {earliest} and {latest}"),
        None => median,
    }
}

/// The numbers of the tally by name; what is 0 says nothing, but for the two that are looked for.
fn tally(server: &Server) -> String {
    let Value::Object(fields) = &server.tally else { return server.tally.to_string() };
    let count = |name: &str| fields.get(name).and_then(Value::as_u64);
    let first = TALLY_FIRST.iter().filter_map(|&name| Some((name, count(name)?)));
    // Times are left to the JSON: how long the server took to end is no matter of the run.
    let others = fields.keys().map(String::as_str);
    let others = others.filter(|name| !TALLY_FIRST.contains(name) && !name.ends_with("_ns"));
    let others = others.filter_map(|name| Some((name, count(name).filter(|&count| count > 0)?)));
    let parts: Vec<String> = first
        .chain(others)
        .map(|(name, count)| format!("{} {}", name.replace('_', " "), grouped(count)))
        .collect();
    parts.join(", ")
}
