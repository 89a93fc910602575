//! How far a run has come: a bar on a terminal, a line per second anywhere else, always on stderr.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::units::{grouped, rate};

/// How often there is a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Neither colours nor anything else that NO_COLOR would have to switch off.
const TEMPLATE: &str = "{prefix} [{bar:16}] {wide_msg}";

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What is being done: `connecting`, `half-closing`, `churning`, ...
    pub phase: &'static str,
    /// Connections that are through with the phase.
    pub done: u64,
    /// How many there will be, where that is known.
    pub total: Option<u64>,
    /// Connections that are in the phase.
    pub in_flight: u64,
    /// Those of `done` that were not clean.
    pub failed: u64,
    /// How long the phase has lasted, in a run that is limited by time.
    pub elapsed: Duration,
    /// How long it will last at most, in a run that is limited by time.
    pub limit: Option<Duration>,
}

/// Shows it to whoever waits.
#[derive(Debug)]
pub struct Progress(Shown);

#[derive(Debug)]
enum Shown {
    Bar { bar: ProgressBar, pace: Pace },
    Lines(Lines),
}

impl Progress {
    /// Begins to show `what`. Nothing is written before the first [`show`](Self::show).
    #[must_use]
    pub fn start(what: &str) -> Self {
        // A terminal that cannot move its cursor is no better than a file.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if dumb || !stderr().is_terminal() {
            return Self(Shown::Lines(Lines::default()));
        }
        // It ticks only when it is told something: no thread of its own, which would take its share of a processor
        // that is being measured.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(what.to_owned());
        Self(Shown::Bar { bar, pace: Pace::default() })
    }

    /// Shows how far it is at `now`, the time since the run began. To be called some ten times a second.
    pub fn show(&mut self, now: Duration, snapshot: &Snapshot) {
        match &mut self.0 {
            Shown::Bar { bar, pace } => {
                let (position, length) = share(snapshot);
                // Together, for each call draws.
                bar.update(|state| {
                    state.set_len(length);
                    state.set_pos(position);
                });
                bar.set_message(line(snapshot, pace.of(now, snapshot)));
            }
            Shown::Lines(lines) => {
                if let Some(line) = lines.due(now, snapshot) {
                    // Not eprintln, which panics where nobody reads: a run does not end for want of an audience.
                    let _ = writeln!(stderr(), "{line}");
                }
            }
        }
    }

    /// Takes the bar away, so that the report stands alone. Lines stay.
    pub fn finish(self) {
        match self.0 {
            Shown::Bar { bar, pace: _ } => bar.finish_and_clear(),
            Shown::Lines(_) => {}
        }
    }
}

/// What is written where there is no terminal: one line a second, without control codes.
#[derive(Debug, Default)]
pub struct Lines {
    written: Option<(Duration, &'static str)>,
    pace: Pace,
}

impl Lines {
    /// The line that is due at `now`, if one is: a second after the one before, or when another phase has begun.
    pub fn due(&mut self, now: Duration, snapshot: &Snapshot) -> Option<String> {
        let pace = self.pace.of(now, snapshot);
        let (last, phase) = self.written.unwrap_or((Duration::ZERO, snapshot.phase));
        if now < last.saturating_add(LINE_EVERY) && phase == snapshot.phase {
            return None;
        }
        self.written = Some((now, snapshot.phase));
        Some(format!("{:>3} s: {}", now.as_secs(), line(snapshot, pace)))
    }
}

/// How many get done in a second, from one reading to one at least a second later.
#[derive(Debug, Default)]
struct Pace {
    since: Option<(Duration, &'static str, u64)>,
    per_second: Option<f64>,
}

impl Pace {
    /// The pace at `now`; `None` until a phase has lasted for a second.
    fn of(&mut self, now: Duration, snapshot: &Snapshot) -> Option<f64> {
        let Some((at, _, done)) = self.since.filter(|&(_, phase, _)| phase == snapshot.phase) else {
            self.since = Some((now, snapshot.phase, snapshot.done));
            self.per_second = None;
            return None;
        };
        let passed = now.saturating_sub(at);
        if passed >= LINE_EVERY {
            self.per_second = Some(snapshot.done.saturating_sub(done) as f64 / passed.as_secs_f64());
            self.since = Some((now, snapshot.phase, snapshot.done));
        }
        self.per_second
    }
}

/// Position and length of the bar: of time or of connections, whichever ends the run first as things stand.
fn share(snapshot: &Snapshot) -> (u64, u64) {
    let by_count = snapshot.total.map(|total| (snapshot.done, total.max(1)));
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let by_time = snapshot.limit.map(|limit| (millis(snapshot.elapsed.min(limit)), millis(limit).max(1)));
    let part = |&(position, length): &(u64, u64)| position as f64 / length as f64;
    let both = by_count.into_iter().chain(by_time);
    both.max_by(|one, other| part(one).total_cmp(&part(other))).unwrap_or((0, 1))
}

fn line(snapshot: &Snapshot, per_second: Option<f64>) -> String {
    let mut line = format!("{}, {}", snapshot.phase, grouped(snapshot.done));
    if let Some(total) = snapshot.total {
        let _ = write!(line, " of {}", grouped(total));
    }
    line.push_str(" done");
    if snapshot.failed > 0 {
        let _ = write!(line, " ({} not clean)", grouped(snapshot.failed));
    }
    let _ = write!(line, ", {} in flight", grouped(snapshot.in_flight));
    if let Some(per_second) = per_second {
        let _ = write!(line, ", {}", rate(per_second.round()));
    }
    // Past the limit nothing starts any more, and what is under way ends when it ends.
    if let Some(limit) = snapshot.limit.filter(|&limit| snapshot.elapsed < limit) {
        let left = (limit - snapshot.elapsed).as_secs();
        let _ = write!(line, ", {} s left", grouped(left));
    }
    line
}
