//! Round trips as a scenario: one thread that does it all, and this one, which shows how far it is.

use std::thread;
use std::time::Duration;

use super::conduct::{Conducted, Round, TellOnDrop, nanos};
use super::{Account, Messages, Run, Surroundings};
use crate::control::Control;
use crate::progress::{Progress, Snapshot};
use crate::report;
use crate::rtt::{self, Mark, Measured, Rtt};
use crate::sys;

impl Run<'_> {
    /// Lets messages flow, to the end of their connections.
    pub(super) fn round_trips(
        &self,
        messages: Messages,
        control: &Control,
        around: &Surroundings,
    ) -> (Conducted, Account) {
        let rtt = self.rtt(messages);
        let cpu_before = sys::cpu_time();
        let mut conducted = Conducted::new(self.clock, self.timeout_ns());
        let mut account = Account::default();
        thread::scope(|scope| {
            let flow = || {
                let mut tell = TellOnDrop { control, is_well: false };
                if let Some(split) = &self.split {
                    split.keep_off_server();
                }
                let measured = self.measure(&rtt, control);
                tell.is_well = measured.is_ok();
                measured
            };
            let thread = match thread::Builder::new().name("rtt".to_owned()).spawn_scoped(scope, flow) {
                Ok(thread) => thread,
                Err(error) => {
                    conducted.failed = Some(format!("a thread could not be started: {error}"));
                    return;
                }
            };
            self.watch(control, around);
            match thread.join() {
                Ok(Ok((measured, marks))) => {
                    conducted.barrier = marks.standing;
                    conducted.storm_began = measured.recorder.starts.map(|starts| starts.first);
                    account.rtt = Some(self.account(&measured, marks.cpu()));
                    conducted.recorder = measured.recorder;
                }
                Ok(Err(error)) => conducted.failed = Some(format!("polling failed: {error}")),
                Err(_) => conducted.failed = Some("a thread panicked: this is a bug".to_owned()),
            }
        });
        conducted.cut_short = control.is_cut_short();
        conducted.cpu = sys::cpu_time().zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        (conducted, account)
    }

    fn rtt(&self, messages: Messages) -> Rtt {
        Rtt {
            remote: self.target.addr,
            sources: self.fit.sources.clone(),
            connections: self.fit.connections,
            size: u32::try_from(self.job.size).unwrap_or(u32::MAX),
            depth: messages.depth,
            rate: self.job.rate,
            burst: messages.burst,
            warm_up: messages.warm_up,
            duration: self.job.duration.unwrap_or_default(),
            timeout: self.job.timeout,
            spin: self.spin,
        }
    }

    fn measure(&self, rtt: &Rtt, control: &Control) -> std::io::Result<(Measured, Marks)> {
        let mut marks = Marks::default();
        let on_mark = &mut |mark| match mark {
            Mark::Standing => {
                let now = self.clock.now();
                marks.standing = Some(now);
                control.go(now);
            }
            Mark::Begin => marks.begin = sys::cpu_time(),
            Mark::End => marks.end = sys::cpu_time(),
        };
        let measured = rtt::run_by(self.clock, rtt, control, on_mark)?;
        Ok((measured, marks))
    }

    /// Shows how far it is, until it is over.
    fn watch(&self, control: &Control, around: &Surroundings) {
        let mut progress = around.progress.then(|| Progress::start(self.job.kind.name()));
        let goal = Some(u64::from(self.fit.connections));
        let round = Round { around, embedded: None, barrier: true, goal };
        self.wait(control, &round, &mut progress, |_| false);
        if let Some(progress) = progress {
            progress.finish();
        }
    }

    /// How far it is.
    pub(super) fn messages_so_far(&self, control: &Control, now: Duration) -> Snapshot {
        let [started, ended, failed] = control.counts();
        let in_flight = started.saturating_sub(ended);
        let Some(standing) = control.barrier() else {
            let total = Some(u64::from(self.fit.connections));
            return Snapshot {
                phase: "connecting",
                done: started,
                total,
                in_flight,
                failed,
                elapsed: now,
                limit: None,
            };
        };
        let warm_up = self.job.messages.map(|messages| messages.warm_up).unwrap_or_default();
        Snapshot {
            phase: "exchanging",
            done: control.flowed(),
            total: None,
            in_flight,
            failed,
            elapsed: now.saturating_sub(Duration::from_nanos(standing)),
            limit: self.job.duration.map(|duration| duration + warm_up),
        }
    }

    fn account(&self, measured: &Measured, cpu: Option<Duration>) -> report::Rtt {
        let seconds = measured.elapsed.as_secs_f64();
        report::Rtt {
            connections: measured.connections,
            window_ns: nanos(measured.elapsed),
            messages: measured.messages,
            bytes: measured.bytes,
            offered: self.job.rate,
            achieved: (seconds > 0.0).then(|| measured.messages as f64 / seconds),
            unfinished: measured.unfinished,
            late: measured.late,
            unsent: measured.unsent,
            cpu_ns: cpu.map(nanos),
            busy: measured.busy,
            latency: measured.summary.clone(),
        }
    }
}

/// What was looked at at the marks.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    standing: Option<u64>,
    begin: Option<Duration>,
    end: Option<Duration>,
}

impl Marks {
    /// Processor time of the window.
    fn cpu(&self) -> Option<Duration> {
        Some(self.end?.saturating_sub(self.begin?))
    }
}
