//! Values on the command line: what each may be, and what is said of one that may not.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::rtt::{DEPTH_MAX, SIZE_MAX};

/// An address or a network on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Network(pub(super) IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse().map(|addr: IpAddr| addr.into()));
        network
            .map(Self)
            .map_err(|_| "an address like 10.0.0.2 or a network like 10.0.0.0/28 is expected".to_owned())
    }
}

/// A rate on the command line: `200`, `2k`, `2k/s`, `0.5`.
#[derive(Clone, Copy, Debug)]
pub struct PerSecond(pub f64);

impl FromStr for PerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "a rate per second from 0.001 to 10m, like 200, 2k or 0.5, is expected";
        let number = text.strip_suffix("/s").unwrap_or(text);
        let rate = match number.parse() {
            Ok(rate) => Some(rate),
            Err(_) => parse_size::parse_size(number).ok().map(|rate| rate as f64),
        };
        // What is no number ("nan") is in no range either.
        rate.filter(|rate| (0.001..=10e6).contains(rate)).map(Self).ok_or_else(|| EXPECTED.to_owned())
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        // A year, so that adding one to a clock never overflows.
        Ok(duration) if !duration.is_zero() && duration.as_secs() < 31_536_000 => Ok(duration),
        Ok(_) => Err("more than 0 and less than a year is expected".to_owned()),
        Err(error) => Err(format!("{error}; a duration like 250us, 10s or 1h30m is expected")),
    }
}

pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(none) if none.is_zero() => Ok(none),
        Ok(_) | Err(_) => duration(text),
    }
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|timeout| match timeout.as_millis() {
        1..=3_600_000 => Ok(timeout),
        _ => Err("a timeout from 1ms to 1h is expected".to_owned()),
    })
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    tail(text)
        .ok()
        .filter(|&size| size > 0)
        .ok_or_else(|| "a size from 1 to 1GiB, like 64KiB, is expected".to_owned())
}

pub(super) fn tail(text: &str) -> Result<u64, String> {
    let size = parse_size::parse_size(text).ok().filter(|&size| size <= 1 << 30);
    size.ok_or_else(|| "a size from 0 to 1GiB, like 64KiB, is expected".to_owned())
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "a count from 1 on, like 500 or 10k, is expected";
    parse_size::parse_size(text).ok().filter(|&count| count > 0).ok_or_else(|| EXPECTED.to_owned())
}

pub(super) fn connections_or_none(text: &str) -> Result<u32, String> {
    if text == "0" { Ok(0) } else { connections(text) }
}

/// The sum of all totals must stay far from what 64 bits hold.
pub(super) fn transactions(text: &str) -> Result<u64, String> {
    let count = count(text).ok().filter(|&count| count <= 1_000_000_000);
    count.ok_or_else(|| "a count from 1 to 1000m is expected".to_owned())
}

/// A line of the protocol has at most 64 KiB.
pub(super) fn line(text: &str) -> Result<u64, String> {
    let size = size(text).ok().filter(|&size| size <= 1 << 16);
    size.ok_or_else(|| "a size from 1 to 64KiB is expected".to_owned())
}

pub(super) fn message(text: &str) -> Result<u32, String> {
    let size = parse_size::parse_size(text).ok().and_then(|size| u32::try_from(size).ok());
    let size = size.filter(|size| (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| "a size from 1 to 16MiB, like 64KiB, is expected".to_owned())
}

pub(super) fn depth(text: &str) -> Result<u32, String> {
    let depth = text.parse().ok().filter(|depth| (1..=DEPTH_MAX).contains(depth));
    depth.ok_or_else(|| format!("a number from 1 to {DEPTH_MAX} is expected"))
}

pub(super) fn percent() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..=100)
}

pub(super) fn connections(text: &str) -> Result<u32, String> {
    count(text).and_then(|count| {
        let count = u32::try_from(count).ok().filter(|&count| count <= 10_000_000);
        count.ok_or_else(|| "at most 10m connections are possible".to_owned())
    })
}

pub(super) fn threads(text: &str) -> Result<NonZeroU32, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroU32| threads.get() <= 1024);
    threads.ok_or_else(|| "a number from 1 to 1024 is expected".to_owned())
}
