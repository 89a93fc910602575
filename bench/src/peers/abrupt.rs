//! Wrong on purpose, in the way that is met most: the peer's FIN is taken for its leave, and what it is owed is dropped.
//!
//! A check that lets this one pass is worth nothing. It is `epoll` but for that: one that sends first and waits for the
//! answer before its FIN sees no difference.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::{Failure, Job, say_listening};

const LISTENER: Token = Token(usize::MAX - 1);

const EVENTS: usize = 1024;

struct Conn {
    stream: TcpStream,
    owed: Vec<u8>,
}

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    let listener = job.listener()?;
    listener.set_nonblocking(true)?;
    say_listening(listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut conns: Slab<Conn> = Slab::new();
    let mut bytes = vec![0; job.buffer];
    let mut events = Events::with_capacity(EVENTS);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let place = conns.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    if poll.registry().register(&mut stream, Token(place.key()), interest).is_ok() {
                        place.insert(Conn { stream, owed: Vec::new() });
                    }
                }
                continue;
            }
            let Token(place) = event.token();
            let Some(conn) = conns.get_mut(place) else { continue };
            // Here it goes wrong: what is read with the FIN, and what was read before and not yet sent, are dropped. All
            // is read, though, so that the peer meets no RST but a clean EOF behind half of an echo.
            if event.is_read_closed() {
                while matches!(conn.stream.read(&mut bytes), Ok(1..)) {}
                conns.remove(place);
            } else if turn(conn, &mut bytes).is_err() {
                conns.remove(place);
            }
        }
    }
}

fn turn(conn: &mut Conn, bytes: &mut [u8]) -> io::Result<()> {
    loop {
        while !conn.owed.is_empty() {
            match conn.stream.write(&conn.owed) {
                Ok(sent) => drop(conn.owed.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match conn.stream.read(bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(taken) => conn.owed.extend_from_slice(&bytes[..taken]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
