//! The calls that have no safe wrapper which would show what they return.
#![expect(
    unsafe_code,
    reason = "closesocket hides its result in every safe wrapper, WSASendDisconnect has none"
)]

use std::io;

use socket2::Socket;

/// `closesocket`, and `close` where there is none. The socket is gone in any case.
///
/// # Errors
/// What the first call returned. A socket of which Windows says WSAEWOULDBLOCK is still open; it is closed once more
/// without linger, for the other side waits for an end.
#[cfg(windows)]
pub(super) fn close(socket: Socket) -> io::Result<()> {
    use std::os::windows::io::{FromRawSocket, IntoRawSocket};
    use windows_sys::Win32::Networking::WinSock::{SOCKET, closesocket};
    let raw = socket.into_raw_socket();
    // SAFETY: nobody else has the socket.
    if unsafe { closesocket(raw as SOCKET) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // SAFETY: a close that failed has closed nothing, so it is open and still nobody else's.
    let socket = unsafe { Socket::from_raw_socket(raw) };
    socket.set_linger(None)?;
    Err(error)
}

/// As above.
#[cfg(not(windows))]
pub(super) fn close(socket: Socket) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: nobody else has the descriptor.
    match unsafe { libc::close(socket.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `WSASendDisconnect` without disconnect data.
#[cfg(windows)]
pub(super) fn send_disconnect(socket: &Socket) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{SOCKET, WSASendDisconnect};
    // SAFETY: the socket is open, and there is no data to point to.
    match unsafe { WSASendDisconnect(socket.as_raw_socket() as SOCKET, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// No other system has the call. Its documentation says what it is without data: `shutdown(SD_SEND)`.
#[cfg(not(windows))]
pub(super) fn send_disconnect(socket: &Socket) -> io::Result<()> {
    socket.shutdown(std::net::Shutdown::Write)
}
