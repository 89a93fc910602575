//! More connections than a process has descriptors, and who cannot have them.

use finwait_server::engine::{Descriptors, EngineKind};

use crate::support::{Engine, Peer, Program, graceful, many_sockets, run_to_end};

const DIRECT: Engine = Engine { kind: EngineKind::Uring, descriptors: Descriptors::Direct };
const FEW_DESCRIPTORS: &str = "ulimit -n 256;";

/// 1,000 of them over 6 tables of 256: how the kernel spreads them is a hash, and 256 are never at one of them.
#[test]
fn more_connections_than_descriptors() {
    const PEERS: usize = 1000;
    let _alone = many_sockets();
    let program = Program::start_in_shell(DIRECT, FEW_DESCRIPTORS, &["--workers", "6"]);
    let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
    // All are open at the same time, half of them end by themselves, and the others in the drain.
    peers[..PEERS / 2].iter().for_each(|peer| peer.send(1000));
    peers[..PEERS / 2].iter().for_each(Peer::fin);
    peers[..PEERS / 2].iter().for_each(Peer::echo_and_eof);
    program.signal("TERM");
    peers[PEERS / 2..].iter().for_each(Peer::echo_and_eof);
    peers[PEERS / 2..].iter().for_each(Peer::fin);
    let ended = program.ended();
    assert_eq!((ended.code, ended.tally), (Some(0), graceful(PEERS as u64, (PEERS / 2 * 1002) as u64)));
}

#[test]
fn an_engine_without_direct_descriptors_is_refused() {
    for engine in ["mio", "tokio-uring"] {
        let ended = run_to_end(&["--engine", engine, "--descriptors", "direct", "--listen", "127.0.0.1:0"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        let line = ended.stderr.lines().last().unwrap();
        assert!(line.starts_with("finwait-server: ") && line.contains("direct descriptors"), "{line}");
        assert!(line.contains("--engine uring"), "no remedy in {line}");
    }
}

/// `auto` does not fall back to an engine that has none.
#[test]
fn auto_takes_the_engine_that_has_them() {
    let program = Program::start_with_engine("auto", &["--descriptors", "direct"]);
    assert_eq!((program.engine_announced(), program.descriptors_announced()), ("uring", "direct"));
    let peer = program.connect_and_echo();
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(program.end().tally, graceful(1, 1));
}
