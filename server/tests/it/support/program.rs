//! The server as a child process, for limits, signals, memory and processor time.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use finwait_server::engine::EngineKind;
use finwait_server::metrics::Tally;
use serde_json::Value;

use super::running::adds_up;
use super::{Peer, wait_until};

/// A child that is killed when its test ends, however that ends.
pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: Arc<Mutex<String>>,
    collector: Option<JoinHandle<()>>,
    addrs: Vec<SocketAddr>,
}

/// How a program ended.
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) code: Option<i32>,
    /// What it counted, without the time.
    pub(crate) tally: Tally,
    /// Everything that it logged.
    pub(crate) stderr: String,
}

impl Program {
    /// Starts the program with one worker on a free port, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(engine: EngineKind, args: &[&str]) -> Self {
        Self::start_in_shell(engine, "", args)
    }

    /// As [`Program::start`], after the commands `before` of a shell that it takes the place of.
    #[track_caller]
    pub(crate) fn start_in_shell(engine: EngineKind, before: &str, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before} exec \"$0\" \"$@\""), bin()]);
        command.args(["--json", "--workers", "1", "--engine", engine.name()]);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Self::run(command.args(args))
    }

    #[track_caller]
    fn run(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (stderr, collector) = collect(child.stderr.take().unwrap());
        let mut program = Self { child, stdout, stderr, collector: Some(collector), addrs: Vec::new() };
        let listeners = program.count_listeners(command);
        for _ in 0..listeners {
            let line = program.line();
            assert_eq!(line["event"], "listening", "{line}");
            program.addrs.push(line["addr"].as_str().unwrap().parse().unwrap());
        }
        program
    }

    fn count_listeners(&self, command: &Command) -> usize {
        command.get_args().filter(|&arg| arg == "--listen").count()
    }

    /// The next line of its stdout.
    #[track_caller]
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("{error}: it said {line:?} on stdout, and on stderr:\n{}", self.stderr())
        })
    }

    /// Its addresses, in the order of the command line.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// A client of its first address.
    #[track_caller]
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.addrs[0])
    }

    /// A client whose connection has been accepted: it has had a byte echoed.
    #[track_caller]
    pub(crate) fn connect_and_echo(&self) -> Peer {
        let peer = self.connect();
        peer.send(1);
        peer.echo(1);
        peer
    }

    /// What it logged up to now.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until it has logged `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("it logs {text:?}"), || self.stderr.lock().unwrap().contains(text));
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// Stops it: the kernel goes on with its handshakes, its buffers and its FINs, the program does not.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        // A signal is delivered to each thread when it gets to run: only then is nothing done any more.
        wait_until("it stands still", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            tasks.flatten().all(|task| self.stat(&task.path().join("stat").to_string_lossy())[0] == "T")
        });
    }

    /// Lets it go on.
    #[track_caller]
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Its resident memory in bytes.
    #[track_caller]
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The processor time that it has used.
    #[track_caller]
    pub(crate) fn cpu_time(&self) -> Duration {
        // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux that we know.
        let stat = self.stat(&format!("/proc/{}/stat", self.child.id()));
        let ticks = stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// The fields of a `stat` file from the state on; the name before it may contain blanks.
    #[track_caller]
    fn stat(&self, path: &str) -> Vec<String> {
        let stat = fs::read_to_string(path).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1;
        fields.split_whitespace().map(str::to_owned).collect()
    }

    /// Asks it to end with SIGTERM, and waits: see [`Program::ended`].
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended, and checks that its tally adds up.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ended {
        let line = self.line();
        let code = self.exit_code();
        self.collector.take().unwrap().join().unwrap();
        let count = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {line}"));
        let tally = Tally {
            accepted: count("accepted"),
            graceful: count("graceful"),
            reset: count("reset"),
            aborted: count("aborted"),
            expired: count("expired"),
            shutdown_failed: count("shutdown_failed"),
            expired_in_drain: count("expired_in_drain"),
            bytes_received: count("bytes_received"),
            bytes_owed: count("bytes_owed"),
            bytes_echoed: count("bytes_echoed"),
            bytes_discarded: count("bytes_discarded"),
            drain_ns: 0,
        };
        adds_up(&tally);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "the tally is the last that it says");
        Ended { code, tally, stderr: self.stderr() }
    }

    #[track_caller]
    fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test.
pub(crate) fn bin() -> &'static str {
    env!("CARGO_BIN_EXE_finwait-server")
}

/// Reads `stderr` as it comes, so that a full pipe never holds the program up.
fn collect(stderr: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    let collector = std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    (text, collector)
}
