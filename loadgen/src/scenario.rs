//! A run from its command line to its report: the target, the threads, the barrier, the freeze, the verdict.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Bytes, Churn, Common, Health, Ledger, Rtt, Storm};
use crate::control::Control;
use crate::doctor::{self, Fit, Wish};
use crate::embedded::Embedded;
use crate::host;
use crate::ledger::book::Book;
use crate::ledger::draw::{Mix, SEED_MAX};
use crate::ledger::history::History;
use crate::outcome::Outcome;
use crate::report::{self, Report, Target, Warning, verdict};
use crate::rtt::PLACES_MAX;
use crate::split::Split;
use crate::sys;

use self::audit::Books;
use self::conduct::Conducted;

mod audit;
mod conclude;
mod conduct;
mod round_trips;

/// How long a churn goes on when nobody says.
const CHURN_DURATION: Duration = Duration::from_secs(10);

/// Which scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Many connections, ended at once.
    Storm,
    /// One after the other.
    Churn,
    /// One.
    Health,
    /// Many connections with totals, at a ledger.
    Ledger,
    /// Messages on connections that stay open.
    Rtt,
}

impl Kind {
    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storm => "storm",
            Self::Churn => "churn",
            Self::Health => "health",
            Self::Ledger => "ledger",
            Self::Rtt => "rtt",
        }
    }
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which scenario.
    pub kind: Kind,
    /// HOST:PORT; without it an embedded server is started.
    pub target: Option<String>,
    /// Connections at a time; `None`: as many as the limits allow, up to a storm's usual number.
    pub connections: Option<u32>,
    /// No start after this. Round trips: how long messages count.
    pub duration: Option<Duration>,
    /// Starts, or messages, per second; `None` for a closed loop.
    pub rate: Option<f64>,
    /// Starts in all.
    pub count: Option<u64>,
    /// Bytes sent first.
    pub size: u64,
    /// Bytes sent right before our FIN.
    pub tail: u64,
    /// The longest wait without progress.
    pub timeout: Duration,
    /// Threads; `None` for half of the processors.
    pub threads: Option<NonZeroU32>,
    /// Addresses to connect from.
    pub sources: Vec<std::net::IpAddr>,
    /// Whether to stop the server while everything is issued.
    pub frozen: bool,
    /// The process to stop; the embedded one needs no telling.
    pub server_pid: Option<NonZeroU32>,
    /// How long everything stands ready before a storm breaks loose.
    pub hold: Duration,
    /// What a ledger is to be told.
    pub claims: Option<Claims>,
    /// What round trips are like.
    pub messages: Option<Messages>,
}

/// Messages, each of the job's size.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    /// How many of one connection may be under way.
    pub depth: u32,
    /// How many of one connection are due at the same moment, on a schedule.
    pub burst: u32,
    /// How long they flow before they count.
    pub warm_up: Duration,
}

/// What a ledger is told.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Sessions of this run.
    pub sessions: u32,
    /// Transactions of each.
    pub transactions: u64,
    /// Bytes of each, its LF included.
    pub line_bytes: u64,
    /// The trouble.
    pub mix: Mix,
    /// How often a session without a reply is repeated at the end.
    pub tries: u64,
    /// What chance begins with.
    pub seed: u64,
    /// Where the history is.
    pub history: Option<PathBuf>,
}

impl Job {
    fn new(kind: Kind, common: &Common, (size, tail): (u64, u64)) -> Result<Self, String> {
        Ok(Self {
            kind,
            target: common.target.clone(),
            connections: Some(1),
            duration: None,
            rate: None,
            count: None,
            size,
            tail,
            timeout: common.timeout,
            threads: Some(NonZeroU32::MIN),
            sources: common.sources()?,
            frozen: false,
            server_pid: None,
            hold: Duration::ZERO,
            claims: None,
            messages: None,
        })
    }

    /// A storm.
    ///
    /// # Errors
    /// What cannot be, in a sentence.
    pub fn storm(storm: &Storm) -> Result<Self, String> {
        let Storm { connections, threads, frozen, server_pid, hold, .. } = *storm;
        let job = Self::new(Kind::Storm, &storm.common, both(&storm.bytes))?;
        if frozen && job.target.is_some() && server_pid.is_none() {
            return Err(
                "--frozen stops the server, so it needs --server-pid, the process on this host that serves \
                        the target; the embedded server needs none"
                    .to_owned(),
            );
        }
        Ok(Self { connections, threads, frozen, server_pid, hold, ..job })
    }

    /// A churn.
    ///
    /// # Errors
    /// As [`Job::storm`].
    pub fn churn(churn: &Churn) -> Result<Self, String> {
        let Churn { connections, duration, rate, count, threads, .. } = *churn;
        Ok(Self {
            connections: Some(connections),
            duration: duration.or((count.is_none()).then_some(CHURN_DURATION)),
            rate: rate.map(|rate| rate.0),
            count,
            threads,
            ..Self::new(Kind::Churn, &churn.common, both(&churn.bytes))?
        })
    }

    /// One connection.
    ///
    /// # Errors
    /// As [`Job::storm`].
    pub fn health(health: &Health) -> Result<Self, String> {
        Ok(Self { count: Some(1), ..Self::new(Kind::Health, &health.common, both(&health.bytes))? })
    }

    /// Round trips.
    ///
    /// # Errors
    /// As [`Job::storm`].
    pub fn rtt(rtt: &Rtt) -> Result<Self, String> {
        let Rtt { connections, size, depth, rate, burst, duration, warm_up, .. } = *rtt;
        if burst > depth {
            return Err(format!(
                "--burst {burst} is more than a connection may have under way: use --depth {burst} or more"
            ));
        }
        if u64::from(connections) * u64::from(depth) > PLACES_MAX {
            return Err(format!(
                "-c {connections} with --depth {depth} are more messages at a time than the {PLACES_MAX} that can be kept \
                 in mind: use fewer of either"
            ));
        }
        Ok(Self {
            connections: Some(connections),
            duration: Some(duration),
            rate: rate.map(|rate| rate.0),
            messages: Some(Messages { depth, burst, warm_up }),
            ..Self::new(Kind::Rtt, &rtt.common, (size.into(), 0))?
        })
    }

    /// Sessions at a ledger.
    ///
    /// # Errors
    /// As [`Job::storm`].
    pub fn ledger(ledger: &Ledger) -> Result<Self, String> {
        let Ledger { connections: sessions, transactions, line, reset, stall, repeat, tries, .. } = *ledger;
        if ledger.common.target.is_none() {
            return Err("ledger needs HOST:PORT, the address of a server's --ledger".to_owned());
        }
        if reset + stall + repeat > 100 {
            return Err(
                "--reset, --stall and --repeat are shares of all sessions, together at most 100".to_owned()
            );
        }
        if sessions == 0 && ledger.history.is_none() {
            return Err("-c 0 repeats what a history left open, so it needs --history".to_owned());
        }
        let claims = Claims {
            sessions,
            transactions,
            line_bytes: line,
            mix: Mix { reset, stall, repeat },
            tries,
            seed: ledger.seed.unwrap_or_else(by_chance),
            history: ledger.history.clone(),
        };
        let bytes = (line, (transactions - 1) * line);
        let at_once = if sessions > 0 { sessions } else { REPEATED_AT_ONCE };
        Ok(Self {
            connections: Some(ledger.slots.map_or(at_once, |slots| slots.min(at_once))),
            threads: ledger.threads,
            claims: Some(claims),
            ..Self::new(Kind::Ledger, &ledger.common, bytes)?
        })
    }
}

/// Connections at a time where there are only repetitions.
const REPEATED_AT_ONCE: u32 = 256;

fn both(bytes: &Bytes) -> (u64, u64) {
    (bytes.size, bytes.tail_bytes())
}

/// A seed that nobody else has: what the standard library draws to keep its maps apart.
fn by_chance() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() & SEED_MAX
}

/// Storms in which a generator saw too little are repeated so often.
const REPEATS_MAX: usize = 2;

/// Why there is no report.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for cannot be, or not here.
    Usage(String),
    /// Something failed.
    Failed(String),
}

/// What a run is given by the program around it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The executable of finwait-loadgen, for the embedded server and the watcher of a frozen one.
    pub program: PathBuf,
    /// Raised when the run is to end.
    pub interrupted: Arc<AtomicBool>,
    /// Whether to show progress on stderr.
    pub progress: bool,
}

/// Runs a job. A storm on a server of our own takes a moment: one that nobody may believe only because this host was
/// busy with something else is repeated, and the report says so.
///
/// # Errors
/// When it could not be run at all. What went wrong with connections is in the report, and in its verdict.
pub fn run(job: &Job, around: &Surroundings) -> Result<Report, Failure> {
    let mut discarded = Vec::new();
    loop {
        let mut report = run_once(job, around)?;
        let may_be_repeated = job.kind == Kind::Storm && discarded.len() < REPEATS_MAX;
        match looked_too_seldom(&report).filter(|_| may_be_repeated) {
            Some(reason) => discarded.push(Warning {
                what: format!("A run before this one was discarded. {}", reason.what),
                remedy: Some(
                    "None is needed, unless it is the rule: this host was busy for a moment.".to_owned(),
                ),
            }),
            None => {
                report.warnings.splice(0..0, discarded);
                return Ok(report);
            }
        }
    }
}

/// Why a run is invalid, if it is and nothing is known against the server, which is ours.
fn looked_too_seldom(report: &Report) -> Option<&Warning> {
    let is_invalid = report.verdict.exit_code == verdict::EXIT_INVALID;
    let is_clean = report.outcomes.total() == report.outcomes[Outcome::Clean];
    let is_agreed = report.server.as_ref().is_some_and(|server| server.contradictions.is_empty());
    report.generator.invalid.first().filter(|_| is_invalid && is_clean && is_agreed)
}

fn run_once(job: &Job, around: &Surroundings) -> Result<Report, Failure> {
    if let Some(pid) = job.server_pid {
        let why = |error| {
            format!("--server-pid {pid}: {error}: it must be a process on this host that you may signal")
        };
        sys::may_stop(pid.get()).map_err(|error| Failure::Usage(why(error)))?;
    }
    let cpus = host::cpus();
    let threads = job.threads.map_or((cpus / 2).max(1), NonZeroU32::get);
    // Limits are looked at before anything is started, which for the embedded server means: before its port is known.
    let target = match &job.target {
        Some(name) => resolve(name).map_err(Failure::Usage)?,
        None => SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let fit = doctor::examine(&wish(job, target)).map_err(Failure::Usage)?;
    let threads = threads.min(fit.connections);
    let split = job.target.is_none().then(|| Split::of(threads)).flatten();
    let embedded = match &job.target {
        Some(_) => None,
        None => {
            let workers = NonZeroU32::new(cpus.saturating_sub(threads)).unwrap_or(NonZeroU32::MIN);
            let start = || Embedded::start(&around.program, workers);
            let started = split.as_ref().map_or_else(start, |split| split.start_server(start));
            Some(started.map_err(|error| Failure::Failed(format!("no embedded server: {error}")))?)
        }
    };
    let target = Target {
        name: job.target.clone().unwrap_or_else(|| "embedded".to_owned()),
        addr: embedded.as_ref().map_or(target, Embedded::addr),
        embedded: embedded.is_some(),
    };
    // An embedded server has to do with the processors that are ours.
    let theirs = if target.embedded { cpus } else { sys::cpus_online().unwrap_or(cpus) };
    let books = books(job).map_err(Failure::Usage)?;
    let run = Run { job, fit, threads, spin: theirs > threads, split, target, clock: Clock::start() };
    let control = Control::new(Arc::clone(&around.interrupted));
    let (conducted, account) = match (books, job.messages) {
        (Some(books), _) => run.audit(books, around),
        (None, Some(messages)) => run.round_trips(messages, &control, around),
        (None, None) => (run.conduct(&control, around, embedded.as_ref()), Account::default()),
    };
    Ok(run.conclude(conducted, embedded, account, control.is_interrupted()))
}

/// The books of a ledger, with what a history has of them.
fn books(job: &Job) -> Result<Option<Books>, String> {
    let Some(claims) = &job.claims else { return Ok(None) };
    let mut book = Book::default();
    let history = claims.history.as_deref().map(|path| {
        History::open(path, &mut book).map_err(|error| format!("--history {}: {error}", path.display()))
    });
    Ok(Some(Books::new(claims.clone(), book, history.transpose()?)))
}

/// What there is to be told besides how connections ended.
#[derive(Debug, Default)]
struct Account {
    ledger: Option<report::Ledger>,
    rtt: Option<report::Rtt>,
}

/// A job on this machine.
struct Run<'a> {
    job: &'a Job,
    fit: Fit,
    threads: u32,
    spin: bool,
    split: Option<Split>,
    target: Target,
    clock: Clock,
}

fn wish(job: &Job, target: SocketAddr) -> Wish {
    Wish {
        target,
        connections: job.connections,
        // Messages need no ports.
        rate: job.rate.filter(|_| job.messages.is_none()),
        count: job.count,
        sources: job.sources.clone(),
    }
}

/// The address of a target, the first of IPv4 if there is one: `localhost` is two, and servers listen on that one.
fn resolve(name: &str) -> Result<SocketAddr, String> {
    let addrs = name.to_socket_addrs().map_err(|error| {
        format!("`{name}` is no target: {error}; HOST:PORT is expected, like 127.0.0.1:7 or [::1]:7")
    })?;
    let addrs: Vec<SocketAddr> = addrs.collect();
    let addr = addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first()).copied();
    addr.filter(|addr| addr.port() != 0)
        .ok_or_else(|| format!("`{name}` has no address and port to connect to"))
}
