//! The rows of the comparison: what is asked, of whom, and what is to come of it.

use serde::Serialize;

use super::entrant::{NEW_FILE, Side};
use super::load::{Load, Sample};

const KIB_4: u32 = 4 << 10;
const KIB_64: u32 = 64 << 10;
/// Sessions of a round at the ledger: about a second.
const SESSIONS: u32 = 20_000;
/// Connections for each second of a server that nothing else is asked of: a twentieth of what it can, and enough in a round
/// for a 99th percentile.
const UNLOADED_RATE: f64 = 2_000.0;
/// The rounds of that row are so many times as long: of 1,600 connections sixteen are a 99th percentile, and between two
/// rounds of theirs it went from 0.6 to 1.3.
const UNLOADED_LENGTH: u32 = 3;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// CPU-nanoseconds of the server for each message or connection.
    Cpu,
    /// Median of the round trips, or of FIN to EOF.
    P50,
    /// The 99th percentile.
    P99,
    /// The 99.9th.
    P999,
    /// From the moment when a stopped server went on to the last EOF.
    Thaw,
    /// Bytes of an idle connection.
    Memory,
}

impl Figure {
    /// Its value in a round, if it has one there.
    #[must_use]
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let ns = |ns: Option<u64>| ns.map(|ns| ns as f64);
        match self {
            Self::Cpu => (sample.cost.units > 0).then(|| sample.cpu_ns()),
            Self::P50 => ns(sample.p50_ns),
            Self::P99 => ns(sample.p99_ns),
            Self::P999 => ns(sample.p99_9_ns),
            Self::Thaw => ns(sample.thaw_to_last_eof_ns),
            Self::Memory => None,
        }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "per CPU-second",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Thaw => "thaw to last EOF",
            Self::Memory => "memory",
        }
    }
}

/// What a ratio has to be. It counts when the quartile that is nearer to the bound clears it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The other's figure in units of ours: how many times as much we do for the same.
    AtLeast {
        /// What must hold.
        must: f64,
        /// What would be good.
        reach: f64,
    },
    /// Our figure in units of the other's.
    AtMost {
        /// What must hold.
        must: f64,
        /// What would be good.
        reach: f64,
    },
    /// Our figure in units of the other's: no more than the same program differs from itself.
    NotWorse,
}

/// A goal: a figure, and its bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// Of what.
    pub figure: Figure,
    /// What it has to be.
    pub bound: Bound,
}

/// Who runs back to back, and what is to come of it: two, or for a growth two and two.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Match {
    /// What it is called.
    pub name: String,
    /// Whose rounds: [ours, theirs], or [ours, ours at little, theirs, theirs at little].
    pub who: Vec<usize>,
    /// What has to come of it; empty where it is only shown.
    pub goals: Vec<Goal>,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Everyone, we first, each with its work.
    pub entrants: Vec<(Side, Load)>,
    /// Who meets whom.
    pub matches: Vec<Match>,
    /// Units per second offered to everyone; `None`: half of what the slowest can, where the load has a rate.
    pub rate: Option<f64>,
    /// Its rounds are so many times as long as others'.
    pub length: u32,
    /// Whether it is in `--quick`.
    pub quick: bool,
}

fn at_least(must: f64, reach: f64) -> Vec<Goal> {
    vec![Goal { figure: Figure::Cpu, bound: Bound::AtLeast { must, reach } }]
}

fn at_most(figure: Figure, must: f64, reach: f64) -> Goal {
    Goal { figure, bound: Bound::AtMost { must, reach } }
}

fn not_worse(figure: Figure) -> Goal {
    Goal { figure, bound: Bound::NotWorse }
}

impl Row {
    /// Ours against each of these under the same load.
    fn field(
        name: &'static str,
        about: &'static str,
        load: &Load,
        buffer: u32,
        field: &[(&str, Vec<Goal>)],
    ) -> Self {
        let ours = (Side::ours("uring", "uring", &[]), load.clone());
        let peers = field.iter().map(|(peer, _)| (Side::peer(peer, buffer), load.clone()));
        let matches = field.iter().enumerate().map(|(index, (peer, goals))| Match {
            name: (*peer).to_owned(),
            who: vec![0, index + 1],
            goals: goals.clone(),
        });
        let matches = matches.collect();
        Self {
            name,
            about,
            entrants: std::iter::once(ours).chain(peers).collect(),
            matches,
            rate: None,
            length: 1,
            quick: false,
        }
    }

    /// Whether it is us against peers under one load, so that one more may join.
    #[must_use]
    pub(super) fn has_field(&self) -> bool {
        self.entrants.iter().all(|(_, load)| *load == self.entrants[0].1) && !self.entrants[0].1.is_ledger()
    }

    /// One more peer, of whom nothing is asked but figures.
    pub(super) fn join(&mut self, side: &Side) {
        let name = side.name.clone();
        self.matches.push(Match { name, who: vec![0, self.entrants.len()], goals: Vec::new() });
        self.entrants.push((side.clone(), self.entrants[0].1.clone()));
    }

    /// Leaves out all matches but those of these names, and whoever has no match then.
    pub(super) fn keep(&mut self, names: &[String]) {
        self.matches.retain(|meeting| names.contains(&meeting.name));
        let is_needed = |index: &usize| self.matches.iter().any(|meeting| meeting.who.contains(index));
        let kept: Vec<usize> =
            (0..self.entrants.len()).filter(|index| *index == 0 || is_needed(index)).collect();
        self.entrants = kept.iter().map(|&index| self.entrants[index].clone()).collect();
        let place = |index: usize| kept.iter().position(|&old| old == index).expect("whoever plays is kept");
        self.matches.iter_mut().flat_map(|meeting| &mut meeting.who).for_each(|who| *who = place(*who));
    }

    /// Whether anything is to come of it.
    #[must_use]
    pub(super) fn has_goals(&self) -> bool {
        self.is_idle() || self.matches.iter().any(|pairing| !pairing.goals.is_empty())
    }

    /// Whether it is about memory, whose goals stand where it is measured.
    #[must_use]
    pub(super) fn is_idle(&self) -> bool {
        self.entrants.iter().all(|(_, load)| matches!(load, Load::Idle { .. }))
    }

    /// Leaves out those of whom nothing is to come, where that is asked.
    pub(super) fn keep_goals(&mut self) {
        if !self.is_idle() {
            let names: Vec<String> = self
                .matches
                .iter()
                .filter(|pairing| !pairing.goals.is_empty())
                .map(|pairing| pairing.name.clone())
                .collect();
            self.keep(&names);
        }
    }

    fn quick(self) -> Self {
        Self { quick: true, ..self }
    }
}

/// All rows.
#[must_use]
pub(super) fn all() -> Vec<Row> {
    let mut rows = echoes();
    rows.extend(endings());
    rows.push(idle());
    rows.extend(ledgers());
    rows.extend(growth());
    rows
}

fn echoes() -> Vec<Row> {
    let echo = |connections, size, depth| Load::Echo { connections, size, depth };
    let tail = |goals: Vec<Goal>| goals.into_iter().chain([not_worse(Figure::P999)]).collect::<Vec<_>>();
    let small = || {
        [
            ("tokio", tail(at_least(1.15, 1.25))),
            ("monoio", tail(at_least(1.2, 1.3))),
            ("compio", tail(at_least(1.2, 1.3))),
            ("epoll", tail(at_least(1.0, 1.08))),
        ]
    };
    let with_lean = |field: [(&'static str, Vec<Goal>); 4]| {
        field.into_iter().chain([("tokio-lean", Vec::new())]).collect::<Vec<_>>()
    };
    let shown = || small().map(|(peer, _)| (peer, Vec::new()));
    let piped = [
        ("tokio", at_least(1.15, 1.3)),
        ("monoio", at_least(1.15, 1.3)),
        ("compio", at_least(1.15, 1.3)),
        ("epoll", at_least(1.0, 1.1)),
    ];
    let bulk = || {
        [
            ("tokio", at_least(1.0, 1.1)),
            ("monoio", at_least(1.0, 1.1)),
            ("compio", at_least(1.0, 1.1)),
            ("epoll", at_least(0.95, 1.0)),
        ]
    };
    vec![
        Row::field("echo-64", "64 B ping-pong on 64 connections", &echo(64, 64, 1), KIB_4, &shown()),
        Row::field(
            "echo-1k",
            "64 B ping-pong on 1,000 connections",
            &echo(1_000, 64, 1),
            KIB_4,
            &with_lean(small()),
        )
        .quick(),
        Row::field("echo-10k", "64 B ping-pong on 10,000 connections", &echo(10_000, 64, 1), KIB_4, &small()),
        Row::field(
            "pipelined",
            "64 B, 16 at once on each of 64 connections in turn",
            &echo(64, 64, 16),
            KIB_4,
            &piped,
        ),
        Row::field("bulk-16k", "16 KiB messages on 64 connections", &echo(64, 16 << 10, 1), KIB_64, &bulk()),
        Row::field("bulk-1m", "1 MiB messages on 16 connections", &echo(16, 1 << 20, 1), KIB_64, &bulk()),
    ]
}

fn endings() -> Vec<Row> {
    let churned = || {
        [
            ("tokio", at_least(1.3, 1.45)),
            ("monoio", at_least(1.45, 1.65)),
            ("compio", at_least(1.35, 1.6)),
            ("epoll", at_least(1.1, 1.25)),
            ("tokio-lean", Vec::new()),
        ]
    };
    let fin = vec![at_most(Figure::P50, 1.1, 1.0), at_most(Figure::P99, 1.1, 1.0)];
    let frozen = [
        ("epoll", vec![at_most(Figure::Cpu, 0.87, 0.75), not_worse(Figure::Thaw)]),
        ("tokio", vec![not_worse(Figure::Thaw)]),
        ("monoio", vec![not_worse(Figure::Thaw)]),
        ("compio", vec![not_worse(Figure::Thaw)]),
        ("tokio-lean", vec![not_worse(Figure::Thaw)]),
    ];
    let churn = |slots| Load::Churn { slots };
    vec![
        Row::field("churn-64", "connect, 64 B, half-close, EOF; 64 at a time", &churn(64), KIB_4, &churned())
            .quick(),
        Row::field("churn-1k", "the same, 1,000 at a time", &churn(1_000), KIB_4, &churned()[..4]),
        Row {
            rate: Some(UNLOADED_RATE),
            length: UNLOADED_LENGTH,
            ..Row::field("fin", "FIN to EOF, unloaded", &churn(8), KIB_4, &[("threads", fin)])
        },
        Row::field("storm", "10,000 half-close while the server stands still", &STORM, KIB_4, &frozen)
            .quick(),
    ]
}

const STORM: Load = Load::Storm { connections: 10_000 };

fn idle() -> Row {
    let load = Load::Idle { connections: 10_000 };
    let field = ["tokio-lean", "tokio", "monoio", "compio", "epoll"].map(|peer| (peer, Vec::new()));
    Row::field("idle", "memory of an idle connection, from 1,000 to 10,000", &load, KIB_4, &field).quick()
}

fn ledgers() -> Vec<Row> {
    let row = |name, about, flags: &[&str], must, reach| {
        let ledger = Load::Ledger { slots: 64, sessions: SESSIONS };
        let entrants = vec![
            (Side::ours("ledger", "uring", flags), ledger),
            (Side::ours("churn", "uring", &[]), Load::Churn { slots: 64 }),
        ];
        let matches = vec![Match { name: "churn".to_owned(), who: vec![0, 1], goals: at_least(must, reach) }];
        Row { name, about, entrants, matches, rate: None, length: 1, quick: false }
    };
    vec![
        row("ledger", "the ledger in memory against the plain churn, 64 at a time", &LEDGER, 0.7, 0.85),
        row(
            "ledger-file",
            "the ledger in a file against the plain churn, 64 at a time",
            &[LEDGER[0], LEDGER[1], "--ledger-file", NEW_FILE],
            0.35,
            0.425,
        ),
    ]
}

const LEDGER: [&str; 2] = ["--ledger", "127.0.0.1:0"];

fn growth() -> Vec<Row> {
    let echo = |connections| Load::Echo { connections, size: 64, depth: 1 };
    let ours = |load: &Load| (Side::ours("uring", "uring", &[]), load.clone());
    let floor = |load: &Load| (Side::floor(load).expect("there is one under echoes"), load.clone());
    let [many, few] = [echo(10_000), echo(100)];
    let grown = Row {
        name: "growth",
        about: "CPU per message at 10,000 connections against 100, in units of the floor's own growth",
        entrants: vec![ours(&many), ours(&few), floor(&many), floor(&few)],
        matches: vec![Match {
            name: "the floor's".to_owned(),
            who: vec![0, 1, 2, 3],
            goals: vec![at_most(Figure::Cpu, 1.1, 1.0)],
        }],
        rate: None,
        length: 1,
        quick: false,
    };
    let load = echo(1_000);
    let workers = Row {
        name: "workers",
        about: "two workers on the server's core against one",
        entrants: vec![(Side::ours("two workers", "uring", &["--workers", "2"]), load.clone()), ours(&load)],
        matches: vec![Match {
            name: "one worker".to_owned(),
            who: vec![0, 1],
            goals: vec![at_most(Figure::Cpu, 1.15, 1.05)],
        }],
        rate: None,
        length: 1,
        quick: false,
    };
    vec![grown, workers]
}
