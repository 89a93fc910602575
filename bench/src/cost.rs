//! What a round cost: messages or connections, time, and the CPU of server, client and everyone else.

use std::io;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::machine::Usage;
use crate::server::Server;

/// One round of one side.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Messages that came back, or connections that ended as they should.
    pub units: u64,
    /// From the first connect to the last end.
    #[serde(rename = "elapsed_ns", serialize_with = "nanos")]
    pub elapsed: Duration,
    /// CPU time of the server.
    #[serde(rename = "server_cpu_ns", serialize_with = "nanos")]
    pub server_cpu: Duration,
    /// CPU time of the client.
    #[serde(rename = "client_cpu_ns", serialize_with = "nanos")]
    pub client_cpu: Duration,
    /// CPU time of everything else on this machine.
    #[serde(rename = "others_cpu_ns", serialize_with = "nanos")]
    pub others_cpu: Duration,
    /// CPU time that the host gave to other guests instead.
    #[serde(rename = "steal_ns", serialize_with = "nanos")]
    pub steal: Duration,
}

impl Cost {
    /// Units per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.units as f64 / self.elapsed.as_secs_f64()
    }

    /// Units per CPU-second of the server.
    #[must_use]
    pub fn per_server_cpu_second(&self) -> f64 {
        self.units as f64 / self.server_cpu.as_secs_f64()
    }

    /// Microseconds of `cpu` for each unit.
    #[must_use]
    pub fn us_per_unit(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.units as f64
    }

    /// `cpu` as percent of one CPU over the round.
    #[must_use]
    pub fn percent(&self, cpu: Duration) -> f64 {
        100.0 * cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Times in JSON are integers.
fn nanos<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

impl AsRef<Self> for Cost {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The readings before a round.
pub struct Meter<'a> {
    server: &'a Server,
    client: fn() -> io::Result<Duration>,
    machine_before: Usage,
    client_before: Duration,
    server_before: Duration,
}

impl<'a> Meter<'a> {
    /// Reads everything; `client` reads the CPU time of the client so far.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn start(server: &'a Server, client: fn() -> io::Result<Duration>) -> io::Result<Self> {
        let (machine_before, client_before) = (Usage::now()?, client()?);
        Ok(Self { server, client, machine_before, client_before, server_before: server.cpu()? })
    }

    /// Reads everything again: the cost of `units` in `elapsed`.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn stop(self, units: u64, elapsed: Duration) -> io::Result<Cost> {
        let server_cpu = self.server.cpu()?.saturating_sub(self.server_before);
        let (machine, client) = (Usage::now()?, (self.client)()?);
        let client_cpu = client.saturating_sub(self.client_before);
        let busy = machine.busy.saturating_sub(self.machine_before.busy);
        Ok(Cost {
            units,
            elapsed,
            server_cpu,
            client_cpu,
            // Ticks are coarser than nanoseconds: on a quiet machine the difference may fall below 0.
            others_cpu: busy.saturating_sub(server_cpu + client_cpu),
            steal: machine.steal.saturating_sub(self.machine_before.steal),
        })
    }
}
