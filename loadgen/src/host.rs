//! This machine, as far as a reader of the figures wants to know it.

use std::fs;

use crate::report::Host;

/// The facts; what cannot be read here is left out.
#[must_use]
pub fn facts(descriptors_max: Option<u64>, started_unix_ns: u64) -> Host {
    Host {
        os: std::env::consts::OS,
        kernel: read("/proc/sys/kernel/osrelease"),
        cpus: cpus(),
        cpu: cpu_name(),
        descriptors_max,
        port_range: port_range(),
        congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
        version: env!("CARGO_PKG_VERSION"),
        started_unix_ns,
    }
}

/// Processors that this process may use.
#[must_use]
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}

/// First and last port that connections are made from.
#[must_use]
pub fn port_range() -> Option<[u16; 2]> {
    let text = read("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    Some([ports.next()?, ports.next()?])
}

fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))?;
    Some(name.trim().to_owned())
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
