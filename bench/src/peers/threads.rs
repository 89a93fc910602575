//! A thread for each connection, blocking: what everybody writes first.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::{Failure, Job, pause_after, say_listening};

/// Enough for what is called here; the buffer is not on it.
const STACK_BYTES: usize = 64 << 10;

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    let listener = job.listener()?;
    say_listening(listener.local_addr()?)?;
    let buffer = job.buffer;
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| {
            // A connection that fails ends; nobody waits for its thread.
            thread::Builder::new().stack_size(STACK_BYTES).spawn(move || echo(stream, buffer))
        });
        if let Some(pause) = accepted.err().as_ref().and_then(pause_after) {
            thread::sleep(pause);
        }
    }
}

/// Sends everything back, to the peer's FIN, and ends.
///
/// # Errors
/// As read, write and shutdown.
pub(crate) fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut bytes = vec![0; buffer];
    loop {
        let taken = stream.read(&mut bytes)?;
        if taken == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(&bytes[..taken])?;
    }
}
