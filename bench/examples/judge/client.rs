//! The two clients as child processes, so that the CPU of both is counted by the same clock, start to end.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use finwait_bench::Result;
use finwait_bench::cost::{Cost, Meter};
use finwait_bench::platform;
use finwait_bench::server::Server;
use serde_json::{Value, json};

use crate::{SLOTS, bare};

/// What the generator exits with when it does not trust its own figures. What is compared here is its cost, and that
/// stands.
const EXIT_INVALID: i32 = 4;

/// One of the clients compared.
pub(crate) enum Client {
    /// The generator, at this path.
    Generator(PathBuf),
    /// This program as the bare client.
    Bare(PathBuf),
}

impl Client {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Generator(_) => "finwait-loadgen",
            Self::Bare(_) => "bare epoll",
        }
    }

    /// One round on the CPU of the calling thread, in which every connection must end cleanly.
    pub(crate) fn round(&self, server: &Server, time: Duration) -> Result<Cost> {
        let meter = Meter::start(server, platform::children_cpu)?;
        let output = self.command(server.port, time).output()?;
        let wrong = |what: String| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("{} ({}): {what}\n{}", self.name(), output.status, stderr.trim_end())
        };
        let (conns, elapsed) = outcome(&output).map_err(wrong)?;
        Ok(meter.stop(conns, elapsed)?)
    }

    fn command(&self, port: u16, time: Duration) -> Command {
        let mut command;
        match self {
            Self::Generator(program) => {
                command = Command::new(program);
                command.arg("churn").arg(format!("127.0.0.1:{port}"));
                command.args(["-c", &SLOTS.to_string(), "-t", "1", "--json"]);
                command.args(["-d", &format!("{}ns", time.as_nanos())]);
            }
            Self::Bare(program) => {
                command = Command::new(program);
                command.arg("bare").arg(port.to_string()).arg(time.as_nanos().to_string());
            }
        }
        command
    }
}

/// The bare client's process: prints what the generator prints, as far as it is asked for here.
pub(crate) fn run_bare(port: u16, time: Duration) -> Result<()> {
    let round = bare::run(port, time)?;
    let elapsed_ns = round.elapsed.as_nanos() as u64;
    println!("{}", json!({"outcomes": {"clean": round.completed}, "generator": {"elapsed_ns": elapsed_ns}}));
    Ok(())
}

/// Connections and the time that they took, or what is wrong with them.
fn outcome(output: &Output) -> std::result::Result<(u64, Duration), String> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("what it printed is no report: {error}"))?;
    let clean = report["outcomes"]["clean"].as_u64().unwrap_or_default();
    let outcomes = report["outcomes"].as_object().into_iter().flatten();
    let others: Vec<String> = outcomes
        .filter(|(name, count)| *name != "clean" && count.as_u64() != Some(0))
        .map(|(name, count)| format!("{count} x {name}"))
        .collect();
    if clean == 0 || !others.is_empty() {
        return Err(format!("{clean} connections were clean, and {}", others.join(", ")));
    }
    match output.status.code() {
        Some(0) => {}
        Some(EXIT_INVALID) => eprintln!("the generator calls its run invalid: {}", reasons(&report)),
        _ => return Err("every connection was clean, but it did not end well".to_owned()),
    }
    let elapsed_ns = report["generator"]["elapsed_ns"].as_u64().filter(|&elapsed_ns| elapsed_ns > 0);
    Ok((clean, Duration::from_nanos(elapsed_ns.ok_or("no generator.elapsed_ns in its report")?)))
}

fn reasons(report: &Value) -> String {
    let reasons = report["generator"]["invalid"].as_array().into_iter().flatten();
    reasons.filter_map(|reason| reason["what"].as_str()).collect::<Vec<_>>().join("; ")
}
