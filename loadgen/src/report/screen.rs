//! A report as a person reads it: the verdict, the headline, and below it everything that explains the two.
//!
//! A first-time reader has nothing else at hand, so that every figure has its unit and every row says from what to what
//! it is measured. Colours are codes in the text; who prints it strips them where they are not wanted.

use std::time::{Duration, UNIX_EPOCH};

use super::bars::{self, bar};
use super::exemplars;
pub use super::health::health_line;
use super::latency::{self, Row};
use super::layout::{BAD, BAR, BOLD, COLUMNS, DIM, GOOD, MIND, PLAIN, Page, style_of};
use super::ledger;
use super::machinery;
use super::rtt;
use super::summary::Summary;
use super::units::{Scale, bytes, counted, grouped, percent, rate, span};
use super::{Generator, Latency, Report, Target, Warning};
use crate::outcome::Outcome;

/// Columns of the longest bar.
const BAR_WIDTH: usize = 50;

/// The whole report for a terminal of 100 columns; for `health`, its one line.
#[must_use]
pub fn render(report: &Report) -> String {
    if report.scenario == "health" {
        return health_line(report) + "\n";
    }
    let mut page = Page::default();
    run(&mut page, report);
    verdict(&mut page, report);
    figures(&mut page, report);
    ledger::write(&mut page, report);
    let phases = phases(report);
    let scale = latency::scale(&phases);
    times(&mut page, latency_title(report), &phases, scale);
    histogram(&mut page, report, scale);
    outcomes(&mut page, report);
    exemplars::write(&mut page, report);
    machinery::generator(&mut page, report, scale);
    machinery::server(&mut page, report);
    warnings(&mut page, &report.warnings);
    page.finish()
}

/// A moment of the wall clock in UTC, to the microsecond.
pub(super) fn moment(unix_ns: u64) -> String {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(unix_ns)).to_string()
}

/// A sentence and what to do, as a list of them is shown.
pub(super) fn mind(page: &mut Page, warning: &Warning) {
    page.item(MIND, "!", 1, &warning.what);
    if let Some(remedy) = &warning.remedy {
        page.item(PLAIN, "", 1, &format!("-> {remedy}"));
    }
}

/// What was run, against what, from where, and what each connection did.
fn run(page: &mut Page, report: &Report) {
    let config = &report.config;
    let connections = counted(config.connections.into(), "connection", "connections");
    let count = config.count.map(|count| format!(" until {}", counted(count, "connection", "connections")));
    let duration = config.duration_ns.map(|duration| format!(" for {}", span(duration)));
    let limits = [duration, count].into_iter().flatten().collect::<Vec<_>>().join(" or");
    let what = match (report.scenario, config.rate) {
        ("storm", _) => format!("{connections}{}", held(report)),
        ("ledger", _) => sessions(report),
        ("rtt", planned) => {
            let planned = planned.map(|planned| format!(", {} messages planned", rate(planned)));
            format!("{connections}{}{limits}", planned.unwrap_or_default())
        }
        (_, Some(planned)) => format!("{} planned{limits}, at most {connections} at a time,", rate(planned)),
        (_, None) => format!("{connections} at a time{limits}, one after the other,"),
    };
    let line = format!("{}: {what} to {}", report.scenario, target(report));
    page.paragraph(BOLD, 0, &line);
    page.paragraph(PLAIN, 0, &script(report));
    page.paragraph(DIM, 0, &place(report));
}

fn held(report: &Report) -> String {
    report.config.hold_ns.map(|hold| format!(", held for {}", span(hold))).unwrap_or_default()
}

fn sessions(report: &Report) -> String {
    let claimed = report.ledger.as_ref().map(|ledger| ledger.transactions).unwrap_or_default();
    let sessions = counted(report.config.sessions.unwrap_or_default().into(), "session", "sessions");
    let connections = report.config.connections;
    let slots = match report.rate.achieved {
        Some(_) => format!(", {} at a time,", counted(connections.into(), "connection", "connections")),
        None => String::new(),
    };
    format!("{sessions} with {}{slots}", counted(claimed, "transaction each", "transactions each"))
}

fn target(report: &Report) -> String {
    let Target { name, addr, embedded } = &report.target;
    match &report.server {
        Some(server) => {
            let workers = counted(server.workers.into(), "worker", "workers");
            format!("the embedded finwait-server at {addr} ({}, {workers})", server.engine)
        }
        None if *embedded => format!("the embedded finwait-server at {addr}"),
        None if *name == addr.to_string() => name.clone(),
        None => format!("{name} ({addr})"),
    }
}

/// What every connection does, for whoever has not read the help.
fn script(report: &Report) -> String {
    if let Some(ledger) = &report.ledger {
        return ledger::script(ledger, report);
    }
    if report.rtt.is_some() {
        return rtt::script(report);
    }
    let config = &report.config;
    let tail = match config.tail_bytes {
        0 => "then half-closes (SHUT_WR)".to_owned(),
        tail => format!("then sends {} more and half-closes (SHUT_WR) right behind them", bytes(tail)),
    };
    let together = match (report.scenario, config.frozen) {
        ("storm", false) => ", all of them at once",
        ("storm", true) => ", all of them while the server is stopped (SIGSTOP)",
        _ => "",
    };
    format!(
        "Each sends {} and waits for their echo, {tail}{together}. It is clean when every byte came back and the \
         server's FIN behind them; without progress for {} it is given up.",
        bytes(config.size_bytes),
        span(config.timeout_ns)
    )
}

fn place(report: &Report) -> String {
    let (config, host) = (&report.config, &report.host);
    let sources = match config.sources.as_slice() {
        [] => String::new(),
        [one] => format!(", from {one}"),
        [first, .., last] => {
            format!(", from {} addresses {first} to {last}", grouped(config.sources.len() as u64))
        }
    };
    let kernel = host.kernel.as_deref().map(|kernel| format!(" {kernel}")).unwrap_or_default();
    let cpu = host.cpu.as_deref().map(|cpu| format!(" ({cpu})")).unwrap_or_default();
    format!(
        "finwait-loadgen {} with {} at {}, on {}{kernel} with {}{cpu}{sources}",
        host.version,
        counted(config.threads.into(), "thread", "threads"),
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(host.started_unix_ns)),
        host.os,
        counted(host.cpus.into(), "processor", "processors"),
    )
}

fn verdict(page: &mut Page, report: &Report) {
    let verdict = &report.verdict;
    let style = match verdict.exit_code {
        0 => GOOD,
        4 | 130 => MIND,
        _ => BAD,
    };
    page.blank();
    page.paragraph(style, 0, &verdict.sentence);
    if let Some(remedy) = &verdict.remedy {
        page.paragraph(PLAIN, 0, &format!("-> {remedy}"));
    }
}

/// The few figures of the run as a whole.
fn figures(page: &mut Page, report: &Report) {
    const WIDTH: usize = 16;
    let generator = &report.generator;
    let ended = report.outcomes.total();
    page.blank();
    ledger::figure(page, report, WIDTH);
    rtt::figures(page, report, WIDTH);
    if let Some(thaw) = generator.thaw_to_last_eof_ns {
        let each = if ended > 1 { format!(", or {} an ending", span(thaw / ended)) } else { String::new() };
        let text = format!("{}{each}: the server's own time from the moment it went on", span(thaw));
        page.item(BOLD, "thaw to last EOF", WIDTH, &text);
    }
    if let (Some(completion), Some(spread)) = (generator.completion_ns, generator.issue_spread_ns) {
        let text = format!(
            "{} from the first SHUT_WR to the last EOF; all were issued within {}",
            span(completion),
            span(spread)
        );
        page.item(BOLD, "all endings", WIDTH, &text);
    } else if let Some(spread) = generator.issue_spread_ns {
        page.item(BOLD, "all SHUT_WR", WIDTH, &format!("were issued within {}", span(spread)));
    }
    if let Some(achieved) = report.rate.achieved {
        page.item(BOLD, "connections", WIDTH, &format!("{} {}", rate(achieved), offered(report)));
    }
    let setup = generator.setup_ns.map(|setup| format!(", {} of it to get all ready", span(setup)));
    let text = format!("{}{}; {}", span(generator.elapsed_ns), setup.unwrap_or_default(), traffic(generator));
    page.item(BOLD, "the run", WIDTH, &text);
}

fn traffic(generator: &Generator) -> String {
    let Generator { bytes_sent, bytes_received, .. } = *generator;
    if bytes_sent == bytes_received {
        return format!("{} bytes sent, as many received", grouped(bytes_sent));
    }
    format!("{} bytes sent, {} received", grouped(bytes_sent), grouped(bytes_received))
}

fn offered(report: &Report) -> String {
    match (report.rate.offered, report.rate.missed) {
        (None, _) => "achieved, in a closed loop: as fast as they ended".to_owned(),
        (Some(offered), 0) => format!("achieved of {} offered; no planned start was missed", rate(offered)),
        (Some(offered), missed) => format!(
            "achieved of {} offered; {} missed, for want of a free slot or of time",
            rate(offered),
            counted(missed, "planned start", "planned starts"),
        ),
    }
}

/// The rows of the main table. What has no sample is left out, but never the headline.
fn phases(report: &Report) -> Vec<Row<'_>> {
    if let Some(rtt) = &report.rtt {
        return rtt::rows(report, rtt);
    }
    let latency = &report.latency;
    let row = |name, summary, meaning: &str| Row { name, summary, meaning: meaning.to_owned() };
    let mut rows = vec![
        row("shutdown", &latency.shutdown, &headline(report)),
        row(
            "  drain",
            &latency.drain,
            "its part until the last byte was back, where any was missing at SHUT_WR",
        ),
        row("  EOF tail", &latency.eof_tail, "its part from the last byte (or SHUT_WR, if later) to the EOF"),
        row("from schedule", &latency.scheduled_shutdown, schedule(report)),
    ];
    let late = timed_out(latency);
    if late > 0 {
        let late = match late {
            1 => "the same with the 1 connection that timed out after SHUT_WR, at its deadline".to_owned(),
            _ => format!(
                "the same with the {} connections that timed out after SHUT_WR, at their deadline",
                grouped(late)
            ),
        };
        rows.push(row("with timeouts", &latency.shutdown_or_deadline, &late));
    }
    rows.extend([
        row("connect", &latency.connect, "from the start of connect() until it was seen to be connected"),
        row("echo", &latency.echo, "from there until the first bytes were back"),
        row("close", &latency.close, "how long our close() took, behind the EOF"),
    ]);
    rows.retain(|row| row.name == "shutdown" || row.summary.count() > 0);
    rows
}

/// Connections that are in the one histogram and not in the other.
fn timed_out(latency: &Latency) -> u64 {
    latency.shutdown_or_deadline.count().saturating_sub(latency.shutdown.count())
}

fn latency_title(report: &Report) -> &'static str {
    if report.ledger.is_some() {
        return "Shutdown latency, the reply of the ledger included, and its phases";
    }
    if report.rtt.is_some() {
        return "Round trips, and how their connections began and ended";
    }
    "Shutdown latency and its phases"
}

fn headline(report: &Report) -> String {
    let frozen =
        if report.config.frozen { "; the time for which the server was stopped is in it" } else { "" };
    let reply = if report.ledger.is_some() { ", behind its reply" } else { "" };
    format!("from just before SHUT_WR to the server's EOF (its FIN){reply}; clean connections only{frozen}")
}

fn schedule(report: &Report) -> &'static str {
    if report.scenario != "churn" {
        "from the moment when all are told to half-close; the wait for their turn is in it"
    } else {
        "from the planned start of a connection to the EOF; connect, echo, delays are in it"
    }
}

fn times(page: &mut Page, title: &str, rows: &[Row<'_>], scale: Scale) {
    page.heading(title);
    latency::write(page, rows, scale, true);
    let spare = rows.iter().any(|row| row.summary.quantile_ns(0.9999).is_none());
    if spare {
        page.paragraph(
            DIM,
            2,
            "- stands where fewer than ten samples lie beyond a percentile: too few for a number.",
        );
    }
}

fn histogram(page: &mut Page, report: &Report, scale: Scale) {
    let (spreads, shown): (&str, &Summary) = match &report.rtt {
        Some(rtt) => ("round trips spread: messages", &rtt.latency),
        None => ("shutdown latency spreads: connections", &report.latency.shutdown),
    };
    let rows = bars::rows(shown);
    let Some(largest) = rows.iter().map(|row| row.count).max() else { return };
    page.heading(&format!("How {spreads} by time, in {}", scale.unit.name()));
    let labels: Vec<[String; 2]> =
        rows.iter().map(|row| [scale.edge(row.from_ns), scale.edge(row.to_ns)]).collect();
    let width = |index: usize| labels.iter().map(|label| label[index].len()).max().unwrap_or_default();
    let (from, to) = (width(0), width(1));
    let count = rows.iter().map(|row| grouped(row.count).len()).max().unwrap_or_default();
    // What the labels and figures leave, for the range of an hour in nanoseconds is wide.
    let length = BAR_WIDTH.min(COLUMNS.saturating_sub(2 + from + 4 + to + 2 + 1 + count + 2 + 8));
    for (row, [low, high]) in rows.iter().zip(&labels) {
        let label = format!("  {low:>from$} to {high:>to$}  ");
        let bar = format!("{:length$}", bar(row.count, largest, length));
        let figures = format!("  {:>count$}  {:>8}", grouped(row.count), percent(row.count, shown.count()));
        page.spans(&[(PLAIN, &label), (BAR, &bar), (PLAIN, &figures)]);
    }
    if shown.saturated() > 0 {
        let text = format!(
            "{} longer than {} and counted there; max above is exact.",
            counted(shown.saturated(), "was", "were"),
            span(shown.histogram().high())
        );
        page.paragraph(DIM, 2, &text);
    }
}

/// Every outcome that occurred, and the one that was hoped for in any case.
fn outcomes(page: &mut Page, report: &Report) {
    let total = report.outcomes.total();
    page.heading(&format!("How {} ended", counted(total, "connection", "connections")));
    let shown = report.outcomes.iter().filter(|&(outcome, count)| count > 0 || outcome == Outcome::Clean);
    let shown: Vec<(Outcome, u64)> = shown.collect();
    let name = shown.iter().map(|(outcome, _)| outcome.name().len()).max().unwrap_or_default();
    let digits = shown.iter().map(|&(_, count)| grouped(count).len()).max().unwrap_or_default();
    for (outcome, count) in shown {
        let style = if count > 0 { style_of(outcome) } else { PLAIN };
        let term = format!("  {:name$}  ", outcome.name());
        let text =
            format!("{:>digits$}  {:>8}  {}", grouped(count), percent(count, total), outcome.meaning());
        page.spans(&[(style, &term), (PLAIN, &text)]);
    }
}

fn warnings(page: &mut Page, warnings: &[Warning]) {
    if warnings.is_empty() {
        return;
    }
    page.heading("To be minded");
    for warning in warnings {
        mind(page, warning);
    }
}
