//! Round trips in a report: what was counted, what it comes to, and how it is shown.

use serde::Serialize;

use super::Report;
use super::latency::Row;
use super::layout::{BOLD, Page};
use super::summary::Summary;
use super::units::{bytes, counted, grouped, rate, span};

/// Messages on connections that stayed open, those of the measured window.
#[derive(Clone, Debug, Serialize)]
pub struct Rtt {
    /// Connections that stood when messages began to flow.
    pub connections: u64,
    /// The window's length.
    pub window_ns: u64,
    /// Messages that came back in it.
    pub messages: u64,
    /// Bytes that came back in it.
    pub bytes: u64,
    /// Messages per second, as planned; `null` in a closed loop.
    pub offered: Option<f64>,
    /// Messages per second that came back.
    pub achieved: Option<f64>,
    /// Messages that were due before its end and not back by then.
    pub unfinished: u64,
    /// Those of them that came back afterwards.
    pub late: u64,
    /// Those of them that had not got a place by then, and were never sent.
    pub unsent: u64,
    /// Processor time of the generator's process in it.
    pub cpu_ns: Option<u64>,
    /// The share of it in which the generator's thread had something to do, 0 to 1.
    pub busy: f64,
    /// From when a message was due to when it was back, of those that came back in it.
    pub latency: Summary,
}

/// What each connection does, for whoever has not read the help.
pub(super) fn script(report: &Report) -> String {
    let config = &report.config;
    let each = match config.burst.unwrap_or(1) {
        1 => "has its turn".to_owned(),
        burst => format!("has {burst} messages due at once"),
    };
    let pace = match (config.rate, config.depth.unwrap_or(1)) {
        (Some(_), 1) => {
            "one after the other has its turn on a schedule, with one message under way".to_owned()
        }
        (Some(_), depth) => {
            format!("one after the other {each} on a schedule, with up to {depth} messages under way")
        }
        (None, 1) => "each sends a message as soon as the one before is back".to_owned(),
        (None, depth) => format!("each keeps {depth} messages under way"),
    };
    format!(
        "Each connection has one message of {} echoed; when all have, {pace}, and after {} of that they count. At the end \
         each half-closes (SHUT_WR). It is clean when every byte came back and the server's FIN behind them; without \
         progress for {} it is given up.",
        bytes(config.size_bytes),
        span(config.warm_up_ns.unwrap_or_default()),
        span(config.timeout_ns)
    )
}

/// The figures of the run as a whole.
pub(super) fn figures(page: &mut Page, report: &Report, width: usize) {
    let Some(rtt) = &report.rtt else { return };
    let offered = match rtt.offered {
        Some(offered) => format!(" of {} offered", rate(offered)),
        None => ", in a closed loop".to_owned(),
    };
    let achieved = rtt.achieved.map_or_else(|| "none".to_owned(), rate);
    let text = format!(
        "{achieved}{offered}: {} of {} in {}",
        grouped(rtt.messages),
        bytes(report.config.size_bytes),
        span(rtt.window_ns)
    );
    page.item(BOLD, "messages", width, &text);
    let seconds = rtt.window_ns as f64 / 1e9;
    if seconds > 0.0 {
        let text =
            format!("{} each way, {} in all", throughput(rtt.bytes as f64 / seconds), grouped(rtt.bytes));
        page.item(BOLD, "bytes", width, &text);
    }
    page.item(BOLD, "unfinished", width, &unfinished(rtt));
    if let Some(cpu_ns) = rtt.cpu_ns.filter(|_| rtt.messages > 0) {
        let text = format!("{} of the generator's processor time for each", span(cpu_ns / rtt.messages));
        page.item(BOLD, "a message took", width, &text);
    }
}

/// What was due and not back when the window ended.
fn unfinished(rtt: &Rtt) -> String {
    let lost = rtt.unfinished.saturating_sub(rtt.late + rtt.unsent);
    let parts = [
        (rtt.late, "came back behind it"),
        (rtt.unsent, "waited for a place and were not sent any more"),
        (lost, "never came back"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    if parts.is_empty() {
        return "none: all that was due in the window came back in it".to_owned();
    }
    format!("{} at the end of the window: {}", grouped(rtt.unfinished), parts.join(", "))
}

/// Bytes per second.
fn throughput(per_second: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|&(unit, _)| per_second >= unit) {
        Some((unit, name)) => format!("{:.2} {name}/s", per_second / unit),
        None => format!("{per_second:.0} B/s"),
    }
}

/// The rows of the main table.
pub(super) fn rows<'a>(report: &'a Report, rtt: &'a Rtt) -> Vec<Row<'a>> {
    let latency = &report.latency;
    let row = |name, summary, meaning: &str| Row { name, summary, meaning: meaning.to_owned() };
    let due = match rtt.offered {
        Some(_) => "from the planned moment of a message to its last byte; every wait is in it",
        None => "from when the one before it was back to a message's last byte",
    };
    let mut rows = vec![row("round trip", &rtt.latency, due)];
    let others = [
        row("connect", &latency.connect, "from the start of connect() until it was seen to be connected"),
        row("first echo", &latency.echo, "from there until the first message was back"),
        row("shutdown", &latency.shutdown, "at the end, from just before SHUT_WR to the server's EOF"),
    ];
    rows.extend(others.into_iter().filter(|row| row.summary.count() > 0));
    rows
}

/// What came of the messages, to go before what came of their connections.
pub(super) fn sentence(rtt: &Rtt) -> String {
    match rtt.messages {
        0 => "No message came back while they counted".to_owned(),
        messages => format!("{} came back as they were sent", counted(messages, "message", "messages")),
    }
}
