//! The findings as tables.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::findings::{Findings, Ratio, RowFindings, SideFindings};
use super::rows::{Bound, Figure};

/// What stands where there is no figure.
const NONE: &str = "-";

/// All of it.
pub(super) fn render(findings: &Findings) -> String {
    let mut page = String::new();
    let secs = findings.took_ns as f64 / 1e9;
    line(&mut page, &format!("finwait-bench compare, {secs:.0} s on {}", findings.machine));
    line(
        &mut page,
        "Each server on one core and the load on the other. \"CPU each\" is the server's CPU-nanoseconds for a message or \
         connection,\nall of its threads counted, at the same offered rate for everyone; \"x floor\" is that in units of \
         what the kernel alone\ntakes; \"at one pace\" corrects for a machine that changes its speed. Ratios are taken \
         within pairs of rounds back to back.",
    );
    for row in &findings.rows {
        write_row(&mut page, row);
    }
    line(&mut page, "");
    findings.failed.iter().for_each(|failed| line(&mut page, &format!("not measured: {failed}")));
    line(&mut page, &summary(findings));
    let generator = findings.generator;
    let [rtt, rtt_tail, fin, fin_tail] =
        [generator.rtt_p50_ns, generator.rtt_p99_ns, generator.fin_p50_ns, generator.fin_p99_ns]
            .map(|ns| micros(ns as f64));
    line(
        &mut page,
        &format!(
            "The load's own floor, at a thread of its process that blocks: round trip p50 {rtt}, p99 {rtt_tail}; FIN to EOF \
             p50 {fin}, p99 {fin_tail}."
        ),
    );
    page
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

fn summary(findings: &Findings) -> String {
    let goals: Vec<&Ratio> =
        findings.rows.iter().flat_map(|row| &row.ratios).filter(|ratio| ratio.must.is_some()).collect();
    let count =
        |met: fn(&Ratio) -> Option<bool>| goals.iter().filter(|ratio| met(ratio) == Some(true)).count();
    let (must, reach) = (count(|ratio| ratio.must), count(|ratio| ratio.reach));
    format!(
        "{must} of {all} goals met, {reach} with the margin that was hoped for. {} sets of rounds were taken again, because \
         the machine\nchanged its pace or others worked on it{}. A calibration's round trip took {:.0} ns of CPU at the \
         median.",
        findings.repeated,
        if findings.unsettled > 0 {
            format!("; {} count although it never settled", findings.unsettled)
        } else {
            String::new()
        },
        findings.calibration_ns,
        all = goals.len()
    )
}

fn write_row(page: &mut String, row: &RowFindings) {
    line(page, "");
    let offered = row
        .offered
        .map_or(String::new(), |rate| format!("; {} {}s a second offered", grouped(rate), row.unit));
    line(page, &format!("{}: {}{offered}", row.name, row.about));
    line(page, &if row.name == "idle" { memories(&row.sides) } else { sides(&row.sides) });
    for side in &row.sides {
        if let Some(wrong) = &side.wrong {
            line(page, &format!("  {}: no figures: {wrong}", side.name));
        }
    }
    line(page, &ratios(row));
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_row(heads);
    table
}

fn rendered(mut table: Table) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((2, 0));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn sides(sides: &[SideFindings]) -> String {
    let mut table = table(&[
        "",
        "CPU each",
        "quartiles",
        "at one pace",
        "x floor",
        "p50",
        "p99",
        "p99.9",
        "at most",
        "server",
        "load",
    ]);
    for side in sides.iter().filter(|side| side.wrong.is_none()) {
        let spread = side.cpu_ns;
        let most = side.saturation;
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        table.add_row([
            side.name.clone(),
            cell(spread, |spread| format!("{} ns", grouped(spread.median))),
            cell(spread, |spread| format!("{} to {}", grouped(spread.lower), grouped(spread.upper))),
            cell(side.normalised_cpu_ns, |ns| format!("{} ns", grouped(ns))),
            cell(side.floors, |floors| format!("{floors:.2}")),
            cell(side.p50_ns, micros),
            cell(side.p99_ns, micros),
            cell(side.p99_9_ns, micros),
            cell(most, |most| format!("{}/s", grouped(most.per_second))),
            cell(most, |most| percent(most.server)),
            cell(most, |most| percent(most.load) + if most.client_bound { " client-bound" } else { "" }),
        ]);
    }
    rendered(table)
}

fn memories(sides: &[SideFindings]) -> String {
    let mut table = table(&["", "resident", "kernel slab", "together"]);
    for side in sides {
        let bytes = |of: f64| format!("{of:.0} B");
        table.add_row([
            side.name.clone(),
            cell(side.memory, |memory| bytes(memory.resident)),
            cell(side.memory, |memory| bytes(memory.slab)),
            cell(side.memory, |memory| bytes(memory.bytes)),
        ]);
    }
    rendered(table)
}

fn ratios(row: &RowFindings) -> String {
    let mut table = table(&["uring against", "", "median", "quartiles", "itself", "says", "must", "reach"]);
    for ratio in &row.ratios {
        let noise = row.noise.iter().find(|noise| noise.figure == ratio.figure);
        let spread = ratio.spread;
        let wanted = |wanted: Option<String>, met: Option<bool>| match (wanted, met) {
            (Some(wanted), Some(met)) => format!("{wanted} {}", if met { "met" } else { "MISSED" }),
            (Some(_) | None, Some(_) | None) => NONE.to_owned(),
        };
        let [must, reach] = bounds(ratio);
        table.add_row([
            ratio.against.clone(),
            format!("{}{}", ratio.figure.name(), if ratio.more_is_better { "" } else { " (less is better)" }),
            format!("{:.3}", spread.median),
            format!("{:.3} to {:.3}", spread.lower, spread.upper),
            cell(noise, |noise| format!("{:.3} to {:.3}", noise.spread.lower, noise.spread.upper)),
            said(ratio).to_owned(),
            wanted(must, ratio.must),
            wanted(reach, ratio.reach),
        ]);
    }
    rendered(table)
}

fn bounds(ratio: &Ratio) -> [Option<String>; 2] {
    match ratio.goal.map(|goal| goal.bound) {
        None => [None, None],
        Some(Bound::AtLeast { must, reach }) => [Some(format!(">= {must}")), Some(format!(">= {reach}"))],
        Some(Bound::AtMost { must, reach }) => {
            [Some(format!("<= {must:.2}")), Some(format!("<= {reach:.2}"))]
        }
        Some(Bound::NotWorse) => [Some("not worse".to_owned()), Some("better".to_owned())],
    }
}

/// Who is ahead, where that can be told.
fn said(ratio: &Ratio) -> &'static str {
    let is_ahead = (ratio.spread.median > 1.0) == ratio.more_is_better;
    match (ratio.outside_noise, is_ahead) {
        (true, true) => "ahead",
        (true, false) => "behind",
        (false, _) if ratio.figure == Figure::Memory => "",
        (false, _) => "cannot be told",
    }
}

fn cell<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

fn micros(ns: f64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = if ns < 1e6 { write!(text, "{:.1} us", ns / 1e3) } else { write!(text, "{:.1} ms", ns / 1e6) };
    text
}

/// `12,345`
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
