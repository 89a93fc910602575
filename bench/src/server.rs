//! A server as a child process, and what it uses: CPU time and memory.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, process, thread};

use crate::peers::cpu;
use crate::{machine, platform};

/// How long a server may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(10);

/// What tells this program, as a child of the calling thread, not to outlive it.
#[must_use]
pub fn ends_with_us() -> [String; 2] {
    ["--end-with".to_owned(), process::id().to_string()]
}

/// A running server; dropped, it is killed.
pub struct Server {
    /// Where it listens.
    pub port: u16,
    child: Child,
    /// Held open: a server that prints later must not meet a closed pipe.
    stdout: BufReader<ChildStdout>,
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
            Ok((port, stdout)) => Ok(Self { port, child, stdout }),
            Err(error) => {
                // It may have ended by itself; then there is nothing to kill, only to reap.
                let _ = child.kill();
                child.wait()?;
                Err(io::Error::other(format!("{} {}: {error}", program.display(), args.join(" "))))
            }
        }
    }

    /// The port in its second line, where it listens twice: `listening on ADDR:PORT for the ledger`.
    ///
    /// # Errors
    /// When that is not what it says.
    pub fn second_port(&mut self) -> io::Result<u16> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        port_in(&line)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time that it has used so far, with all of its threads and descendants.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        let pid = self.pid();
        // To look for descendants among all processes takes milliseconds.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if children.is_empty() { platform::process_cpu(pid) } else { cpu::of_tree(pid) }
    }

    /// Bytes of memory that it has resident.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        machine::kibibytes(&status, "VmRSS:")
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
    Ok((port_in(&line)?, stdout))
}

fn port_in(line: &str) -> io::Result<u16> {
    let addr = line.strip_prefix("listening on ").and_then(|rest| rest.split_whitespace().next());
    let port = addr.and_then(|addr| addr.rsplit(':').next()?.parse().ok());
    port.ok_or_else(|| io::Error::other(format!("it says {line:?}, not `listening on ADDR:PORT`")))
}
