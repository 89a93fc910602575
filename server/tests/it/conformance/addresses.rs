//! Several listeners, IPv6, and a port that is taken.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use finwait_server::config::Config;
use finwait_server::server::{Server, StartError};
use finwait_server::sys;

use crate::support::{Engine, Peer, Running, clock, config, engines, graceful};

/// When the one before is gone from its port.
const GONE_AFTER: Duration = Duration::from_millis(200);

engines!(
    two_listeners,
    ipv6,
    both_families_on_one_port,
    a_taken_port_is_an_error,
    a_port_is_free_again_after_the_end,
    a_port_that_is_about_to_be_free_is_waited_for,
    starting_does_not_interrupt_the_caller,
);

fn two_listeners(engine: Engine) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    for workers in [1, 2] {
        let workers = workers.try_into().unwrap();
        let server = Running::start_with(&Config { listen: vec![any, any], workers, ..config(engine) });
        let addrs = server.server().addrs();
        assert!(addrs.len() == 2 && addrs[0] != addrs[1], "{addrs:?}");
        let peers: Vec<_> = (0..20).map(|index| Peer::connect(addrs[index % 2])).collect();
        peers.iter().for_each(|peer| peer.send(1000));
        peers.iter().for_each(|peer| peer.echo(1000));
        server.drain();
        peers.iter().for_each(Peer::echo_and_eof);
        peers.iter().for_each(Peer::fin);
        assert_eq!(server.join(), graceful(20, 20 * 1000));
    }
}

fn ipv6(engine: Engine) {
    let listen = vec![SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))];
    let server = Running::start_with(&Config { listen, ..config(engine) });
    assert!(server.addr().is_ipv6());
    let peer = server.connect();
    peer.send(1000);
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, 1000));
}

/// `[::]` would take IPv4 as well on most systems, and then 0.0.0.0 could not be listened on beside it.
fn both_families_on_one_port(engine: Engine) {
    let v6 = SocketAddr::from(([0; 8], 0));
    let free = Running::start_with(&Config { listen: vec![v6], ..config(engine) });
    let port = free.addr().port();
    free.end();
    let listen = vec![SocketAddr::from(([0; 4], port)), SocketAddr::from(([0; 8], port))];
    let server = Running::start_with(&Config { listen, ..config(engine) });
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    for addr in [SocketAddr::from(([127, 0, 0, 1], port)), v6] {
        let peer = Peer::connect(addr);
        peer.send(1000);
        peer.fin();
        peer.echo_and_eof();
    }
    assert_eq!(server.end(), graceful(2, 2000));
}

/// Two servers of two workers each: sharing a port among workers must not let a stranger in.
fn a_taken_port_is_an_error(engine: Engine) {
    let two = 2.try_into().unwrap();
    let first = Running::start_with(&Config { workers: two, ..config(engine) });
    let listen = vec![first.addr()];
    for workers in [1.try_into().unwrap(), two] {
        let error = Server::start(&Config { listen: listen.clone(), workers, ..config(engine) }).unwrap_err();
        let message = error.to_string();
        match error {
            StartError::Listen(addr, error) => {
                assert_eq!((addr, error.kind()), (first.addr(), io::ErrorKind::AddrInUse));
            }
            StartError::Engine(_)
            | StartError::Ledger(_)
            | StartError::Worker(_)
            | StartError::Sockets(_) => panic!("{message}"),
        }
        assert!(message.contains(&sys::who_has(first.addr().port())), "{message}");
    }
    // The first one is alone on its port still.
    let peers: Vec<_> = (0..20).map(|_| first.connect_and_echo()).collect();
    peers.iter().for_each(Peer::fin);
    peers.iter().for_each(Peer::echo_and_eof);
    assert_eq!(first.end(), graceful(20, 20));
}

/// Also while connections of the server before are in TIME_WAIT, which is on its side when it sent the first FIN.
fn a_port_is_free_again_after_the_end(engine: Engine) {
    let mut listen = config(engine).listen;
    for _ in 0..3 {
        let workers = 2.try_into().unwrap();
        let drain_grace = Duration::ZERO;
        let server = Running::start_with(&Config { listen, workers, drain_grace, ..config(engine) });
        listen = vec![server.addr()];
        let peer = server.connect_and_echo();
        server.drain();
        peer.echo_and_eof();
        peer.fin();
        assert_eq!(server.join(), graceful(1, 1));
    }
}

/// As after `kill -9`: the kernel closes the listener of a ring a little after its process has ended.
fn a_port_that_is_about_to_be_free_is_waited_for(engine: Engine) {
    let held = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listen = vec![held.local_addr().unwrap()];
    let begun = clock();
    let predecessor = thread::spawn(move || {
        thread::sleep(GONE_AFTER);
        drop(held);
    });
    let server = Running::start_with(&Config { listen, ..config(engine) });
    assert!(begun.elapsed() >= GONE_AFTER, "two servers had the port");
    predecessor.join().unwrap();
    let peer = server.connect_and_echo();
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, 1));
}

/// A library leaves nothing behind on the thread that calls it. (A ring that is taken down there later would interrupt
/// what the thread then waits for.)
fn starting_does_not_interrupt_the_caller(engine: Engine) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ours.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for _ in 0..10 {
        let server = Running::start(engine);
        let error = ours.read(&mut [0]).unwrap_err();
        let is_over = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(is_over, "{error}");
        assert_eq!(server.end(), graceful(0, 0));
    }
}
