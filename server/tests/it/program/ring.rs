//! What the rings are asked for, as proc(5) shows it in `fdinfo`: of idle connections they hold polls, which take less memory
//! than receives, and what comes at once is not asked of them at all.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::{fs, thread};

use finwait_server::engine::{Descriptors, EngineKind};
use finwait_server::policy::REST_EVERY;

use crate::support::{Engine, LIMIT, Peer, Program, graceful, wait_until};

/// The numbers that io_uring_enter(2) has for them.
const POLL_ADD: &str = "op=6,";
const RECV: &str = "op=27,";

#[test]
fn idle_connections_rest_and_wake() {
    const PEERS: usize = 200;
    for descriptors in [Descriptors::Normal, Descriptors::Direct] {
        let program = Program::start(Engine { kind: EngineKind::Uring, descriptors }, &[]);
        let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
        let polls = program.in_ring(POLL_ADD);
        wait_until("all receive", || program.in_ring(RECV) == PEERS);
        wait_until("all rest", || program.in_ring(RECV) == 0);
        assert_eq!(program.in_ring(POLL_ADD), polls + PEERS);
        // Some say something, some end, and the others rest on.
        let (awake, asleep) = peers.split_at(PEERS / 2);
        awake.iter().for_each(|peer| peer.send(1000));
        awake.iter().for_each(|peer| peer.echo(1000));
        assert_eq!((program.in_ring(RECV), program.in_ring(POLL_ADD)), (PEERS / 2, polls + PEERS / 2));
        asleep[..PEERS / 4].iter().for_each(Peer::fin);
        asleep[..PEERS / 4].iter().for_each(Peer::echo_and_eof);
        // And who woke rests again.
        wait_until("all rest again", || program.in_ring(RECV) == 0);
        program.signal("TERM");
        let left = || awake.iter().chain(&asleep[PEERS / 4..]);
        left().for_each(Peer::echo_and_eof);
        left().for_each(Peer::fin);
        let ended = program.ended();
        assert_eq!(ended.tally, graceful(PEERS as u64, (PEERS + PEERS / 2 * 1000) as u64));
    }
}

/// Whoever says something now and then is not cancelled time and again.
#[test]
fn who_is_not_idle_does_not_rest() {
    let program = Program::start(EngineKind::Uring, &[]);
    let peer = program.connect_and_echo();
    for _ in 0..20 {
        thread::sleep(REST_EVERY / 5);
        peer.send(1);
        assert_eq!(program.in_ring(RECV), 1, "it rests");
        peer.echo(1);
    }
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(program.end().tally, graceful(1, 21));
}

/// A client of the ledger, which receives singly from the start, rests too, and is answered all the same.
#[test]
fn a_ledger_answers_who_rested() {
    let program = Program::start(EngineKind::Uring, &["--ledger", "127.0.0.1:0"]);
    let mut client = TcpStream::connect(program.addrs()[1]).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.write_all(b"a\nb").unwrap();
    client.read_exact(&mut [0; 3]).unwrap();
    wait_until("it rests", || program.in_ring(RECV) == 0);
    client.write_all(b"\n!disconnect total=2 session=00000000000000000000000000000001\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("\n!disconnect status=ok seen=2 grand_total=2 boot="), "{heard}");
    assert_eq!(program.end().tally.graceful, 1);
}

/// What a peer has said before it was accepted is received without the ring, and so is the FIN behind it.
#[test]
fn what_comes_at_once_is_not_asked_of_the_ring() {
    const PEERS: u32 = 100;
    let program = Program::start(EngineKind::Uring, &["--workers", "1"]);
    // So that everything is there by the time that it looks.
    program.stop();
    let before = program.completions();
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect()).collect();
    for peer in &peers {
        peer.send(64);
        peer.fin();
    }
    program.go_on();
    peers.iter().for_each(Peer::echo_and_eof);
    // Each accept has a completion, and the timer has one now and then.
    let completions = program.completions() - before;
    assert!((PEERS..PEERS + 5).contains(&completions), "{completions} completions");
    assert_eq!(program.end().tally, graceful(PEERS.into(), u64::from(PEERS) * 64));
}

impl Program {
    /// Operations of one kind that wait in its rings.
    #[track_caller]
    fn in_ring(&self, kind: &str) -> usize {
        let waiting = |ring: &String| ring.lines().filter(|line| line.trim().starts_with(kind)).count();
        self.rings().iter().map(waiting).sum()
    }

    /// Completions that its rings have had.
    #[track_caller]
    fn completions(&self) -> u32 {
        let tail = |ring: &String| {
            let tail = ring.lines().find_map(|line| line.strip_prefix("CqTail:")).unwrap();
            tail.trim().parse::<u32>().unwrap()
        };
        self.rings().iter().map(tail).sum()
    }

    /// What the kernel shows of its rings.
    #[track_caller]
    fn rings(&self) -> Vec<String> {
        let proc = format!("/proc/{}", self.pid());
        let descriptors = fs::read_dir(format!("{proc}/fd")).unwrap().flatten();
        let rings = descriptors.filter(|fd| {
            fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("[io_uring]"))
        });
        let shown = rings.map(|fd| {
            let path = format!("{proc}/fdinfo/{}", fd.file_name().to_string_lossy());
            let mut info = String::new();
            // In the middle of a submission the kernel shows next to nothing.
            wait_until("it shows what waits", || {
                info = fs::read_to_string(&path).unwrap();
                info.contains("PollList")
            });
            info
        });
        shown.collect()
    }
}
