//! Many connections at one server process, more than the descriptors that it may have: all of them stand, then each
//! echoes, half-closes and ends.
//!
//! ```text
//!   server (--descriptors direct) <--- crowds: processes of this program, so many that each keeps within its own limit
//!   everyone stands -> memory is read -> go: echoes flow -> FINs -> the last EOF
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use std::{fs, thread};

use clap::Args as ClapArgs;
use finwait_loadgen::outcome::Outcome;
use serde::Serialize;

use self::crowd::{Running, Seen};
use crate::server::{self, Server};
use crate::{Result, machine, platform};

pub mod crowd;

/// What the JSON's `schema` says.
const SCHEMA: &str = "finwait-bench-many/1";
/// Connections of one crowd: well within 20,000 descriptors.
const CROWD: u32 = 16_000;
/// The most crowds: each has a network of its own.
const CROWDS_MAX: u32 = 250;
/// How long everyone stands before memory is read.
const REST: Duration = Duration::from_millis(2_500);
/// The command line.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Connections at a time.
    #[arg(short, long, value_name = "N", default_value = "100k", value_parser = count)]
    connections: u32,
    /// The server's workers, each with a table of direct descriptors as large as RLIMIT_NOFILE allows.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was seen.
#[derive(Debug, Serialize)]
struct Findings {
    schema: &'static str,
    machine: String,
    connections: u32,
    workers: u32,
    crowds: u32,
    /// Of the server: how many descriptors it had while everyone stood, and how many it may have.
    descriptors: usize,
    descriptor_limit: u64,
    /// From the first connect to when all stood, with one echo each.
    standing_ns: u64,
    /// Of the server, with nobody there and with everyone.
    resident_empty_bytes: u64,
    resident_bytes: u64,
    /// By which the kernel's unreclaimable slab grew: both ends of every connection, and what the server has in the kernel.
    slab_bytes: u64,
    /// What was echoed after all had stood.
    messages: u64,
    /// From the first FIN to when the last crowd had seen the last EOF.
    drain_ns: u64,
    /// CPU time of the server, from its start.
    server_cpu_ns: u64,
    /// How connections ended.
    outcomes: BTreeMap<String, u64>,
}

/// Makes them, and prints. Whether every connection ended cleanly.
///
/// # Errors
/// When the server or a crowd fails.
pub fn run(args: &Args) -> Result<bool> {
    let program = std::env::current_exe()?;
    let workers = args.workers.to_string();
    // A crowd that is late must not find that it was waited for long enough.
    let flags = ["--descriptors", "direct", "--workers", &workers, "--linger-timeout", "60s"];
    let with_us = server::ends_with_us();
    let with_us = with_us.each_ref().map(String::as_str);
    let server = Server::start(&program, &[&with_us[..], &["peer", "uring", "--"], &flags].concat())?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    let (resident_empty_bytes, slab_before) = (server.resident()?, machine::slab_of_the_living()?);
    let crowds = args.connections.div_ceil(CROWD);
    let began = platform::monotonic()?;
    eprintln!("{} connections in {crowds} crowds", args.connections);
    let mut running = Vec::new();
    for index in 0..crowds {
        let share = args.connections / crowds + u32::from(index < args.connections % crowds);
        running.push(Running::start(&program, target, share, index as u8)?);
    }
    running.iter_mut().try_for_each(Running::stands)?;
    let standing = platform::monotonic()?.saturating_sub(began);
    eprintln!("all stand after {:.1} s", standing.as_secs_f64());
    thread::sleep(REST);
    let (resident_bytes, slab_after) = (server.resident()?, machine::slab_of_the_living()?);
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count();
    running.iter_mut().try_for_each(Running::go)?;
    let seen = running.into_iter().map(Running::end).collect::<Result<Vec<Seen>>>()?;
    let first_fin = seen.iter().map(|seen| seen.first_fin_ns).min().unwrap_or_default();
    let last_eof = seen.iter().map(|seen| seen.last_eof_ns).max().unwrap_or_default();
    let mut outcomes = BTreeMap::new();
    for (outcome, count) in seen.iter().flat_map(|seen| &seen.outcomes) {
        *outcomes.entry(outcome.clone()).or_default() += count;
    }
    let findings = Findings {
        schema: SCHEMA,
        machine: machine::facts(),
        connections: args.connections,
        workers: args.workers,
        crowds,
        descriptors,
        descriptor_limit: descriptor_limit(server.pid())?,
        standing_ns: u64::try_from(standing.as_nanos())?,
        resident_empty_bytes,
        resident_bytes,
        slab_bytes: slab_after.saturating_sub(slab_before),
        messages: seen.iter().map(|seen| seen.messages).sum(),
        drain_ns: last_eof.saturating_sub(first_fin),
        server_cpu_ns: u64::try_from(server.cpu()?.as_nanos())?,
        outcomes,
    };
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        print!("{}", render(&findings));
    }
    Ok(findings.clean() == u64::from(args.connections))
}

impl Findings {
    fn clean(&self) -> u64 {
        self.outcomes.get(Outcome::Clean.name()).copied().unwrap_or_default()
    }
}

fn render(findings: &Findings) -> String {
    let each = |bytes: u64| bytes as f64 / f64::from(findings.connections);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let secs = |ns: u64| ns as f64 / 1e9;
    let Findings { connections, descriptors, descriptor_limit, workers, .. } = findings;
    let grown = findings.resident_bytes.saturating_sub(findings.resident_empty_bytes);
    let outcomes: Vec<String> = findings
        .outcomes
        .iter()
        .filter(|&(_, &count)| count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    [
        format!("finwait-bench many, on {}", findings.machine),
        format!(
            "{connections} connections at one process of {workers} workers, which had {descriptors} descriptors \
             (limit {descriptor_limit})"
        ),
        format!("  all stood after      {:.1} s, each with an echo", secs(findings.standing_ns)),
        format!(
            "  server, resident     {:.1} MiB, and {:.1} MiB with nobody there: {:.0} B for each",
            mib(findings.resident_bytes),
            mib(findings.resident_empty_bytes),
            each(grown)
        ),
        format!(
            "  kernel slab          {:.1} MiB more: {:.0} B for each, with its client's end",
            mib(findings.slab_bytes),
            each(findings.slab_bytes)
        ),
        format!("  then echoed          {} messages, at least one on each", findings.messages),
        format!("  first FIN, last EOF  {:.2} s apart", secs(findings.drain_ns)),
        format!("  server, CPU in all   {:.1} s", secs(findings.server_cpu_ns)),
        format!("  endings              {}", outcomes.join(", ")),
        String::new(),
    ]
    .join("\n")
}

/// What the process may have of descriptors now.
fn descriptor_limit(pid: u32) -> Result<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.ok_or_else(|| format!("/proc/{pid}/limits has no number of open files").into())
}

fn count(text: &str) -> std::result::Result<u32, String> {
    let most = CROWD * CROWDS_MAX;
    let expected = format!("a number of connections from 1 to {most}, like 100k, is expected");
    let number = parse_size::parse_size(text).map_err(|error| format!("{error}; {expected}"))?;
    u32::try_from(number).ok().filter(|number| (1..=most).contains(number)).ok_or(expected)
}
