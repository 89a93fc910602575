//! Reports made by hand, for the tests of whatever reads one.

use finwait_loadgen::ledger::book::Sums;
use finwait_loadgen::outcome::{Outcome, Outcomes};
use finwait_loadgen::report::verdict::{Facts, verdict};
use finwait_loadgen::report::{
    Exemplar, Generator, Host, Latency, Ledger, Moment, Rate, Report, Rtt, SCHEMA, Server, Settings, Summary,
    Target, Verdict, Warning,
};
use serde_json::json;

/// Twice the default timeout, where histograms saturate.
pub(crate) const LIMIT_NS: u64 = 20_000_000_000;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// 2026-08-01T12:00:00Z.
const STARTED_UNIX_NS: u64 = 1_785_585_600_000_000_000;

/// Outcomes by count.
pub(crate) fn outcomes(counts: &[(Outcome, u64)]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    counts.iter().for_each(|&(outcome, count)| outcomes[outcome] += count);
    outcomes
}

/// A histogram of `count` times, from `from` to `to` in equal steps.
pub(crate) fn ramp(count: u64, from: u64, to: u64) -> Summary {
    let mut summary = Summary::new(LIMIT_NS);
    (0..count).for_each(|index| summary.record(from + (to - from) * index / count.max(2).saturating_sub(1)));
    summary
}

/// No histogram with a sample.
pub(crate) fn no_latency() -> Latency {
    let none = || Summary::new(LIMIT_NS);
    Latency {
        shutdown: none(),
        shutdown_or_deadline: none(),
        shutdown_earliest: none(),
        scheduled_shutdown: none(),
        drain: none(),
        eof_tail: none(),
        connect: none(),
        echo: none(),
        close: none(),
        observation: none(),
        start_lag: none(),
        loop_lag: none(),
    }
}

/// A storm's histograms, the server taking one connection after the other.
pub(crate) fn storm_latency(count: u64) -> Latency {
    Latency {
        shutdown: ramp(count, 620 * US, 23_180 * US),
        shutdown_or_deadline: ramp(count, 620 * US, 23_180 * US),
        shutdown_earliest: ramp(count, 619 * US, 23_085 * US),
        scheduled_shutdown: ramp(count, 640 * US, 25_400 * US),
        drain: ramp(count, 610 * US, 23_170 * US),
        eof_tail: ramp(count, 2 * US, 31 * US),
        connect: ramp(count, 18 * US, 140 * US),
        echo: ramp(count, 22 * US, 410 * US),
        close: ramp(count, 900, 14 * US),
        observation: ramp(count, 800, 95 * US),
        start_lag: Summary::new(LIMIT_NS),
        loop_lag: ramp(4_000, 300, 120 * US),
    }
}

/// The embedded target.
pub(crate) fn embedded() -> Target {
    Target {
        name: "embedded".to_owned(),
        addr: "127.0.0.1:40123".parse().expect("an address"),
        embedded: true,
    }
}

/// A target that somebody else started.
pub(crate) fn remote() -> Target {
    Target {
        name: "echo.example:7".to_owned(),
        addr: "10.0.0.9:7".parse().expect("an address"),
        embedded: false,
    }
}

/// A generator in good health.
pub(crate) fn healthy() -> Generator {
    Generator {
        valid: true,
        invalid: Vec::new(),
        elapsed_ns: 1_240 * MS,
        setup_ns: Some(1_190 * MS),
        issue_spread_ns: Some(6_310 * US),
        completion_ns: Some(25_390 * US),
        thaw_to_last_eof_ns: None,
        cpu_ns: 610 * MS,
        utilisation: 0.49,
        busy: 0.52,
        bytes_sent: 1_280_000,
        bytes_received: 1_280_000,
    }
}

/// A reason why a run is invalid.
pub(crate) fn overloaded() -> Warning {
    Warning {
        what: "Observation's p99 (9.1 ms) exceeds 5 % of shutdown's (23.2 ms).".to_owned(),
        remedy: Some("Give the generator more processors, or start fewer connections (-c).".to_owned()),
    }
}

/// A storm of 10,000 on the embedded server, all clean.
pub(crate) fn clean_storm() -> Report {
    Report {
        schema: SCHEMA,
        scenario: "storm",
        target: embedded(),
        config: settings(),
        host: host(),
        outcomes: outcomes(&[(Outcome::Clean, 10_000)]),
        latency: storm_latency(10_000),
        rate: Rate { offered: None, achieved: None, missed: 0 },
        generator: healthy(),
        server: Some(server()),
        ledger: None,
        rtt: None,
        exemplars: (0..5).map(|index| clean_exemplar(9_999 - index)).collect(),
        warnings: vec![Warning {
            what: "Source and target are on one host: loopback shows a shape, not a network's figures."
                .to_owned(),
            remedy: Some("Run the generator on another host for figures to plan with.".to_owned()),
        }],
        verdict: placeholder(),
    }
    .judged()
}

/// Churn at a rate through a proxy that cuts 37 of 10,000 echoes short.
pub(crate) fn truncated_churn() -> Report {
    let counts = [
        (Outcome::Clean, 9_961),
        (Outcome::Truncated, 37),
        (Outcome::EofTimeout, 1),
        (Outcome::ConnectTimeout, 1),
    ];
    let mut report = clean_storm();
    report.scenario = "churn";
    report.target = remote();
    report.config.connections = 64;
    report.config.rate = Some(2_000.0);
    report.config.duration_ns = Some(5_000 * MS);
    report.config.sources = Vec::new();
    report.outcomes = outcomes(&counts);
    report.rate = Rate { offered: Some(2_000.0), achieved: Some(1_999.6), missed: 0 };
    report.latency = churn_latency(9_961);
    report.latency.shutdown_or_deadline.record(10_000 * MS);
    report.generator.setup_ns = None;
    report.generator.issue_spread_ns = None;
    report.generator.completion_ns = None;
    report.generator.elapsed_ns = 15_013 * MS;
    report.server = None;
    report.exemplars.truncate(2);
    for slow in &mut report.exemplars {
        slow.remote = "10.0.0.9:7".parse().expect("an address");
        slow.t2_ns = slow.t0_ns.map(|t0| t0 + 6_547 * US);
        slow.t3_ns = slow.t0_ns.map(|t0| t0 + 6_556 * US);
        slow.t4_ns = slow.t0_ns.map(|t0| t0 + 6_560 * US);
        slow.shutdown_ns = Some(6_556 * US);
        slow.local = Some("10.0.0.2:51234".parse().expect("an address"));
    }
    report.exemplars.splice(
        0..0,
        [(Outcome::Truncated, 12), (Outcome::Truncated, 801), (Outcome::Truncated, 803)]
            .map(|(outcome, connection)| exemplar(outcome, connection)),
    );
    report.exemplars.push(exemplar(Outcome::EofTimeout, 4_711));
    report.exemplars.push(exemplar(Outcome::ConnectTimeout, 9_120));
    report.judged()
}

/// A storm on a stopped server.
pub(crate) fn frozen_storm() -> Report {
    let mut report = clean_storm();
    report.config.frozen = true;
    report.generator.thaw_to_last_eof_ns = Some(41_700 * MS / 1_000);
    report.generator.completion_ns = Some(161_000 * US);
    report.judged()
}

/// Churn at a rate that the generator could not keep, through the same proxy.
pub(crate) fn invalid_churn() -> Report {
    let mut report = truncated_churn();
    report.rate = Rate { offered: Some(2_000.0), achieved: Some(1_204.25), missed: 3_979 };
    report.generator.valid = false;
    report.generator.invalid = vec![
        Warning {
            what: "3,979 planned starts were missed.".to_owned(),
            remedy: Some("Allow more connections at a time (-c), or offer less (-r).".to_owned()),
        },
        overloaded(),
    ];
    report.judged()
}

/// A run that was interrupted before anything ended.
pub(crate) fn nothing() -> Report {
    let mut report = clean_storm();
    report.outcomes = outcomes(&[]);
    report.latency = no_latency();
    report.exemplars = Vec::new();
    report.warnings = Vec::new();
    report.generator.issue_spread_ns = None;
    report.generator.completion_ns = None;
    report.judged()
}

/// Churn's histograms: fast, with a tail.
pub(crate) fn churn_latency(count: u64) -> Latency {
    let mut latency = storm_latency(0);
    latency.loop_lag = ramp(50_000, 300, 80 * US);
    for index in 0..count {
        // The last of each hundred is ten times slower, the last of each five thousand a hundred times.
        let slow = if index % 5_000 == 4_999 {
            100
        } else if index % 100 == 99 {
            10
        } else {
            1
        };
        let ns = slow * (61 * US + index % 977 * 40);
        latency.shutdown.record(ns);
        latency.shutdown_or_deadline.record(ns);
        latency.shutdown_earliest.record(ns - 1_900 - index % 50);
        latency.scheduled_shutdown.record(ns + 90 * US);
        latency.drain.record(ns - 9 * US);
        latency.eof_tail.record(9 * US);
        latency.connect.record(31 * US + index % 31 * US);
        latency.echo.record(44 * US + index % 13 * US);
        latency.close.record(4 * US + index % 700);
        latency.observation.record(1_900 + index % 50);
        latency.start_lag.record(2_100 + index % 900);
    }
    latency
}

/// A ledger that lost something, with all that can be said of one.
pub(crate) fn ledger() -> Report {
    let mut report = clean_storm();
    report.scenario = "ledger";
    report.target = remote();
    report.config.sessions = Some(10_000);
    report.server = None;
    report.outcomes =
        outcomes(&[(Outcome::Clean, 9_898), (Outcome::LedgerLost, 2), (Outcome::SelfReset, 100)]);
    report.exemplars.push(exemplar(Outcome::LedgerLost, 5));
    let sums = Sums {
        sessions: 10_000,
        answered_sessions: 9_899,
        answered: 989_900,
        unseen_sessions: 61,
        unseen: 6_100,
        open_sessions: 101,
    };
    let moment = |name, grand_total: u64, holds, sums| Moment {
        name,
        grand_total: Some(grand_total),
        boot: Some(format!("{:032x}", 7)),
        grown: Some(grand_total.cast_signed()),
        holds: Some(holds),
        sums,
    };
    report.ledger = Some(Ledger {
        transactions: 100,
        line_bytes: 64,
        reset_percent: 1,
        stall_percent: 1,
        repeat_percent: 1,
        tries: 8,
        seed: 11,
        history: Some("books.jsonl".to_owned()),
        recalled: 20,
        base: Some(0),
        sums,
        moments: vec![
            moment("start", 0, true, Sums::default()),
            moment("crowd", 992_000, true, sums),
            moment("settled", 989_700, false, sums),
        ],
        boots: 2,
        contradictions: vec!["the grand total fell".to_owned()],
        forgets: true,
    });
    report.warnings = report.ledger.iter().flat_map(Ledger::warnings).collect();
    report.judged()
}

/// Round trips on a schedule, some of which were not back in the end.
pub(crate) fn rtt() -> Report {
    let mut report = clean_storm();
    report.scenario = "rtt";
    report.config.connections = 1_000;
    report.config.tail_bytes = 0;
    report.config.rate = Some(50_000.0);
    report.config.duration_ns = Some(100 * MS);
    report.config.burst = Some(1);
    report.config.warm_up_ns = Some(200 * MS);
    report.config.depth = Some(1);
    report.outcomes = outcomes(&[(Outcome::Clean, 1_000)]);
    report.latency = storm_latency(1_000);
    report.latency.start_lag = ramp(5_000, 900, 60 * US);
    report.generator.issue_spread_ns = None;
    report.generator.completion_ns = None;
    report.rtt = Some(messages(Some(50_000.0)));
    report.judged()
}

/// Some thousand messages.
pub(crate) fn messages(offered: Option<f64>) -> Rtt {
    Rtt {
        connections: 1_000,
        window_ns: 100 * MS,
        messages: 5_003,
        bytes: 320_192,
        offered,
        achieved: Some(50_030.0),
        unfinished: 60,
        late: 13,
        unsent: 46,
        cpu_ns: Some(41 * MS),
        busy: 0.41,
        latency: ramp(5_003, 11 * US, 1_900 * US),
    }
}

/// One probe.
pub(crate) fn health(outcome: Outcome) -> Report {
    let mut report = clean_storm();
    report.scenario = "health";
    report.target = remote();
    report.config.connections = 1;
    report.outcomes = outcomes(&[(outcome, 1)]);
    report.latency = if outcome == Outcome::Clean { storm_latency(1) } else { no_latency() };
    report.generator = Generator {
        setup_ns: None,
        issue_spread_ns: None,
        completion_ns: None,
        bytes_sent: 128,
        bytes_received: 128,
        ..healthy()
    };
    report.server = None;
    report.exemplars = vec![if outcome == Outcome::Clean { clean_exemplar(0) } else { exemplar(outcome, 0) }];
    report.judged()
}

/// Does to a report what the program does last.
pub(crate) trait Judged {
    /// With the verdict that belongs to the rest.
    fn judged(self) -> Self;
}

impl Judged for Report {
    fn judged(mut self) -> Self {
        self.verdict = verdict(&Facts {
            scenario: self.scenario,
            target: &self.target,
            outcomes: &self.outcomes,
            generator: &self.generator,
            server: self.server.as_ref(),
            ledger: self.ledger.as_ref(),
            rtt: self.rtt.as_ref(),
            interrupted: false,
            failed: None,
        });
        self
    }
}

fn placeholder() -> Verdict {
    Verdict { sentence: String::new(), remedy: None, clean: false, exit_code: 1 }
}

fn settings() -> Settings {
    Settings {
        connections: 10_000,
        duration_ns: None,
        rate: None,
        count: None,
        size_bytes: 64,
        tail_bytes: 64,
        timeout_ns: 10_000 * MS,
        threads: 1,
        sources: (2..18).map(|last| [127, 0, 0, last].into()).collect(),
        frozen: false,
        hold_ns: None,
        depth: None,
        burst: None,
        warm_up_ns: None,
        sessions: None,
        server_pid: None,
    }
}

fn host() -> Host {
    Host {
        os: "linux",
        kernel: Some("6.18.2".to_owned()),
        cpus: 2,
        cpu: Some("Example CPU @ 2.80GHz".to_owned()),
        descriptors_max: Some(1_048_576),
        port_range: Some([32_768, 60_999]),
        congestion_control: Some("cubic".to_owned()),
        version: "0.1.0",
        started_unix_ns: STARTED_UNIX_NS,
    }
}

/// What the embedded server says after a clean storm.
pub(crate) fn server() -> Server {
    Server {
        engine: "uring".to_owned(),
        workers: 1,
        cpu_ns: 402 * MS,
        tally: json!({
            "accepted": 10_000, "graceful": 10_000, "reset": 0, "aborted": 0, "expired": 0,
            "bytes_received": 1_280_000, "bytes_owed": 1_280_000, "bytes_echoed": 1_280_000,
            "drain_ns": 1_204_000,
        }),
        contradictions: Vec::new(),
    }
}

/// A clean connection among the slowest.
pub(crate) fn clean_exemplar(connection: u64) -> Exemplar {
    let t0 = 1_190 * MS + 400 * US;
    let shutdown = 23_180 * US - connection % 97 * US;
    Exemplar {
        outcome: Outcome::Clean,
        connection,
        local: Some(
            format!("127.0.0.{}:{}", 2 + connection % 16, 32_768 + connection).parse().expect("an address"),
        ),
        remote: "127.0.0.1:40123".parse().expect("an address"),
        started_unix_ns: STARTED_UNIX_NS + connection * 119 * US,
        sent: 128,
        received: 128,
        expected: 128,
        tp_ns: Some(t0 - 20 * US),
        start_ns: connection * 119 * US,
        connected_ns: Some(connection * 119 * US + 31 * US),
        echoed_ns: Some(connection * 119 * US + 75 * US),
        t0_ns: Some(t0),
        t2_ns: Some(t0 + shutdown - 5 * US),
        t3_ns: Some(t0 + shutdown),
        t4_ns: Some(t0 + shutdown + 6 * US),
        shutdown_ns: Some(shutdown),
        errno: None,
        error: None,
    }
}

/// A connection that ended otherwise, with the times that it can have.
pub(crate) fn exemplar(outcome: Outcome, connection: u64) -> Exemplar {
    let mut exemplar = clean_exemplar(connection);
    exemplar.outcome = outcome;
    exemplar.remote = "10.0.0.9:7".parse().expect("an address");
    exemplar.local = Some(format!("10.0.0.2:{}", 32_768 + connection).parse().expect("an address"));
    let start = exemplar.start_ns;
    exemplar.t0_ns = Some(start + 80 * US);
    exemplar.t2_ns = Some(start + 120 * US);
    exemplar.t3_ns = Some(start + 141 * US);
    exemplar.t4_ns = Some(start + 147 * US);
    exemplar.shutdown_ns = None;
    let error = |exemplar: &mut Exemplar, errno, error: &str| {
        exemplar.errno = Some(errno);
        exemplar.error = Some(error.to_owned());
    };
    if outcome.is_connect() || outcome.is_local() {
        exemplar.connected_ns = None;
        exemplar.echoed_ns = None;
        exemplar.t0_ns = None;
        exemplar.sent = 0;
        exemplar.received = 0;
    }
    match outcome {
        Outcome::Clean
        | Outcome::ResetAfterEof
        | Outcome::LedgerTwice
        | Outcome::LedgerLost
        | Outcome::LedgerDuplicate
        | Outcome::LedgerChanged
        | Outcome::LedgerSeen
        | Outcome::LedgerMismatch
        | Outcome::LedgerMalformed
        | Outcome::LedgerOverflow
        | Outcome::LedgerEarly
        | Outcome::LedgerEchoed
        | Outcome::LedgerBadReply => {}
        Outcome::LedgerDraining | Outcome::SelfReset => exemplar.t3_ns = None,
        Outcome::Truncated => (exemplar.t2_ns, exemplar.received) = (None, 64),
        Outcome::Corrupt => exemplar.t3_ns = None,
        Outcome::ResetBeforeDrain | Outcome::DrainTimeout => {
            (exemplar.t2_ns, exemplar.t3_ns, exemplar.received) = (None, None, 64);
        }
        Outcome::ResetAfterDrain | Outcome::EofTimeout => exemplar.t3_ns = None,
        Outcome::EarlyEof => (exemplar.t0_ns, exemplar.t2_ns, exemplar.sent) = (None, None, 64),
        Outcome::EchoTimeout | Outcome::ShutdownFailed | Outcome::Censored => {
            (exemplar.t0_ns, exemplar.t2_ns, exemplar.t3_ns, exemplar.sent) = (None, None, None, 64);
            (exemplar.echoed_ns, exemplar.received) = (None, 0);
        }
        Outcome::ConnectRefused => error(&mut exemplar, 111, "Connection refused"),
        Outcome::ConnectTimeout => {}
        Outcome::ConnectReset => error(&mut exemplar, 104, "Connection reset by peer"),
        Outcome::ConnectUnreachable => error(&mut exemplar, 113, "No route to host"),
        Outcome::LocalPorts => error(&mut exemplar, 99, "Cannot assign requested address"),
        Outcome::LocalFds => error(&mut exemplar, 24, "Too many open files"),
        Outcome::LocalMemory => error(&mut exemplar, 12, "Cannot allocate memory"),
    }
    if outcome.is_connect() || outcome.is_local() {
        (exemplar.t2_ns, exemplar.t3_ns) = (None, None);
    }
    exemplar
}
