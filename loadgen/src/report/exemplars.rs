//! Connections to look up in a capture or in a server's log: addresses, wall clock, bytes, and the steps of each.

use super::health::{error, steps};
use super::layout::{BAD, BOLD, MIND, PLAIN, Page};
use super::screen::moment;
use super::units::{grouped, span};
use super::{Exemplar, Report};
use crate::outcome::Outcome;

/// Writes those that were not clean, then the slowest of the clean ones.
pub(super) fn write(page: &mut Page, report: &Report) {
    let (slow, odd): (Vec<_>, Vec<_>) =
        report.exemplars.iter().partition(|exemplar| exemplar.outcome == Outcome::Clean);
    if !odd.is_empty() {
        page.heading("Not clean: connections to look up in a capture or in the server's log");
        odd.into_iter().for_each(|exemplar| one(page, exemplar));
    }
    if !slow.is_empty() {
        page.heading("The slowest clean connections, to look up likewise");
        slow.into_iter().for_each(|exemplar| one(page, exemplar));
    }
}

fn one(page: &mut Page, exemplar: &Exemplar) {
    const INDENT: usize = 6;
    let style = match exemplar.outcome {
        Outcome::Clean => BOLD,
        outcome if outcome.is_local() => MIND,
        Outcome::Censored => PLAIN,
        _ => BAD,
    };
    let local = exemplar.local.map_or_else(|| "(no port)".to_owned(), |local| local.to_string());
    let name = exemplar.outcome.name();
    let text = format!(
        "{local} -> {}  {}  #{}",
        exemplar.remote,
        moment(exemplar.started_unix_ns),
        grouped(exemplar.connection)
    );
    page.item(style, name, name.len(), &text);
    page.paragraph(PLAIN, INDENT, &format!("{}; {}.", course(exemplar), bytes(exemplar)));
    if let Some(error) = error(exemplar) {
        page.paragraph(PLAIN, INDENT, &format!("error: {error}"));
    }
}

/// The steps in words. Where SHUT_WR was is said from the start of the connection, the rest from one step to the next.
fn course(exemplar: &Exemplar) -> String {
    let steps = steps(exemplar).join(", ");
    match exemplar.t0_ns {
        Some(t0) => {
            format!("SHUT_WR {} after its start: {steps}", span(t0.saturating_sub(exemplar.start_ns)))
        }
        None => format!("no SHUT_WR: {steps}"),
    }
}

fn bytes(exemplar: &Exemplar) -> String {
    let Exemplar { sent, received, expected, .. } = *exemplar;
    format!("sent {}, received {} of {} bytes", grouped(sent), grouped(received), grouped(expected))
}
