//! Our engines beside what a user would take instead, in one run: each a process on one core, the load on another.
//!
//! ```text
//!   a row:  start everyone -> is every ending right? -> saturation -> rounds back to back, at one offered rate
//!   a set:  calibration, ours, calibration, theirs, calibration      (the next one the other way round)
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args as ClapArgs;

use self::findings::Findings;
use self::rows::Row;
use self::runner::Runner;
use crate::{Result, machine};

mod calibration;
mod entrant;
pub mod findings;
mod gate;
mod generator;
mod load;
mod memory;
mod rounds;
pub mod rows;
mod runner;
mod screen;
mod svg;

/// What the JSON's `schema` says.
const SCHEMA: &str = "finwait-bench/1";
/// Sets of rounds for each match: as many as a goal asks for, and for a first look.
const PAIRS: usize = 15;
const PAIRS_QUICK: usize = 3;
/// The measured part of a round.
const ROUND: Duration = Duration::from_millis(800);
const ROUND_QUICK: Duration = Duration::from_millis(400);

/// The comparison's command line.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A first look in under five minutes: fewer rows, fewer and shorter rounds, no goals counted.
    #[arg(long)]
    quick: bool,
    /// This row alone; may be given several times. `--only list` names them.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// This opponent alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    against: Vec<String>,
    /// Sets of rounds for each ratio [default: 15, with --quick 3].
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
    /// One more program in every row that has peers: its first line must be `listening on ADDR:PORT`. May be given
    /// several times, like --with.
    #[arg(long, value_name = "PATH")]
    external: Vec<PathBuf>,
    /// One more of this program's peers in every row that has peers: socat, haproxy, node, mio, tokio-uring ...
    #[arg(long, value_name = "PEER")]
    with: Vec<String>,
    /// Print JSON: all that the screen shows, and every round.
    #[arg(long)]
    json: bool,
    /// Draw the ratios into this file as SVG.
    #[arg(short, long, value_name = "FILE.svg")]
    output: Option<PathBuf>,
}

/// Compares, and prints. Whether every goal that was counted is met.
///
/// # Errors
/// When it cannot be measured, with the reason.
#[expect(clippy::disallowed_methods, reason = "how long it took is said at the end")]
pub fn run(args: &Args) -> Result<bool> {
    if args.only.iter().any(|name| name == "list") {
        rows::all().iter().for_each(|row| println!("{:12} {}", row.name, row.about));
        return Ok(true);
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing, add --release");
    }
    let rows = chosen(args)?;
    let pairs = args.pairs.unwrap_or(if args.quick { PAIRS_QUICK } else { PAIRS });
    if pairs == 0 {
        return Err("without a pair of rounds there is no ratio: --pairs takes 1 or more".into());
    }
    let round = if args.quick { ROUND_QUICK } else { ROUND };
    let began = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let generator = generator::measure(&std::env::current_exe()?)?;
    let mut runner = Runner::new(pairs, round, args.quick, &rows)?;
    let mut failed = Vec::new();
    let mut found = Vec::new();
    for row in &rows {
        match runner.row(row) {
            Ok(row) => found.push(row),
            // What the other rows showed in the better part of an hour is not thrown away for it.
            Err(error) => {
                eprintln!("{}: {error}", row.name);
                failed.push(format!("{}: {error}", row.name));
            }
        }
    }
    let [repeated, unsettled] = runner.spoilt();
    let mut findings = Findings {
        schema: SCHEMA,
        machine: machine::facts(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        started_unix_ns: u64::try_from(started.as_nanos())?,
        took_ns: u64::try_from(began.elapsed().as_nanos())?,
        calibration_ns: 0.0,
        repeated,
        unsettled,
        generator,
        failed,
        rows: found,
    };
    findings.normalise();
    if let Some(file) = &args.output {
        svg::draw(&findings, file)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        print!("{}", screen::render(&findings));
    }
    Ok(findings.failed.is_empty() && (args.quick || findings.all_met()))
}

/// The rows that were asked for, with those who were asked for besides.
fn chosen(args: &Args) -> Result<Vec<Row>> {
    let mut rows = rows::all();
    for name in &args.only {
        if !rows.iter().any(|row| row.name == name) {
            let names: Vec<_> = rows.iter().map(|row| row.name).collect();
            return Err(format!("there is no row {name}; there are {}", names.join(", ")).into());
        }
    }
    rows.retain(|row| match args.only.as_slice() {
        [] if args.quick => row.quick,
        [] => row.has_goals(),
        only => only.iter().any(|name| name == row.name),
    });
    // The whole is to be over within the hour: the others are there for who looks at one row.
    if args.only.is_empty() && !args.quick {
        rows.iter_mut().for_each(Row::keep_goals);
    }
    let external = args.external.iter().map(|path| entrant::Side::external(path));
    let with = args.with.iter().map(|peer| entrant::Side::peer(peer, 4 << 10));
    for side in with.chain(external) {
        rows.iter_mut().filter(|row| row.has_field()).for_each(|row| row.join(&side));
    }
    if !args.against.is_empty() {
        rows.iter_mut().for_each(|row| row.keep(&args.against));
        rows.retain(|row| !row.matches.is_empty());
    }
    if rows.is_empty() {
        return Err(
            "no row is left: --only list names them, and each names its opponents in its table".into()
        );
    }
    Ok(rows)
}
