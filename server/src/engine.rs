//! The engines, and which of them runs here. The only place, with `sys`, that knows operating systems apart.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::listener::Source;
use crate::worker::{Ready, Settings};

#[cfg(windows)]
#[expect(
    unsafe_code,
    reason = "the kernel writes the ends of operations into memory of ours, whenever they come"
)]
pub mod iocp;
pub mod mio;
#[cfg(all(target_os = "linux", not(target_env = "musl"), feature = "tokio-uring"))]
pub mod tokio_uring;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the ring, its buffers and its entries are raw memory shared with the kernel")]
pub mod uring;

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// io_uring, through the raw crate: Linux 5.19 and later, best from 6.12 on.
    Uring,
    /// Readiness through mio: epoll, kqueue, AFD.
    Mio,
    /// io_uring, through the runtime tokio-uring: Linux.
    TokioUring,
    /// Completion ports: Windows.
    Iocp,
}

/// What `auto` tries first.
const BEST: EngineKind = if cfg!(windows) { EngineKind::Iocp } else { EngineKind::Uring };

/// Which engine is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineChoice {
    /// The best one that works here.
    #[default]
    Auto,
    /// This one or none.
    Forced(EngineKind),
}

/// Where the descriptors of connections live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Descriptors {
    /// In the process's table, which RLIMIT_NOFILE limits.
    #[default]
    Normal,
    /// In a table of each worker's ring, which the same limit bounds one by one: so a process has as many more
    /// connections as it has workers. With io_uring only (Linux 6.13).
    Direct,
}

/// How an engine runs one worker, from setting itself up to the last close.
pub type Run = fn(Vec<Source>, &Settings, &Ready) -> io::Result<()>;

/// What was chosen, and what was learnt on the way.
#[derive(Debug)]
pub struct Chosen {
    /// The engine.
    pub kind: EngineKind,
    /// Why it is not the best one, with the remedy.
    pub fallback: Option<String>,
}

/// An engine was forced that cannot run here.
#[derive(Debug)]
pub struct Unavailable(String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Chooses by trying: a kernel's version says nothing about its sandbox.
///
/// # Errors
/// When an engine is forced that cannot run.
pub fn choose(choice: EngineChoice, descriptors: Descriptors) -> Result<Chosen, Unavailable> {
    if descriptors == Descriptors::Direct {
        return choose_direct(choice);
    }
    match choice {
        EngineChoice::Forced(kind) => {
            probe(kind).map_err(Unavailable)?;
            Ok(Chosen { kind, fallback: None })
        }
        EngineChoice::Auto => Ok(match probe(BEST) {
            Ok(()) => Chosen { kind: BEST, fallback: None },
            Err(why) => Chosen { kind: EngineKind::Mio, fallback: Some(why) },
        }),
    }
}

/// Only one engine has direct descriptors, so without them there is none to fall back to.
fn choose_direct(choice: EngineChoice) -> Result<Chosen, Unavailable> {
    match choice {
        EngineChoice::Auto | EngineChoice::Forced(EngineKind::Uring) => {
            probe_direct().map_err(Unavailable)?;
            Ok(Chosen { kind: EngineKind::Uring, fallback: None })
        }
        EngineChoice::Forced(kind @ (EngineKind::Mio | EngineKind::TokioUring | EngineKind::Iocp)) => {
            Err(Unavailable(format!(
                "the engine {kind} has no direct descriptors; use --engine uring, or --descriptors normal"
            )))
        }
    }
}

/// The table from kind and descriptors to engine.
#[must_use]
pub fn run(kind: EngineKind, descriptors: Descriptors) -> Run {
    match (kind, descriptors) {
        #[cfg(target_os = "linux")]
        (EngineKind::Uring, Descriptors::Direct) => uring::run_direct,
        // What has no others was not chosen with them.
        (kind, Descriptors::Normal | Descriptors::Direct) => run_normal(kind),
    }
}

fn run_normal(kind: EngineKind) -> Run {
    match kind {
        #[cfg(target_os = "linux")]
        EngineKind::Uring => uring::run,
        #[cfg(not(target_os = "linux"))]
        EngineKind::Uring => unsupported,
        EngineKind::Mio => mio::run,
        #[cfg(all(target_os = "linux", not(target_env = "musl"), feature = "tokio-uring"))]
        EngineKind::TokioUring => tokio_uring::run,
        #[cfg(not(all(target_os = "linux", not(target_env = "musl"), feature = "tokio-uring")))]
        EngineKind::TokioUring => unsupported,
        #[cfg(windows)]
        EngineKind::Iocp => iocp::run,
        #[cfg(not(windows))]
        EngineKind::Iocp => unsupported,
    }
}

/// Where an engine is not there [`choose`] does not choose it.
fn unsupported(_: Vec<Source>, _: &Settings, ready: &Ready) -> io::Result<()> {
    ready.tell(Err(io::ErrorKind::Unsupported.into()));
    Ok(())
}

fn probe(kind: EngineKind) -> Result<(), String> {
    match kind {
        #[cfg(target_os = "linux")]
        EngineKind::Uring => uring::probe().map_err(|why| why.to_string()),
        #[cfg(not(target_os = "linux"))]
        EngineKind::Uring => Err("io_uring is there on Linux only; use --engine mio".to_owned()),
        EngineKind::Mio => Ok(()),
        #[cfg(all(target_os = "linux", not(target_env = "musl"), feature = "tokio-uring"))]
        EngineKind::TokioUring => {
            uring::probe().map_err(|why| why.to_string())?;
            tokio_uring::probe()
                .map_err(|why| format!("tokio-uring cannot be set up: {why}; use --engine uring"))
        }
        #[cfg(not(target_os = "linux"))]
        EngineKind::TokioUring => Err("io_uring is there on Linux only; use --engine mio".to_owned()),
        #[cfg(all(target_os = "linux", any(target_env = "musl", not(feature = "tokio-uring"))))]
        EngineKind::TokioUring => Err(
            "this build is without it (it takes the feature tokio-uring, and glibc); use --engine uring or mio"
                .to_owned(),
        ),
        EngineKind::Iocp if cfg!(windows) => Ok(()),
        EngineKind::Iocp => Err("completion ports are there on Windows only; use --engine auto".to_owned()),
    }
}

fn probe_direct() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    return uring::probe_direct().map_err(|why| why.to_string());
    #[cfg(not(target_os = "linux"))]
    Err("direct descriptors are there on Linux only; use --descriptors normal".to_owned())
}

impl Descriptors {
    /// Their name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Direct => "direct",
        }
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Descriptors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "normal" => Ok(Self::Normal),
            "direct" => Ok(Self::Direct),
            _ => Err("one of normal, direct is expected".to_owned()),
        }
    }
}

impl EngineKind {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mio => "mio",
            Self::TokioUring => "tokio-uring",
            Self::Iocp => "iocp",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Forced(EngineKind::Uring)),
            "mio" => Ok(Self::Forced(EngineKind::Mio)),
            "tokio-uring" => Ok(Self::Forced(EngineKind::TokioUring)),
            "iocp" => Ok(Self::Forced(EngineKind::Iocp)),
            _ => Err("one of auto, uring, mio, tokio-uring, iocp is expected".to_owned()),
        }
    }
}
