//! What a round of churn cost: connections, time, and the CPU of server, client and everyone else.

use std::io;
use std::time::Duration;

use crate::machine::Usage;
use crate::server::{Cpu, Server};

/// One round of one side.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Connections that ended as they should.
    pub conns: u64,
    /// From the first connect to the last end.
    pub elapsed: Duration,
    /// CPU time of the server.
    pub server_cpu: Duration,
    /// CPU time of the client.
    pub client_cpu: Duration,
    /// CPU time of everything else on this machine.
    pub others_cpu: Duration,
    /// CPU time that the host gave to other guests instead.
    pub steal: Duration,
}

impl Cost {
    /// Connections per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.conns as f64 / self.elapsed.as_secs_f64()
    }

    /// Connections per CPU-second of the server.
    #[must_use]
    pub fn per_server_cpu_second(&self) -> f64 {
        self.conns as f64 / self.server_cpu.as_secs_f64()
    }

    /// Connections per CPU-second of server and client together.
    #[must_use]
    pub fn per_cpu_second_of_both(&self) -> f64 {
        self.conns as f64 / (self.server_cpu + self.client_cpu).as_secs_f64()
    }

    /// Microseconds of `cpu` for each connection.
    #[must_use]
    pub fn us_per_conn(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.conns as f64
    }

    /// `cpu` as percent of one CPU over the round.
    #[must_use]
    pub fn percent(&self, cpu: Duration) -> f64 {
        100.0 * cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
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
    server_before: Cpu,
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

    /// Reads everything again: the cost of `conns` connections in `elapsed`. `name` is the side's, for a warning.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn stop(self, name: &str, conns: u64, elapsed: Duration) -> io::Result<Cost> {
        let server = self.server.cpu()?.since(&self.server_before);
        let (machine, client) = (Usage::now()?, (self.client)()?);
        if server.threads_ended > 0 {
            let ended = server.threads_ended;
            eprintln!("{name}: {ended} threads ended in this round, and their CPU time is missing");
        }
        let client_cpu = client.saturating_sub(self.client_before);
        let busy = machine.busy.saturating_sub(self.machine_before.busy);
        Ok(Cost {
            conns,
            elapsed,
            server_cpu: server.cpu,
            client_cpu,
            // Ticks are coarser than nanoseconds: on a quiet machine the difference may fall below 0.
            others_cpu: busy.saturating_sub(server.cpu + client_cpu),
            steal: machine.steal.saturating_sub(self.machine_before.steal),
        })
    }
}
