//! The echo server that monoio teaches, on its driver for io_uring: a task for each connection, with a buffer.

use std::{io, thread};

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

use super::{Failure, Job, pause_after, say_listening};

/// For thousands of connections that have something to do at once; it takes 1,024 by itself. With 64 connections it makes
/// no difference: 256, 1,024, 4,096 and 32,768 were tried.
const ENTRIES: u32 = 4096;

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    let listener = job.listener()?;
    let buffer = job.buffer;
    let mut runtime =
        RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).build().map_err(|error| {
            Failure::Failed(format!(
                "monoio gets no ring: {error}; io_uring must be allowed, with memory to lock"
            ))
        })?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        say_listening(listener.local_addr()?)?;
        loop {
            match listener.accept().await {
                // A connection that fails ends; nobody waits for the task.
                Ok((stream, _)) => drop(monoio::spawn(echo(stream, buffer))),
                Err(error) => {
                    // Everybody waits. Its timers would cost a look at the clock in every turn of its loop.
                    pause_after(&error).into_iter().for_each(thread::sleep);
                }
            }
        }
    })
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut bytes: Vec<u8> = Vec::with_capacity(buffer);
    loop {
        let (taken, read) = stream.read(bytes).await;
        if taken? == 0 {
            return stream.shutdown().await;
        }
        // What was read is what the buffer is long.
        let (sent, written) = stream.write_all(read).await;
        sent?;
        bytes = written;
        bytes.clear();
    }
}
