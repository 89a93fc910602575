//! Whether io_uring can be used here: found out by using it, under this process's own limits and sandbox.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::descriptor::Descriptor;
use super::{Sizes, Uring};
use crate::conn::{Event, Fault, Op, OpKind};
use crate::listener::Source;
use crate::proactor::{Completion, ListenerId, Proactor, Token};

/// The longest that one step of the probe may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Places in the table that direct descriptors are tried out with.
const TABLE: u32 = 16;
/// Connections that they are tried out with.
const CONNS: usize = 3;

/// Why io_uring, or what else was asked for, cannot be used, and what to do about it.
#[derive(Debug)]
pub struct Unavailable {
    /// Direct descriptors are what is missing.
    direct: bool,
    step: &'static str,
    error: io::Error,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.direct { "direct descriptors" } else { "io_uring" };
        write!(f, "{what} cannot be used: {} failed: {}; {}", self.step, self.error, self.remedy())
    }
}

impl std::error::Error for Unavailable {}

impl Unavailable {
    fn remedy(&self) -> String {
        if self.direct {
            return "they need Linux 6.13; use --descriptors normal, and raise the limit (`ulimit -n`)"
                .to_owned();
        }
        match self.error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                match fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
                    Ok(value) if value.trim() != "0" => {
                        format!("set the sysctl kernel.io_uring_disabled to 0 (it is {})", value.trim())
                    }
                    Ok(_) | Err(_) => {
                        "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
                                   (container runtimes block them by default)"
                            .to_owned()
                    }
                }
            }
            Some(libc::ENOSYS) => "this kernel or sandbox has no io_uring (it needs Linux 5.19)".to_owned(),
            Some(libc::EINVAL) => "this kernel is too old (it needs Linux 5.19)".to_owned(),
            Some(libc::EMFILE | libc::ENFILE) => "raise the descriptor limit (`ulimit -n`)".to_owned(),
            Some(libc::ENOMEM) => "raise the memory limits (`ulimit -l`, or the cgroup's)".to_owned(),
            Some(_) | None => "use --engine mio".to_owned(),
        }
    }
}

/// Sets up a ring and sends some bytes through it the way the server will.
///
/// On a thread of its own: the kernel takes a ring down some time after it was closed, and interrupts the thread that
/// had made it to do so. A caller's blocking calls with a timeout would then fail with EINTR.
///
/// # Errors
/// The step that failed, with the kernel's reason.
pub fn probe() -> Result<(), Unavailable> {
    on_its_own(try_out)
}

/// As [`probe`], and then accepts connections into the ring's own table and ends them in each way that the server will.
///
/// # Errors
/// As [`probe`].
pub fn probe_direct() -> Result<(), Unavailable> {
    probe()?;
    on_its_own(try_out_direct)
}

fn on_its_own(try_out: fn() -> Result<(), Unavailable>) -> Result<(), Unavailable> {
    std::thread::scope(|scope| scope.spawn(try_out).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn try_out() -> Result<(), Unavailable> {
    let at = |step| move |error| Unavailable { direct: false, step, error };
    let mut engine = Uring::new(Vec::new(), None, Sizes::default()).map_err(at("io_uring_setup"))?;
    let (ours, mut theirs) = UnixStream::pair().map_err(at("socketpair"))?;
    let token = engine.adopt(ListenerId(0), Descriptor::Normal(ours.into()));
    theirs.set_read_timeout(Some(PATIENCE)).map_err(at("a timeout"))?;
    round_trip(&mut engine, token, &mut theirs).map_err(at("an echo through the ring"))?;
    engine.submit(token, Op::Recv { max: 1 });
    engine.submit(token, Op::Cancel);
    let cancelled = Event::Failed { op: OpKind::Recv, fault: Fault::Cancelled };
    expect(&mut engine, token, cancelled).map_err(at("a cancel through the ring"))?;
    engine.submit(token, Op::Close);
    expect(&mut engine, token, Event::Closed).map_err(at("a close through the ring"))
}

fn try_out_direct() -> Result<(), Unavailable> {
    let at = |step| move |error| Unavailable { direct: true, step, error };
    let (listener, clients) = crowd().map_err(at("a connection on the loopback interface"))?;
    let [mut first, mut second, mut third] = clients;
    let sizes = Sizes { table: TABLE, ..Sizes::default() };
    let mut engine =
        Uring::new(vec![Source::Socket(listener)], None, sizes).map_err(at("a file table in the ring"))?;
    let tokens = admit(&mut engine).map_err(at("an accept into the ring's table"))?;
    round_trip(&mut engine, tokens[0], &mut first).map_err(at("an echo over a direct descriptor"))?;
    // The receive of the first one is still in flight. Before Linux 6.13 that held up every close of a direct descriptor,
    // and the FIN with it.
    engine.submit(tokens[1], Op::Close);
    let closed = expect(&mut engine, tokens[1], Event::Closed).and_then(|()| at_end(&mut second));
    closed.map_err(at("the close of a direct descriptor"))?;
    engine.submit(tokens[2], Op::Reset);
    let reset = expect(&mut engine, tokens[2], Event::Closed).and_then(|()| match third.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        other => Err(io::Error::other(format!("a RST expected, {other:?} seen"))),
    });
    reset.map_err(at("the reset of a direct descriptor"))?;
    engine.submit(tokens[0], Op::Fin);
    let shut = expect(&mut engine, tokens[0], Event::FinSent).and_then(|()| at_end(&mut first));
    shut.map_err(at("the shutdown of a direct descriptor"))?;
    engine.submit(tokens[0], Op::Close);
    expect(&mut engine, tokens[0], Event::Closed).map_err(at("the close of a direct descriptor"))
}

/// A listener, and clients of it that wait to be accepted.
fn crowd() -> io::Result<(TcpListener, [TcpStream; CONNS])> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let connect = || {
        let client = TcpStream::connect(listener.local_addr()?)?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok::<_, io::Error>(client)
    };
    let clients = [connect()?, connect()?, connect()?];
    Ok((listener, clients))
}

/// Accepts as many connections, in the order in which they came.
fn admit(engine: &mut Uring) -> io::Result<Vec<Token>> {
    engine.start_accepting(ListenerId(0));
    let mut tokens = Vec::new();
    let mut completions = Vec::new();
    let deadline = engine.now() + PATIENCE;
    while tokens.len() < CONNS && engine.now() < deadline {
        engine.wait(Some(deadline - engine.now()), &mut completions)?;
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { token, .. } => tokens.push(token),
                Completion::AcceptFailed { error, .. } => return Err(error),
                Completion::AcceptStopped { .. } | Completion::Event(..) | Completion::Woken => {}
            }
        }
    }
    if tokens.len() == CONNS { Ok(tokens) } else { Err(io::ErrorKind::TimedOut.into()) }
}

fn at_end(client: &mut TcpStream) -> io::Result<()> {
    match client.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("bytes came where an end was expected")),
    }
}

fn round_trip(engine: &mut Uring, token: Token, theirs: &mut (impl Read + Write)) -> io::Result<()> {
    const WORD: &[u8; 5] = b"hello";
    let len = u32::try_from(WORD.len()).map_err(io::Error::other)?;
    engine.submit(token, Op::Recv { max: len });
    theirs.write_all(WORD)?;
    expect(engine, token, Event::Received { taken: len, owed: len })?;
    engine.submit(token, Op::Send { len });
    expect(engine, token, Event::Sent(len))?;
    let mut echo = [0; WORD.len()];
    theirs.read_exact(&mut echo)?;
    if &echo == WORD { Ok(()) } else { Err(io::Error::other("the bytes came back changed")) }
}

/// Waits for one event; an error that the kernel reports instead is passed on.
fn expect(engine: &mut Uring, token: Token, expected: Event) -> io::Result<()> {
    let mut completions = Vec::new();
    let deadline = engine.now() + PATIENCE;
    // More than once: a wait may also end without anything (EINTR).
    while completions.is_empty() && engine.now() < deadline {
        engine.wait(Some(deadline - engine.now()), &mut completions)?;
    }
    let seen = completions.iter().any(|completion| match completion {
        Completion::Event(of, event) => *of == token && *event == expected,
        Completion::Accepted { .. }
        | Completion::AcceptFailed { .. }
        | Completion::AcceptStopped { .. }
        | Completion::Woken => false,
    });
    if seen { Ok(()) } else { Err(io::Error::other(format!("{expected:?} expected, {completions:?} seen"))) }
}
