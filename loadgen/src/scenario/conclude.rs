//! What was seen, put together: rates, the generator's health, the server's account, the verdict.

use super::conduct::nanos;
use super::{Account, Conducted, Embedded, Kind, Run};
use crate::host;
use crate::recorder::{Recorder, Span};
use crate::report::verdict::{self, verdict};
use crate::report::{self, Generator, Rate, Report, Settings, Warning};
use crate::validity;

impl Run<'_> {
    /// The report.
    pub(super) fn conclude(
        &self,
        mut conducted: Conducted,
        embedded: Option<Embedded>,
        account: Account,
        interrupted: bool,
    ) -> Report {
        let Account { ledger, rtt } = account;
        let mut warnings = Vec::new();
        let server = embedded.map(|embedded| embedded.end(&conducted.recorder.outcomes)).transpose();
        let server = server.unwrap_or_else(|error| {
            conducted.failed.get_or_insert_with(|| error.to_string());
            None
        });
        if conducted.was_served_while_frozen() {
            let what =
                "connections ended cleanly while the process was stopped: it is not the one that serves them";
            conducted.thaw = None;
            conducted.failed.get_or_insert_with(|| what.to_owned());
        }
        let rate = self.rate(&conducted);
        let mut generator = self.generator(&conducted);
        if let Some(rtt) = &rtt {
            generator.busy = rtt.busy;
        }
        let recorder = conducted.recorder;
        let findings = validity::examine(&validity::Facts {
            latency: &recorder.latency,
            rate: &rate,
            outcomes: &recorder.outcomes,
            generator: &generator,
            books: ledger.is_some(),
            rtt: rtt.as_ref(),
            closed_loop: self.job.kind == Kind::Churn && self.job.rate.is_none(),
            interrupted: interrupted || conducted.cut_short,
        });
        generator.valid = findings.invalid.is_empty();
        generator.invalid = findings.invalid;
        warnings.extend(findings.warnings);
        warnings.extend(self.warnings(&recorder));
        warnings.extend(ledger.iter().flat_map(report::Ledger::warnings));
        let verdict = verdict(&verdict::Facts {
            scenario: self.job.kind.name(),
            target: &self.target,
            outcomes: &recorder.outcomes,
            generator: &generator,
            server: server.as_ref(),
            ledger: ledger.as_ref(),
            rtt: rtt.as_ref(),
            interrupted,
            failed: conducted.failed,
        });
        Report {
            schema: report::SCHEMA,
            scenario: self.job.kind.name(),
            target: self.target.clone(),
            config: self.settings(),
            host: host::facts(self.fit.descriptors_max, self.clock.unix_ns(0)),
            exemplars: recorder.exemplars(),
            outcomes: recorder.outcomes,
            latency: recorder.latency,
            rate,
            generator,
            server,
            ledger,
            rtt,
            warnings,
            verdict,
        }
    }

    fn settings(&self) -> Settings {
        let job = self.job;
        Settings {
            connections: self.fit.connections,
            duration_ns: job.duration.map(nanos),
            rate: job.rate,
            count: job.count,
            size_bytes: job.size,
            tail_bytes: job.tail,
            timeout_ns: self.timeout_ns(),
            threads: self.threads,
            sources: self.fit.sources.clone(),
            frozen: job.frozen,
            hold_ns: (!job.hold.is_zero()).then(|| nanos(job.hold)),
            depth: job.messages.map(|messages| messages.depth),
            burst: job.messages.map(|messages| messages.burst),
            warm_up_ns: job.messages.map(|messages| nanos(messages.warm_up)),
            sessions: job.claims.as_ref().map(|claims| claims.sessions),
            server_pid: job.server_pid.map(std::num::NonZeroU32::get),
        }
    }

    fn rate(&self, conducted: &Conducted) -> Rate {
        let recorder = &conducted.recorder;
        let achieved = match (self.job.kind, self.job.rate) {
            (Kind::Storm | Kind::Health | Kind::Rtt, _) => None,
            (Kind::Ledger, _) => conducted.crowd,
            // Of an open loop its starts are measured: how long they take is up to the target.
            (Kind::Churn, Some(rate)) => {
                let last = recorder.starts.map_or(0, |starts| starts.last.saturating_sub(conducted.begin));
                let by_count = self.job.count.map(|count| (count as f64 / rate * 1e9) as u64);
                let by_duration = self.job.duration.map(nanos);
                let planned = by_count.into_iter().chain(by_duration).min().unwrap_or(0);
                // A schedule that is cut off between two starts was not ahead of itself.
                let on_time = (recorder.started as f64 / rate * 1e9) as u64;
                per_second(recorder.started, planned.max(last).max(on_time))
            }
            (Kind::Churn, None) => ended_per_second(recorder),
        };
        // Messages have rates of their own.
        let offered = self.job.rate.filter(|_| self.job.kind != Kind::Rtt);
        Rate { offered, achieved, missed: recorder.missed }
    }

    fn generator(&self, conducted: &Conducted) -> Generator {
        let recorder = &conducted.recorder;
        let elapsed_ns = elapsed_ns(recorder);
        let cpu_ns = conducted.cpu.map_or(0, nanos);
        let is_storm = conducted.storm.is_some();
        let (half_closes, eofs) = conducted.storm.unwrap_or_default();
        let first_half_close = half_closes.map(|span| span.first);
        let last_eof = eofs.map(|span| span.last);
        let until_last_eof = |from: Option<u64>| Some(last_eof?.saturating_sub(from?));
        Generator {
            valid: true,
            invalid: Vec::new(),
            elapsed_ns,
            setup_ns: conducted
                .barrier
                .zip(conducted.storm_began)
                .map(|(at, began)| at.saturating_sub(began)),
            issue_spread_ns: half_closes.map(|span| Span::length(&span)).filter(|_| is_storm),
            completion_ns: until_last_eof(first_half_close).filter(|_| is_storm),
            thaw_to_last_eof_ns: until_last_eof(conducted.thaw),
            cpu_ns,
            utilisation: share(cpu_ns, elapsed_ns * u64::from(self.threads)),
            busy: share(recorder.busy_ns, recorder.ran_ns),
            bytes_sent: recorder.bytes_sent,
            bytes_received: recorder.bytes_received,
        }
    }

    fn warnings(&self, recorder: &Recorder) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(fewer) = &self.fit.fewer {
            let remedy =
                Some("Raise the limit (`ulimit -Hn` as root), or choose a number with -c.".to_owned());
            warnings.push(Warning { what: fewer.clone(), remedy });
        }
        let saturated = recorder.latency.all().iter().map(|(_, summary)| summary.saturated()).sum::<u64>();
        if saturated > 0 {
            let what = format!("{saturated} times were longer than twice the timeout, and count as that.");
            warnings.push(Warning { what, remedy: Some("Raise --timeout.".to_owned()) });
        }
        if cfg!(debug_assertions) {
            let what = "This is a debug build: its figures mean little.".to_owned();
            warnings.push(Warning { what, remedy: Some("Build it with --release.".to_owned()) });
        }
        warnings
    }
}

impl Conducted {
    /// Whether somebody else than the process that stood still has served, as where it is the parent of those who do.
    fn was_served_while_frozen(&self) -> bool {
        self.thaw.zip(self.recorder.first_clean_eof).is_some_and(|(thaw, eof)| eof < thaw)
    }
}

/// The rate of a closed loop. What ends after the last start is up to the target: one that hangs is no slower rate.
pub(super) fn ended_per_second(recorder: &Recorder) -> Option<f64> {
    recorder.starts.and_then(|starts| match recorder.ended_before_start {
        0 => per_second(recorder.outcomes.total(), elapsed_ns(recorder)),
        ended => per_second(ended, starts.length()),
    })
}

fn elapsed_ns(recorder: &Recorder) -> u64 {
    recorder.starts.map_or(0, |starts| recorder.last_end.saturating_sub(starts.first))
}

fn per_second(count: u64, ns: u64) -> Option<f64> {
    (ns > 0).then(|| count as f64 / (ns as f64 / 1e9))
}

/// A share from 0 to 1; clocks of different kinds may differ by a hair.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}
