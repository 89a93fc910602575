//! A running server: start it, drain it, join it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::config::{self, Config};
use crate::drain::{Drain, Stage};
use crate::engine::{self, Descriptors, EngineKind};
use crate::ledger::store::OpenError;
use crate::ledger::{Branch, Ledger, Options};
use crate::listener::{self, Source};
use crate::metrics::{Metrics, Tally};
use crate::policy::{Deadlines, Places};
use crate::sys::{self, Sockets};
use crate::worker::{Ready, Settings};

/// A server that accepts and echoes until it is drained.
#[derive(Debug)]
pub struct Server {
    engine: EngineKind,
    descriptors: Descriptors,
    addrs: Vec<SocketAddr>,
    /// Of `addrs` the first so many are echoes; the others are the ledger's.
    echoes: usize,
    ledger: Option<Ledger>,
    drain: Arc<Drain>,
    workers: Vec<Worker>,
    /// Each worker holds them too: whoever is the last to end gives them back.
    sockets: Arc<Sockets>,
}

/// Ends a server from another thread. It can be made before the server is, so that a signal which comes while the
/// server starts is not lost, and it outlives the server.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Drain>);

#[derive(Debug)]
struct Worker {
    metrics: Arc<Metrics>,
    thread: JoinHandle<io::Result<()>>,
}

/// Why a server could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The engine that was asked for cannot run here; the message has the remedy.
    Engine(engine::Unavailable),
    /// The ledger's file cannot be used; the message has the remedy.
    Ledger(OpenError),
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// A worker could not be started.
    Worker(io::Error),
    /// This system has no sockets for us.
    Sockets(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(why) => why.fmt(f),
            Self::Ledger(why) => why.fmt(f),
            Self::Listen(addr, error) => {
                write!(f, "cannot listen on {addr}: {error}; {}", listen_remedy(*addr, error))
            }
            Self::Sockets(error) => write!(f, "no sockets are to be had: {error}; it takes Winsock 2.2"),
            Self::Worker(error) => {
                write!(
                    f,
                    "cannot start a worker: {error}; raise the descriptor and memory limits (`ulimit -n -l`)"
                )
            }
        }
    }
}

impl std::error::Error for StartError {}

#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
fn listen_remedy(addr: SocketAddr, error: &io::Error) -> String {
    let port = addr.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program has the port (`{}` names it): end it or choose another port",
                sys::who_has(port)
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} needs privilege: grant CAP_NET_BIND_SERVICE or choose one from 1024 on")
        }
        io::ErrorKind::AddrNotAvailable => "this host has no such address: see `ip addr`".to_owned(),
        _ => "choose another address with --listen".to_owned(),
    }
}

impl Server {
    /// Listens, starts the workers, and returns once every one of them accepts.
    ///
    /// # Errors
    /// When the engine, an address or a worker is not to be had; nothing is left running then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, &Handle::default())
    }

    /// As [`Server::start`], to be ended with `handle` too; one that was drained already drains at once.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(config: &Config, handle: &Handle) -> Result<Self, StartError> {
        let chosen = engine::choose(config.engine, config.descriptors).map_err(StartError::Engine)?;
        match &chosen.fallback {
            Some(why) => tracing::warn!("engine {}: {why}", chosen.kind),
            None => match config.descriptors {
                Descriptors::Normal => tracing::info!("engine {}", chosen.kind),
                Descriptors::Direct => tracing::info!("engine {}, direct descriptors", chosen.kind),
            },
        }
        // Before the first socket.
        let sockets = Arc::new(Sockets::start().map_err(StartError::Sockets)?);
        // Before anybody can connect: what is in the file is part of the first answer.
        let ledger = open_ledger(config).map_err(StartError::Ledger)?;
        let workers = config.workers.get();
        let mut sources: Vec<Vec<Source>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addrs = Vec::new();
        for &addr in config.listen.iter().chain(&config.ledger) {
            let (bound, shares) = listener::bind(addr, workers, sys::balance())
                .map_err(|error| StartError::Listen(addr, error))?;
            addrs.push(bound);
            sources.iter_mut().zip(shares).for_each(|(of_worker, share)| of_worker.push(share));
        }
        let drain = Arc::clone(&handle.0);
        let places = Arc::new(Places::new(config.conns_max));
        let (engine, descriptors, echoes) = (chosen.kind, config.descriptors, config.listen.len());
        let mut server =
            Self { engine, descriptors, addrs, echoes, ledger, drain, workers: Vec::new(), sockets };
        // More than processors would interrupt one another at each message, and so take in fewer at a time.
        let take_turns = config.workers > config::processors();
        let mut readies = Vec::new();
        for sources in sources {
            let (ready, heard) = Ready::channel();
            readies.push(heard);
            if let Err(error) = server.spawn(sources, config, &places, take_turns, ready) {
                server.give_up();
                return Err(StartError::Worker(error));
            }
        }
        for heard in readies {
            // A closed channel: the worker died before it could say anything.
            if let Err(error) = heard.recv().unwrap_or_else(|_| Err(io::Error::other("the worker died"))) {
                server.give_up();
                return Err(StartError::Worker(error));
            }
        }
        Ok(server)
    }

    /// The addresses of the echo, in the order of the configuration, ports resolved.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs[..self.echoes]
    }

    /// The addresses of the ledger, likewise.
    #[must_use]
    pub fn ledger_addrs(&self) -> &[SocketAddr] {
        &self.addrs[self.echoes..]
    }

    /// The ledger, where there is one. With a file it is closed when the last of these handles is dropped.
    #[must_use]
    pub fn ledger(&self) -> Option<Ledger> {
        self.ledger.clone()
    }

    /// The engine that runs.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// Where the descriptors of its connections live.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    /// Begins the drain: no new connections; those that are open may end by themselves for the grace, then are
    /// ended properly. It returns at once; [`Server::join`] waits for the end.
    pub fn drain(&self) {
        self.drain.raise(Stage::Draining);
    }

    /// Ends what is left at once.
    pub fn expire(&self) {
        self.drain.raise(Stage::Expiring);
    }

    /// What another thread can end this server with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.drain))
    }

    /// The tally up to now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        sum(self.workers.iter().map(|worker| &*worker.metrics))
    }

    /// Waits until the drain is over and every connection is closed.
    ///
    /// # Errors
    /// When a worker's engine broke, or a worker panicked (which drains the others).
    pub fn join(self) -> io::Result<Tally> {
        let (metrics, threads): (Vec<_>, Vec<_>) =
            self.workers.into_iter().map(|worker| (worker.metrics, worker.thread)).unzip();
        let mut result = Ok(());
        for thread in threads {
            let ended =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked: this is a bug")));
            result = result.and(ended);
        }
        result.map(|()| sum(metrics.iter().map(|metrics| &**metrics)))
    }

    fn spawn(
        &mut self,
        sources: Vec<Source>,
        config: &Config,
        places: &Arc<Places>,
        take_turns: bool,
        ready: Ready,
    ) -> io::Result<()> {
        let metrics = Arc::new(Metrics::default());
        let settings = Settings {
            window: config.window.get(),
            deadlines: Deadlines {
                idle: config.idle_timeout,
                stall: config.stall_timeout,
                linger: config.linger_timeout,
            },
            grace: config.drain_grace,
            drain_timeout: config.drain_timeout,
            places: Arc::clone(places),
            ledger: self
                .ledger
                .clone()
                .map(|ledger| Branch { ledger, listeners: self.echoes..self.addrs.len() }),
            drain: Arc::clone(&self.drain),
            metrics: Arc::clone(&metrics),
        };
        let run = engine::run(self.engine, self.descriptors);
        let sockets = Arc::clone(&self.sockets);
        let thread =
            std::thread::Builder::new().name(format!("worker-{}", self.workers.len())).spawn(move || {
                // Given back after the last close of this worker.
                let _sockets = sockets;
                // However this worker ends, the others must not go on without it: half a server helps nobody.
                let _drain_others = DrainOnDrop(Arc::clone(&settings.drain));
                if take_turns && let Err(error) = sys::wake_in_turn() {
                    tracing::debug!("the workers do not take turns, no SCHED_BATCH: {error}");
                }
                run(sources, &settings, &ready)
            })?;
        self.workers.push(Worker { metrics, thread });
        Ok(())
    }

    fn give_up(self) {
        self.expire();
        for worker in self.workers {
            // The error that is reported is the one that led here.
            let _ = worker.thread.join();
        }
    }
}

fn open_ledger(config: &Config) -> Result<Option<Ledger>, OpenError> {
    if config.ledger.is_empty() {
        return Ok(None);
    }
    let options = Options::default();
    match &config.ledger_file {
        Some(path) => Ledger::open(path, options).map(Some),
        None => Ok(Some(Ledger::in_memory(options))),
    }
}

impl Handle {
    /// As [`Server::drain`].
    pub fn drain(&self) {
        self.0.raise(Stage::Draining);
    }

    /// As [`Server::expire`].
    pub fn expire(&self) {
        self.0.raise(Stage::Expiring);
    }

    /// Whether a drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.stage() > Stage::Serving
    }
}

struct DrainOnDrop(Arc<Drain>);

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        self.0.raise(Stage::Draining);
    }
}

fn sum<'a>(metrics: impl Iterator<Item = &'a Metrics>) -> Tally {
    metrics.fold(Tally::default(), |mut sum, metrics| {
        sum += metrics.tally();
        sum
    })
}
