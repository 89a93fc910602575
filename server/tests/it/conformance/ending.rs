//! Who sends the first FIN, what comes after it, and the deadlines of every wait.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use finwait_server::config::Config;
use finwait_server::metrics::Tally;

use crate::support::{
    Engine, LIMIT, Program, Running, clock, config, engines, graceful, outcomes, programs, shows, wait_until,
    wait_until_still,
};

engines!(
    simultaneous_fins,
    bytes_after_our_fin_are_discarded_and_counted,
    floods_after_our_fin_are_discarded_and_counted,
    idle_timeout_ends_with_a_fin,
    idle_timeout_ends_a_peer_that_never_spoke,
    idle_timeout_spares_the_active,
    stall_timeout_resets,
    linger_timeout_expires_a_silent_peer,
    linger_timeout_in_all_expires_a_chatty_peer,
    drain_timeout_resets_what_is_owed,
    expiry_resets_what_is_open,
);
programs!(hang_up_hint_before_unread_bytes,);

fn simultaneous_fins(engine: Engine) {
    const PEERS: u64 = 100;
    for _ in 0..5 {
        let server = Running::start_with(&Config { drain_grace: Duration::ZERO, ..config(engine) });
        let peers: Vec<_> = (0..PEERS).map(|_| server.connect_and_echo()).collect();
        let both = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                both.wait();
                server.drain();
            });
            both.wait();
            peers.iter().for_each(|peer| peer.fin());
        });
        peers.iter().for_each(|peer| peer.echo_and_eof());
        assert_eq!(server.join(), graceful(PEERS, PEERS));
    }
}

fn bytes_after_our_fin_are_discarded_and_counted(engine: Engine) {
    let server = Running::start_with(&Config { drain_grace: Duration::ZERO, ..config(engine) });
    let peer = server.connect_and_echo();
    server.drain();
    peer.echo_and_eof();
    for round in 1..=3 {
        peer.send(100_000);
        wait_until("the bytes are discarded", || server.tally().bytes_discarded == round * 100_000);
    }
    peer.fin();
    let expected = Tally { bytes_received: 300_001, bytes_discarded: 300_000, ..graceful(1, 1) };
    assert_eq!(server.join(), expected);
}

/// A peer that goes on sending as fast as it can, when all that it sends is thrown away, must not take anything from
/// the server: an engine that counted on its buffers as a bound was brought down by this.
fn floods_after_our_fin_are_discarded_and_counted(engine: Engine) {
    // Few large writes: a peer that makes its bytes as it goes is not fast enough.
    const WRITES: usize = 32;
    let flood = vec![0; 4 << 20];
    let server = Running::start_with(&Config { drain_grace: Duration::ZERO, ..config(engine) });
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    server.drain();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    for _ in 0..WRITES {
        stream.write_all(&flood).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let discarded = (WRITES * flood.len()) as u64;
    let expected = Tally { bytes_received: 1 + discarded, bytes_discarded: discarded, ..graceful(1, 1) };
    assert_eq!(server.join(), expected);
}

/// The FIN arrives while thousands of bytes are unread, and a window of 1 KiB takes them in many receives: one that
/// stops at the hint loses the tail.
fn hang_up_hint_before_unread_bytes(engine: Engine) {
    const LEN: usize = 40_000;
    let program = Program::start(engine, &["--window", "1KiB"]);
    let known = program.connect_and_echo();
    program.stop();
    let peers: Vec<_> = (0..20).map(|_| program.connect()).collect();
    peers.iter().for_each(|peer| peer.send(LEN));
    peers.iter().for_each(|peer| peer.fin());
    known.send(LEN);
    known.fin();
    program.go_on();
    known.echo_and_eof();
    peers.iter().for_each(|peer| peer.echo_and_eof());
    let ended = program.end();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(21, 21 * LEN as u64 + 1)));
}

fn idle_timeout_ends_with_a_fin(engine: Engine) {
    const IDLE: Duration = Duration::from_millis(300);
    let server = Running::start_with(&Config { idle_timeout: Some(IDLE), ..config(engine) });
    let peer = server.connect();
    let began = clock();
    peer.send(1);
    peer.echo_and_eof();
    assert!(began.elapsed() >= IDLE, "ended after {:?}", began.elapsed());
    peer.fin();
    wait_until("the connection is closed", || server.tally().ended() == 1);
    assert_eq!(server.end(), graceful(1, 1));
}

fn idle_timeout_ends_a_peer_that_never_spoke(engine: Engine) {
    const IDLE: Duration = Duration::from_millis(300);
    let server = Running::start_with(&Config { idle_timeout: Some(IDLE), ..config(engine) });
    let began = clock();
    let peer = server.connect();
    peer.echo_and_eof();
    assert!(began.elapsed() >= IDLE, "ended after {:?}", began.elapsed());
    peer.fin();
    wait_until("the connection is closed", || server.tally().ended() == 1);
    assert_eq!(server.end(), graceful(1, 0));
}

fn idle_timeout_spares_the_active(engine: Engine) {
    const IDLE: Duration = Duration::from_secs(1);
    let server = Running::start_with(&Config { idle_timeout: Some(IDLE), ..config(engine) });
    let peer = server.connect_and_echo();
    for _ in 0..8 {
        peer.hears_nothing_for(IDLE / 5);
        peer.send(1);
        peer.echo(1);
    }
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, 9));
}

fn stall_timeout_resets(engine: Engine) {
    let server = Running::start_with(&Config { stall_timeout: Duration::from_secs(1), ..config(engine) });
    let peer = server.connect();
    thread::scope(|scope| {
        // It blocks when every buffer on the way is full, and fails with the reset.
        let sender = scope.spawn(|| peer.try_send(1 << 30));
        wait_until("the connection expires", || server.tally().expired == 1);
        sender.join().unwrap().expect_err("the echo of everything was never read");
    });
    // Reading began only after the end; the error was reported to the sender already.
    assert!(peer.read() == 0 && peer.sent() > 0);
    assert_eq!(
        outcomes(server.end()),
        Tally { accepted: 1, expired: 1, ..Tally::default() },
        "a stall outside a drain is no expiry by the drain"
    );
}

fn linger_timeout_expires_a_silent_peer(engine: Engine) {
    let linger_timeout = Duration::from_millis(300);
    let idle_timeout = Some(linger_timeout);
    let server = Running::start_with(&Config { idle_timeout, linger_timeout, ..config(engine) });
    let peer = server.connect_and_echo();
    peer.echo_and_eof();
    wait_until("the connection expires", || server.tally().expired == 1);
    let expected = Tally { graceful: 0, expired: 1, ..graceful(1, 1) };
    assert_eq!(server.end(), expected);

    let server =
        Running::start_with(&Config { drain_grace: Duration::ZERO, linger_timeout, ..config(engine) });
    let peer = server.connect_and_echo();
    server.drain();
    peer.echo_and_eof();
    assert_eq!(server.join(), Tally { expired_in_drain: 1, ..expected });
    wait_until("nobody is there any more", || peer.try_send(1).is_err());
}

fn linger_timeout_in_all_expires_a_chatty_peer(engine: Engine) {
    let linger_timeout = Duration::from_millis(300);
    let server =
        Running::start_with(&Config { drain_grace: Duration::ZERO, linger_timeout, ..config(engine) });
    let peer = server.connect_and_echo();
    server.drain();
    peer.echo_and_eof();
    let began = clock();
    while peer.try_send(1).is_ok() {
        thread::sleep(linger_timeout / 10);
    }
    // The first byte that finds nobody there is answered with a RST, which the next one finds.
    assert!(began.elapsed() >= linger_timeout * 5, "cut off after {:?} of talking", began.elapsed());
    let tally = server.join();
    assert!(tally.bytes_discarded > 0);
    assert_eq!(outcomes(tally), Tally { accepted: 1, expired: 1, expired_in_drain: 1, ..Tally::default() });
}

fn drain_timeout_resets_what_is_owed(engine: Engine) {
    let server = Running::start_with(&Config {
        drain_grace: Duration::ZERO,
        drain_timeout: Duration::from_millis(300),
        ..config(engine)
    });
    let peer = server.connect();
    peer.send_what_fits(64 << 20);
    wait_until_still(|| server.tally().bytes_received);
    peer.send_what_fits(64 << 20);
    thread::scope(|scope| {
        let sender = scope.spawn(|| peer.try_send(64 << 20));
        wait_until_still(|| peer.sent());
        server.drain();
        wait_until("the connection expires", || server.tally().expired == 1);
        sender.join().unwrap().expect_err("the echo of everything was never read");
    });
    let tally = server.join();
    assert!(tally.bytes_echoed < tally.bytes_owed, "{tally:?}");
    assert_eq!(outcomes(tally), Tally { accepted: 1, expired: 1, expired_in_drain: 1, ..Tally::default() });
}

fn expiry_resets_what_is_open(engine: Engine) {
    let server = Running::start(engine);
    let peers: Vec<_> = (0..50).map(|_| server.connect_and_echo()).collect();
    server.expire();
    if shows("expiry_resets_what_is_open", engine) {
        peers.iter().for_each(|peer| peer.echo_to_reset());
    } else {
        peers.iter().for_each(|peer| {
            let _ = peer.echo_to_eof_or_reset();
        });
    }
    let expected = Tally { graceful: 0, expired: 50, expired_in_drain: 50, ..graceful(50, 50) };
    assert_eq!(server.join(), expected);
}
