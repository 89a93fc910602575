//! The health probe: one connection to an echo server, with a proper end, timed.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const WORD: &[u8] = b"finwait-server check\n";

/// How long each step of a good probe took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    connect: Duration,
    echo: Duration,
    shutdown: Duration,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |duration: Duration| duration.as_micros();
        write!(
            f,
            "ok: connect {} us, echo {} us, half-close to EOF {} us",
            us(self.connect),
            us(self.echo),
            us(self.shutdown)
        )
    }
}

/// Connects, has some bytes echoed, sends the FIN and reads to the server's.
///
/// # Errors
/// The first step that went wrong, in a sentence.
pub fn check(addr: &str, timeout: Duration) -> Result<Times, String> {
    let began = clock();
    let mut stream = connect(addr, timeout).map_err(|error| format!("cannot connect to {addr}: {error}"))?;
    let connected = clock();
    let mut echo = [0; WORD.len()];
    stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .and_then(|()| stream.write_all(WORD))
        .and_then(|()| stream.read_exact(&mut echo))
        .map_err(|error| format!("no echo from {addr}: {}", plain(&error)))?;
    if echo != WORD {
        return Err(format!("{addr} answered, but not with the bytes that were sent: no echo server"));
    }
    let echoed = clock();
    let end = stream.shutdown(Shutdown::Write).and_then(|()| stream.read(&mut [0]));
    match end {
        Ok(0) => {
            Ok(Times { connect: connected - began, echo: echoed - connected, shutdown: clock() - echoed })
        }
        Ok(_) => Err(format!("{addr} sent more bytes than it was sent")),
        Err(error) => Err(format!("no EOF from {addr} after the half-close: {}", plain(&error))),
    }
}

fn connect(addr: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address has that name");
    for addr in addr.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A read that runs into its timeout says "would block", which tells nobody anything.
#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the probe is a client of its own: no engine to ask for the time"
)]
fn clock() -> Instant {
    Instant::now()
}
