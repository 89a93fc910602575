//! What a client may do, and how such scripts are made up and shrunk.

use proptest::prelude::{Just, Strategy, any};
use proptest::{collection, sample};

/// The windows that servers have; a script names one by its place.
pub(super) const WINDOWS: [u32; 3] = [1000, 64 << 10, 256 << 10];
/// The most bytes of one send.
const SEND_MAX: usize = 100 << 10;
const STEPS_MAX: usize = 12;

/// One thing that a client does, or has the server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sends that many bytes; while the way is full it reads.
    Send(usize),
    /// Does nothing for that many milliseconds.
    Pause(u64),
    /// Reads that many bytes of the echo, or as many as are still to come.
    Echo(usize),
    /// The server's drain begins.
    Drain,
    /// Half-closes.
    Fin,
    /// Closes with a RST; the last step.
    Reset,
}

/// How the echo is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The most bytes that one read takes.
    pub(super) chunk: usize,
    /// A pause after each of the first reads.
    pub(super) pause_ms: u64,
}

/// One client. When its steps are done it half-closes, if it has not yet, and reads to the end; after a drain it first
/// reads to the end.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Which of [`WINDOWS`] its server has.
    pub(super) window: usize,
    /// The client's buffers are small.
    pub(super) narrow: bool,
    pub(super) reading: Reading,
    pub(super) steps: Vec<Step>,
}

impl Script {
    /// A script of those of `steps` that can be taken in this order.
    pub(super) fn new(window: usize, narrow: bool, reading: Reading, steps: Vec<Step>) -> Self {
        let (mut fin, mut drain, mut reset) = (false, false, false);
        let steps = steps.into_iter().filter(|step| {
            let can = !reset
                && match step {
                    Step::Send(_) => !fin,
                    Step::Fin => !std::mem::replace(&mut fin, true),
                    Step::Drain => !std::mem::replace(&mut drain, true),
                    Step::Pause(_) | Step::Echo(_) => true,
                    Step::Reset => true,
                };
            reset |= *step == Step::Reset;
            can
        });
        Self { window, narrow, reading, steps: steps.collect() }
    }

    pub(super) fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }
}

/// Any script: with a drain somewhere in it, or without one.
pub(super) fn any_script(drain: bool) -> impl Strategy<Value = Script> {
    // Only against small buffers is a send of the server ever a partial one.
    let narrow = proptest::bool::weighted(0.2);
    let shape = (0..WINDOWS.len(), narrow, reading(), any::<sample::Index>());
    shape.prop_flat_map(move |(window, narrow, reading, at)| {
        collection::vec(step(), 1..=STEPS_MAX).prop_map(move |mut steps| {
            if drain {
                steps.insert(at.index(steps.len() + 1), Step::Drain);
            }
            Script::new(window, narrow, reading, steps)
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    proptest::prop_oneof![
        6 => size().prop_map(Step::Send),
        3 => (0..=3_u64).prop_map(Step::Pause),
        4 => size().prop_map(Step::Echo),
        1 => Just(Step::Fin),
        1 => Just(Step::Reset),
    ]
}

/// Small ones, those around the windows and the engines' buffers, and everything else.
fn size() -> impl Strategy<Value = usize> {
    let edges = [1, 999, 1000, 1001, 4096, 65_535, 65_536, 65_537];
    proptest::prop_oneof![
        3 => 1..=64_usize,
        2 => sample::select(edges.to_vec()),
        3 => 1..=SEND_MAX,
    ]
}

fn reading() -> impl Strategy<Value = Reading> {
    let chunk = proptest::prop_oneof![Just(65_536_usize), 100..=5000_usize];
    let pause_ms = proptest::prop_oneof![3 => Just(0), 1 => 1..=3_u64];
    (chunk, pause_ms).prop_map(|(chunk, pause_ms)| Reading { chunk, pause_ms })
}
