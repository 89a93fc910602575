//! The echo server that compio teaches, on the runtime that it makes by itself, which is io_uring here: a task for each
//! connection, with a buffer.

use std::io;

use compio::buf::BufResult;
use compio::driver::DriverType;
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;

use super::{Failure, Job, pause_after, say_listening};

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    let listener = job.listener()?;
    let buffer = job.buffer;
    let runtime = Runtime::new()?;
    if runtime.driver_type() != DriverType::IoUring {
        return Err(Failure::Failed("compio gets no ring; io_uring must be allowed".to_owned()));
    }
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        say_listening(listener.local_addr()?)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => compio::runtime::spawn(echo(stream, buffer)).detach(),
                Err(error) => {
                    if let Some(pause) = pause_after(&error) {
                        compio::time::sleep(pause).await;
                    }
                }
            }
        }
    })
}

/// A connection that fails ends; nobody waits for its task.
async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut bytes: Vec<u8> = Vec::with_capacity(buffer);
    loop {
        let BufResult(taken, read) = stream.read(bytes).await;
        if taken? == 0 {
            return stream.shutdown().await;
        }
        let BufResult(sent, written) = stream.write_all(read).await;
        sent?;
        bytes = written;
        bytes.clear();
    }
}
