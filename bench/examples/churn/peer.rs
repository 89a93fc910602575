//! The peer: the echo server that tokio's own examples teach, on its fastest runtime for one CPU.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 4096;
const BUFFER_BYTES: usize = 4096;

/// Serves until it is killed.
pub(crate) fn run() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(listen()?))
}

/// A listener outside the runtime: tokio registers it on first use inside.
fn listen() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Accepted sockets inherit it, so that it costs neither side a call per connection.
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    Ok(socket)
}

async fn serve(socket: TcpSocket) -> io::Result<()> {
    let listener: TcpListener = socket.listen(BACKLOG)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // The client sees a connection that fails, and fails the round.
            if let Err(error) = echo(stream).await {
                eprintln!("tokio: {error}");
            }
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let taken = stream.read(&mut buffer).await?;
        if taken == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..taken]).await?;
    }
}
