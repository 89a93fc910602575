//! What an idle connection holds: resident memory and the kernel's own, as the slope between few and many of them.

use std::path::Path;

use super::entrant::{Entrant, Side};
use super::findings::{Memory, Ratio, RowFindings, SideFindings};
use super::load::{self, Load};
use super::rows::{Bound, Figure, Row};
use crate::Result;
use crate::spread::Spread;

/// The lower end of the slope.
const FEW: u32 = 1_000;
/// What a connection may hold, and what would be good.
const MUST: f64 = 700.0;
const REACH: f64 = 300.0;
/// The peer that is to be undercut.
const LEAN: &str = "tokio-lean";

/// Measures everyone `times` times, and the bare sockets beside.
pub(super) fn measure(program: &Path, row: &Row, connections: u32, times: usize) -> Result<RowFindings> {
    let load = Load::Idle { connections };
    let mut sides: Vec<Side> = row.entrants.iter().map(|(side, _)| side.clone()).collect();
    sides.extend(Side::floor(&load));
    let mut found: Vec<SideFindings> =
        sides.iter().map(|side| SideFindings::new(&side.name, &load)).collect();
    let mut slopes = vec![Vec::new(); sides.len()];
    for time in 0..times {
        for turn in 0..sides.len() {
            let index = (turn + time) % sides.len();
            match slope(program, &sides[index], connections) {
                Ok(slope) => slopes[index].push(slope),
                Err(error) if index == 0 => return Err(error),
                Err(error) => found[index].wrong = Some(error.to_string()),
            }
        }
    }
    let bare = slopes
        .last()
        .and_then(|slopes| median(slopes, [0.0; 2]))
        .ok_or("the bare sockets were not measured")?;
    for (slopes, found) in slopes.iter().zip(&mut found) {
        found.memory =
            median(slopes, bare).map(|[resident, slab]| Memory { resident, slab, bytes: resident + slab });
    }
    let beyond = |slopes: &[[f64; 2]]| -> Vec<f64> {
        slopes.iter().map(|slope| slope[0] + slope[1] - bare[0] - bare[1]).collect()
    };
    let ours = beyond(&slopes[0]);
    let mut ratios = Vec::new();
    let bound = Bound::AtMost { must: 1.0, reach: REACH / MUST };
    let absolute: Vec<f64> = ours.iter().map(|bytes| bytes / MUST).collect();
    ratios.push(Ratio::new("700 B", (Figure::Memory, Some(bound)), &absolute, None));
    for (side, slopes) in
        sides.iter().zip(&slopes).skip(1).filter(|(side, slopes)| side.name != "floor" && !slopes.is_empty())
    {
        let theirs = beyond(slopes);
        let values: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let bound = (side.name == LEAN).then_some(Bound::AtMost { must: 1.0, reach: 1.0 });
        ratios.push(Ratio::new(&side.name, (Figure::Memory, bound), &values, None));
    }
    Ok(RowFindings {
        name: row.name,
        about: row.about,
        unit: load.unit(),
        offered: None,
        sides: found,
        noise: Vec::new(),
        ratios,
        rounds: Vec::new(),
    })
}

/// Bytes for each connection between few and many: resident, and the kernel's. Few come first: what they leave behind is
/// used again by the many, whereas what many leave would be missing from the slope.
fn slope(program: &Path, side: &Side, connections: u32) -> Result<[f64; 2]> {
    let entrant = Entrant::start(program, side, &Load::Idle { connections })?;
    let [few, many] = [FEW, connections].map(|connections| load::idle(&entrant, connections));
    let (few, many) = (few?, many?);
    let each = f64::from(connections - FEW);
    Ok([(many.resident - few.resident) / each, (many.slab - few.slab) / each])
}

fn median(slopes: &[[f64; 2]], less: [f64; 2]) -> Option<[f64; 2]> {
    if slopes.is_empty() {
        return None;
    }
    Some(
        [0, 1].map(|of| {
            Spread::of(&slopes.iter().map(|slope| slope[of]).collect::<Vec<_>>()).median - less[of]
        }),
    )
}
