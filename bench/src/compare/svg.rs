//! The findings as a picture: a bar for each ratio, with its quartiles, and what the same program shows against itself.

use std::path::Path;

use plotters::prelude::{
    BLACK, Color, DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend, Text,
    WHITE,
};

use super::findings::{Findings, Ratio};
use crate::Result;

const WIDTH: u32 = 1_000;
const LINE: i32 = 22;
const HEAD: i32 = 70;
/// Where bars begin, and how long one of ratio 1 is.
const LEFT: i32 = 420;
const ONE: f64 = 260.0;
/// A bar is cut off here.
const RATIO_MAX: f64 = 2.1;
const AHEAD: RGBColor = RGBColor(46, 125, 50);
const BEHIND: RGBColor = RGBColor(198, 40, 40);
const UNTOLD: RGBColor = RGBColor(158, 158, 158);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws into `file`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn draw(findings: &Findings, file: &Path) -> Result<()> {
    let lines: Vec<(&str, &Ratio)> =
        findings.rows.iter().flat_map(|row| row.ratios.iter().map(move |ratio| (row.name, ratio))).collect();
    let height = HEAD + LINE * i32::try_from(lines.len() + 1)?;
    let area = SVGBackend::new(file, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let wrong = |error| format!("{}: the picture cannot be drawn: {error}", file.display());
    paint(&area, findings, &lines, height).map_err(wrong)?;
    area.present().map_err(|error| format!("{}: {error}; choose another place with -o", file.display()))?;
    Ok(())
}

fn paint(
    area: &Area<'_>,
    findings: &Findings,
    lines: &[(&str, &Ratio)],
    height: i32,
) -> std::result::Result<(), String> {
    let say = |text: String, x: i32, y: i32, size: i32| {
        let font = ("sans-serif", size).into_font().color(&BLACK);
        area.draw(&Text::new(text, (x, y), font)).map_err(|error| error.to_string())
    };
    say("uring beside others, one core each: ratios of paired rounds, bar to the median, line over the quartiles".into(), 10, 10, 15)?;
    say(
        format!(
            "{}; green: ahead, red: behind, grey: within what the same program shows against itself",
            findings.machine
        ),
        10,
        34,
        11,
    )?;
    let one = at(1.0);
    area.draw(&PathElement::new([(one, HEAD - 8), (one, height - LINE)], BLACK))
        .map_err(|error| error.to_string())?;
    for (index, (row, ratio)) in lines.iter().enumerate() {
        let y = HEAD + LINE * index as i32;
        let less = if ratio.more_is_better { "" } else { ", less is better" };
        say(format!("{row}: {} ({}{less})", ratio.against, ratio.figure.name()), 10, y, 12)?;
        let is_ahead = (ratio.spread.median > 1.0) == ratio.more_is_better;
        let colour = match (ratio.outside_noise, is_ahead) {
            (true, true) => AHEAD,
            (true, false) => BEHIND,
            (false, _) => UNTOLD,
        };
        let bar = Rectangle::new(
            [(LEFT, y + 2), (at(ratio.spread.median), y + LINE - 8)],
            colour.mix(0.8).filled(),
        );
        area.draw(&bar).map_err(|error| error.to_string())?;
        let middle = y + LINE / 2 - 3;
        let quartiles = [(at(ratio.spread.lower), middle), (at(ratio.spread.upper), middle)];
        area.draw(&PathElement::new(quartiles, BLACK)).map_err(|error| error.to_string())?;
        say(format!("{:.2}", ratio.spread.median), at(RATIO_MAX) + 8, y, 12)?;
    }
    Ok(())
}

fn at(ratio: f64) -> i32 {
    LEFT + (ratio.clamp(0.0, RATIO_MAX) * ONE) as i32
}
