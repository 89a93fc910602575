//! Where connections come from: source addresses, and how many connections they are good for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// On loopback, connections come from at least so many addresses: from one, connecting gets forty times slower once
/// half of its ports are in TIME_WAIT.
pub const LOOPBACK_SOURCES_MIN: u32 = 16;

/// The last address that is taken without being told: 127.0.255.254.
const LOOPBACK_SOURCES_MAX: u32 = 0xFFFD;

/// How long Linux keeps a connection in TIME_WAIT (TCP_TIMEWAIT_LEN).
pub const TIME_WAIT_SECONDS: f64 = 60.0;

/// What source addresses are good for.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// First and last port that connections are made from.
    pub range: [u16; 2],
}

impl Ports {
    /// Ports of one source address that can be had without a long search: half of the range.
    #[must_use]
    pub fn per_source(self) -> u32 {
        let [first, last] = self.range;
        (u32::from(last.saturating_sub(first)) + 1).div_ceil(2)
    }

    /// Source addresses that `connections` at a time need.
    #[must_use]
    pub fn sources_for(self, connections: u32) -> u32 {
        connections.div_ceil(self.per_source())
    }

    /// Closes per second that `sources` addresses can go on with for ever, while each close keeps its port in
    /// TIME_WAIT.
    #[must_use]
    pub fn closes_per_second(self, sources: usize) -> f64 {
        sources as f64 * f64::from(self.per_source()) / TIME_WAIT_SECONDS
    }

    /// Source addresses that `rate` closes per second need.
    #[must_use]
    pub fn sources_at(self, rate: f64) -> u64 {
        (rate * TIME_WAIT_SECONDS / f64::from(self.per_source())).ceil() as u64
    }
}

/// Whether the target is this host's loopback network, where a port in TIME_WAIT is soon used again
/// (`tcp_tw_reuse` is 2 by default) and every address of 127/8 is ours.
#[must_use]
pub fn is_loopback(target: SocketAddr) -> bool {
    target.ip().is_loopback()
}

/// The addresses of 127/8 that connections to it come from when nobody says otherwise.
#[must_use]
pub fn loopback(connections: u32, ports: Ports) -> Vec<IpAddr> {
    let count = ports.sources_for(connections).clamp(LOOPBACK_SOURCES_MIN, LOOPBACK_SOURCES_MAX);
    // From 127.0.0.2 on: 127.0.0.1 is everybody else's.
    (0..count).map(|nth| IpAddr::V4(Ipv4Addr::from_bits(0x7F00_0002 + nth))).collect()
}
