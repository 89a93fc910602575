//! A server that stands still while everything is issued, and that can never be left so: a second process watches, and
//! lets it go on when we say so, when we die of whatever, or when it has waited long enough.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::sys;

/// How long a process may take to stand still.
const STILL_LOOKS_MAX: u32 = 2000;
const STILL_LOOK: Duration = Duration::from_millis(1);

/// A stopped process. It goes on when this is dropped, however that comes about.
#[derive(Debug)]
pub struct Frozen {
    pid: u32,
    watcher: Child,
}

impl Frozen {
    /// Stops `pid`, for at most `at_most`, and returns once it stands still. `program` is finwait-loadgen itself, for
    /// the watcher.
    ///
    /// # Errors
    /// When the watcher cannot be started or the process cannot be stopped; it runs then.
    pub fn stop(program: &Path, pid: u32, at_most: Duration) -> io::Result<Self> {
        // First the one who lets it go on, and only then the one who stops it.
        let frozen = Self { pid, watcher: watch(program, pid, at_most)? };
        sys::stop(pid)?;
        for _ in 0..STILL_LOOKS_MAX {
            // Where it cannot be seen, the signal has to do.
            if sys::stands_still(pid).unwrap_or(true) {
                return Ok(frozen);
            }
            thread::sleep(STILL_LOOK);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {pid} does not stand still")))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is no more.
    pub fn thaw(self) -> io::Result<()> {
        sys::go_on(self.pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // One that runs already does not notice, and one that has ended cannot.
        let _ = sys::go_on(self.pid);
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Starts the watcher, and waits until it watches.
fn watch(program: &Path, pid: u32, at_most: Duration) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(["thaw", &pid.to_string(), "--after", &format!("{}ms", at_most.as_millis().max(1))]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    sys::in_group_of_its_own(&mut command);
    let mut watcher = command.spawn()?;
    let stdout = watcher.stdout.take().ok_or_else(|| io::Error::other("no pipe from the watcher"))?;
    let mut line = String::new();
    match BufReader::new(stdout).read_line(&mut line) {
        Ok(0) => Err(io::Error::other("the process that is to let the server go on did not start")),
        Ok(_) => Ok(watcher),
        Err(error) => Err(error),
    }
}

/// The watcher's side: waits for the end of its input, at most `after`, then lets `pid` go on.
#[must_use]
pub fn thaw(pid: u32, after: Duration) -> ExitCode {
    // Whoever ends everything that has to do with us must not end this before it has done its work.
    let ignored = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in signal_hook::consts::TERM_SIGNALS {
        // SIGKILL and its like cannot be caught, and one signal less is no reason to give up.
        let _ = signal_hook::flag::register(*signal, std::sync::Arc::clone(&ignored));
    }
    let (ended, input_ended) = mpsc::channel();
    let reader = thread::Builder::new().spawn(move || {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    if reader.is_err() || writeln!(io::stdout(), "watching").is_err() {
        return ExitCode::FAILURE;
    }
    // Either way its time is over.
    let _ = input_ended.recv_timeout(after);
    match sys::go_on(pid) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
