//! Messages on connections that stand: sent, echoed, compared and timed, as cheaply as a careful hand would do it on a
//! bare poll. What begins and ends connections does not see them; it gets a connection back when something is wrong with
//! it, or when all is over.
//!
//! ```text
//!    poll -> of each that is ready: read, stamp, compare, and send what has its place free -> a few that are due -> poll
//! ```
//!
//! A message has its time from when it is due: on a schedule its planned moment, otherwise the moment at which the one
//! before it in its place came back. Whatever it waits for is in its latency.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Events;

use super::{EVENTS, POLL_MAX, SWEEP_MAX_NS, SWEEP_MIN_NS, SWEEPS, Swarm};
use crate::clock::Nanos;
use crate::pacer::Schedule;
use crate::payload::Pattern;
use crate::report::Summary;
use crate::script::{Event, Phase};
use crate::sys;

use self::lane::Lane;

mod lane;
mod message;

/// Connections that have their turn between two polls: what comes back meanwhile stands unseen.
const TURNS_PER_LOOK: usize = 8;
/// Messages that become due between two polls at most: after a pause there may be many, and each is a few nanoseconds.
const DUE_PER_LOOK: usize = 4096;

/// What is to flow on each connection.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Bytes of a message.
    pub size: u32,
    /// Messages of a connection at a time.
    pub depth: u32,
    /// Messages per second, over all connections; `None` where each follows the one before.
    pub rate: Option<f64>,
    /// Messages that a schedule makes due at the same moment on the same connection.
    pub burst: u32,
    /// How long they flow before they count.
    pub warm_up_ns: Nanos,
    /// How long they count.
    pub duration_ns: Nanos,
}

/// A moment of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Every connection stands, has had its first message echoed, and is quiet.
    Standing,
    /// The measured window begins: warming up is over.
    Begin,
    /// The measured window has ended.
    End,
}

/// What flowed in the measured window.
#[derive(Clone, Debug)]
pub struct Flowed {
    /// Connections that stood when it began.
    pub connections: u64,
    /// Messages that came back in it.
    pub messages: u64,
    /// Bytes that came back in it.
    pub bytes: u64,
    /// Its length.
    pub elapsed_ns: Nanos,
    /// How long messages took that came back in it.
    pub latency: Summary,
    /// Messages that were due before its end and not back by then.
    pub unfinished: u64,
    /// Those of them that came back afterwards.
    pub late: u64,
    /// Those of them that had not got a place by then, and were never sent.
    pub unsent: u64,
    /// The time in it in which there was something to do.
    pub busy_ns: Nanos,
}

/// Lets messages flow on everything that stands, and returns when there are none any more.
pub(super) fn run(swarm: &mut Swarm<'_>, flow: &Flow, on_mark: &mut dyn FnMut(Mark)) -> io::Result<Flowed> {
    // Who has something else to do than to stand does it first; whoever stands then is quiet.
    while let Some(key) = swarm.work.pop_front() {
        swarm.advance(key);
    }
    let mut traffic = Traffic::new(swarm, *flow);
    on_mark(Mark::Standing);
    traffic.run(on_mark)?;
    Ok(traffic.end())
}

/// What the flow is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    WarmUp,
    Window,
    /// No message begins any more.
    Ending,
}

struct Traffic<'s, 'a> {
    swarm: &'s mut Swarm<'a>,
    flow: Flow,
    pattern: Arc<Pattern>,
    /// By the key of their client.
    lanes: Vec<Lane>,
    /// When the message in each place was due; so many places to each lane as there may be messages in flight.
    due_at: Vec<Nanos>,
    /// The keys of those that stood, in the order in which they were connected.
    order: Vec<usize>,
    /// Lanes on which something can be sent, or may be read.
    queue: VecDeque<usize>,
    alive: usize,
    /// Messages in flight, on all lanes that are alive.
    in_flight: u64,
    schedule: Option<Schedule>,
    /// The number of the next message on the schedule.
    next: u64,
    /// Whose turn it is.
    turn: usize,
    span: Span,
    /// When the span ends.
    until: Nanos,
    begin: Nanos,
    /// The time in the window in which there was nothing to do.
    idle_ns: Nanos,
    next_sweep: Nanos,
    /// Messages that were back when the window ended.
    back: u64,
    seen: Flowed,
}

impl<'s, 'a> Traffic<'s, 'a> {
    fn new(swarm: &'s mut Swarm<'a>, flow: Flow) -> Self {
        let mut lanes = Vec::new();
        let mut order = Vec::new();
        for (key, client) in swarm.clients.iter().filter(|(_, client)| client.script.phase() == Phase::Held) {
            lanes.resize_with(key + 1, Lane::none);
            lanes[key] = Lane { unread: client.unread, ..Lane::new(client.id, flow.size) };
            order.push(key);
        }
        order.sort_by_key(|&key| lanes[key].id);
        for (position, &key) in order.iter().enumerate() {
            lanes[key].position = position as u64;
        }
        // A message may have waited for as long as messages were due.
        let longest = swarm.task.plan.timeout_ns.saturating_mul(2);
        let longest = longest.saturating_add(flow.warm_up_ns).saturating_add(flow.duration_ns);
        Self {
            pattern: swarm.task.pattern.clone().unwrap_or_default(),
            due_at: vec![0; lanes.len() * flow.depth as usize],
            queue: VecDeque::with_capacity(order.len()),
            alive: order.len(),
            in_flight: 0,
            schedule: None,
            next: 0,
            turn: 0,
            span: Span::WarmUp,
            until: 0,
            begin: 0,
            idle_ns: 0,
            next_sweep: 0,
            back: 0,
            seen: Flowed {
                connections: order.len() as u64,
                messages: 0,
                bytes: 0,
                elapsed_ns: 0,
                latency: Summary::new(longest),
                unfinished: 0,
                late: 0,
                unsent: 0,
                busy_ns: 0,
            },
            lanes,
            order,
            swarm,
            flow,
        }
    }

    fn run(&mut self, on_mark: &mut dyn FnMut(Mark)) -> io::Result<()> {
        let began = self.swarm.clock.now();
        self.start(began);
        let mut events = Events::with_capacity(EVENTS);
        let mut awake_since = began;
        let mut turned = began;
        let mut was_active = true;
        loop {
            let now = self.swarm.clock.now();
            self.pass(now, on_mark);
            if self.is_over() {
                return Ok(());
            }
            let worked = self.work(now);
            let before = if worked { self.swarm.clock.now() } else { now };
            if worked || was_active {
                self.swarm.recorder.latency.loop_lag.record(before - awake_since);
            }
            let timeout = self.poll_timeout(before);
            match self.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            let after = self.swarm.clock.now();
            awake_since = if timeout.is_zero() { before } else { after };
            was_active = !events.is_empty();
            if was_active {
                self.swarm.last_event = after;
            }
            if self.span == Span::Window {
                // Waiting is idle, and so is a turn in which nothing came of looking.
                let idle_since = match timeout.is_zero() {
                    true if worked || was_active => after,
                    true => turned.max(self.begin),
                    false => before,
                };
                self.idle_ns += after - idle_since;
            }
            turned = after;
            self.swarm.now = after;
            let mut shown = 0;
            for event in &events {
                self.on_event(event);
                shown += 1;
            }
            // With more than it can show, a poll says nothing about the others.
            let is_all = shown < EVENTS;
            if is_all {
                self.swarm.looked = awake_since;
            }
            if after >= self.next_sweep {
                self.sweep(is_all);
            }
        }
    }

    fn start(&mut self, began: Nanos) {
        self.until = began + self.flow.warm_up_ns;
        self.next_sweep = began;
        if self.flow.duration_ns == 0 {
            // Nothing flows, and nothing is waited for.
            self.until = began;
            return;
        }
        self.schedule = self.flow.rate.map(|rate| Schedule::new(rate, began));
        for &key in &self.order {
            let lane = &mut self.lanes[key];
            if self.schedule.is_none() || lane.unread {
                lane.queued = true;
                self.queue.push_back(key);
            }
        }
    }

    /// Goes on to the next span when it is time, and at once where nothing can come of waiting.
    fn pass(&mut self, now: Nanos, on_mark: &mut dyn FnMut(Mark)) {
        let hurries = self.swarm.control.is_cut_short() || self.alive == 0;
        if self.span == Span::WarmUp && (hurries || now >= self.until) {
            self.span = Span::Window;
            self.begin = self.swarm.clock.now();
            self.until = self.begin + self.flow.duration_ns;
            on_mark(Mark::Begin);
        }
        if self.span == Span::Window && (hurries || now >= self.until) {
            let end = self.swarm.clock.now();
            self.span = Span::Ending;
            self.seen.elapsed_ns = end - self.begin;
            self.seen.busy_ns = self.seen.elapsed_ns.saturating_sub(self.idle_ns);
            on_mark(Mark::End);
            self.reckon(end);
        }
    }

    /// What was due before `end`, and what of it was back.
    fn reckon(&mut self, end: Nanos) {
        self.back = self.lanes.iter().map(Lane::back).sum();
        let begun: u64 = self.lanes.iter().map(|lane| lane.begun).sum();
        while self.planned(self.next).is_some_and(|planned| planned < end) {
            self.next += 1;
        }
        let due = if self.schedule.is_some() { self.next } else { begun };
        self.seen.unfinished = due - self.back;
        self.seen.unsent = due - begun;
    }

    fn is_over(&self) -> bool {
        self.span == Span::Ending && (self.in_flight == 0 || self.swarm.control.is_cut_short())
    }

    /// Takes what is due, and lets a few have their turn; whether there was anything to do.
    fn work(&mut self, now: Nanos) -> bool {
        let mut worked = self.take_due(now);
        for _ in 0..TURNS_PER_LOOK {
            let Some(key) = self.queue.pop_front() else { break };
            self.attend(key, now);
            worked = true;
        }
        // One of those that end otherwise.
        if let Some(key) = self.swarm.work.pop_front() {
            self.swarm.now = now;
            self.swarm.advance(key);
            worked = true;
        }
        worked
    }

    /// When the `nth` message of all is due, if there is a schedule: with the first of its burst.
    fn planned(&self, nth: u64) -> Option<Nanos> {
        self.schedule.map(|schedule| schedule.at(nth - nth % u64::from(self.flow.burst)))
    }

    /// Makes messages due, each burst on the connection whose turn it is, and puts those that have a place into the queue;
    /// whether there were any.
    fn take_due(&mut self, now: Nanos) -> bool {
        if self.span == Span::Ending {
            return false;
        }
        for nth in 0..DUE_PER_LOOK {
            if self.planned(self.next).is_none_or(|planned| planned > now) {
                return nth > 0;
            }
            self.next += 1;
            let key = self.order[self.turn];
            if self.next.is_multiple_of(u64::from(self.flow.burst)) {
                self.turn = if self.turn + 1 < self.order.len() { self.turn + 1 } else { 0 };
            }
            let lane = &mut self.lanes[key];
            lane.due += 1;
            if lane.alive && !lane.queued && lane.flying < self.flow.depth {
                lane.queued = true;
                self.queue.push_back(key);
            }
        }
        true
    }

    fn poll_timeout(&self, now: Nanos) -> Duration {
        if self.swarm.task.spin || !self.queue.is_empty() || !self.swarm.work.is_empty() {
            return Duration::ZERO;
        }
        let mut next = self.next_sweep;
        if self.span != Span::Ending {
            next = next.min(self.until);
            next = next.min(self.planned(self.next).unwrap_or(Nanos::MAX));
        }
        Duration::from_nanos(next.saturating_sub(now)).min(POLL_MAX)
    }

    fn poll(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        // Only a schedule needs a wait that ends to the microsecond, which costs a call of its own.
        let is_precise = self.schedule.is_some() && self.span != Span::Ending;
        let registry = self.swarm.poll.registry();
        let timeout = if is_precise { sys::wait_for(registry, timeout)? } else { timeout };
        self.swarm.poll.poll(events, Some(timeout))
    }

    /// Goes on with those that are ending, and where everything has been looked at, ends those on which nothing moved for
    /// the whole timeout.
    fn sweep(&mut self, is_all: bool) {
        let now = self.swarm.clock.now();
        let timeout_ns = self.swarm.task.plan.timeout_ns;
        self.next_sweep = now + (timeout_ns / SWEEPS).clamp(SWEEP_MIN_NS, SWEEP_MAX_NS);
        let is_overdue =
            |lane: &Lane| lane.alive && lane.flying > 0 && now.saturating_sub(lane.progress) > timeout_ns;
        for key in 0..self.lanes.len() {
            // Whoever stands in the queue waits for us.
            if is_all && is_overdue(&self.lanes[key]) && !self.lanes[key].queued {
                self.hand_over(key, Event::Overdue, None);
            }
        }
        self.swarm.control.tell_flowed(self.lanes.iter().map(Lane::back).sum());
        if self.swarm.clients.len() > self.alive {
            self.swarm.sweep(now);
            self.next_sweep = self.next_sweep.min(self.swarm.next_sweep);
        }
    }

    /// Gives everybody back who is left.
    fn end(mut self) -> Flowed {
        for &key in &self.order {
            let lane = &self.lanes[key];
            if lane.alive {
                let client = &mut self.swarm.clients[key];
                let first = u64::from(self.flow.size);
                client.script.flowed(lane.sent - first, lane.received - first, lane.progress);
                client.unread |= lane.unread;
            }
        }
        let back: u64 = self.lanes.iter().map(Lane::back).sum();
        self.seen.late = back - self.back;
        self.seen
    }
}
