//! The echo server that tokio teaches, on its runtime for one thread: a task for each connection, with a buffer.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Failure, Job, pause_after, say_listening};

pub(super) fn serve(job: &Job) -> Result<(), Failure> {
    let listener = job.listener()?;
    let buffer = job.buffer;
    run(listener, move |stream| echo(stream, buffer))
}

/// Accepts for ever on a runtime of its own, and runs `conn` for each connection.
pub(super) fn run<F>(
    listener: std::net::TcpListener,
    conn: impl Fn(TcpStream) -> F + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        say_listening(listener.local_addr()?)?;
        loop {
            match listener.accept().await {
                // A connection that fails ends; nobody waits for the task.
                Ok((stream, _)) => drop(tokio::spawn(conn(stream))),
                Err(error) => {
                    if let Some(pause) = pause_after(&error) {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    })
}

async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    let mut bytes = vec![0; buffer];
    loop {
        let taken = stream.read(&mut bytes).await?;
        if taken == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&bytes[..taken]).await?;
    }
}
