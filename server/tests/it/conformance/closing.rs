//! Close cases by list: what others test about the end of a TCP connection, as far as an echo server can meet it.
//!
//! The cases are theirs, the tests are ours. gVisor's stand in `test/syscalls/linux/socket_ip_tcp_generic.cc` (those
//! about options and about calls that an echo server does not make are left out), packetdrill's in
//! `tools/testing/selftests/net/packetdrill` of Linux, liburing's in `test`.
//!
//! | theirs | what happens | ours |
//! | --- | --- | --- |
//! | gVisor `RSTSentOnCloseWithUnreadData` | a close throws bytes away | `reset::closed_with_our_bytes_unread` |
//! | `RSTSentOnCloseWithUnreadDataAllowsReadBuffered` | bytes, then a RST, all unread | `reset_behind_unread_bytes`, `our_reset_behind_an_unread_echo` |
//! | `RSTCausesPollHUP` | nobody reads when the RST comes | `reset::owed_bytes_and_no_receive` |
//! | `FINSentOnShutdownWrWithUnreadData` | our FIN goes out with bytes unread | `ending::bytes_after_our_fin_are_discarded_and_counted` |
//! | `ShutdownRdShouldCauseNoPacketsWithUnreadData`, `ShutdownRdAllowsReadOfReceivedDataBeforeEOF` | the peer shuts its receiving side | `peer_that_receives_no_more` |
//! | `ShutdownRdUnreadDataShouldCauseNoPacketsUnlessClosed` | and then closes | `peer_that_receives_no_more_and_closes` |
//! | `ShutdownWrServerClientClose`, `TestTCPCloseWithData` | bytes and a close answer our FIN | `bytes_and_a_close_answer_our_fin` |
//! | `ClosedReadNonBlockingSocket` | a close without a half-close | `close_without_a_half_close` |
//! | `TCPResetDuringClose` | both close at once, bytes under way | `closes_that_cross_a_drain` |
//! | packetdrill `tcp_close_close-local-close-then-remote-fin` | our FIN is the first | `drain::idle_connections` |
//! | `tcp_close_close-remote-fin-then-close` | the peer's FIN is the first | `echo::nothing_then_fin`, and no RST: `.ci/steps/no-resets` |
//! | `tcp_close_close-on-syn-sent` | a connect is given up | `storm`; given up once connected: `reset::before_accept` |
//! | `tcp_close_no_rst` | the FIN comes with bytes | `echo::data_and_fin_in_one_segment` |
//! | `tcp_disorder_fin_in_FIN_WAIT` | both FINs are under way | `ending::simultaneous_fins` |
//! | liburing `shutdown` | a send after our FIN | never asked for: `walk`; bytes that come then: `ending::floods_after_our_fin_are_discarded_and_counted` |
//! | `mshot-shutdown-race` | one or two sends and the FIN at once | `fin_right_behind_the_bytes` |
//! | `recv-multishot`, `recv-mshot-drain` | buffers run out while bytes come | `backpressure::more_arrives_at_once_than_there_are_buffers`, `sizes` |
//! | `recv-multishot`, closed early | the sender, or we, end it meanwhile | `reset::mid_echo`, `expiry_while_bytes_come` |
//! | `cancel-race` | a cancel meets what it cancels | `receives_cancelled_while_bytes_come`, `expiry_while_bytes_come` |
//! | `accept-mshot-stress` | connects without end | `storm`, `crowds` |

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use finwait_server::config::Config;
use finwait_server::metrics::Tally;

use crate::support::{
    Engine, LIMIT, Peer, Program, Running, config, engines, graceful, outcomes, programs, shows, wait_until,
};

engines!(
    fin_right_behind_the_bytes,
    our_reset_behind_an_unread_echo,
    peer_that_receives_no_more,
    peer_that_receives_no_more_and_closes,
    bytes_and_a_close_answer_our_fin,
    close_without_a_half_close,
    closes_that_cross_a_drain,
    receives_cancelled_while_bytes_come,
    expiry_while_bytes_come,
);
programs!(reset_behind_unread_bytes);

/// An engine that hears of bytes and of the FIN behind them at once, and acts on the first alone, waits for ever. With
/// the other engine's that makes 100,000 rounds.
fn fin_right_behind_the_bytes(engine: Engine) {
    // Under Wine each takes a millisecond.
    const ROUNDS: u64 = if cfg!(windows) { 4_000 } else { 50_000 };
    const CLIENTS: u64 = 4;
    const LEN: usize = 123;
    let listen = vec![SocketAddr::from(([0; 4], 0))];
    let server = Running::start_with(&Config { listen, ..config(engine) });
    let port = server.addr().port();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            // An address for each: the ports of one are used up by connections in TIME_WAIT.
            let addr = SocketAddr::from((IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + client as u8)), port));
            scope.spawn(move || {
                for round in 0..ROUNDS / CLIENTS {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    stream.set_read_timeout(Some(LIMIT)).unwrap();
                    let bytes = [round as u8; 2 * LEN];
                    // One send, or two of them.
                    let sends = 1 + round as usize % 2;
                    for _ in 0..sends {
                        stream.write_all(&bytes[..LEN]).unwrap();
                    }
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut echo = [0; 2 * LEN + 1];
                    let mut read = 0;
                    loop {
                        match stream.read(&mut echo[read..]).unwrap() {
                            0 => break,
                            more => read += more,
                        }
                    }
                    assert!(
                        echo[..read] == bytes[..sends * LEN],
                        "{read} bytes, or others, in round {round}"
                    );
                }
            });
        }
    });
    assert_eq!(server.end(), graceful(ROUNDS, ROUNDS * LEN as u64 * 3 / 2));
}

/// A kernel keeps the bytes in front of a RST: they are received, and the RST is still seen.
fn reset_behind_unread_bytes(engine: Engine) {
    const PEERS: u64 = 50;
    for len in [1, 30_000] {
        let program = Program::start(engine, &[]);
        let peers: Vec<_> = (0..PEERS).map(|_| program.connect_and_echo()).collect();
        program.stop();
        for peer in peers {
            peer.send(len);
            peer.reset();
        }
        program.go_on();
        let ended = program.end();
        let expected = Tally { accepted: PEERS, reset: PEERS, ..Tally::default() };
        assert_eq!((ended.code, outcomes(ended.tally)), (Some(0), expected));
    }
}

/// The same from the other side: what was echoed before our RST is there to be read, and no EOF behind it.
fn our_reset_behind_an_unread_echo(engine: Engine) {
    let server = Running::start(engine);
    let peer = server.connect();
    peer.send(10_000);
    wait_until("the echo is sent", || server.tally().bytes_echoed == 10_000);
    server.expire();
    let expected = Tally { graceful: 0, expired: 1, expired_in_drain: 1, ..graceful(1, 10_000) };
    assert_eq!(server.join(), expected);
    peer.echo(10_000);
    if shows("our_reset_behind_an_unread_echo", engine) {
        peer.echo_to_reset();
    } else {
        let _ = peer.echo_to_eof_or_reset();
    }
}

/// `shutdown(SD_RECEIVE)` sends nothing: the server echoes on, and the connection ends like any other.
fn peer_that_receives_no_more(engine: Engine) {
    let server = Running::start(engine);
    let mut stream = connect(&server);
    stream.write_all(&[1; 1000]).unwrap();
    wait_until("the echo is sent", || server.tally().bytes_echoed == 1000);
    stream.shutdown(Shutdown::Read).unwrap();
    let mut echo = [0; 1001];
    if !shows("peer_that_receives_no_more", engine) {
        assert!(matches!(stream.read(&mut echo), Ok(0) | Err(_)), "it received what it had given up");
        stream.shutdown(Shutdown::Write).unwrap();
        wait_until("it has ended", || server.tally().ended() == 1);
        assert_eq!(server.end(), graceful(1, 1000));
        return;
    }
    stream.read_exact(&mut echo[..1000]).unwrap();
    assert!(echo[..1000] == [1; 1000], "what had come is still there");
    assert_eq!(stream.read(&mut echo).unwrap(), 0);
    assert_eq!(server.tally().ended(), 0, "the server was told");
    stream.write_all(&[2; 1000]).unwrap();
    wait_until("the echo is sent", || server.tally().bytes_echoed == 2000);
    stream.read_exact(&mut echo[..1000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    wait_until("it has ended", || server.tally().ended() == 1);
    assert_eq!(server.end(), graceful(1, 2000));
}

fn peer_that_receives_no_more_and_closes(engine: Engine) {
    let server = Running::start(engine);
    let mut stream = connect(&server);
    stream.write_all(&[1; 1000]).unwrap();
    wait_until("the echo is sent", || server.tally().bytes_echoed == 1000);
    stream.shutdown(Shutdown::Read).unwrap();
    // The echo is thrown away unread, so this is a RST.
    drop(stream);
    wait_until("it has ended", || server.tally().ended() == 1);
    let tally = server.end();
    let reset = if shows("peer_that_receives_no_more_and_closes", engine) { 1 } else { tally.reset };
    assert_eq!(tally, Tally { graceful: 1 - reset, reset, ..graceful(1, 1000) });
}

/// The peer does not half-close but closes: its kernel sends the bytes and the FIN, and has nobody to give ours to.
fn bytes_and_a_close_answer_our_fin(engine: Engine) {
    const LATE: u64 = 30_000;
    for _ in 0..20 {
        let server = Running::start_with(&Config { drain_grace: Duration::ZERO, ..config(engine) });
        let peer = server.connect_and_echo();
        server.drain();
        peer.echo_and_eof();
        peer.send(usize::try_from(LATE).unwrap());
        drop(peer);
        let expected = Tally { bytes_received: 1 + LATE, bytes_discarded: LATE, ..graceful(1, 1) };
        assert_eq!(server.join(), expected);
    }
}

fn close_without_a_half_close(engine: Engine) {
    const PEERS: u64 = 200;
    let server = Running::start(engine);
    for _ in 0..PEERS {
        drop(server.connect_and_echo());
    }
    wait_until("all have ended", || server.tally().ended() == PEERS);
    assert_eq!(server.end(), graceful(PEERS, PEERS));
}

/// Whose FIN is the first, and whether a close finds the echo unread, is chance; that each connection ends, and as one
/// of the two, is not.
fn closes_that_cross_a_drain(engine: Engine) {
    const PEERS: u64 = 100;
    for round in 0..10 {
        let drain_grace = Duration::from_millis(round % 2 * 5);
        let server = Running::start_with(&Config { drain_grace, ..config(engine) });
        let peers: Vec<_> = (0..PEERS).map(|_| server.connect_and_echo()).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for peer in peers {
                    peer.send(3);
                    drop(peer);
                }
            });
            server.drain();
        });
        let ended = outcomes(server.join());
        assert_eq!(ended.graceful + ended.reset, PEERS, "{ended:?}");
    }
}

/// Peers that are faster than the window have their receives cancelled while bytes come: none may be lost with them.
fn receives_cancelled_while_bytes_come(engine: Engine) {
    const LEN: usize = 5000;
    const PEERS: usize = 100;
    let window = NonZeroU32::new(1024).unwrap();
    let server = Running::start_with(&Config { window, ..config(engine) });
    for _ in 0..10 {
        let peers: Vec<_> = (0..PEERS).map(|_| server.connect()).collect();
        for _ in 0..4 {
            peers.iter().for_each(|peer| peer.send(LEN / 4));
        }
        peers.iter().for_each(Peer::fin);
        peers.iter().for_each(Peer::echo_and_eof);
    }
    assert_eq!(server.end(), graceful(10 * PEERS as u64, (10 * PEERS * LEN) as u64));
}

/// Everything in flight is cancelled while bytes come in and go out: what is cut off is told so, never an EOF.
fn expiry_while_bytes_come(engine: Engine) {
    const PEERS: u64 = 8;
    let told = shows("expiry_while_bytes_come", engine);
    for round in 0..8 {
        let server = Running::start(engine);
        let peers: Vec<_> = (0..PEERS).map(|_| server.connect_and_echo()).collect();
        // As much as is held by all buffers on the way: it moves while the peers read. A sender beside the reader would
        // do no good, for a RST is told once, and what looks after that sees an EOF.
        peers.iter().for_each(|peer| peer.send_what_fits(8 << 20));
        thread::scope(|scope| {
            for peer in &peers {
                scope.spawn(|| if told { peer.echo_to_reset() } else { _ = peer.echo_to_eof_or_reset() });
            }
            let begun = server.tally().bytes_echoed;
            wait_until("it is busy", || server.tally().bytes_echoed > begun + round * 100_000);
            server.expire();
        });
        let tally = server.join();
        let expired = Tally { accepted: PEERS, expired: PEERS, expired_in_drain: PEERS, ..Tally::default() };
        assert_eq!(outcomes(tally), expired);
        assert!(peers.iter().map(Peer::read).sum::<u64>() <= tally.bytes_echoed, "{tally:?}");
    }
}

fn connect(server: &Running) -> TcpStream {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}
