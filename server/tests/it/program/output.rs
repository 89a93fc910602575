//! JSON and plain lines, and a stdout that nobody reads.

use std::net::SocketAddr;

use finwait_server::engine::{Descriptors, EngineKind};

use crate::support::{Engine, Peer, Program, graceful, programs, run_to_end, wait_until};

programs!(
    json_parses_and_adds_up,
    plain_lines_say_the_same,
    a_closed_stdout_does_not_matter,
    a_full_stdout_does_not_matter,
    a_reader_that_went_away_does_not_matter,
);

fn json_parses_and_adds_up(engine: Engine) {
    let listen = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--drain-grace", "60s"];
    let program = Program::start(engine, &listen);
    let addrs = program.addrs().to_vec();
    assert!(addrs.len() == 2 && addrs[0].is_ipv4() && addrs[1].is_ipv6(), "{addrs:?}");
    for addr in addrs {
        let peer = Peer::connect(addr);
        peer.send(1000);
        peer.fin();
        peer.echo_and_eof();
    }
    program.connect_and_echo().reset();
    let ended = program.end();
    let tally = ended.tally;
    assert_eq!((ended.code, tally.accepted, tally.graceful, tally.reset), (Some(0), 3, 2, 1));
    assert_eq!((tally.bytes_received, tally.bytes_echoed), (2001, 2001));
}

fn plain_lines_say_the_same(engine: Engine) {
    let mut program = Program::start_plain(engine, "");
    let addr = program.plain_line().strip_prefix("listening on ").unwrap().parse().unwrap();
    serve_one(addr);
    program.signal("TERM");
    assert_eq!(
        program.plain_line(),
        "accepted 1: graceful 1, reset 0, aborted 0, expired 0 (0 by the drain), shutdown_failed 0"
    );
    assert_eq!(program.plain_line(), "bytes: received 1000, owed 1000, echoed 1000, discarded 0");
    assert!(program.plain_line().starts_with("drained in "));
    assert_eq!((program.plain_line().as_str(), program.exit_code()), ("", Some(0)));
}

fn a_closed_stdout_does_not_matter(engine: Engine) {
    // Nobody is told the port, so it is a fixed one, on an address of this process's own.
    let [.., high, low] = std::process::id().to_be_bytes();
    let direct = u8::from(engine.descriptors == Descriptors::Direct);
    let addr = SocketAddr::from(([127, 77 + 2 * engine.kind as u8 + direct, high, low], 7007));
    let mut program = Program::start_plain_on(engine, addr, "exec >&-;");
    wait_until("it listens", || Peer::try_connect(addr, std::time::Duration::from_secs(1)).is_ok());
    serve_one(addr);
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0), "{}", program.stderr());
}

fn a_full_stdout_does_not_matter(engine: Engine) {
    let mut program = Program::start_plain(engine, "exec >/dev/full;");
    // What it could not say there it says here.
    program.wait_for_log("listening on ");
    let stderr = program.stderr();
    let (_, said) = stderr.split_once("listening on ").unwrap();
    serve_one(said.lines().next().unwrap().parse().unwrap());
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0), "{}", program.stderr());
    program.wait_for_log("graceful 1");
    assert!(program.stderr().contains("cannot write to stdout"), "{}", program.stderr());
}

fn a_reader_that_went_away_does_not_matter(engine: Engine) {
    let mut program = Program::start_plain(engine, "");
    let addr = program.plain_line().strip_prefix("listening on ").unwrap().parse().unwrap();
    program.close_stdout();
    serve_one(addr);
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0), "{}", program.stderr());
    program.wait_for_log("graceful 1");
}

/// An address that is taken: exit code 1, and one line that names it and what to do.
#[test]
fn a_taken_port_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let ended = run_to_end(&["--listen", &addr, "--workers", "2", "--log-level", "warn", "--engine", "mio"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&addr) && ended.stderr.contains("ss -ltnp"), "{}", ended.stderr);
}

fn serve_one(addr: SocketAddr) {
    let peer = Peer::connect(addr);
    peer.send(1000);
    peer.fin();
    peer.echo_and_eof();
}

/// The helper that other cases rest on, seen from the other side.
#[test]
fn nothing_served_is_nothing_counted() {
    let ended = Program::start(EngineKind::Mio, &["--log-level", "off"]).end();
    assert_eq!((ended.code, ended.tally, ended.stderr.as_str()), (Some(0), graceful(0, 0), ""));
}
