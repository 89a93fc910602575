//! The bare client: the generator's cycle on raw epoll, with nothing measured and nothing reported but a count.
//!
//! ```text
//!    connect -> 64 B out -> 64 B back -> 64 B out, SHUT_WR -> 64 B back -> EOF -> close, and the next one in its slot
//! ```
//!
//! It is as lean as a careful hand would write it: one `epoll_ctl` for each connection, no read that only finds EAGAIN
//! (EPOLLRDHUP says whether the EOF is there already, and what arrives later is reported anew), no timer but a look at
//! the clock for every 64th connection. Every byte is compared all the same.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use finwait_bench::platform;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::{MESSAGE_BYTES, SLOTS, SOURCES};

/// How long nothing at all may happen: the server is ours and on this machine.
const STUCK_MS: u16 = 5_000;

/// Connections from one look at the clock to the next.
const LOOK_EVERY: u64 = 64;

/// What one round did.
pub(crate) struct Round {
    /// Connections, all of which ended as they should.
    pub(crate) completed: u64,
    /// From the first connect to the last end.
    pub(crate) elapsed: Duration,
}

/// Churns through connections to 127.0.0.1:`port` for `time`, then lets those in flight end. The first connection that
/// ends otherwise ends the round.
pub(crate) fn run(port: u16, time: Duration) -> io::Result<Round> {
    let started = now();
    let mut swarm = Swarm {
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        until: started + time,
        slots: (0..SLOTS).map(|_| None).collect(),
        live: 0,
        opened: 0,
        over: false,
    };
    for slot in 0..SLOTS {
        swarm.open(slot)?;
    }
    let mut events = [EpollEvent::empty(); SLOTS];
    while swarm.live > 0 {
        let ready = match swarm.epoll.wait(&mut events, STUCK_MS) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moves any more")),
            // A tracer was attached.
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        for event in &events[..ready] {
            swarm.turn(event.data() as usize, event.events())?;
        }
    }
    Ok(Round { completed: swarm.opened, elapsed: now() - started })
}

#[expect(clippy::disallowed_methods, reason = "a client that measures real time owns its clock")]
fn now() -> Instant {
    Instant::now()
}

struct Swarm {
    epoll: Epoll,
    target: SocketAddrV4,
    until: Instant,
    slots: Vec<Option<Slot>>,
    live: usize,
    opened: u64,
    over: bool,
}

impl Swarm {
    fn open(&mut self, slot: usize) -> io::Result<()> {
        let nth = self.opened;
        let socket = platform::socket_from(Ipv4Addr::new(127, 0, 0, 2 + (nth % SOURCES) as u8))?;
        socket.set_tcp_nodelay(true)?;
        let stream = platform::start_connect(socket, self.target)?;
        let interest =
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(&stream, EpollEvent::new(interest, slot as u64))?;
        self.slots[slot] = Some(Slot { stream, payload: payload(nth), connected: false, got: 0 });
        self.live += 1;
        self.opened += 1;
        if self.opened.is_multiple_of(LOOK_EVERY) {
            self.over = now() >= self.until;
        }
        Ok(())
    }

    fn turn(&mut self, slot: usize, ready: EpollFlags) -> io::Result<()> {
        let Some(conn) = &mut self.slots[slot] else { return Ok(()) };
        if !conn.advance(ready)? {
            return Ok(());
        }
        // Closing takes it out of the epoll as well.
        self.slots[slot] = None;
        self.live -= 1;
        if self.over { Ok(()) } else { self.open(slot) }
    }
}

/// Both messages: sixteen words that no other connection of the round sends.
fn payload(nth: u64) -> [u8; 2 * MESSAGE_BYTES] {
    let mut bytes = [0; 2 * MESSAGE_BYTES];
    for (word, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let mixed = (nth * 16 + word as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        chunk.copy_from_slice(&mixed.to_le_bytes());
    }
    bytes
}

struct Slot {
    stream: TcpStream,
    payload: [u8; 2 * MESSAGE_BYTES],
    connected: bool,
    /// Bytes that are back; at [`MESSAGE_BYTES`] and more the tail and our FIN are out.
    got: usize,
}

impl Slot {
    /// Does what `ready` allows; true once the server's EOF was read.
    fn advance(&mut self, ready: EpollFlags) -> io::Result<bool> {
        if !self.connected {
            // A connect that failed makes it writable too, and the send says why.
            self.send(0)?;
            self.connected = true;
            return Ok(false);
        }
        if ready == EpollFlags::EPOLLOUT {
            // The acknowledgement of our FIN wakes everyone who waits for the socket, and there is nothing to read.
            return Ok(false);
        }
        if self.got == self.payload.len() {
            return self.read_eof();
        }
        let ended_before = self.got >= MESSAGE_BYTES;
        self.read_echo(if ended_before { self.payload.len() } else { MESSAGE_BYTES })?;
        if !ended_before && self.got == MESSAGE_BYTES {
            self.send(MESSAGE_BYTES)?;
            self.stream.shutdown(Shutdown::Write)?;
        }
        if self.got == self.payload.len() && ready.contains(EpollFlags::EPOLLRDHUP) {
            return self.read_eof();
        }
        Ok(false)
    }

    fn send(&mut self, from: usize) -> io::Result<()> {
        match self.stream.write(&self.payload[from..][..MESSAGE_BYTES])? {
            MESSAGE_BYTES => Ok(()),
            sent => Err(io::Error::other(format!("only {sent} bytes taken by an empty send buffer"))),
        }
    }

    /// Takes what is there, up to `end` of the payload.
    fn read_echo(&mut self, end: usize) -> io::Result<()> {
        // With room for more than is owed: a surplus is seen, and no second read is needed to know that this was all.
        let mut bytes = [0; 4 * MESSAGE_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(io::Error::other(format!("EOF after {} bytes", self.got))),
            Ok(taken) if self.payload[self.got..end].get(..taken) == Some(&bytes[..taken]) => {
                self.got += taken;
                Ok(())
            }
            Ok(_) => Err(io::Error::other("the echo differs from what was sent")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read_eof(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => Ok(true),
            Ok(_) => Err(io::Error::other("bytes after the whole echo")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
