//! What a run has met, counted: a simulator that finds nothing has to show that it looked.

use std::collections::HashMap;
use std::fmt;

use finwait_server::conn::{Fault, Op, OpKind, Outcome, Phase};
use finwait_server::drain::Stage;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// It did all that it was asked for.
    Whole,
    Part,
    PeerFin,
    Failed(Fault),
    /// It was cancelled, and had brought something nevertheless.
    WonRace,
}

/// An operation, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Recv,
    Discard,
    Send,
    Fin,
}

/// What stands in no interface: the things that go wrong, and the narrow places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trick {
    Spurious,
    LateReturn,
    HeldBack,
    Slow,
    Starved,
    RacedLook,
    /// A look took the report of a RST out of the kernel.
    LookTookReset,
    WetLook,
    DryLook,
    SignalInTurn,
    SignalBeforeRun,
    TokenReused,
    TokenReusedInBatch,
    DescriptorsOut,
    Straggler,
    Waited,
    PlaceFromOthers,
    AcceptedInDrain,
    AcceptedAfterGrace,
    AcceptedAfterExpiry,
    HandshakesGoOn,
    /// A listener was closed because nothing came any more, after something had come in the drain.
    QuietAfterAccept,
    RefusedAtTheDoor,
    BytesBeforeAccept,
    FinBeforeAccept,
    ResetBeforeAccept,
    Overtaken,
    QueuePurged,
    IdleDrain,
    StallExpiry,
    LingerExpiry,
    LingerTotalExpiry,
    DrainExpiry,
    /// A last take ended because it had brought a window's worth.
    TakeUsedUp,
    LateByteDiscarded,
    PeerReadsFin,
    PeerReadsReset,
    ManyAtOnce,
    EndedByDeadlinesAlone,
    /// A ledger has answered a FIN.
    Answered,
    /// A ledger said something in parting.
    PartedWithWords,
}

const TRICKS: [Trick; 41] = {
    use Trick::*;
    [
        Spurious,
        LateReturn,
        HeldBack,
        Slow,
        Starved,
        RacedLook,
        LookTookReset,
        WetLook,
        DryLook,
        SignalInTurn,
        SignalBeforeRun,
        TokenReused,
        TokenReusedInBatch,
        DescriptorsOut,
        Straggler,
        Waited,
        PlaceFromOthers,
        AcceptedInDrain,
        AcceptedAfterGrace,
        AcceptedAfterExpiry,
        HandshakesGoOn,
        QuietAfterAccept,
        RefusedAtTheDoor,
        BytesBeforeAccept,
        FinBeforeAccept,
        ResetBeforeAccept,
        Overtaken,
        QueuePurged,
        IdleDrain,
        StallExpiry,
        LingerExpiry,
        LingerTotalExpiry,
        DrainExpiry,
        TakeUsedUp,
        LateByteDiscarded,
        PeerReadsFin,
        PeerReadsReset,
        ManyAtOnce,
        EndedByDeadlinesAlone,
        Answered,
        PartedWithWords,
    ]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    Phase(Phase),
    Transition(Phase, Phase),
    /// A connection was in this phase while the server was at this stage, which stands here by its name.
    Stage(&'static str, Phase),
    Asked(Op),
    Ended(Work, End),
    Outcome(Outcome),
    AcceptFailed(i32),
    Trick(Trick),
}

/// How accepting fails: numbers as on Linux.
pub(super) const ACCEPT_ERRORS: [i32; 7] = [EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, ECONNABORTED, EINTR];
pub(super) const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const ENOBUFS: i32 = 105;
const ENOMEM: i32 = 12;
const EPERM: i32 = 1;
pub(super) const ECONNABORTED: i32 = 103;
pub(super) const EINTR: i32 = 4;

#[derive(Default)]
pub(super) struct Coverage(HashMap<Cell, u64>);

impl Coverage {
    pub(super) fn count(&mut self, cell: Cell) {
        *self.0.entry(cell).or_default() += 1;
    }

    pub(super) fn trick(&mut self, trick: Trick) {
        self.count(Cell::Trick(trick));
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (&cell, &count) in &other.0 {
            *self.0.entry(cell).or_default() += count;
        }
    }

    /// Fails when a cell was met less than `least` times, and when one was met that is not known here.
    pub(super) fn assert_full(&self, least: u64) {
        let cells = cells();
        let is_thin = |cell: &&Cell| self.0.get(cell).copied().unwrap_or(0) < least;
        let thin: Vec<_> = cells.iter().filter(is_thin).collect();
        assert!(thin.is_empty(), "met less than {least} times: {thin:?}");
        let unknown: Vec<_> = self.0.keys().filter(|cell| !cells.contains(cell)).collect();
        assert!(unknown.is_empty(), "not in the table: {unknown:?}");
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cell in cells() {
            writeln!(f, "{:>9}  {cell:?}", self.0.get(&cell).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

/// What a stage is called in the table.
pub(super) fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Serving => "Serving",
        Stage::Draining => "Draining",
        Stage::Expiring => "Expiring",
    }
}

/// An operation without its numbers, so that all receives are one cell.
pub(super) fn nameless(op: Op) -> Op {
    match op {
        Op::Recv { .. } => Op::Recv { max: 0 },
        Op::Send { .. } => Op::Send { len: 0 },
        Op::Discard | Op::Fin | Op::Cancel | Op::Close | Op::Reset => op,
    }
}

/// Every cell that can be met.
fn cells() -> Vec<Cell> {
    const PHASES: [Phase; 6] =
        [Phase::Echoing, Phase::Flushing, Phase::Lingering, Phase::Aborting, Phase::Closing, Phase::Closed];
    let mut cells: Vec<Cell> = PHASES.map(Cell::Phase).to_vec();
    for (from, to) in [
        (Phase::Echoing, Phase::Flushing),
        (Phase::Echoing, Phase::Aborting),
        (Phase::Flushing, Phase::Lingering),
        (Phase::Flushing, Phase::Aborting),
        (Phase::Lingering, Phase::Closing),
        (Phase::Lingering, Phase::Aborting),
        (Phase::Aborting, Phase::Closing),
        (Phase::Closing, Phase::Closed),
    ] {
        cells.push(Cell::Transition(from, to));
    }
    for stage in [Stage::Serving, Stage::Draining, Stage::Expiring] {
        cells.extend(PHASES.map(|phase| Cell::Stage(name(stage), phase)));
    }
    for op in
        [Op::Recv { max: 0 }, Op::Discard, Op::Send { len: 0 }, Op::Fin, Op::Cancel, Op::Close, Op::Reset]
    {
        cells.push(Cell::Asked(op));
    }
    cells.extend(ends().into_iter().map(|(work, end)| Cell::Ended(work, end)));
    let causes = [Fault::Reset, Fault::Aborted, Fault::TimedOut, Fault::Local, Fault::Shutdown];
    cells.extend(causes.map(|fault| Cell::Outcome(Outcome::Faulted(fault))));
    cells.extend([Outcome::Graceful, Outcome::Expired].map(Cell::Outcome));
    cells.extend(ACCEPT_ERRORS.map(Cell::AcceptFailed));
    cells.extend(TRICKS.map(Cell::Trick));
    cells
}

fn ends() -> Vec<(Work, End)> {
    let mut ends = Vec::new();
    for work in [Work::Recv, Work::Discard, Work::Send, Work::Fin] {
        ends.extend([(work, End::Whole), (work, End::WonRace)]);
        // A discard asks for no number.
        if matches!(work, Work::Recv | Work::Send) {
            ends.push((work, End::Part));
        }
        for fault in [Fault::Reset, Fault::Aborted, Fault::TimedOut, Fault::Cancelled, Fault::Local] {
            ends.push((work, End::Failed(fault)));
        }
    }
    ends.extend([(Work::Recv, End::PeerFin), (Work::Discard, End::PeerFin)]);
    ends.push((Work::Fin, End::Failed(Fault::Shutdown)));
    ends
}

/// Which end an operation in flight came to, for each event that is one.
pub(super) fn op_of(kind: OpKind, is_discard: bool) -> Work {
    match kind {
        OpKind::Recv if is_discard => Work::Discard,
        OpKind::Recv => Work::Recv,
        OpKind::Send => Work::Send,
        OpKind::Fin => Work::Fin,
    }
}
