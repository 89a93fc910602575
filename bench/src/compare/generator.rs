//! The load's own latency floor: what it measures where hardly anything is to be measured, at an echo in its own process
//! that blocks on one connection at a time, on the servers' core.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use finwait_loadgen::control::Control;
use finwait_loadgen::rtt::{self, Mark};
use finwait_loadgen::scenario::{Job, Kind};
use serde::Serialize;

use super::entrant::CPUS;
use super::load;
use crate::{Result, peers, platform};

/// How long each of the two is measured.
const ROUND: Duration = Duration::from_secs(1);
/// Connections per second: each has ended before the next one comes, and there are enough for a 99th percentile.
const RATE: f64 = 2_000.0;
const BUFFER: usize = 4 << 10;

/// What the load shows of itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Generator {
    /// A round trip of 64 B, the median.
    pub rtt_p50_ns: u64,
    /// The 99th percentile.
    pub rtt_p99_ns: u64,
    /// From a FIN to the EOF, the median.
    pub fin_p50_ns: u64,
    /// The 99th percentile.
    pub fin_p99_ns: u64,
}

/// Measures it.
///
/// # Errors
/// When this machine has no loopback, or not two processors.
pub(super) fn measure(program: &Path) -> Result<Generator> {
    let addr = echo()?;
    platform::pin_to(CPUS[1])?;
    let trips = rtt::Rtt { duration: ROUND, ..load::trips(addr, 1, load::MESSAGE as u32, 1) };
    let trips = rtt::run(&trips, &Control::default(), &mut |mark| match mark {
        Mark::Standing | Mark::Begin | Mark::End => {}
    })?;
    load::all_clean(&trips.outcomes)?;
    let job =
        Job { connections: Some(1), rate: Some(RATE), duration: Some(ROUND), ..load::job(addr, Kind::Churn) };
    let ends = load::conducted(program, &job)?;
    let fin = |quantile| ends.latency.shutdown.quantile_ns(quantile).ok_or("no connection ended");
    Ok(Generator {
        rtt_p50_ns: trips.latency.value_at_quantile(0.5),
        rtt_p99_ns: trips.latency.value_at_quantile(0.99),
        fin_p50_ns: fin(0.5)?,
        fin_p99_ns: fin(0.99)?,
    })
}

/// Where a thread echoes, one connection after the other, until this process ends.
fn echo() -> Result<SocketAddr> {
    let listener = peers::listen((Ipv4Addr::LOCALHOST, 0).into())?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        // Where it may not move, the times are longer: nothing else is lost.
        let _ = platform::pin_to(CPUS[0]);
        for stream in listener.incoming().flatten() {
            // Who ended otherwise than it should is told by the load.
            let _ = peers::threads::echo(stream, BUFFER);
        }
    });
    Ok(addr)
}
