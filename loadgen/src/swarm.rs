//! One thread's connections: a poll, and between two polls a little work.
//!
//! ```text
//!    poll -> read all that is ready, each with its time -> a little work: close, part, open -> poll ...
//! ```
//!
//! What takes long (closing, half-closing, connecting: some 10 us each) waits in queues and is done piece by piece, so
//! that an EOF is seen soon after it came: a generator that first issued 10,000 half-closes and only then looked
//! reported 103 ms where the kernel's trace said 27.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::clock::{Clock, Nanos};
use crate::control::Control;
use crate::fault::Fault;
use crate::pacer::{Pacer, Start};
use crate::payload::Pattern;
use crate::recorder::{Ended, Recorder};
use crate::script::{Event, Phase, Plan, Script};
use crate::sys;

pub use self::flow::{Flow, Flowed, Mark};
pub use self::visit::Visits;
use self::visit::Wire;

mod connect;
mod flow;
mod transfer;
mod visit;

/// Events taken in one poll. With fewer, a poll that is full says nothing about those it did not show.
const EVENTS: usize = 1024;
/// Between two polls one piece of work is done, so that a storm's EOFs are seen while others are issued; but so much
/// where the load follows the server: what happens then mostly waits for its turn, and a look for each is dear.
const WORK_CLOSED_NS: Nanos = 20_000;
/// After something happened, looking goes on without a pause for this long: waking up takes tens of microseconds, in a
/// virtual machine hundreds, which would be added to what is measured.
const SPIN_NS: Nanos = 5_000_000;
/// Then looks are apart by this share of the time since something happened. How long an EOF stood unseen is not known,
/// and with one long wait until it comes it might have been all of a slow server's time.
const WAIT_SHARE: Nanos = 32;
/// Polling waits in milliseconds; a start that is due sooner is waited for without a pause.
const PACE_SPIN_NS: Nanos = 2_000_000;
/// The longest wait in a poll: how soon an interrupt is noticed.
const POLL_MAX: Duration = Duration::from_millis(50);
/// The same while the barrier is awaited.
const BARRIER_POLL: Duration = Duration::from_millis(1);
/// After a connection could not be made, an endless loop starts none for this long: it would do nothing but fail.
const RETRY_NS: Nanos = 10_000_000;
/// After an interrupt, connections that have half-closed have this long to end.
const INTERRUPT_GRACE_NS: Nanos = 1_000_000_000;

const SWEEP_MIN_NS: Nanos = 1_000_000;
const SWEEP_MAX_NS: Nanos = 100_000_000;
/// Deadlines are looked at this many times within a timeout.
const SWEEPS: Nanos = 16;

/// What one thread is to do.
#[derive(Clone, Debug)]
pub struct Task {
    /// What every connection does.
    pub plan: Plan,
    /// The target.
    pub remote: SocketAddr,
    /// Addresses to connect from, in rotation; empty where the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// When to start connections.
    pub pacer: Pacer,
    /// Connections at a time.
    pub slots: usize,
    /// Connections at a time whose first bytes are not back yet: more would only be waiting in the server's backlog.
    pub unproven_max: usize,
    /// The number of this thread's first connection, and from each to the next.
    pub ids: (u64, u64),
    /// Whether there is a processor to spare for looking without a pause.
    pub spin: bool,
    /// Beside a ledger: what each connection is for.
    pub visits: Option<Visits>,
    /// What is sent, where mixing it anew would take too long.
    pub pattern: Option<Arc<Pattern>>,
}

/// Runs a task to its end.
///
/// # Errors
/// When this host cannot poll. What goes wrong with a connection is its outcome.
pub fn run(task: Task, clock: Clock, control: &Control) -> io::Result<Recorder> {
    let mut swarm = Swarm::new(task, clock, control)?;
    swarm.run()?;
    Ok(swarm.recorder)
}

/// Runs a task whose connections wait for each other, lets messages flow on all that stand, and then lets them part.
///
/// # Errors
/// As [`run`].
pub fn run_with_flow(
    task: Task,
    flow: &Flow,
    clock: Clock,
    control: &Control,
    on_mark: &mut dyn FnMut(Mark),
) -> io::Result<(Recorder, Flowed)> {
    let mut swarm = Swarm::new(task, clock, control)?;
    swarm.pauses = true;
    swarm.run()?;
    let flowed = flow::run(&mut swarm, flow, on_mark)?;
    swarm.pauses = false;
    swarm.let_go(clock.now());
    swarm.run()?;
    Ok((swarm.recorder, flowed))
}

struct Swarm<'a> {
    task: Task,
    clock: Clock,
    control: &'a Control,
    recorder: Recorder,
    poll: Poll,
    clients: Slab<Client>,
    /// Clients that have something to do; before the issuing, so that it does not delay them.
    work: VecDeque<usize>,
    /// Storm: clients that are to part.
    issue: VecDeque<usize>,
    /// For how long work goes on between two polls; one piece is always done.
    work_ns: Nanos,
    next_id: u64,
    unproven: usize,
    /// No start before this.
    retry_at: Nanos,
    /// Where a moment more or less means nothing, as it does to a deadline.
    now: Nanos,
    /// The last poll that showed all there was.
    looked: Nanos,
    /// The last time that something happened, or was done.
    last_event: Nanos,
    next_sweep: Nanos,
    stage: Stage,
    /// Whether to come back when every connection stands.
    pauses: bool,
    /// When what is left is given up, after an interrupt.
    censor_at: Option<Nanos>,
    buffer: Box<[u8]>,
}

/// How far a storm is; a churn is beyond it from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Ready,
    Issuing,
    Issued,
}

struct Client {
    stream: TcpStream,
    script: Script,
    wire: Wire,
    id: u64,
    /// Whether its handshake or its first bytes are under way.
    unproven: bool,
    /// When it was seen to be writable for the first time.
    writable_at: Option<Nanos>,
    /// Whether it stands in a queue.
    queued: bool,
    /// Whether there may be something to read that no event will tell of any more.
    unread: bool,
    /// The last look that did not show the server's FIN, once one did: more bytes than one turn reads may lie before it.
    looked: Option<Nanos>,
    error: Option<io::Error>,
}

impl<'a> Swarm<'a> {
    fn new(task: Task, clock: Clock, control: &'a Control) -> io::Result<Self> {
        let now = clock.now();
        Ok(Self {
            recorder: Recorder::new(clock, task.plan.timeout_ns),
            poll: Poll::new()?,
            clients: Slab::new(),
            work: VecDeque::new(),
            issue: VecDeque::new(),
            work_ns: if task.plan.barrier || task.pacer.is_open() { 0 } else { WORK_CLOSED_NS },
            next_id: task.ids.0,
            unproven: 0,
            retry_at: 0,
            now,
            looked: now,
            last_event: now,
            next_sweep: now,
            stage: if task.plan.barrier { Stage::Opening } else { Stage::Issued },
            pauses: false,
            censor_at: None,
            buffer: vec![0; transfer::BUFFER_BYTES].into_boxed_slice(),
            task,
            clock,
            control,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let began = self.clock.now();
        let mut awake_since = began;
        let mut was_active = true;
        loop {
            let now = self.clock.now();
            self.look_at_control(now);
            if self.pauses && self.stage == Stage::Ready {
                break;
            }
            let before = self.do_some_work(now);
            if before > now {
                was_active = true;
                self.last_event = now;
            }
            if self.is_done(now) {
                break;
            }
            let timeout = self.poll_timeout(before);
            if was_active {
                self.recorder.busy_ns += before - awake_since;
                self.recorder.latency.loop_lag.record(before - awake_since);
            }
            let polled = sys::wait_for(self.poll.registry(), timeout);
            match polled.and_then(|timeout| self.poll.poll(&mut events, Some(timeout))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            let after = self.clock.now();
            awake_since = if timeout.is_zero() { before } else { after };
            was_active = !events.is_empty();
            if was_active {
                self.last_event = after;
            }
            for event in &events {
                self.on_event(event);
            }
            let shown = events.iter().count();
            if shown < EVENTS {
                // The moment of a look that does not wait is when it began; one that waits looked when it ended.
                self.looked = awake_since;
                if after >= self.next_sweep {
                    self.sweep(self.clock.now());
                }
            }
        }
        let now = self.clock.now();
        self.recorder.missed += self.task.pacer.give_up(now);
        self.recorder.ran_ns += now - began;
        Ok(())
    }

    /// Follows what the other threads have said: the run is cut short, the barrier falls.
    fn look_at_control(&mut self, now: Nanos) {
        if self.control.is_cut_short() {
            match self.censor_at {
                None => {
                    self.recorder.missed += self.task.pacer.give_up(now);
                    self.censor_at = Some(now + INTERRUPT_GRACE_NS);
                    self.censor(now, |script| script.times().half_close.is_none());
                }
                Some(at) if now >= at => self.censor(now, |_| true),
                Some(_) => {}
            }
        }
        match self.stage {
            Stage::Opening if self.stands_ready(now) => {
                self.stage = Stage::Ready;
                self.control.ready();
            }
            Stage::Ready => {
                if let Some(at) = self.control.barrier() {
                    self.let_go(at);
                }
            }
            Stage::Issuing if self.issue.is_empty() => {
                self.stage = Stage::Issued;
                self.control.issued();
            }
            Stage::Opening | Stage::Issuing | Stage::Issued => {}
        }
    }

    /// Lets everybody part who waits for it.
    fn let_go(&mut self, at: Nanos) {
        self.stage = Stage::Issuing;
        let held = self.clients.iter_mut().filter(|(_, client)| client.script.phase() == Phase::Held);
        for (key, client) in held {
            client.script.handle(Event::Go, at);
            client.queued = true;
            self.issue.push_back(key);
        }
    }

    fn stands_ready(&self, now: Nanos) -> bool {
        self.task.pacer.is_over(now) && self.unproven == 0
    }

    /// Works off what waits for a little while: a start whenever one is due and has a place, so that slots do not stand
    /// empty behind other work, and what connections ask for before what a storm is still to issue. The time when it is
    /// done: the same where there was nothing.
    fn do_some_work(&mut self, begun: Nanos) -> Nanos {
        self.now = begun;
        loop {
            let opened = self.open_next(self.now);
            let key = self.work.pop_front().or_else(|| if opened { None } else { self.issue.pop_front() });
            if let Some(key) = key {
                // A storm's client may have ended before its turn; nobody takes its place, so nothing is done then.
                self.advance(key);
            }
            if !opened && key.is_none() {
                break;
            }
            self.now = self.clock.now().max(begun + 1);
            if self.now >= begun + self.work_ns {
                break;
            }
        }
        self.now
    }

    /// Starts a connection, if one is due. An open loop counts one that finds no place as missed.
    fn open_next(&mut self, now: Nanos) -> bool {
        if self.censor_at.is_some() || now < self.retry_at {
            return false;
        }
        let has_place = self.clients.len() < self.task.slots && self.unproven < self.task.unproven_max;
        match self.task.pacer.next() {
            Some(next) if next > 0 && next <= now => {}
            Some(0) if has_place => {}
            Some(_) | None => return false,
        }
        match self.task.pacer.take(now) {
            Some(Start::Planned(_)) if !has_place => self.recorder.missed += 1,
            Some(Start::Planned(at)) => self.connect(now, Some(at)),
            Some(Start::Now) => self.connect(now, None),
            None => return false,
        }
        true
    }

    fn is_done(&self, now: Nanos) -> bool {
        let is_over = self.task.pacer.is_over(now) || self.censor_at.is_some();
        let is_issued = self.stage == Stage::Issued || self.censor_at.is_some();
        is_over && is_issued && self.clients.is_empty()
    }

    fn poll_timeout(&self, now: Nanos) -> Duration {
        let is_idle = self.work.is_empty() && self.issue.is_empty();
        let has_place = self.clients.len() < self.task.slots && self.unproven < self.task.unproven_max;
        let is_over = self.task.pacer.is_over(now) || self.censor_at.is_some();
        let next_start = self.task.pacer.next().filter(|_| !is_over);
        // A closed loop opens when there is a place; an open one at its time, place or not.
        let next_start = next_start.filter(|&at| at > 0 || has_place).map(|at| at.max(self.retry_at));
        if !is_idle || next_start.is_some_and(|at| at <= now) {
            return Duration::ZERO;
        }
        let is_live = !self.clients.is_empty() && self.stage != Stage::Ready;
        let is_fresh = is_live && now < self.last_event + SPIN_NS;
        let is_soon = next_start.is_some_and(|at| at > self.retry_at && at < now + PACE_SPIN_NS);
        if self.task.spin && (is_fresh || is_soon) {
            return Duration::ZERO;
        }
        let most = match self.stage {
            Stage::Ready => BARRIER_POLL,
            Stage::Opening | Stage::Issuing | Stage::Issued if is_live => {
                let since = now.saturating_sub(self.last_event).max(SPIN_NS);
                POLL_MAX.min(Duration::from_nanos(since / WAIT_SHARE))
            }
            Stage::Opening | Stage::Issuing | Stage::Issued => POLL_MAX,
        };
        let wait = next_start.unwrap_or(Nanos::MAX).min(self.next_sweep).saturating_sub(now);
        Duration::from_nanos(wait).min(most)
    }

    fn on_event(&mut self, event: &mio::event::Event) {
        let key = event.token().0;
        let Some(client) = self.clients.get_mut(key) else { return };
        if event.is_read_closed() {
            client.looked.get_or_insert(self.looked);
        }
        match client.script.phase() {
            Phase::Connecting => {
                client.writable_at.get_or_insert(self.last_event);
                // Nothing is read before the first send has told whether there is a connection at all.
                client.unread |= event.is_readable() || event.is_read_closed();
                self.enqueue(key);
            }
            Phase::Proving | Phase::Held | Phase::Parting | Phase::Draining => {
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.receive(key, event.is_read_closed() || event.is_error());
                }
                self.settle(key);
                let wants = self.clients.get(key).is_some_and(|client| client.script.op().is_some());
                if wants {
                    self.enqueue(key);
                }
            }
            // What comes meanwhile is read afterwards.
            Phase::Stalling => client.unread = true,
            Phase::Holding | Phase::Checking | Phase::Resetting | Phase::Closing | Phase::Done => {}
        }
    }

    /// Makes room for the next connect once the first bytes are back.
    fn settle(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if client.unproven && !matches!(client.script.phase(), Phase::Connecting | Phase::Proving) {
            client.unproven = false;
            self.unproven -= 1;
        }
    }

    fn enqueue(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if !client.queued {
            client.queued = true;
            self.work.push_back(key);
        }
    }

    /// Says what is due, after a look at everything that has arrived. Whoever stands in a queue waits for us, and not for
    /// the server.
    fn sweep(&mut self, now: Nanos) {
        let period = (self.task.plan.timeout_ns / SWEEPS).clamp(SWEEP_MIN_NS, SWEEP_MAX_NS);
        self.next_sweep = now + period;
        let mut due = Vec::new();
        for (key, client) in &mut self.clients {
            match client.script.due() {
                Some(at) if at <= now && !client.queued => {
                    // What came in a stall may have been told of before it.
                    client.unread |= client.script.phase() == Phase::Stalling;
                    client.script.handle(Event::Due, now);
                    due.push(key);
                }
                Some(at) => self.next_sweep = self.next_sweep.min(at),
                None => {}
            }
        }
        self.next_sweep = self.next_sweep.max(now + SWEEP_MIN_NS);
        due.into_iter().for_each(|key| self.enqueue(key));
    }

    fn censor(&mut self, now: Nanos, which: impl Fn(&Script) -> bool) {
        let mut keys = Vec::new();
        for (key, client) in &mut self.clients {
            if which(&client.script) {
                client.script.handle(Event::Interrupted, now);
                keys.push(key);
            }
        }
        keys.into_iter().for_each(|key| self.enqueue(key));
    }

    /// Closes a connection, and takes it into the record.
    fn finish(&mut self, key: usize) {
        let Client { stream, mut script, id, unproven, error, .. } = self.clients.remove(key);
        self.unproven -= usize::from(unproven);
        let local = self.recorder.wants_address(&script).then(|| stream.local_addr().ok()).flatten();
        drop(stream);
        script.handle(Event::Closed, self.clock.now());
        self.record(id, &script, local, error.as_ref());
    }

    fn record(&mut self, id: u64, script: &Script, local: Option<SocketAddr>, error: Option<&io::Error>) {
        let outcome = script.outcome();
        if (outcome.is_connect() || outcome.is_local()) && self.task.pacer.is_endless() {
            self.retry_at = self.clock.now() + RETRY_NS;
        }
        self.recorder.ended(&Ended { id, script, local, remote: self.task.remote, error });
        self.control.count_end(outcome.is_wanted());
        self.visited(id, script);
    }
}
