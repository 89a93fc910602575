//! The rival to take seriously: one thread, edge-triggered epoll by way of mio, no call that could be left out.
//!
//! A connection costs accept, one epoll_ctl, a recv and a send for each message, the recv that reads the FIN, and close.
//! A recv that fills its room in part has emptied the socket, so none is made just to be told EAGAIN; the close sends our
//! FIN. All connections share one buffer, which stays in the cache; what a peer does not take is kept with it alone.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use super::{Failure, Job, pause_after, say_listening};

const LISTENER: Token = Token(usize::MAX - 1);

/// As many as epoll_wait hands out at a time.
const EVENTS: usize = 1024;

/// Receives of one connection before it is the turn of the others.
const RECEIVES_MAX: usize = 16;

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    let listener = job.listener()?;
    listener.set_nonblocking(true)?;
    say_listening(listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server {
        listener,
        conns: Slab::new(),
        bytes: vec![0; job.buffer],
        unfinished: Vec::new(),
        pause: None,
    };
    let mut events = Events::with_capacity(EVENTS);
    let mut again = Vec::new();
    loop {
        let timeout = if server.unfinished.is_empty() { server.pause } else { Some(Duration::ZERO) };
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        // One whose turn was over before its bytes were. Its place may be another's by now, which does no harm.
        std::mem::swap(&mut again, &mut server.unfinished);
        for place in again.drain(..) {
            server.turn(place, true, poll.registry());
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept(poll.registry()),
                Token(place) => server.turn(place, event.is_read_closed(), poll.registry()),
            }
        }
        if server.pause.is_some() {
            server.accept(poll.registry());
        }
    }
}

struct Server {
    listener: TcpListener,
    conns: Slab<Conn>,
    /// What is received goes through here.
    bytes: Vec<u8>,
    /// Connections that may have more to read, which epoll does not tell again.
    unfinished: Vec<usize>,
    /// How long to leave the listener alone, where an accept failed: epoll does not tell that again either.
    pause: Option<Duration>,
}

struct Conn {
    stream: TcpStream,
    /// What the peer has not taken yet; nothing is received meanwhile.
    owed: Vec<u8>,
    waits_for_room: bool,
}

/// How a connection goes on.
enum Next {
    /// When epoll says so.
    Wait,
    /// After the others.
    Again,
    End,
}

impl Server {
    fn accept(&mut self, registry: &Registry) {
        self.pause = None;
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let place = self.conns.vacant_entry();
                    if registry.register(&mut stream, Token(place.key()), Interest::READABLE).is_ok() {
                        place.insert(Conn { stream, owed: Vec::new(), waits_for_room: false });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => match pause_after(&error) {
                    None => {}
                    pause => {
                        self.pause = pause;
                        return;
                    }
                },
            }
        }
    }

    /// Serves the connection in `place`; `ended`: its FIN may be there already.
    fn turn(&mut self, place: usize, ended: bool, registry: &Registry) {
        let Some(conn) = self.conns.get_mut(place) else { return };
        match conn.turn(&mut self.bytes, ended, |stream| {
            registry.reregister(stream, Token(place), Interest::READABLE | Interest::WRITABLE)
        }) {
            Ok(Next::Wait) => {}
            Ok(Next::Again) => self.unfinished.push(place),
            // Closing takes it out of the epoll as well, and sends our FIN. An error is the end of this connection alone.
            Ok(Next::End) | Err(_) => drop(self.conns.remove(place)),
        }
    }
}

impl Conn {
    fn turn(
        &mut self,
        bytes: &mut [u8],
        mut ended: bool,
        wait_for_room: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> io::Result<Next> {
        if !self.owed.is_empty() {
            let sent = send(&mut self.stream, &self.owed)?;
            self.owed.drain(..sent);
            if !self.owed.is_empty() {
                return Ok(Next::Wait);
            }
            self.owed = Vec::new();
            // What came meanwhile was told, and not looked at.
            ended = true;
        }
        for _ in 0..RECEIVES_MAX {
            let taken = match self.stream.read(bytes) {
                Ok(0) => return Ok(Next::End),
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) => return Err(error),
            };
            let sent = send(&mut self.stream, &bytes[..taken])?;
            if sent < taken {
                self.owed.extend_from_slice(&bytes[sent..taken]);
                if !self.waits_for_room {
                    self.waits_for_room = true;
                    wait_for_room(&mut self.stream)?;
                }
                return Ok(Next::Wait);
            }
            if taken < bytes.len() && !ended {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Again)
    }
}

/// Sends what there is room for. A short count is as good as EAGAIN: epoll tells when there is room again.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}
