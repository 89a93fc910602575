//! The run itself: threads are started, the barrier falls, a frozen server goes on, threads are joined.

use std::thread;
use std::time::Duration;

use super::{Embedded, Kind, Run, Surroundings};
use crate::clock::{Clock, Nanos};
use crate::control::Control;
use crate::freeze::Frozen;
use crate::pacer::Pacer;
use crate::progress::{Progress, Snapshot};
use crate::recorder::{Recorder, Span};
use crate::script::Plan;
use crate::swarm::{self, Task};
use crate::sys;

/// Connections at a time, in all, whose first bytes are not back yet, where no schedule says when they start.
const UNPROVEN_MAX: u32 = 1024;
/// Between being asked and the first planned start.
const LEAD_NS: Nanos = 2_000_000;
/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);
/// A frozen server goes on this long after the timeout, whatever happens.
const FROZEN_SPARE: Duration = Duration::from_secs(5);

/// What came of it.
pub(super) struct Conducted {
    pub(super) recorder: Recorder,
    /// Processor time that this process used meanwhile.
    pub(super) cpu: Option<Duration>,
    /// Where there is a barrier: when it fell.
    pub(super) barrier: Option<Nanos>,
    /// When the first of those began that stood before it.
    pub(super) storm_began: Option<Nanos>,
    /// Their half-closes, and the EOFs behind those.
    pub(super) storm: Option<(Option<Span>, Option<Span>)>,
    /// Of a crowd at a ledger that did not wait for each other: how many ended per second.
    pub(super) crowd: Option<f64>,
    /// When the server was let go on.
    pub(super) thaw: Option<Nanos>,
    /// When the schedule began.
    pub(super) begin: Nanos,
    /// Whether it ended before its time.
    pub(super) cut_short: bool,
    /// What failed besides connections.
    pub(super) failed: Option<String>,
}

/// One crowd of connections, from its first start to its last end.
pub(super) struct Round<'a> {
    pub(super) around: &'a Surroundings,
    pub(super) embedded: Option<&'a Embedded>,
    /// Whether all wait for each other before they part.
    pub(super) barrier: bool,
    /// How many connections there will be, where that is known.
    pub(super) goal: Option<u64>,
}

impl Conducted {
    /// Nothing yet.
    pub(super) fn new(clock: Clock, timeout_ns: Nanos) -> Self {
        Self {
            recorder: Recorder::new(clock, timeout_ns),
            cpu: None,
            barrier: None,
            storm_began: None,
            storm: None,
            crowd: None,
            thaw: None,
            begin: 0,
            cut_short: false,
            failed: None,
        }
    }

    /// Adds a later round.
    pub(super) fn add(&mut self, later: Self) {
        self.recorder.add(later.recorder);
        self.cpu = self.cpu.into_iter().chain(later.cpu).reduce(|cpu, more| cpu + more);
        self.barrier = self.barrier.or(later.barrier);
        self.storm_began = self.storm_began.or(later.storm_began);
        self.storm = self.storm.or(later.storm);
        self.crowd = self.crowd.or(later.crowd);
        self.thaw = self.thaw.or(later.thaw);
        self.cut_short |= later.cut_short;
        self.failed = self.failed.take().or(later.failed);
    }
}

impl Run<'_> {
    /// Runs the crowd that the job wants.
    pub(super) fn conduct(
        &self,
        control: &Control,
        around: &Surroundings,
        embedded: Option<&Embedded>,
    ) -> Conducted {
        let begin = self.clock.now() + LEAD_NS;
        let barrier = self.job.kind == Kind::Storm;
        let goal = if barrier { Some(u64::from(self.fit.connections)) } else { self.job.count };
        let tasks = (0..self.threads).map(|nth| self.task(nth, begin)).collect();
        Conducted { begin, ..self.round(&Round { around, embedded, barrier, goal }, control, tasks) }
    }

    /// Runs all threads to their end, each with its task.
    pub(super) fn round(&self, round: &Round<'_>, control: &Control, tasks: Vec<Task>) -> Conducted {
        // While there is but this thread; without it, connecting has some pauses more.
        let _ = sys::reserve_descriptors(self.fit.connections);
        let cpu_before = sys::cpu_time();
        let mut conducted = Conducted::new(self.clock, self.timeout_ns());
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (nth, task) in (0..self.threads).zip(tasks) {
                let spawned =
                    thread::Builder::new().name(format!("swarm-{nth}")).spawn_scoped(scope, move || {
                        let mut tell = TellOnDrop { control, is_well: false };
                        if let Some(split) = &self.split {
                            split.keep_off_server();
                        }
                        let recorder = swarm::run(task, self.clock, control);
                        tell.is_well = recorder.is_ok();
                        recorder
                    });
                match spawned {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        conducted.failed =
                            Some(format!("a thread could not be started: {error}; use fewer with -t"));
                        // Those that run have nobody to wait for, and nobody waits for those that do not.
                        control.give_up();
                        (nth..self.threads).for_each(|_| control.finished());
                        break;
                    }
                }
            }
            self.attend(control, round, &mut conducted);
            for thread in threads {
                match thread.join() {
                    Ok(Ok(recorder)) => conducted.recorder.add(recorder),
                    Ok(Err(error)) => conducted.failed = Some(format!("polling failed: {error}")),
                    Err(_) => conducted.failed = Some("a thread panicked: this is a bug".to_owned()),
                }
            }
        });
        if round.barrier {
            conducted.storm_began = conducted.recorder.starts.map(|starts| starts.first);
            conducted.storm = Some((conducted.recorder.half_closes, conducted.recorder.eofs));
        }
        conducted.cut_short = control.is_cut_short();
        conducted.cpu = sys::cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        conducted
    }

    /// Waits for the threads, and does what concerns all of them.
    fn attend(&self, control: &Control, round: &Round<'_>, conducted: &mut Conducted) {
        let mut progress = round.around.progress.then(|| Progress::start(self.job.kind.name()));
        if round.barrier {
            self.wait(control, round, &mut progress, |control| control.ready_count() == self.threads);
            // Otherwise it was interrupted, and nobody waits at the barrier any more.
            if control.ready_count() == self.threads && !control.is_cut_short() {
                self.let_go(control, round, &mut progress, conducted);
            }
        }
        self.wait(control, round, &mut progress, |_| false);
        if let Some(progress) = progress {
            progress.finish();
        }
    }

    /// Lets the barrier fall; if so wished, while the server stands still.
    fn let_go(
        &self,
        control: &Control,
        round: &Round<'_>,
        progress: &mut Option<Progress>,
        conducted: &mut Conducted,
    ) {
        let pid = self.pid_to_freeze(round.embedded);
        self.hold(control, round, progress);
        let frozen = match pid.map(|pid| self.freeze(round.around, pid)).transpose() {
            Ok(frozen) => frozen,
            Err(error) => {
                conducted.failed = Some(format!("the server could not be stopped: {error}"));
                None
            }
        };
        let barrier = self.clock.now();
        conducted.barrier = Some(barrier);
        control.go(barrier);
        if let Some(frozen) = frozen {
            self.wait_for_issue(control, barrier);
            conducted.thaw = Some(self.clock.now());
            if let Err(error) = frozen.thaw() {
                conducted.failed = Some(format!("the server could not be let go on: {error}"));
            }
        }
    }

    /// Lets everything stand ready for as long as was wished for.
    fn hold(&self, control: &Control, round: &Round<'_>, progress: &mut Option<Progress>) {
        let until = self.clock.now() + nanos(self.job.hold);
        self.wait(control, round, progress, |control| self.clock.now() >= until || control.is_cut_short());
    }

    /// Until everything was issued that could be, or something speaks against waiting any longer: what does not fit
    /// into the buffers of a server that stands still is sent when it goes on.
    fn wait_for_issue(&self, control: &Control, since: Nanos) {
        let is_over = |control: &Control| {
            control.issued_count() == self.threads
                || control.is_cut_short()
                || control.finished_count() == self.threads
                || self.clock.now() > since + self.timeout_ns()
        };
        // The moment is worth a close look: this is where `thaw_to_last_eof` begins.
        while !control.wait(Duration::from_millis(1), is_over) {}
    }

    fn freeze(&self, around: &Surroundings, pid: u32) -> std::io::Result<Frozen> {
        Frozen::stop(&around.program, pid, self.job.timeout + FROZEN_SPARE)
    }

    fn pid_to_freeze(&self, embedded: Option<&Embedded>) -> Option<u32> {
        let named = self.job.server_pid.map(std::num::NonZeroU32::get);
        named.or(embedded.map(Embedded::pid)).filter(|_| self.job.frozen)
    }

    /// Until `is_over`, or every thread has ended.
    pub(super) fn wait(
        &self,
        control: &Control,
        round: &Round<'_>,
        progress: &mut Option<Progress>,
        is_over: impl Fn(&Control) -> bool,
    ) {
        while !control.wait(TICK, |control| is_over(control) || control.finished_count() >= self.threads) {
            if let Some(progress) = progress {
                let now = Duration::from_nanos(self.clock.now());
                progress.show(now, &self.snapshot(control, round, now));
            }
        }
    }

    fn snapshot(&self, control: &Control, round: &Round<'_>, now: Duration) -> Snapshot {
        let [started, ended, failed] = control.counts();
        let in_flight = started.saturating_sub(ended);
        let (phase, done) = match self.job.kind {
            Kind::Storm | Kind::Ledger if round.barrier && control.barrier().is_none() => {
                ("connecting", started)
            }
            Kind::Storm => ("ending", ended),
            Kind::Ledger => ("claiming", ended),
            Kind::Churn | Kind::Health => ("churning", ended),
            Kind::Rtt => return self.messages_so_far(control, now),
        };
        Snapshot { phase, done, total: round.goal, in_flight, failed, elapsed: now, limit: self.job.duration }
    }

    /// The share of one thread.
    pub(super) fn task(&self, nth: u32, begin: Nanos) -> Task {
        let job = self.job;
        let share = |all: u64| {
            all / u64::from(self.threads) + u64::from(u64::from(nth) < all % u64::from(self.threads))
        };
        let slots = share(u64::from(self.fit.connections));
        // A schedule waits for nobody, so not for first bytes either.
        let unproven_max = job.rate.map_or(u64::from((UNPROVEN_MAX / self.threads).max(1)), |_| slots);
        let count = if job.kind == Kind::Storm { Some(slots) } else { job.count.map(share) };
        let until = job.duration.map(|duration| begin + nanos(duration));
        let ids = (u64::from(nth), u64::from(self.threads));
        let pacer = match job.rate {
            Some(rate) => Pacer::open(rate, begin, ids, count, until),
            None => Pacer::closed(count, until),
        };
        Task {
            plan: Plan {
                size: job.size,
                tail: job.tail,
                silent: 0,
                barrier: job.kind == Kind::Storm,
                timeout_ns: self.timeout_ns(),
            },
            remote: self.target.addr,
            sources: self.fit.sources.clone(),
            pacer,
            slots: usize::try_from(slots).unwrap_or(usize::MAX),
            unproven_max: usize::try_from(unproven_max).unwrap_or(usize::MAX),
            ids,
            spin: self.spin,
            visits: None,
            pattern: None,
        }
    }

    pub(super) fn timeout_ns(&self) -> Nanos {
        nanos(self.job.timeout)
    }
}

/// However a thread ends, nobody waits for it any more; where it failed, the others do not wait at the barrier either.
pub(super) struct TellOnDrop<'a> {
    pub(super) control: &'a Control,
    pub(super) is_well: bool,
}

impl Drop for TellOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_well {
            self.control.give_up();
        }
        self.control.finished();
    }
}

pub(super) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}
