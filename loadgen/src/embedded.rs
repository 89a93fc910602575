//! The embedded target, the one place that knows finwait-server: this same executable, started as a child with its own
//! descriptors and its own account of processor time. It drains when its standard input is closed, by us or because we
//! died.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use finwait_server::config::Config;
use finwait_server::server::Server as Echo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::{Outcome, Outcomes};
use crate::report::Server;
use crate::sys;

/// What the child says first.
#[derive(Debug, Deserialize, Serialize)]
struct Listening {
    addr: SocketAddr,
    engine: String,
}

/// What it says last.
#[derive(Debug, Deserialize, Serialize)]
struct Ended {
    cpu_ns: u64,
    tally: Value,
}

/// A running embedded server. Dropped without [`Embedded::end`] it is killed.
#[derive(Debug)]
pub struct Embedded {
    child: Child,
    stdout: BufReader<ChildStdout>,
    listening: Listening,
    workers: NonZeroU32,
}

impl Embedded {
    /// Starts `program`, which must be finwait-loadgen, as a server with so many workers, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started, or ends without listening; it has said why on stderr then.
    pub fn start(program: &Path, workers: NonZeroU32) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["target", "--workers", &workers.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // An interrupt is ours to handle: the server must outlive the connections that are still to end.
        sys::in_group_of_its_own(&mut command);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut stdout = stdout.ok_or_else(|| io::Error::other("no pipe from the embedded server"))?;
        let listening = line(&mut stdout).inspect_err(|_| end_at_once(&mut child))?;
        Ok(Self { child, stdout, listening, workers })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listening.addr
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.listening.engine
    }

    /// Drains it, waits for its end and holds its tally against what the generator saw.
    ///
    /// # Errors
    /// When it ended in another way.
    pub fn end(mut self, outcomes: &Outcomes) -> io::Result<Server> {
        // Its standard input ends here, and with it its service.
        drop(self.child.stdin.take());
        let ended: Ended = line(&mut self.stdout)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("the embedded server ended with {status}")));
        }
        Ok(Server {
            engine: self.listening.engine.clone(),
            workers: self.workers.get(),
            cpu_ns: ended.cpu_ns,
            contradictions: contradictions(&ended.tally, outcomes),
            tally: ended.tally,
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        end_at_once(&mut self.child);
    }
}

fn end_at_once(child: &mut Child) {
    // It has ended already when all went well; what fails here is only that.
    let _ = child.kill();
    let _ = child.wait();
}

fn line<T: for<'de> Deserialize<'de>>(stdout: &mut impl BufRead) -> io::Result<T> {
    let mut line = String::new();
    if stdout.read_line(&mut line)? == 0 {
        return Err(io::Error::other("the embedded server ended without a word"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Where the two accounts of the same connections differ.
fn contradictions(tally: &Value, outcomes: &Outcomes) -> Vec<String> {
    let told = |name: &str| tally[name].as_u64().unwrap_or(0);
    let mut found = Vec::new();
    let connected = outcomes.sum(|outcome| !outcome.is_connect() && !outcome.is_local());
    // What was interrupted may have been connecting, or been ended by us in any way.
    if outcomes[Outcome::Censored] == 0 && told("accepted") != connected {
        found.push(format!("{} connections accepted, where {connected} were made", told("accepted")));
    }
    let clean = outcomes[Outcome::Clean];
    if told("graceful") < clean {
        found.push(format!("{} graceful endings, where {clean} were clean", told("graceful")));
    }
    let is_all_clean = outcomes.total() == clean;
    if is_all_clean && told("graceful") != told("accepted") {
        let (accepted, graceful) = (told("accepted"), told("graceful"));
        found.push(format!("only {graceful} of {accepted} graceful, where all were clean"));
    }
    found
}

/// The child's side: serves until its standard input ends.
#[must_use]
pub fn serve(workers: NonZeroU32) -> ExitCode {
    match try_to_serve(workers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere left to say that stderr is closed.
            let _ = writeln!(io::stderr(), "finwait-loadgen: the embedded server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_to_serve(workers: NonZeroU32) -> io::Result<()> {
    // If it cannot be raised, what there is has to do; running out of it has a name of its own.
    let _ = sys::raise_descriptor_limit();
    let config = Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        workers: workers.try_into().map_err(io::Error::other)?,
        ..Config::default()
    };
    let server = Echo::start(&config).map_err(|error| io::Error::other(error.to_string()))?;
    let [addr] = server.addrs() else { return Err(io::Error::other("one address was asked for")) };
    say(&Listening { addr: *addr, engine: server.engine().name().to_owned() })?;
    // Nothing is ever sent: the end of the input is the message.
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    server.drain();
    let tally = serde_json::to_value(server.join()?)?;
    let cpu_ns = u64::try_from(sys::cpu_time().unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
    match say(&Ended { cpu_ns, tally }) {
        // Whoever wanted to know has died; ending was all that was left to do.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn say(what: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(what)?)?;
    stdout.flush()
}
