//! What the generator reported, and what must hold of every report.

use std::time::{Duration, SystemTime};

use finwait_loadgen::outcome::Outcome;
use finwait_loadgen::report::SCHEMA;
use serde_json::Value;

use super::{Finished, run};

/// A report in JSON, and how the program ended that printed it.
pub(crate) struct Judged {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) code: Option<i32>,
    /// The report.
    pub(crate) report: Value,
    /// What was said besides.
    pub(crate) stderr: String,
}

impl Judged {
    /// Runs the generator to its end.
    #[track_caller]
    pub(crate) fn run(args: &[&str]) -> Self {
        Self::from(run(&[args, &["--json"]].concat()))
    }

    /// What was printed, which must be one report and nothing else.
    #[track_caller]
    pub(crate) fn from(finished: Finished) -> Self {
        let Finished { code, stdout, stderr } = finished;
        let report = serde_json::from_str(&stdout).unwrap_or_else(|error| {
            panic!("{error}: code {code:?}, stdout {stdout:?}, and on stderr:\n{stderr}")
        });
        let judged = Self { code, report, stderr };
        judged.is_sane();
        judged
    }

    /// The value at a path like `/rate/missed`.
    #[track_caller]
    pub(crate) fn at(&self, path: &str) -> &Value {
        self.report.pointer(path).unwrap_or_else(|| panic!("no {path} in {}", self.report))
    }

    /// The count at a path.
    #[track_caller]
    pub(crate) fn count(&self, path: &str) -> u64 {
        let value = self.at(path);
        value.as_u64().unwrap_or_else(|| panic!("{path} is no count, but {value}"))
    }

    /// Samples in a histogram.
    #[track_caller]
    pub(crate) fn samples(&self, histogram: &str) -> u64 {
        self.count(&format!("/latency/{histogram}/count"))
    }

    /// The shortest in a histogram.
    #[track_caller]
    pub(crate) fn shortest(&self, histogram: &str) -> Duration {
        Duration::from_nanos(self.count(&format!("/latency/{histogram}/min_ns")))
    }

    /// The longest in a histogram.
    #[track_caller]
    pub(crate) fn longest(&self, histogram: &str) -> Duration {
        Duration::from_nanos(self.count(&format!("/latency/{histogram}/max_ns")))
    }

    /// Every outcome that occurred, with its count, in the order in which they are shown.
    pub(crate) fn outcomes(&self) -> Vec<(Outcome, u64)> {
        let all = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, self.count(&format!("/outcomes/{}", outcome.name()))));
        all.filter(|&(_, count)| count > 0).collect()
    }

    /// Asserts that the outcomes are these, exactly, and the exit code is that.
    #[track_caller]
    pub(crate) fn ended(&self, outcomes: &[(Outcome, u64)], code: i32) {
        assert_eq!((self.outcomes(), self.code), (outcomes.to_vec(), Some(code)), "{}", self.explained());
    }

    /// The exemplars of one outcome.
    pub(crate) fn exemplars(&self, outcome: Outcome) -> Vec<&Value> {
        let all = self.at("/exemplars").as_array().unwrap();
        all.iter().filter(|exemplar| exemplar["outcome"] == outcome.name()).collect()
    }

    /// The verdict's sentence.
    pub(crate) fn verdict(&self) -> &str {
        self.at("/verdict/sentence").as_str().unwrap()
    }

    /// What to look at when an assertion failed.
    pub(crate) fn explained(&self) -> String {
        let of = |path| serde_json::to_string_pretty(self.at(path)).unwrap();
        format!("{}\n{}\n{}\n{}", of("/verdict"), of("/generator"), of("/exemplars"), self.stderr)
    }

    /// What must hold of every report, whatever happened.
    #[track_caller]
    fn is_sane(&self) {
        assert_eq!(self.at("/schema"), SCHEMA);
        assert_eq!(self.at("/verdict/exit_code").as_i64(), self.code.map(i64::from), "{}", self.explained());
        assert_eq!(
            self.at("/verdict/clean").as_bool().unwrap(),
            self.code == Some(0),
            "{}",
            self.explained()
        );
        assert!(self.verdict().len() > 10 && !self.verdict().contains('\n'), "{}", self.verdict());
        let outcomes = self.at("/outcomes").as_object().unwrap();
        assert_eq!(outcomes.len(), Outcome::ALL.len(), "{outcomes:?}");
        let clean = self.count("/outcomes/clean");
        assert_eq!(self.samples("shutdown"), clean, "{}", self.explained());
        for histogram in ["eof_tail", "close", "observation"] {
            assert_eq!(self.samples(histogram), clean, "{histogram}: {}", self.explained());
        }
        if !self.at("/rtt").is_null() {
            self.messages_add_up();
        }
        let exemplars = self.at("/exemplars").as_array().unwrap();
        for outcome in Outcome::ALL {
            let most = if outcome == Outcome::Clean { 5 } else { 3 };
            let wanted = self.count(&format!("/outcomes/{}", outcome.name())).min(most);
            assert_eq!(self.exemplars(outcome).len() as u64, wanted, "{outcome:?}: {}", self.explained());
        }
        exemplars.iter().for_each(|exemplar| self.exemplar_is_sane(exemplar));
    }

    /// What holds of messages, however they fared.
    #[track_caller]
    fn messages_add_up(&self) {
        let of = |field: &str| self.count(&format!("/rtt/{field}"));
        assert_eq!(of("messages"), of("latency/count"), "{}", self.explained());
        assert!(of("late") + of("unsent") <= of("unfinished"), "{}", self.explained());
        // Some bytes of a message may have come before the window, and some of another in it.
        let under_way = of("connections") * self.count("/config/depth");
        let (whole, size) =
            (of("bytes") / self.count("/config/size_bytes"), self.count("/config/size_bytes"));
        assert!(whole.abs_diff(of("messages")) <= under_way, "{size}: {}", self.explained());
        assert!(of("bytes") <= self.count("/generator/bytes_received"), "{}", self.explained());
    }

    #[track_caller]
    fn exemplar_is_sane(&self, exemplar: &Value) {
        assert_eq!(&exemplar["remote"], self.at("/target/addr"), "{exemplar:#}");
        let number = |field: &str| exemplar[field].as_u64();
        let (sent, received) = (number("sent").unwrap(), number("received").unwrap());
        let expected = self.count("/config/size_bytes") + self.count("/config/tail_bytes");
        // A session at a ledger sends a claim besides, and one that only asks sends nothing else; messages are so many as
        // there was time for.
        if self.at("/ledger").is_null() && self.at("/rtt").is_null() {
            assert_eq!(number("expected"), Some(expected), "{exemplar:#}");
            assert!(sent <= expected, "{exemplar:#}");
        }
        assert!(received <= sent || exemplar["outcome"] == "corrupt", "{exemplar:#}");
        // One clock, so one order, of those that came.
        for path in [
            &["start_ns", "connected_ns", "echoed_ns", "t0_ns", "t3_ns", "t4_ns"][..],
            &["echoed_ns", "t2_ns", "t3_ns"],
        ] {
            let times: Vec<_> = path.iter().filter_map(|&time| number(time)).collect();
            assert!(times.is_sorted(), "{exemplar:#}");
        }
        let shutdown = number("t3_ns").zip(number("t0_ns")).map(|(t3, t0)| t3 - t0);
        assert_eq!(number("shutdown_ns"), shutdown, "{exemplar:#}");
        let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(number("started_unix_ns").unwrap());
        let ago = started.elapsed().expect("it started before now");
        assert!(ago < 3 * super::LIMIT, "{ago:?} ago: {exemplar:#}");
        if number("connected_ns").is_some() {
            let local: std::net::SocketAddr = exemplar["local"].as_str().unwrap().parse().unwrap();
            assert!(local.port() > 0, "{exemplar:#}");
        }
        assert_eq!(exemplar["errno"].is_null(), exemplar["error"].is_null(), "{exemplar:#}");
    }
}
