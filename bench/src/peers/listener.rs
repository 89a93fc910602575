//! The listener that every server gets, so that none has a better one.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; as many as finwait asks for, and as Linux allows unless it is told more.
const BACKLOG: i32 = 4096;

/// Listens on `addr`. What is set here is inherited by what is accepted (on Linux), which saves every server the calls.
///
/// # Errors
/// As socket(2), bind(2) and listen(2).
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    finwait_server::sys::claim_port(&socket)?;
    socket.set_tcp_nodelay(true)?;
    // An urgent byte is a byte like any other, and echoed in its place.
    socket.set_out_of_band_inline(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
