//! One side of a comparison: a server of ours or somebody else's, with its flags, as a process on a core of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::load::{Load, Sample};
use crate::Result;
use crate::server::{self, Server};

/// The core of the servers, and that of the load.
pub(super) const CPUS: [usize; 2] = [0, 1];

/// As an argument: a file of this server alone, which is not there yet and is removed with it.
pub(super) const NEW_FILE: &str = "NEW_FILE";

/// A server, and how it is told to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Side {
    /// What it is called in tables.
    pub name: String,
    /// The arguments of this program that start it.
    #[serde(skip)]
    pub args: Vec<String>,
}

impl Side {
    /// The server `peer`, with receive buffers of so many bytes where it has buffers of its own.
    #[must_use]
    pub(super) fn peer(peer: &str, buffer: u32) -> Self {
        Self { name: peer.to_owned(), args: words(&["peer", "--buffer", &buffer.to_string(), peer]) }
    }

    /// finwait-server under another name, with more of its flags.
    #[must_use]
    pub(super) fn ours(name: &str, engine: &str, flags: &[&str]) -> Self {
        let mut args = words(&["peer", engine, "--"]);
        args.extend(words(flags));
        Self { name: name.to_owned(), args }
    }

    /// Any other program.
    #[must_use]
    pub(super) fn external(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, args: words(&["peer", "external", "--", &path.to_string_lossy()]) }
    }

    /// The kernel alone, at the work of `load`, if that can be done by it.
    #[must_use]
    pub(super) fn floor(load: &Load) -> Option<Self> {
        Some(Self { name: "floor".to_owned(), args: load.floor()? })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A side that runs, and the work that it is given.
pub(super) struct Entrant {
    /// Which.
    pub side: Side,
    /// What is asked of it.
    pub load: Load,
    /// Its process.
    pub server: Server,
    /// The address that the load goes to.
    pub addr: SocketAddr,
    _file: TempFile,
}

/// Removed when its server, which stands before it, is gone.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        // Most servers have none.
        let _ = fs::remove_file(&self.0);
    }
}

/// No two servers have the same file.
static FILES: AtomicU64 = AtomicU64::new(0);

impl Entrant {
    /// Starts the server on its core; the calling thread is on the other afterwards.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(program: &Path, side: &Side, load: &Load) -> Result<Self> {
        let file = std::env::temp_dir().join(format!(
            "finwait-bench-{}-{}.redb",
            std::process::id(),
            FILES.fetch_add(1, Ordering::Relaxed)
        ));
        let file = TempFile(file);
        let name = file.0.to_string_lossy();
        let with_us = server::ends_with_us();
        let args = with_us.iter().chain(&side.args);
        let args: Vec<&str> = args.map(|arg| if arg == NEW_FILE { &*name } else { arg.as_str() }).collect();
        let mut server = Server::start_apart(program, &args, CPUS)?;
        let port = if load.is_ledger() { server.second_port()? } else { server.port };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { side: side.clone(), load: load.clone(), server, addr, _file: file })
    }

    /// One round; at `rate` units a second, or at as many as there can be.
    ///
    /// # Errors
    /// When anything at all ended otherwise than it should: no figure is taken from a server that is wrong.
    pub(super) fn round(&self, program: &Path, rate: Option<f64>, round: Duration) -> Result<Sample> {
        let sample = self.load.run(self, program, rate, round);
        sample.map_err(|error| format!("{}: {error}", self.side.name).into())
    }
}
