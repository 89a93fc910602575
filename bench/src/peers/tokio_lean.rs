//! As lean as tokio goes: a task for each connection, and one buffer for all of them.
//!
//! A read and the write of what it brought are one poll, so the buffer is free again whenever a task sleeps; what the
//! peer does not take at once is the only memory of a connection. `readable()` with `try_read`, the other way to do
//! this, makes a recv for each message that only finds EAGAIN: `poll_read` knows from a short read that it is done.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::{Failure, Job, tokio as runtime};

thread_local! {
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    // The runtime has one thread, which is this one.
    BYTES.set(vec![0; job.buffer]);
    runtime::run(job.listener()?, echo)
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    // Where it ends the stream is dropped, which sends our FIN.
    while let Some(owed) =
        poll_fn(|context| BYTES.with_borrow_mut(|bytes| exchange(&mut stream, context, bytes))).await?
    {
        stream.write_all(&owed).await?;
    }
    Ok(())
}

/// Echoes until there is nothing to read, which is pending, or until the peer does not take all: then what it is owed;
/// `None` at its FIN.
fn exchange(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    bytes: &mut [u8],
) -> Poll<io::Result<Option<Vec<u8>>>> {
    loop {
        let mut room = ReadBuf::new(bytes);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut room))?;
        let taken = room.filled();
        if taken.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let sent = match stream.try_write(taken) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        if sent < taken.len() {
            return Poll::Ready(Ok(Some(taken[sent..].to_vec())));
        }
    }
}
