//! The client: one thread, one epoll, a fixed number of connections in flight, every byte and every end checked.
//!
//! ```text
//!    connect -> 64 B out -> 64 B back, compared -> SHUT_WR -> EOF -> close, and the next one in its slot
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4};
use std::time::{Duration, Instant};

use finwait_bench::platform;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Connections in flight.
pub(crate) const SLOTS: usize = 64;
/// Bytes that each connection sends and wants back.
pub(crate) const MESSAGE_BYTES: usize = 64;

/// One source and one target run out of ports in TIME_WAIT, and get slow long before that.
const SOURCES: u64 = 16;
const TARGETS: u64 = 8;

/// A server that fails this often in one round is broken, and more would only heat the room.
const FAILURES_MAX: u64 = 100;
/// How long the last connections of a round may take.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL_MAX: Duration = Duration::from_millis(100);

/// What one round saw.
pub(crate) struct Round {
    /// Connections that ended as they should.
    pub(crate) completed: u64,
    /// The others, by what happened.
    pub(crate) failures: BTreeMap<String, u64>,
    /// From the first connect to the last end.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from our FIN to the server's.
    pub(crate) fin_to_eof_ns: Histogram<u64>,
}

/// Churns through connections to `port` for `time`, then lets those in flight end.
pub(crate) fn run(port: u16, time: Duration) -> io::Result<Round> {
    let started = now();
    let mut swarm = Swarm::new(port)?;
    let mut events = Events::with_capacity(SLOTS);
    for slot in 0..SLOTS {
        swarm.open(slot)?;
    }
    while swarm.live > 0 {
        match swarm.poll.poll(&mut events, Some(POLL_MAX)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        let ran = now() - started;
        if ran > time + PATIENCE {
            *swarm.failures.entry("still unfinished".to_owned()).or_default() += swarm.live as u64;
            break;
        }
        let reopen = ran < time && swarm.failed() < FAILURES_MAX;
        for event in &events {
            swarm.turn(event.token().0, reopen)?;
        }
    }
    Ok(Round {
        completed: swarm.completed,
        failures: swarm.failures,
        elapsed: now() - started,
        fin_to_eof_ns: swarm.fin_to_eof_ns,
    })
}

/// An empty histogram of the shape that every round records in.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 10_000_000_000, 3)
        .expect("1 us to 10 s at three digits is a valid range")
}

#[expect(clippy::disallowed_methods, reason = "a client that measures real time owns its clock")]
fn now() -> Instant {
    Instant::now()
}

struct Swarm {
    poll: Poll,
    port: u16,
    slots: Vec<Option<Slot>>,
    live: usize,
    opened: u64,
    completed: u64,
    failures: BTreeMap<String, u64>,
    fin_to_eof_ns: Histogram<u64>,
}

impl Swarm {
    fn new(port: u16) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            port,
            slots: (0..SLOTS).map(|_| None).collect(),
            live: 0,
            opened: 0,
            completed: 0,
            failures: BTreeMap::new(),
            fin_to_eof_ns: histogram(),
        })
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn open(&mut self, slot: usize) -> io::Result<()> {
        let nth = self.opened;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (nth % SOURCES) as u8);
        let target = Ipv4Addr::new(127, 0, 0, 1 + (nth / SOURCES % TARGETS) as u8);
        let stream =
            platform::start_connect(platform::socket_from(source)?, SocketAddrV4::new(target, self.port))?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        self.slots[slot] = Some(Slot { stream, message: message(nth), stage: Stage::Connecting });
        self.opened += 1;
        self.live += 1;
        Ok(())
    }

    fn turn(&mut self, slot: usize, reopen: bool) -> io::Result<()> {
        let Some(conn) = &mut self.slots[slot] else { return Ok(()) };
        match conn.advance() {
            Ok(None) => return Ok(()),
            Ok(Some(fin_to_eof)) => {
                self.completed += 1;
                self.fin_to_eof_ns.saturating_record(fin_to_eof.as_nanos() as u64);
            }
            Err(wrong) => *self.failures.entry(wrong).or_default() += 1,
        }
        // Dropped before the next one is opened, so that no more than SLOTS descriptors are ever in use.
        self.slots[slot] = None;
        self.live -= 1;
        if reopen { self.open(slot) } else { Ok(()) }
    }
}

/// Eight words that no other connection of the round sends: an echo that went astray is seen.
fn message(nth: u64) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [0; MESSAGE_BYTES];
    for (word, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let mixed = (nth * 8 + word as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        chunk.copy_from_slice(&mixed.to_le_bytes());
    }
    bytes
}

struct Slot {
    stream: TcpStream,
    message: [u8; MESSAGE_BYTES],
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Connecting,
    Reading { got: usize },
    Ending { fin_at: Instant },
}

impl Slot {
    /// As far as it goes without blocking: the time from our FIN to the server's once both have passed, or what
    /// went wrong. It does not read until EAGAIN where the next event is sure to come: epoll reports each arrival.
    fn advance(&mut self) -> Result<Option<Duration>, String> {
        match self.stage {
            Stage::Connecting => self.send().map(|()| None),
            Stage::Reading { got } => self.read_echo(got).map(|()| None),
            Stage::Ending { fin_at } => self.read_eof(fin_at),
        }
    }

    fn send(&mut self) -> Result<(), String> {
        match self.stream.write(&self.message) {
            Ok(MESSAGE_BYTES) => self.stage = Stage::Reading { got: 0 },
            Ok(sent) => return Err(format!("only {sent} bytes taken by an empty send buffer")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("connect or send: {error}")),
        }
        Ok(())
    }

    fn read_echo(&mut self, mut got: usize) -> Result<(), String> {
        // With room for more than the echo, so that a surplus is seen.
        let mut bytes = [0; 2 * MESSAGE_BYTES];
        while got < MESSAGE_BYTES {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(format!("EOF after {got} bytes")),
                Ok(taken) if self.message.get(got..got + taken) == Some(&bytes[..taken]) => got += taken,
                Ok(_) => return Err("the echo differs from what was sent".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stage = Stage::Reading { got };
                    return Ok(());
                }
                Err(error) => return Err(format!("reading the echo: {error}")),
            }
        }
        self.stage = Stage::Ending { fin_at: now() };
        self.stream.shutdown(Shutdown::Write).map_err(|error| format!("shutdown: {error}"))
    }

    fn read_eof(&mut self, fin_at: Instant) -> Result<Option<Duration>, String> {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => Ok(Some(now() - fin_at)),
            Ok(_) => Err("bytes after the whole echo".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(format!("waiting for EOF: {error}")),
        }
    }
}
