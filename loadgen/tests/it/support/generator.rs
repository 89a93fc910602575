//! The generator as a child process: what it prints, what it exits with, and signals in between.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{signal, wait_until};

/// A child that is killed when its test ends, however that ends.
pub(crate) struct Generator {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collector,
    stderr: Collector,
}

/// How the program ended.
pub(crate) struct Finished {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) code: Option<i32>,
    /// Everything that it said.
    pub(crate) stdout: String,
    /// Everything else that it said.
    pub(crate) stderr: String,
}

/// Reads a pipe as it comes, so that a full one never holds the program up.
struct Collector {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

/// Runs the program to an end that comes by itself.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Finished {
    Generator::start(args).finish()
}

impl Generator {
    /// Starts the program.
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in_shell("", args)
    }

    /// Starts it after the commands `before` of a shell that it takes the place of.
    #[track_caller]
    pub(crate) fn start_in_shell(before: &str, args: &[&str]) -> Self {
        let mut child = spawn(before, args);
        let stdout = Collector::start(child.stdout.take().unwrap());
        Self::new(child, stdout)
    }

    /// Starts it with nobody who reads what it says on stdout.
    #[track_caller]
    pub(crate) fn start_unheard(args: &[&str]) -> Self {
        let mut child = spawn("", args);
        drop(child.stdout.take());
        Self::new(child, Collector::start(std::io::empty()))
    }

    fn new(mut child: Child, stdout: Collector) -> Self {
        let stdin = child.stdin.take();
        let stderr = Collector::start(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    /// Its number among the processes.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by its name without `SIG`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// What it has said up to now.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has ended, and reads all that it said.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        assert!(!stderr.contains("panicked"), "{stderr}");
        Finished { code: status.and_then(|status| status.code()), stdout, stderr }
    }
}

fn spawn(before: &str, args: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_finwait-loadgen")]);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collector {
    fn start(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = into.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, thread: Some(thread) }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Everything, once every process that holds the other end has ended.
    fn rest(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            wait_until("the pipe ends", || thread.is_finished());
            thread.join().unwrap();
        }
        self.so_far()
    }
}
