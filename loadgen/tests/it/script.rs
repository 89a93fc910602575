//! Every way through the machine of a connection: whatever happens in whatever order, the outcome is the first that
//! matches, every time is that of its event, and something always ends it.

use std::collections::BTreeSet;

use finwait_loadgen::clock::Nanos;
use finwait_loadgen::fault::Fault;
use finwait_loadgen::outcome::Outcome;
use finwait_loadgen::script::{Event, HOLD_NS, Op, Phase, Plan, Script};

const TIMEOUT_NS: Nanos = 1_000;
/// From one event to the next: less than a timeout.
const STEP_NS: Nanos = 10;
/// How late somebody looks who comes to say that something is due.
const LATE_NS: Nanos = 7;

const FAULTS: [Fault; 8] = [
    Fault::Reset,
    Fault::Refused,
    Fault::TimedOut,
    Fault::Unreachable,
    Fault::Ports,
    Fault::Descriptors,
    Fault::Memory,
    Fault::Other,
];

/// What has happened, by the book of the walk and not of the machine.
#[derive(Clone, Debug, Default)]
struct Facts {
    sent: u64,
    received: u64,
    connect: Option<Fault>,
    /// A wrong byte, or one that nobody had sent.
    corrupt: bool,
    reset: bool,
    /// An error behind the EOF.
    behind: bool,
    /// This host had too little of something, in the middle of a connection.
    short: bool,
    /// The outcome that a wait in vain has at that point.
    timeout: Option<Outcome>,
    half_close_failed: bool,
    interrupted: bool,
    went: bool,
    progress: Nanos,
    connected: Option<Nanos>,
    echoed: Option<Nanos>,
    half_close: Option<Nanos>,
    drained: Option<Nanos>,
    eof: Option<Nanos>,
    deadline: Option<Nanos>,
    outstanding: u64,
}

/// A machine, what has happened to it, and how: an assertion that fails can tell.
#[derive(Clone, Debug)]
struct World {
    plan: Plan,
    script: Script,
    facts: Facts,
    now: Nanos,
    story: Vec<Event>,
}

/// What a walk has come by.
#[derive(Default)]
struct Walked {
    ends: u64,
    outcomes: BTreeSet<&'static str>,
}

#[test]
fn the_outcome_is_the_first_that_matches_whatever_happens() {
    let mut walked = Walked::default();
    for (size, tail) in [(1, 0), (1, 1), (2, 1), (1, 2), (2, 2), (3, 2)] {
        for barrier in [false, true] {
            let plan = Plan { size, tail, silent: 0, barrier, timeout_ns: TIMEOUT_NS };
            let facts = Facts { progress: 100, ..Facts::default() };
            let script = Script::new(plan, 100, (!barrier).then_some(90));
            walk(World { plan, script, facts, now: 100, story: Vec::new() }, &mut walked);
        }
    }
    // Those of a ledger, and of its trouble, are `ledger`'s matter.
    let is_ours = |name: &&str| !name.starts_with("ledger_") && *name != "self_reset";
    let all: BTreeSet<_> = Outcome::ALL.into_iter().map(Outcome::name).filter(is_ours).collect();
    assert_eq!(walked.outcomes, all, "the walk comes by every outcome");
    assert!(walked.ends > 10_000, "{} ways", walked.ends);
}

fn walk(world: World, walked: &mut Walked) {
    world.holds();
    if world.script.phase() == Phase::Done {
        let outcome = world.script.outcome();
        assert_eq!(outcome, world.facts.expected(world.plan), "{world:#?}");
        walked.ends += 1;
        walked.outcomes.insert(outcome.name());
        return;
    }
    let choices = world.choices();
    assert!(!choices.is_empty(), "nothing can happen any more: {world:#?}");
    for event in choices {
        let mut next = world.clone();
        next.happen(event);
        walk(next, walked);
    }
}

impl Facts {
    /// The first that matches, in the order in which they are defined.
    fn expected(&self, plan: Plan) -> Outcome {
        let total = plan.size + plan.tail;
        let missing = self.received < total;
        let local = match self.connect {
            Some(Fault::Ports) => Some(Outcome::LocalPorts),
            Some(Fault::Descriptors) => Some(Outcome::LocalFds),
            Some(Fault::Memory) => Some(Outcome::LocalMemory),
            Some(Fault::Reset | Fault::Refused | Fault::TimedOut | Fault::Unreachable | Fault::Other) => None,
            None => self.short.then_some(Outcome::LocalMemory),
        };
        let connect = match self.connect {
            Some(Fault::Refused) => Some(Outcome::ConnectRefused),
            Some(Fault::Reset) => Some(Outcome::ConnectReset),
            Some(Fault::TimedOut) => Some(Outcome::ConnectTimeout),
            Some(Fault::Unreachable | Fault::Other) => Some(Outcome::ConnectUnreachable),
            Some(Fault::Ports | Fault::Descriptors | Fault::Memory) | None => None,
        };
        let before_drain = missing || self.half_close.is_none();
        let early = self.eof.is_some() && self.half_close.is_none();
        let in_order = [
            local,
            connect,
            self.corrupt.then_some(Outcome::Corrupt),
            (self.reset && before_drain).then_some(Outcome::ResetBeforeDrain),
            self.reset.then_some(Outcome::ResetAfterDrain),
            self.behind.then_some(Outcome::ResetAfterEof),
            early.then_some(Outcome::EarlyEof),
            self.timeout,
            self.half_close_failed.then_some(Outcome::ShutdownFailed),
            self.interrupted.then_some(Outcome::Censored),
            missing.then_some(Outcome::Truncated),
        ];
        in_order.into_iter().flatten().next().unwrap_or(Outcome::Clean)
    }

    fn waited_in_vain(&self, plan: Plan) -> Outcome {
        if self.echoed.is_none() {
            Outcome::EchoTimeout
        } else if self.received < plan.size + plan.tail {
            Outcome::DrainTimeout
        } else {
            Outcome::EofTimeout
        }
    }
}

impl World {
    /// Everything that can happen next.
    fn choices(&self) -> Vec<Event> {
        let mut choices = Vec::new();
        let script = &self.script;
        match script.op() {
            Some(Op::Send { len, .. }) => {
                choices.extend((1..=len).map(Event::Sent));
                choices.extend(FAULTS.map(Event::SendFailed));
            }
            Some(Op::HalfClose) => choices.push(Event::HalfClosing),
            Some(Op::Check) => choices.extend([true, false].map(|error| Event::Checked { error })),
            // What is to be closed hears of nothing else.
            Some(Op::Close | Op::Reset) => return vec![Event::Closed],
            None => {}
        }
        if self.story.last() == Some(&Event::HalfClosing) {
            choices.push(Event::HalfCloseFailed);
        }
        match script.phase() {
            Phase::Connecting => {
                choices.push(Event::Connected);
                choices.extend(FAULTS.map(Event::ConnectFailed));
            }
            Phase::Held => choices.push(Event::Go),
            Phase::Proving
            | Phase::Parting
            | Phase::Draining
            | Phase::Stalling
            | Phase::Holding
            | Phase::Checking
            | Phase::Resetting
            | Phase::Closing
            | Phase::Done => {}
        }
        if script.is_receiving() {
            // One more than there can be is one too many.
            choices.extend((1..=self.facts.sent - self.facts.received + 1).map(Event::Received));
            choices.push(Event::Corrupt(1));
            choices.push(Event::Eof { looked: self.now });
            choices.extend(FAULTS.map(Event::ReceiveFailed));
        }
        if script.due().is_some() {
            choices.push(Event::Due);
        }
        choices.push(Event::Interrupted);
        choices
    }

    /// Lets an event happen, to the machine and in the book.
    fn happen(&mut self, event: Event) {
        let phase = self.script.phase();
        self.now = match (event, self.script.due()) {
            (Event::Due, Some(due)) => due + LATE_NS,
            _ => self.now + STEP_NS,
        };
        self.note(event, phase);
        self.story.push(event);
        self.script.handle(event, self.now);
    }

    fn note(&mut self, event: Event, phase: Phase) {
        let (facts, now, plan) = (&mut self.facts, self.now, self.plan);
        match event {
            Event::Connected => (facts.connected, facts.progress) = (Some(now), now),
            Event::ConnectFailed(fault) => facts.connect = Some(fault),
            Event::Sent(bytes) => {
                facts.sent += bytes;
                facts.progress = now;
            }
            Event::Received(bytes) => {
                facts.received += bytes;
                facts.progress = now;
                facts.corrupt |= facts.received > facts.sent;
                if facts.received == plan.size && facts.echoed.is_none() && !facts.corrupt {
                    facts.echoed = Some(now);
                }
                if facts.received == plan.size + plan.tail && !facts.corrupt {
                    facts.drained = Some(now);
                }
            }
            Event::Corrupt(bytes) => {
                facts.received += bytes;
                facts.corrupt = true;
            }
            Event::Eof { .. } => (facts.eof, facts.progress) = (Some(now), now),
            Event::Go => (facts.went, facts.progress) = (true, now),
            Event::HalfClosing => {
                (facts.half_close, facts.progress) = (Some(now), now);
                facts.outstanding = plan.size + plan.tail - facts.received;
            }
            Event::HalfCloseFailed => facts.half_close_failed = true,
            Event::SendFailed(fault) | Event::ReceiveFailed(fault) => match fault {
                Fault::Reset | Fault::Refused => facts.reset = true,
                Fault::Ports | Fault::Descriptors | Fault::Memory => facts.short = true,
                Fault::TimedOut | Fault::Unreachable | Fault::Other => {
                    facts.timeout = Some(facts.waited_in_vain(plan));
                }
            },
            Event::Due if phase == Phase::Connecting => facts.connect = Some(Fault::TimedOut),
            // The time for a RST behind the EOF is over.
            Event::Due if phase == Phase::Holding => {}
            Event::Due => {
                facts.timeout = Some(facts.waited_in_vain(plan));
                facts.deadline = Some(facts.progress + TIMEOUT_NS);
            }
            Event::Checked { error } => facts.behind = error,
            Event::Interrupted => facts.interrupted = true,
            Event::Overdue => unreachable!("nothing flows beside the machine here"),
            Event::Closed => {}
        }
    }

    /// What holds at every point of every way.
    fn holds(&self) {
        let (script, facts, times) = (&self.script, &self.facts, self.script.times());
        assert_eq!((script.sent(), script.received_bytes()), (facts.sent, facts.received), "{self:#?}");
        let seen =
            [times.connected, times.echoed, times.half_close, times.drained, times.eof, times.deadline];
        let happened =
            [facts.connected, facts.echoed, facts.half_close, facts.drained, facts.eof, facts.deadline];
        assert_eq!(seen, happened, "{self:#?}");
        assert_eq!(script.outstanding(), facts.outstanding, "{self:#?}");
        let due = match script.phase() {
            Phase::Connecting | Phase::Proving | Phase::Parting | Phase::Draining => Some(TIMEOUT_NS),
            Phase::Holding => Some(HOLD_NS),
            Phase::Held
            | Phase::Stalling
            | Phase::Checking
            | Phase::Resetting
            | Phase::Closing
            | Phase::Done => None,
        };
        assert_eq!(script.due(), due.map(|wait| facts.progress + wait), "progress starts it anew: {self:#?}");
        if matches!(self.story.last(), Some(Event::Eof { .. })) {
            // A RST behind an EOF can be seen only where our FIN is not out, and no other RST has come.
            let is_worth_a_wait = facts.half_close.is_none() && !facts.reset;
            let next = if is_worth_a_wait { Phase::Holding } else { Phase::Checking };
            assert_eq!(script.phase(), next, "{self:#?}");
        }
        match script.op() {
            Some(Op::Send { offset, len }) => {
                assert_eq!(offset, facts.sent, "{self:#?}");
                let may_part = facts.echoed.is_some() && (facts.went || !self.plan.barrier);
                let most = if may_part { self.plan.size + self.plan.tail } else { self.plan.size };
                assert!(len > 0 && offset + len == most, "{self:#?}");
                assert!(facts.half_close.is_none() && !facts.reset, "{self:#?}");
            }
            Some(Op::HalfClose) => {
                let all_sent = facts.sent == self.plan.size + self.plan.tail;
                let may_part = facts.echoed.is_some() && (facts.went || !self.plan.barrier);
                assert!(all_sent && may_part && facts.half_close.is_none() && !facts.reset, "{self:#?}");
            }
            // Only behind an EOF, and once: the look takes the error away.
            Some(Op::Check) => {
                assert!(facts.eof.is_some(), "{self:#?}");
                assert!(!self.story.iter().any(|event| matches!(event, Event::Checked { .. })), "{self:#?}");
            }
            Some(Op::Reset) => panic!("an echo has no trouble of ours: {self:#?}"),
            Some(Op::Close) | None => {}
        }
    }
}

/// In the order of the definition, each beats all that come behind it, wherever both can be seen on one connection.
#[test]
fn what_was_seen_first_in_the_order_wins() {
    use Event::{
        Checked, Closed, Connected, Corrupt, Due, Eof, HalfCloseFailed, HalfClosing, Interrupted,
        ReceiveFailed, Received, SendFailed, Sent,
    };
    let eof = Eof { looked: 1 };
    let begun = [Connected, Sent(1)];
    let parted = [Connected, Sent(1), Received(1), Sent(1), HalfClosing];
    for (begin, then, outcome) in [
        // A reset that a send heard of hides behind an EOF: it is a reset all the same.
        (
            &begun[..],
            &[Received(1), SendFailed(Fault::Reset), eof, Checked { error: false }][..],
            "reset_before_drain",
        ),
        (&begun, &[Received(1), SendFailed(Fault::Reset), Corrupt(1)], "corrupt"),
        (&begun, &[Received(1), SendFailed(Fault::Reset), Due], "reset_before_drain"),
        (&begun, &[Received(1), SendFailed(Fault::Reset), Interrupted], "reset_before_drain"),
        // The half-close that fails tells of a reset, which the receive then reports.
        (&parted, &[HalfCloseFailed, ReceiveFailed(Fault::Reset)], "reset_before_drain"),
        (&parted, &[HalfCloseFailed, Received(1), ReceiveFailed(Fault::Reset)], "reset_after_drain"),
        (&parted, &[HalfCloseFailed, Received(1), Due], "eof_timeout"),
        (&parted, &[HalfCloseFailed, eof, Checked { error: true }], "reset_after_eof"),
        (&parted, &[HalfCloseFailed, eof, Checked { error: false }], "shutdown_failed"),
        (&parted, &[HalfCloseFailed, Received(1), eof, Checked { error: false }], "shutdown_failed"),
        (&parted, &[HalfCloseFailed, Interrupted], "shutdown_failed"),
        (&parted, &[Received(1), eof, Checked { error: true }], "reset_after_eof"),
        (&parted, &[eof, Checked { error: true }], "reset_after_eof"),
        (&parted, &[eof, Checked { error: false }], "truncated"),
        (&parted, &[eof, Interrupted], "censored"),
        (&parted, &[Received(2)], "corrupt"),
        (&parted, &[Received(1), Received(1)], "corrupt"),
        (&parted, &[ReceiveFailed(Fault::Memory)], "local_memory"),
        // An EOF before our FIN, with everything or with bytes missing, and what comes while it is held.
        (&begun, &[eof, Due, Checked { error: false }], "early_eof"),
        (&begun, &[eof, Due, Checked { error: true }], "reset_after_eof"),
        (&begun, &[Received(1), eof, Due, Checked { error: false }], "early_eof"),
        (&begun, &[Received(1), eof, Interrupted], "early_eof"),
    ] {
        let plan = Plan { size: 1, tail: 1, silent: 0, barrier: false, timeout_ns: TIMEOUT_NS };
        let mut script = Script::new(plan, 1, None);
        for (&event, now) in begin.iter().chain(then).chain(&[Closed]).zip(2..) {
            script.handle(event, now);
        }
        assert_eq!((script.outcome().name(), script.phase()), (outcome, Phase::Done), "{begin:?} {then:?}");
    }
}

/// Nobody goes before the barrier falls, and who is not ready then does not go at all.
#[test]
fn the_barrier_is_for_those_who_stand_before_it() {
    let plan = Plan { size: 1, tail: 1, silent: 0, barrier: true, timeout_ns: TIMEOUT_NS };
    let mut script = Script::new(plan, 1, None);
    script.handle(Event::Connected, 2);
    script.handle(Event::Go, 3);
    assert_eq!((script.phase(), script.times().planned), (Phase::Proving, None));
    script.handle(Event::Sent(1), 4);
    script.handle(Event::Received(1), 5);
    assert_eq!((script.phase(), script.op(), script.due()), (Phase::Held, None, None));
    script.handle(Event::Go, 6);
    assert_eq!(script.op(), Some(Op::Send { offset: 1, len: 1 }));
    assert_eq!(script.times().planned, Some(6), "the moment at which the barrier fell");
}
