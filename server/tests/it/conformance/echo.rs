//! What is sent comes back, of every size and in every order of sending and reading, and then the FIN.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::thread;

use finwait_server::config::Config;

use socket2::SockRef;

use crate::support::{Engine, LIMIT, Program, Running, config, engines, graceful, programs};

engines!(
    nothing_then_fin,
    one_byte_then_fin,
    sixty_four_kilobytes_then_fin,
    megabyte_then_fin,
    sixty_four_megabytes_read_while_sending,
    data_and_fin_in_one_segment,
    write_then_immediate_shutdown,
    reading_begins_after_a_megabyte_was_sent,
    byte_by_byte,
    connections_one_after_another,
    connections_side_by_side,
    several_workers_share_the_connections,
    smallest_window,
);
programs!(urgent_byte_is_a_byte_like_any_other,);

fn nothing_then_fin(engine: Engine) {
    sends_then_reads(engine, 0);
}

fn one_byte_then_fin(engine: Engine) {
    sends_then_reads(engine, 1);
}

fn sixty_four_kilobytes_then_fin(engine: Engine) {
    sends_then_reads(engine, 64 << 10);
}

fn megabyte_then_fin(engine: Engine) {
    reads_while_sending(engine, 1 << 20);
}

fn sixty_four_megabytes_read_while_sending(engine: Engine) {
    reads_while_sending(engine, 64 << 20);
}

fn data_and_fin_in_one_segment(engine: Engine) {
    let server = Running::start(engine);
    for len in [1, 1000, 32 << 10] {
        let peer = server.connect();
        peer.send_with_fin(len);
        peer.echo_and_eof();
    }
    assert_eq!(server.end(), graceful(3, 1 + 1000 + (32 << 10)));
}

/// A read ends at the urgent mark with more bytes behind it, and no hint follows for those.
fn urgent_byte_is_a_byte_like_any_other(engine: Engine) {
    let program = Program::start(engine, &[]);
    let mut stream = TcpStream::connect(program.addrs()[0]).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    for _ in 0..10 {
        program.stop();
        stream.write_all(b"abc").unwrap();
        SockRef::from(&stream).send_out_of_band(b"X").unwrap();
        stream.write_all(b"def").unwrap();
        program.go_on();
        let mut echo = [0; 7];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"abcXdef");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(program.end().tally, graceful(1, 70));
}

fn write_then_immediate_shutdown(engine: Engine) {
    let server = Running::start(engine);
    for _ in 0..200 {
        let peer = server.connect();
        peer.send(3000);
        peer.fin();
        peer.echo_and_eof();
    }
    assert_eq!(server.end(), graceful(200, 200 * 3000));
}

fn reading_begins_after_a_megabyte_was_sent(engine: Engine) {
    let server = Running::start(engine);
    let peer = server.connect();
    peer.send(1 << 20);
    peer.echo(1 << 20);
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, 1 << 20));
}

fn byte_by_byte(engine: Engine) {
    let server = Running::start(engine);
    let peer = server.connect();
    for _ in 0..1000 {
        peer.send(1);
        peer.echo(1);
    }
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, 1000));
}

/// Places and names are used again: nothing of the old connection may show in the new one.
fn connections_one_after_another(engine: Engine) {
    let server = Running::start(engine);
    for len in 0..1000 {
        let peer = server.connect();
        peer.send(len);
        peer.fin();
        peer.echo_and_eof();
    }
    assert_eq!(server.end(), graceful(1000, (0..1000).sum()));
}

fn connections_side_by_side(engine: Engine) {
    let server = Running::start(engine);
    let peers: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for len in [1, 4096, 7, 20_000] {
        peers.iter().for_each(|peer| peer.send(len));
        peers.iter().rev().for_each(|peer| peer.echo(len));
    }
    peers.iter().for_each(|peer| peer.fin());
    peers.iter().for_each(|peer| peer.echo_and_eof());
    assert_eq!(server.end(), graceful(200, 200 * (1 + 4096 + 7 + 20_000)));
}

fn several_workers_share_the_connections(engine: Engine) {
    let workers = NonZeroUsize::new(4).unwrap();
    let server = Running::start_with(&Config { workers, ..config(engine) });
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let peer = server.connect();
                    peer.send(10_000);
                    peer.fin();
                    peer.echo_and_eof();
                }
            });
        }
    });
    assert_eq!(server.end(), graceful(400, 400 * 10_000));
}

/// With one byte of window each receive must wait for the send before it.
fn smallest_window(engine: Engine) {
    let window = NonZeroU32::MIN;
    let server = Running::start_with(&Config { window, ..config(engine) });
    let peer = server.connect();
    peer.send(5000);
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, 5000));
}

fn sends_then_reads(engine: Engine, len: usize) {
    let server = Running::start(engine);
    let peer = server.connect();
    peer.send(len);
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(server.end(), graceful(1, len as u64));
}

fn reads_while_sending(engine: Engine, len: usize) {
    let server = Running::start(engine);
    let peer = server.connect();
    thread::scope(|scope| {
        scope.spawn(|| {
            peer.send(len);
            peer.fin();
        });
        peer.echo_and_eof();
    });
    assert_eq!(server.end(), graceful(1, len as u64));
}
