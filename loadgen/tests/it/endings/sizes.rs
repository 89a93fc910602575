//! Endings of connections that carry more than a segment, or nothing behind their first bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

use finwait_loadgen::outcome::Outcome;

use socket2::{Domain, Socket, Type};

use crate::support::{Bytes, Generator, Impolite, Judged, Manner};

const MIB: u64 = 1 << 20;

/// A few connections in each scenario.
const SCENARIOS: [&[&str]; 2] = [&["storm", "-c", "6"], &["churn", "-n", "6", "-c", "3"]];

#[track_caller]
fn run(scenario: &[&str], server: &Impolite, bytes: Bytes, timeout: &str) -> Judged {
    let (target, size, tail) = (server.target(), bytes.first.to_string(), bytes.tail.to_string());
    Judged::run(&[scenario, &[target, "-s", &size, "--tail", &tail, "--timeout", timeout]].concat())
}

/// More than the buffers hold, so that the generator has to read while it still sends.
#[test]
fn large_echoes_are_clean() {
    let bytes = Bytes { first: 200 * 1024, tail: MIB };
    for scenario in SCENARIOS {
        let server = Impolite::start(Manner::Polite, bytes);
        let judged = run(scenario, &server, bytes, "30s");
        judged.ended(&[(Outcome::Clean, 6)], 0);
        for exemplar in judged.exemplars(Outcome::Clean) {
            let all = (bytes.first + bytes.tail).into();
            assert_eq!((&exemplar["sent"], &exemplar["received"]), (&all, &all), "{exemplar:#}");
        }
        let all = 6 * (bytes.first + bytes.tail);
        assert_eq!(judged.count("/generator/bytes_sent"), all);
        assert_eq!(judged.count("/generator/bytes_received"), all);
    }
}

/// Nothing is outstanding at t0, so nothing drains; the shutdown is timed all the same.
#[test]
fn without_a_tail_nothing_drains() {
    let bytes = Bytes { first: 64, tail: 0 };
    for scenario in SCENARIOS {
        let server = Impolite::start(Manner::Polite, bytes);
        let judged = run(scenario, &server, bytes, "30s");
        judged.ended(&[(Outcome::Clean, 6)], 0);
        assert_eq!((judged.samples("drain"), judged.samples("shutdown")), (0, 6));
    }
}

/// Without a tail there is nothing that could be cut short: the FIN is all that can go wrong.
#[test]
fn without_a_tail_the_ending_is_still_named() {
    let bytes = Bytes { first: 64, tail: 0 };
    for (manner, outcome, timeout) in [
        (Manner::NeverFin, Outcome::EofTimeout, "500ms"),
        (Manner::ResetInsteadOfFin, Outcome::ResetAfterDrain, "30s"),
        (Manner::OneTooMany, Outcome::Corrupt, "30s"),
    ] {
        for scenario in SCENARIOS {
            let server = Impolite::start(manner, bytes);
            run(scenario, &server, bytes, timeout).ended(&[(outcome, 6)], 1);
        }
    }
}

/// The tail fits into no buffer, so that not even all of it can be sent.
#[test]
fn a_server_that_never_reads_a_large_tail_is_a_drain_timeout() {
    let bytes = Bytes { first: 64, tail: 32 * MIB };
    for scenario in SCENARIOS {
        let server = Impolite::start(Manner::NeverTail, bytes);
        let judged = run(scenario, &server, bytes, "500ms");
        judged.ended(&[(Outcome::DrainTimeout, 6)], 1);
        for exemplar in judged.exemplars(Outcome::DrainTimeout) {
            assert_eq!(exemplar["received"], 64, "{exemplar:#}");
            assert!(exemplar["sent"].as_u64().unwrap() < 64 + bytes.tail, "{exemplar:#}");
        }
    }
}

#[test]
fn a_wrong_byte_is_found_wherever_it_is() {
    let bytes = Bytes { first: 1000, tail: MIB };
    for offset in [1000 + MIB - 1, 1000 + MIB / 2 + 1] {
        for scenario in SCENARIOS {
            let server = Impolite::start(Manner::Flip(offset), bytes);
            run(scenario, &server, bytes, "30s").ended(&[(Outcome::Corrupt, 6)], 1);
        }
    }
}

#[test]
fn the_last_byte_of_a_large_tail_is_missed() {
    let bytes = Bytes { first: 1000, tail: MIB };
    for scenario in SCENARIOS {
        let server = Impolite::start(Manner::TruncateWithFin, bytes);
        let judged = run(scenario, &server, bytes, "30s");
        judged.ended(&[(Outcome::Truncated, 6)], 1);
        for exemplar in judged.exemplars(Outcome::Truncated) {
            assert_eq!(exemplar["received"], 1000 + MIB - 1, "{exemplar:#}");
        }
    }
}

/// What comes before the first send is read even where that send fills all the room there is: no event tells of it again.
/// The generator is stopped while it comes, so that some of it is there before the connection was looked at.
#[test]
fn a_banner_before_a_send_without_room_is_seen() {
    let server = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Small segments mean a small send buffer on the other side.
    server.set_tcp_mss(536).unwrap();
    server.set_recv_buffer_size(4096).unwrap();
    server.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    server.listen(1024).unwrap();
    let server = TcpListener::from(server);
    let target = server.local_addr().unwrap().to_string();
    let size = ["-s", "1MiB", "--tail", "0"];
    let args =
        [&["storm", &target, "-c", "400", "-t", "16", "--timeout", "3s", "--json"][..], &size].concat();
    let generator = Generator::start(&args);
    let mut connections = Vec::new();
    while connections.len() < 400 {
        generator.signal("STOP");
        std::thread::sleep(Duration::from_millis(1));
        // Those that have connected before it stood still; the next comes when it goes on.
        server.set_nonblocking(true).unwrap();
        let begun = connections.len();
        connections.extend(server.incoming().map_while(Result::ok));
        connections[begun..].iter_mut().for_each(|stream| stream.write_all(b"220 banner\r\n").unwrap());
        generator.signal("CONT");
        std::thread::sleep(Duration::from_micros(200));
    }
    Judged::from(generator.finish()).ended(&[(Outcome::Corrupt, 400)], 1);
}

/// A FIN that came with more bytes before it than are read in one turn stood unseen from when it came, not from the last
/// turn. The generator is stopped while all of it comes, which takes a receive buffer that has grown enough.
#[test]
fn an_eof_behind_many_bytes_was_there_all_the_time() {
    const PAUSE: Duration = Duration::from_millis(100);
    const ATTEMPTS: u32 = 20;
    let judged = (0..ATTEMPTS).find_map(|_| ended_while_stopped(PAUSE));
    let judged = judged.expect("once in so many times all of it has room");
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 1)], "{}", judged.explained());
    assert!(judged.longest("observation") >= PAUSE, "{:?}", judged.longest("observation"));
}

fn ended_while_stopped(pause: Duration) -> Option<Judged> {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap().to_string();
    // The first bytes let the generator's receive buffer grow.
    let args = ["storm", &target, "-c", "1", "-s", "16MiB", "--tail", "384KiB", "--json"];
    let generator = Generator::start(&args);
    let (mut stream, _) = server.accept().unwrap();
    let mut bytes = vec![0; 64 << 10];
    for _ in 0..16 * MIB / bytes.len() as u64 {
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    }
    let mut tail = Vec::new();
    stream.read_to_end(&mut tail).unwrap();
    generator.signal("STOP");
    // A thread that runs on another processor goes on for a moment: it would read everything before it stands.
    std::thread::sleep(pause);
    stream.write_all(&tail).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(pause);
    // LAST_ACK is over when our FIN, and with it every byte, is in the other end's buffer; then there is no peer any more.
    let is_there = stream.peer_addr().is_err();
    // From here on it stands unseen.
    std::thread::sleep(pause);
    generator.signal("CONT");
    let judged = Judged::from(generator.finish());
    is_there.then_some(judged)
}
