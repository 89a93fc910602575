//! The screen: for now the verdict alone.

use super::Report;

/// The verdict.
#[must_use]
pub fn render(report: &Report) -> String {
    format!("{}\n", report.verdict.sentence)
}

/// The same in one line.
#[must_use]
pub fn health_line(report: &Report) -> String {
    report.verdict.sentence.clone()
}
