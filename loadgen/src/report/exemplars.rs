//! Connections to look up in a capture or in a server's log: addresses, wall clock, bytes, and the steps of each.

use super::health::error;
use super::layout::{BOLD, DIM, PLAIN, Page, style_of};
use super::screen::moment;
use super::units::{grouped, span};
use super::{Exemplar, Report};
use crate::outcome::Outcome;

/// Writes those that were not clean, then the slowest of the clean ones.
pub(super) fn write(page: &mut Page, report: &Report) {
    let (slow, odd): (Vec<_>, Vec<_>) =
        report.exemplars.iter().partition(|exemplar| exemplar.outcome == Outcome::Clean);
    if !odd.is_empty() {
        page.heading("Connections that were not clean, to look up in a capture or in the server's log");
        odd.into_iter().for_each(|exemplar| one(page, exemplar));
    }
    if !slow.is_empty() {
        page.heading("The slowest clean connections, to look up likewise");
        slow.into_iter().for_each(|exemplar| one(page, exemplar));
    }
    if !report.exemplars.is_empty() {
        page.paragraph(
            DIM,
            2,
            "# is a connection's number, the wall clock its start; each + counts from the step before.",
        );
    }
}

fn one(page: &mut Page, exemplar: &Exemplar) {
    const INDENT: usize = 6;
    let local = exemplar.local.map_or_else(|| "(no address)".to_owned(), |local| local.to_string());
    let text = format!(
        "#{} {local} -> {} at {}, {}",
        grouped(exemplar.connection),
        exemplar.remote,
        moment(exemplar.started_unix_ns),
        bytes(exemplar)
    );
    match (exemplar.outcome, exemplar.shutdown_ns) {
        (Outcome::Clean, Some(shutdown)) => page.item(BOLD, &span(shutdown), 7, &text),
        (outcome, _) => page.item(style_of(outcome), outcome.name(), outcome.name().len(), &text),
    }
    page.paragraph(PLAIN, INDENT, &course(exemplar));
    if let Some(error) = error(exemplar) {
        page.paragraph(PLAIN, INDENT, &format!("error: {error}"));
    }
}

/// The steps in the order in which they came, which is another one where the server's FIN was early.
fn course(exemplar: &Exemplar) -> String {
    let Exemplar { start_ns, connected_ns, echoed_ns, t0_ns, t2_ns, t3_ns, t4_ns, .. } = *exemplar;
    let steps = [
        ("connect", connected_ns),
        ("echo", echoed_ns),
        ("SHUT_WR", t0_ns),
        ("all bytes", t2_ns),
        ("EOF", t3_ns),
        ("close", t4_ns),
    ];
    let mut steps: Vec<_> = steps.into_iter().filter_map(|(name, at)| Some((name, at?))).collect();
    steps.sort_by_key(|&(_, at)| at);
    let mut before = start_ns;
    let mut texts = Vec::new();
    for (name, at) in steps {
        texts.push(format!("{name} +{}", span(at.saturating_sub(before))));
        before = at;
    }
    if connected_ns.is_none() {
        texts.insert(0, "no connection".to_owned());
    }
    texts.join(", ")
}

fn bytes(exemplar: &Exemplar) -> String {
    let Exemplar { sent, received, expected, .. } = *exemplar;
    if sent == expected && received == expected {
        return format!("all {} bytes", grouped(expected));
    }
    if sent == 0 && received == 0 {
        return "no byte was sent".to_owned();
    }
    if sent == expected {
        return format!("got {} of {} bytes", grouped(received), grouped(expected));
    }
    format!("sent {} and got {} of {} bytes", grouped(sent), grouped(received), grouped(expected))
}
