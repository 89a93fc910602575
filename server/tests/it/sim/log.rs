//! What happened, in order: the last of it is printed when a run fails, and all of it when one seed is replayed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use finwait_server::conn::{Event, Op};
use finwait_server::drain::Stage;

use super::peer::Did;

/// Lines printed when a run fails.
const KEPT: usize = 80;

/// A connection of a run, by the order in which they came in.
pub(super) type Id = usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Waits(Option<Duration>),
    Returns(usize),
    Woken,
    Starts { door: usize },
    Pauses { door: usize },
    Refuses { door: usize },
    Stops { door: usize },
    Stopped { door: usize },
    Connects(Id, usize),
    Accepted(Id, u32),
    AcceptFailed { door: usize, errno: i32 },
    Submits(Id, Op),
    Looks(Id, bool),
    Parts(Id, u32),
    Event(Id, Event),
    Peer(Id, Did),
    Starved(Id),
    Breaks(Id),
    Signal(Stage),
    PlacesOfOthers(u32),
    Calm,
}

pub(super) struct Log {
    seed: u64,
    /// The test that has changed what the seed draws.
    changed_by: Option<&'static str>,
    settings: String,
    /// All lines are kept, and not only the last.
    is_full: bool,
    lines: VecDeque<(Duration, Note)>,
}

impl Log {
    pub(super) fn new(seed: u64, changed_by: Option<&'static str>, is_full: bool) -> Self {
        Self { seed, changed_by, settings: String::new(), is_full, lines: VecDeque::new() }
    }

    /// What was drawn is known.
    pub(super) fn begin(&mut self, settings: String) {
        self.settings = settings;
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) fn note(&mut self, now: Duration, note: Note) {
        if !self.is_full && self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((now, note));
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.settings)?;
        for (now, note) in &self.lines {
            writeln!(f, "{:>14.6}  {note:?}", now.as_secs_f64())?;
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let seed = self.seed;
        if let Some(test) = self.changed_by {
            eprintln!("{self}seed {test} fails: the test of that name, and always so");
        } else {
            eprintln!("{self}seed {seed} fails; all of it: FINWAIT_SIM_SEED={seed} cargo test \\");
            eprintln!("    -p finwait-server --test it sim::replay -- --nocapture");
        }
    }
}
