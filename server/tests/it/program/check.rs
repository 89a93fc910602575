//! The health probe against servers good and bad.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::support::{Engine, Finished, Running, engines, graceful, run_to_end};

engines!(a_good_server_passes,);

fn a_good_server_passes(engine: Engine) {
    let server = Running::start(engine);
    for _ in 0..3 {
        let probe = run_to_end(&["check", &server.addr().to_string()]);
        assert_eq!((probe.code, probe.stderr.as_str()), (Some(0), ""));
        assert!(probe.stdout.starts_with("ok: connect "), "{}", probe.stdout);
    }
    let tally = server.end();
    assert_eq!(tally, graceful(3, tally.bytes_received));
    assert!(tally.bytes_received > 0);
}

#[test]
fn a_port_that_nobody_listens_on_fails() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails_with(&run_to_end(&["check", &addr.to_string()]), "cannot connect");
}

#[test]
fn a_name_that_nobody_has_fails() {
    fails_with(&run_to_end(&["check", "no-such-host.invalid:7"]), "cannot connect");
    fails_with(&run_to_end(&["check", "127.0.0.1"]), "cannot connect");
}

#[test]
fn a_server_that_closes_without_an_echo_fails() {
    fails_with(
        &probe(|mut stream| {
            // Read first, for a close over unread bytes would be a RST.
            let _ = stream.read(&mut [0; 100]);
        }),
        "no echo",
    );
}

#[test]
fn a_server_that_changes_bytes_fails() {
    fails_with(
        &probe(|mut stream| {
            let mut bytes = [0; 100];
            let read = stream.read(&mut bytes).unwrap();
            bytes[read - 1] ^= 1;
            stream.write_all(&bytes[..read]).unwrap();
        }),
        "not with the bytes",
    );
}

#[test]
fn a_server_that_says_more_than_it_heard_fails() {
    fails_with(
        &probe(|mut stream| {
            let mut bytes = [0; 100];
            let read = stream.read(&mut bytes).unwrap();
            stream.write_all(&bytes[..=read]).unwrap();
            let _ = stream.read(&mut bytes);
        }),
        "more bytes",
    );
}

#[test]
fn a_server_that_never_answers_fails_after_the_timeout() {
    fails_with(
        &probe(|mut stream| {
            // Until the probe gives up.
            while stream.read(&mut [0; 100]).is_ok_and(|read| read > 0) {}
        }),
        "timed out",
    );
}

#[test]
fn a_server_that_never_sends_its_fin_fails_after_the_timeout() {
    fails_with(
        &probe(|mut stream| {
            let mut bytes = [0; 100];
            let read = stream.read(&mut bytes).unwrap();
            stream.write_all(&bytes[..read]).unwrap();
            let _ = stream.shutdown(Shutdown::Read);
            // Held open for as long as the probe may wait, and beyond.
            thread::sleep(TIMEOUT * 3);
        }),
        "no EOF",
    );
}

const TIMEOUT: std::time::Duration = std::time::Duration::from_millis(300);

/// Runs the probe against a server that does `serve` to its one connection.
fn probe(serve: impl FnOnce(TcpStream) + Send + 'static) -> Finished {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let probe = run_to_end(&["check", "--timeout", "300ms", &addr]);
    server.join().unwrap();
    probe
}

/// One line on stderr says what was wrong; exit code 1.
#[track_caller]
fn fails_with(probe: &Finished, why: &str) {
    assert_eq!((probe.code, probe.stdout.as_str()), (Some(1), ""), "{}", probe.stderr);
    assert!(probe.stderr.contains(why), "no {why:?} in {}", probe.stderr);
    assert_eq!(probe.stderr.lines().count(), 1, "{}", probe.stderr);
}
