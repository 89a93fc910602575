//! Whether io_uring can be used here: found out by using it, under this process's own limits and sandbox.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Sizes, Uring};
use crate::conn::{Event, Fault, Op, OpKind};
use crate::proactor::{Completion, ListenerId, Proactor, Token};

/// The longest that one step of the probe may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why io_uring cannot be used, and what to do about it.
#[derive(Debug)]
pub struct Unavailable {
    step: &'static str,
    error: io::Error,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring cannot be used: {} failed: {}; {}", self.step, self.error, self.remedy())
    }
}

impl std::error::Error for Unavailable {}

impl Unavailable {
    fn remedy(&self) -> String {
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
    std::thread::scope(|scope| scope.spawn(try_out).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn try_out() -> Result<(), Unavailable> {
    let at = |step| move |error| Unavailable { step, error };
    let mut engine = Uring::new(Vec::new(), None, Sizes::default()).map_err(at("io_uring_setup"))?;
    let (ours, mut theirs) = UnixStream::pair().map_err(at("socketpair"))?;
    let token = engine.adopt(ListenerId(0), ours.into());
    round_trip(&mut engine, token, &mut theirs).map_err(at("an echo through the ring"))?;
    engine.submit(token, Op::Recv { max: 1 });
    engine.submit(token, Op::Cancel);
    let cancelled = Event::Failed { op: OpKind::Recv, fault: Fault::Cancelled };
    expect(&mut engine, token, cancelled).map_err(at("a cancel through the ring"))?;
    engine.submit(token, Op::Close);
    expect(&mut engine, token, Event::Closed).map_err(at("a close through the ring"))
}

fn round_trip(engine: &mut Uring, token: Token, theirs: &mut UnixStream) -> io::Result<()> {
    const WORD: &[u8; 5] = b"hello";
    let len = u32::try_from(WORD.len()).map_err(io::Error::other)?;
    engine.submit(token, Op::Recv { max: len });
    theirs.write_all(WORD)?;
    expect(engine, token, Event::Received { taken: len, owed: len })?;
    engine.submit(token, Op::Send { len });
    expect(engine, token, Event::Sent(len))?;
    let mut echo = [0; WORD.len()];
    theirs.set_read_timeout(Some(PATIENCE))?;
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
