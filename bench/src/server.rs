//! A server as a child process, and the CPU time that all of its threads have used.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use crate::platform;

/// How long a server may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(10);

/// A running server; dropped, it is killed.
pub struct Server {
    /// Where it listens.
    pub port: u16,
    child: Child,
    /// Held open: a server that prints later must not meet a closed pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts `program` on the first CPU and moves the calling thread to the second.
    ///
    /// # Errors
    /// As [`Self::start`], or when this process may not use these CPUs.
    pub fn start_apart(program: &Path, args: &[&str], cpus: [usize; 2]) -> io::Result<Self> {
        let pin_to = |cpu| {
            let wrong = |error| io::Error::other(format!("pinning to CPU {cpu}: {error}"));
            platform::pin_to(cpu).map_err(wrong)
        };
        // The server inherits the CPU of the thread that starts it.
        pin_to(cpus[0])?;
        let server = Self::start(program, args);
        pin_to(cpus[1])?;
        server
    }

    /// Starts `program` on the CPU of the calling thread and waits for its first line, `listening on ADDR:PORT`.
    ///
    /// # Errors
    /// When it cannot be started, or ends or hesitates before that line.
    pub fn start(program: &Path, args: &[&str]) -> io::Result<Self> {
        let mut child =
            Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped");
        match first_line(stdout) {
            Ok((port, stdout)) => Ok(Self { port, child, _stdout: stdout }),
            Err(error) => {
                // It may have ended by itself; then there is nothing to kill, only to reap.
                let _ = child.kill();
                child.wait()?;
                Err(io::Error::other(format!("{} {}: {error}", program.display(), args.join(" "))))
            }
        }
    }

    /// Its process, which may have others below it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of each of its threads so far.
    ///
    /// # Errors
    /// As [`Cpu::of`].
    pub fn cpu(&self) -> io::Result<Cpu> {
        Cpu::of(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is in flight and nothing is asked of it any more; a failure means that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in `listening on ADDR:PORT`. Read on a thread: a pipe has no read with a timeout.
fn first_line(stdout: ChildStdout) -> io::Result<(u16, BufReader<ChildStdout>)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        // Nobody waits any more when the time was up.
        let _ = sender.send(read.map(|_| (line, stdout)));
    });
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not say where it listens");
    let (line, stdout) = receiver.recv_timeout(START_MAX).map_err(late)??;
    let port =
        line.trim_end().strip_prefix("listening on ").and_then(|addr| addr.rsplit(':').next()?.parse().ok());
    let wrong = || io::Error::other(format!("its first line is {line:?}, not `listening on ADDR:PORT`"));
    Ok((port.ok_or_else(wrong)?, stdout))
}

/// The CPU time of this process so far, of those threads that have not ended.
///
/// # Errors
/// As [`Cpu::of`].
pub fn own_cpu() -> io::Result<Duration> {
    Ok(Duration::from_nanos(Cpu::of("self")?.0.values().sum()))
}

/// Nanoseconds on a CPU, by thread.
pub struct Cpu(BTreeMap<String, u64>);

/// What was used between two readings.
pub struct Spent {
    /// By all threads.
    pub cpu: Duration,
    /// Threads that ended in between and took their time with them: then `cpu` is too low.
    pub threads_ended: usize,
}

impl Cpu {
    /// Of the process `pid`, or `self`. A ring's kernel workers are threads of the process and are counted; what
    /// the kernel does for it in another's time slice is not, as nowhere.
    ///
    /// # Errors
    /// When there is no such process, or its files read otherwise than expected.
    pub fn of(pid: &str) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let ns = schedstat.split_whitespace().next().and_then(|field| field.parse().ok());
            let wrong = || io::Error::other(format!("schedstat reads {schedstat:?}"));
            threads.insert(entry.file_name().to_string_lossy().into_owned(), ns.ok_or_else(wrong)?);
        }
        Ok(Self(threads))
    }

    /// What was used since an earlier reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Spent {
        let spent = |thread, ns: u64| ns.saturating_sub(before.0.get(thread).copied().unwrap_or_default());
        let ns = self.0.iter().map(|(thread, ns)| spent(thread, *ns)).sum();
        let threads_ended = before.0.keys().filter(|thread| !self.0.contains_key(*thread)).count();
        Spent { cpu: Duration::from_nanos(ns), threads_ended }
    }
}
