//! The tables of times: one row for each histogram, one unit for each table, a plain word below on every row.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::layout::{BOLD, COLUMNS, DIM, PLAIN, Page};
use super::summary::{QUANTILES, Summary};
use super::units::{Scale, grouped};

/// The heads of the columns behind the name; percentiles as in [`QUANTILES`].
const HEADS: [&str; QUANTILES.len() + 3] = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean", "count"];

/// What stands for a number that there is none of.
const NONE: &str = "-";

/// One row of a table of times.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// Its name.
    pub(super) name: &'static str,
    /// Its histogram.
    pub(super) summary: &'a Summary,
    /// From what to what it is measured.
    pub(super) meaning: String,
}

/// The scale that suits the first row, and in which the table is not too wide.
pub(super) fn scale(rows: &[Row<'_>]) -> Scale {
    let headline = rows.first().map(|row| row.summary);
    let typical = headline.and_then(|summary| summary.quantile_ns(0.5).or_else(|| summary.mean_ns()));
    // Without a headline, as where nothing was clean, any other row will do.
    let typical = typical.or_else(|| rows.iter().filter_map(|row| row.summary.mean_ns()).max());
    Scale::choose(typical.unwrap_or_default(), |scale| {
        lines(rows, scale).iter().all(|line| line.chars().count() <= COLUMNS)
    })
}

/// Writes the table, its first row in bold where `headline` is set, and below it what each row means.
pub(super) fn write(page: &mut Page, rows: &[Row<'_>], scale: Scale, headline: bool) {
    for (index, line) in lines(rows, scale).iter().enumerate() {
        let style = match index {
            0 => DIM,
            1 if headline => BOLD,
            _ => PLAIN,
        };
        page.line(style, line);
    }
    page.blank();
    let width = rows.iter().map(|row| row.name.trim_start().len()).max().unwrap_or_default();
    for row in rows {
        page.item(PLAIN, row.name.trim_start(), width, &row.meaning);
    }
}

fn lines(rows: &[Row<'_>], scale: Scale) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let corner = format!("in {}", scale.unit.name());
    table.add_row(std::iter::once(corner.as_str()).chain(HEADS));
    for row in rows {
        table.add_row(cells(row, scale));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index == 0 {
            column.set_padding((2, 0)).set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(16)));
        } else {
            column.set_padding((2, 0)).set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn cells(row: &Row<'_>, scale: Scale) -> Vec<String> {
    let summary = row.summary;
    let cell = |ns: Option<u64>| ns.map_or_else(|| NONE.to_owned(), |ns| scale.cell(ns));
    let mut cells = vec![row.name.to_owned()];
    cells.extend(QUANTILES.iter().map(|&(_, quantile)| cell(summary.quantile_ns(quantile))));
    cells.extend([cell(summary.max_ns()), cell(summary.mean_ns()), grouped(summary.count())]);
    cells
}
