//! The server as a child process, for limits, signals, memory and processor time.
#![cfg_attr(windows, allow(dead_code, reason = "its cases take a Unix, and are only compiled here"))]

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
use super::{Engine, Peer, wait_until};

/// A child that is killed when its test ends, however that ends.
pub(crate) struct Program {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Arc<Mutex<String>>,
    collector: Option<JoinHandle<()>>,
    addrs: Vec<SocketAddr>,
    engine: String,
    descriptors: String,
    /// It runs under Wine.
    is_windows: bool,
}

/// How a program ended that served.
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) code: Option<i32>,
    /// What it counted, without the time.
    pub(crate) tally: Tally,
    /// What its ledger came to; null without one.
    pub(crate) ledger: Value,
    /// Everything that it logged.
    pub(crate) stderr: String,
}

/// How a program ended that did something short.
pub(crate) struct Finished {
    /// Its exit code; `None` when a signal killed it.
    pub(crate) code: Option<i32>,
    /// Everything that it said.
    pub(crate) stdout: String,
    /// Everything that it complained about.
    pub(crate) stderr: String,
}

/// Runs the program to an end that comes by itself.
#[track_caller]
pub(crate) fn run_to_end(args: &[&str]) -> Finished {
    let mut program = Program::spawn("", args);
    let mut stdout = String::new();
    program.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let code = program.exit_code();
    Finished { code, stdout, stderr: program.stderr() }
}

impl Program {
    /// Starts the program with one worker, on a free port unless told otherwise, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(engine: impl Into<Engine>, args: &[&str]) -> Self {
        Self::start_in_shell(engine, "", args)
    }

    /// As [`Program::start`], with `auto` for one.
    #[track_caller]
    pub(crate) fn start_with_engine(engine: &str, args: &[&str]) -> Self {
        Self::start_listening("", &["--engine", engine], args)
    }

    /// As [`Program::start`], after the commands `before` of a shell that it takes the place of.
    #[track_caller]
    pub(crate) fn start_in_shell(engine: impl Into<Engine>, before: &str, args: &[&str]) -> Self {
        Self::start_listening(before, &engine.into().args(), args)
    }

    /// Starts it on a free port with plain output, which is left to the test.
    #[track_caller]
    pub(crate) fn start_plain(engine: Engine, before: &str) -> Self {
        Self::start_plain_on(engine, SocketAddr::from(([127, 0, 0, 1], 0)), before)
    }

    /// As [`Program::start_plain`], with further arguments.
    #[track_caller]
    pub(crate) fn start_plain_with(engine: Engine, args: &[&str]) -> Self {
        let all = ["--workers", "1", "--listen", "127.0.0.1:0"];
        Self::spawn("", &[&all[..], &engine.args(), args].concat())
    }

    /// As [`Program::start_plain`], on `addr`.
    #[track_caller]
    pub(crate) fn start_plain_on(engine: Engine, addr: SocketAddr, before: &str) -> Self {
        let addr = addr.to_string();
        Self::spawn(before, &[&["--workers", "1", "--listen", &addr][..], &engine.args()].concat())
    }

    #[track_caller]
    fn start_listening(before: &str, engine: &[&str], args: &[&str]) -> Self {
        let mut all = vec!["--json"];
        all.extend(engine);
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--workers", "1")] {
            if !args.contains(&flag) {
                all.extend([flag, value]);
            }
        }
        all.extend(args);
        let mut program = Self::spawn(before, &all);
        let flags = all.iter().filter(|&&arg| arg == "--listen" || arg == "--ledger");
        for at in 0..flags.count() {
            let line = program.json_line();
            assert_eq!(line["event"], "listening", "{line}");
            let echoes = all.iter().filter(|&&arg| arg == "--listen").count();
            assert_eq!(line["protocol"], if at < echoes { "echo" } else { "ledger" }, "{line}");
            program.addrs.push(line["addr"].as_str().unwrap().parse().unwrap());
            line["engine"].as_str().unwrap().clone_into(&mut program.engine);
            line["descriptors"].as_str().unwrap().clone_into(&mut program.descriptors);
        }
        program
    }

    #[track_caller]
    fn spawn(before: &str, args: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]);
        let is_windows = args.contains(&EngineKind::Iocp.name());
        if is_windows {
            let server = std::env::var("FINWAIT_WINDOWS_SERVER").expect("the path of finwait-server.exe");
            command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/wine/run"), &server]);
        } else {
            command.arg(env!("CARGO_BIN_EXE_finwait-server"));
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let (stderr, collector) = collect(child.stderr.take().unwrap());
        let (addrs, engine, descriptors) = (Vec::new(), String::new(), String::new());
        Self { child, stdout, stderr, collector: Some(collector), addrs, engine, descriptors, is_windows }
    }

    /// The next line of its stdout, without its end; empty at the end.
    #[track_caller]
    pub(crate) fn plain_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().expect("not closed yet").read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn json_line(&mut self) -> Value {
        let line = self.plain_line();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("{error}: it said {line:?} on stdout, and on stderr:\n{}", self.stderr())
        })
    }

    /// Goes away as a reader.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Its addresses, in the order of the command line.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The engine that it said it runs.
    pub(crate) fn engine_announced(&self) -> &str {
        &self.engine
    }

    /// Where it said that its descriptors live.
    pub(crate) fn descriptors_announced(&self) -> &str {
        &self.descriptors
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

    /// What it logged up to now; everything, once [`Program::exit_code`] was asked for.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until it has logged `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("it logs {text:?}"), || self.stderr.lock().unwrap().contains(text));
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        // Wine makes a Ctrl-C of SIGINT; SIGTERM ends it as it ends any program that does not expect it.
        let name = if self.is_windows && name == "TERM" { "INT" } else { name };
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
            tasks.flatten().all(|task| stat(&task.path().join("stat").to_string_lossy())[0] == "T")
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
        let stat = stat(&format!("/proc/{}/stat", self.child.id()));
        let ticks = stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
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
        let line = self.json_line();
        let tally = tally_from(&line);
        if line["ledger"].is_null() {
            adds_up(&tally);
        }
        assert_eq!(self.plain_line(), "", "the tally is the last that it says");
        let code = self.exit_code();
        Ended { code, tally, ledger: line["ledger"].clone(), stderr: self.stderr() }
    }

    /// Waits until it has ended; `None` when a signal killed it.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(collector) = self.collector.take() {
            collector.join().unwrap();
        }
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

/// The fields of a `stat` file from the state on, the third of proc(5); the name before it may contain blanks.
#[track_caller]
pub(crate) fn stat(path: &str) -> Vec<String> {
    let stat = fs::read_to_string(path).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split_whitespace().map(str::to_owned).collect()
}

/// The tally that was printed as JSON, without the time: exactly the counters that the library has.
#[track_caller]
fn tally_from(line: &Value) -> Tally {
    let count = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("no {name} in {line}"));
    assert!(count("drain_ns") > 0, "a drain takes some time");
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
        drain_ns: count("drain_ns"),
    };
    let mut expected = serde_json::to_value(tally).unwrap();
    expected["event"] = "tally".into();
    if !line["ledger"].is_null() {
        expected["ledger"] = line["ledger"].clone();
    }
    assert_eq!(expected, *line, "a counter that is not looked at");
    Tally { drain_ns: 0, ..tally }
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
