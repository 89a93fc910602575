//! What a machine allows: ports, source addresses, and the law of TIME_WAIT.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use finwait_loadgen::doctor::{Wish, examine};
use finwait_loadgen::sources::{Ports, loopback};

const LINUX: Ports = Ports { range: [32768, 60999] };

fn wish(target: &str) -> Wish {
    let target = target.parse::<SocketAddr>().unwrap();
    Wish { target, connections: Some(10), rate: None, count: None, sources: Vec::new() }
}

#[test]
fn a_source_is_good_for_half_of_its_ports() {
    assert_eq!(LINUX.per_source(), 14_116);
    assert_eq!(LINUX.sources_for(14_116), 1);
    assert_eq!(LINUX.sources_for(14_117), 2);
    // 14,116 ports rest for 60 s each.
    assert_eq!(LINUX.closes_per_second(1).floor(), 235.0);
    assert_eq!(LINUX.sources_at(235.0), 1);
    assert_eq!(LINUX.sources_at(236.0), 2);
    assert_eq!(LINUX.sources_at(10_000.0), 43);
}

#[test]
fn loopback_has_sixteen_sources_and_more_where_they_are_needed() {
    let sources = loopback(10_000, LINUX);
    assert_eq!(sources.len(), 16);
    assert_eq!(sources.first(), Some(&IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))));
    assert_eq!(loopback(300_000, LINUX).len(), 22);
    assert!(loopback(300_000, LINUX).iter().all(IpAddr::is_loopback));
}

#[test]
fn on_loopback_any_rate_may_be_tried() {
    let fit = examine(&Wish { rate: Some(50_000.0), ..wish("127.0.0.1:7") }).unwrap();
    assert!(fit.sources.len() >= 16, "{:?}", fit.sources);
    assert!(examine(&Wish { rate: Some(50_000.0), ..wish("[::1]:7") }).unwrap().sources.is_empty());
}

#[test]
fn elsewhere_a_rate_beyond_time_wait_is_refused_with_the_number_of_addresses() {
    let away = Wish { rate: Some(100_000.0), ..wish("192.0.2.1:7") };
    let why = examine(&away).unwrap_err();
    assert!(why.contains("TIME_WAIT") && why.contains("-b"), "{why}");
    let range = finwait_loadgen::host::port_range().unwrap_or([49152, 65535]);
    let addresses = Ports { range }.sources_at(100_000.0);
    assert!(why.contains(&format!("name {addresses} addresses")), "{why}");
    // One a second can go on for ever, and a hundred connections in all need a hundred ports.
    assert!(examine(&Wish { rate: Some(1.0), ..away.clone() }).is_ok());
    assert!(examine(&Wish { count: Some(100), ..away }).is_ok());
}

#[test]
fn more_connections_than_ports_are_refused() {
    let why = examine(&Wish { connections: Some(1_000_000), ..wish("192.0.2.1:7") }).unwrap_err();
    // Descriptors or ports, whichever this machine has fewer of.
    assert!(why.starts_with("-c 1000000 needs"), "{why}");
}

#[test]
fn a_source_that_is_not_ours_or_of_the_other_family_is_refused() {
    let from = |source: &str| Wish { sources: vec![source.parse().unwrap()], ..wish("127.0.0.1:7") };
    let strange = examine(&from("192.0.2.77")).unwrap_err();
    assert!(strange.contains("-b 192.0.2.77") && strange.contains("ip addr"), "{strange}");
    assert!(examine(&from("::1")).unwrap_err().contains("family"));
    assert_eq!(examine(&from("127.0.0.9")).unwrap().sources, ["127.0.0.9".parse::<IpAddr>().unwrap()]);
}
