//! What this machine allows, looked at before a run: descriptors, ports, TIME_WAIT. What does not fit is refused with
//! the remedy; it is never made to fit by ending connections with RST.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::host;
use crate::sources::{self, Ports};
use crate::sys;

/// Descriptors that are not connections: standard ones, pollers, pipes, files, and some to spare.
const DESCRIPTORS_SPARE: u64 = 64;
/// The port range where it cannot be read: IANA's dynamic ports, which Windows uses.
const PORT_RANGE: [u16; 2] = [49152, 65535];
/// What a storm opens where the limits allow it.
const STORM_CONNECTIONS: u32 = 10_000;

/// What a run wants from this machine.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The target.
    pub target: SocketAddr,
    /// Connections at a time; `None`: a storm that takes what it gets.
    pub connections: Option<u32>,
    /// Starts per second, where they are planned.
    pub rate: Option<f64>,
    /// Starts in all, where that is known.
    pub count: Option<u64>,
    /// Addresses to connect from, where they were named.
    pub sources: Vec<IpAddr>,
}

/// What it gets.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Connections at a time.
    pub connections: u32,
    /// Why there are fewer than a storm's usual number.
    pub fewer: Option<String>,
    /// Addresses to connect from; empty where the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// The most descriptors that this process may have.
    pub descriptors_max: Option<u64>,
}

/// Sees whether a wish can be fulfilled here.
///
/// # Errors
/// What is too much, and the remedy.
pub fn examine(wish: &Wish) -> Result<Fit, String> {
    let ports = Ports { range: host::port_range().unwrap_or(PORT_RANGE) };
    // A limit that cannot be raised is still a limit; one that nobody knows is none.
    let descriptors_max = sys::raise_descriptor_limit().unwrap_or(None);
    let (connections, fewer) = connections(wish, descriptors_max)?;
    for &source in &wish.sources {
        usable(source, wish.target)?;
    }
    let rotates = sys::LOOPBACK_IS_A_NETWORK && wish.target.is_ipv4() && sources::is_loopback(wish.target);
    let sources = match wish.sources.is_empty() {
        true if rotates => sources::loopback(connections, ports),
        true | false => wish.sources.clone(),
    };
    enough_ports(wish, connections, sources.len().max(1), ports)?;
    Ok(Fit { connections, fewer, sources, descriptors_max })
}

fn connections(wish: &Wish, descriptors_max: Option<u64>) -> Result<(u32, Option<String>), String> {
    let most = descriptors_max.map_or(u64::from(u32::MAX), |max| max.saturating_sub(DESCRIPTORS_SPARE));
    match wish.connections {
        Some(wanted) if u64::from(wanted) > most => Err(format!(
            "-c {wanted} needs {} descriptors, and the hard limit is {}: use -c {most} or less, or raise the limit \
             (`ulimit -Hn {}` as root)",
            u64::from(wanted) + DESCRIPTORS_SPARE,
            most + DESCRIPTORS_SPARE,
            u64::from(wanted) + DESCRIPTORS_SPARE,
        )),
        Some(wanted) => Ok((wanted, None)),
        None if most == 0 => {
            Err("not a single descriptor is to be had: raise the limit (`ulimit -Hn`)".to_owned())
        }
        None => match u32::try_from(most) {
            Ok(most) if most < STORM_CONNECTIONS => Ok((
                most,
                Some(format!(
                    "{most} connections instead of {STORM_CONNECTIONS}: the hard limit of descriptors"
                )),
            )),
            Ok(_) | Err(_) => Ok((STORM_CONNECTIONS, None)),
        },
    }
}

/// Whether connections can come from `source`: found out by binding to it, without a packet.
fn usable(source: IpAddr, target: SocketAddr) -> Result<(), String> {
    if source.is_ipv4() != target.is_ipv4() {
        return Err(format!("-b {source}: {target} cannot be reached from an address of the other family"));
    }
    match UdpSocket::bind(SocketAddr::new(source, 0)) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(format!("-b {source} cannot be used: {error}; see `ip addr` for what this host has"))
        }
    }
}

/// Ports are the scarce good: those in use at a time, and those that rest in TIME_WAIT behind every close of ours.
fn enough_ports(wish: &Wish, connections: u32, sources: usize, ports: Ports) -> Result<(), String> {
    let (per_source, [first, last]) = (ports.per_source(), ports.range);
    let needed = ports.sources_for(connections) as usize;
    if sources < needed {
        return Err(format!(
            "-c {connections} needs {needed} source addresses, with {per_source} ports each (half of {first} to \
             {last}; beyond, connecting gets slow): name them with -b, or use -c {} or less",
            sources as u64 * u64::from(per_source),
        ));
    }
    // On loopback the kernel uses a port in TIME_WAIT again after a second (tcp_tw_reuse).
    let Some(rate) = wish.rate.filter(|_| !sources::is_loopback(wish.target)) else { return Ok(()) };
    let sustainable = ports.closes_per_second(sources);
    let fits_as_a_whole = wish.count.is_some_and(|count| count <= sources as u64 * u64::from(per_source));
    if rate <= sustainable || fits_as_a_whole {
        return Ok(());
    }
    Err(format!(
        "-r {rate} cannot be kept up: each close keeps a port in TIME_WAIT for {} s, so {sources} source address{} \
         with {per_source} ports (half of {first} to {last}) can do {sustainable:.0} a second; name {} addresses with \
         -b, or use a lower rate",
        sources::TIME_WAIT_SECONDS,
        if sources == 1 { "" } else { "es" },
        ports.sources_at(rate),
    ))
}
