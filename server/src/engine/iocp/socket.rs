//! Overlapped calls on sockets, and the one way from a socket that AcceptEx filled to one that may be used.

use std::io::{self, IoSlice};
use std::mem::{size_of, size_of_val};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::windows::io::AsRawSocket;
use std::ptr::null_mut;

use socket2::Socket;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    LPFN_ACCEPTEX, SIO_GET_EXTENSION_FUNCTION_POINTER, SO_UPDATE_ACCEPT_CONTEXT, SOCKADDR_STORAGE, SOCKET,
    SOL_SOCKET, WSA_IO_PENDING, WSABUF, WSAGetLastError, WSAGetOverlappedResult, WSAID_ACCEPTEX, WSAIoctl,
    WSARecv, WSASend, setsockopt,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use super::overlap::Overlap;

/// Room that AcceptEx wants for an address: "at least 16 bytes more than the maximum address length".
const ADDRESS_ROOM: usize = size_of::<SOCKADDR_STORAGE>() + 16;

/// Where AcceptEx writes both addresses. Nobody reads them.
pub(super) type Addresses = [u8; 2 * ADDRESS_ROOM];

/// An operation that could be started.
pub(super) enum Started {
    /// It is over already, with so many bytes, and nothing comes to the port.
    Now(u32),
    /// Its end comes to the port.
    Later,
}

/// A connected socket of which the kernel knows everything. A socket that AcceptEx filled is none before its context
/// was updated: on Windows `shutdown` would fail on it with WSAENOTCONN. Wine does not mind, so no test there can tell,
/// and it is the type that sees to it.
pub(super) struct Accepted(Socket);

impl Accepted {
    /// Makes a socket that AcceptEx has filled usable.
    pub(super) fn update(socket: Socket, listener: &Socket) -> io::Result<Self> {
        let of = raw(listener);
        // SAFETY: the option is a socket, and lies where and is as long as is said.
        let result = unsafe {
            setsockopt(
                raw(&socket),
                SOL_SOCKET,
                SO_UPDATE_ACCEPT_CONTEXT,
                (&raw const of).cast(),
                size_of_val(&of) as i32,
            )
        };
        if result == 0 { Ok(Self(socket)) } else { Err(last_error()) }
    }

    /// One that plain `accept` returned is complete.
    pub(super) fn plain(socket: Socket) -> Self {
        Self(socket)
    }

    /// One that the dealer hands over was complete when it did.
    pub(super) fn dealt(stream: TcpStream) -> Self {
        Self(stream.into())
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.0.into()
    }
}

impl Deref for Accepted {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.0
    }
}

/// Looks up AcceptEx, which each provider has a function of its own for.
pub(super) fn find_accept_ex(listener: &Socket) -> io::Result<LPFN_ACCEPTEX> {
    let (id, mut function, mut bytes) = (WSAID_ACCEPTEX, LPFN_ACCEPTEX::None, 0);
    // SAFETY: what comes in is a GUID and what goes out a pointer to a function or nothing, as this code wants.
    let result = unsafe {
        WSAIoctl(
            raw(listener),
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const id).cast(),
            size_of_val(&id) as u32,
            (&raw mut function).cast(),
            size_of_val(&function) as u32,
            &raw mut bytes,
            null_mut(),
            None,
        )
    };
    if result == 0 { Ok(function) } else { Err(last_error()) }
}

/// Starts to accept into `socket`. No first bytes are waited for: a client that says nothing would never be accepted.
///
/// # Safety
/// `addresses` stays where it is until the operation is over.
pub(super) unsafe fn accept(
    accept_ex: LPFN_ACCEPTEX,
    listener: &Socket,
    socket: &Socket,
    addresses: &mut Addresses,
    overlap: &mut Overlap,
) -> io::Result<Started> {
    let accept_ex = accept_ex.ok_or(io::ErrorKind::Unsupported)?;
    let mut bytes = 0;
    let room = ADDRESS_ROOM as u32;
    let into = addresses.as_mut_ptr().cast();
    // SAFETY: both sockets are open, there is room for two addresses, and both it and the OVERLAPPED stay.
    let ok = unsafe {
        accept_ex(raw(listener), raw(socket), into, 0, room, room, &raw mut bytes, overlap.begin())
    };
    started(ok != 0, bytes, overlap)
}

/// Starts to wait until there is something to receive: bytes, the FIN or an error. It takes nothing out.
pub(super) fn receive_nothing(socket: &Socket, overlap: &mut Overlap) -> io::Result<Started> {
    static NOTHING: u8 = 0;
    let buffer = WSABUF { len: 0, buf: (&raw const NOTHING).cast_mut() };
    let (mut bytes, mut flags) = (0, 0);
    // SAFETY: the buffer has no room that could be written to, and the OVERLAPPED stays until the end is reaped.
    let result = unsafe {
        WSARecv(raw(socket), &raw const buffer, 1, &raw mut bytes, &raw mut flags, overlap.begin(), None)
    };
    started(result == 0, bytes, overlap)
}

/// Starts to send `pieces`.
///
/// # Safety
/// The bytes that the pieces point to stay where and as they are until the operation is over.
pub(super) unsafe fn send(
    socket: &Socket,
    pieces: &[IoSlice<'_>],
    overlap: &mut Overlap,
) -> io::Result<Started> {
    let mut bytes = 0;
    // An IoSlice is a WSABUF: std::io promises that.
    let buffers = pieces.as_ptr().cast::<WSABUF>();
    // SAFETY: the array is only looked at during the call; the bytes and the OVERLAPPED stay until the end is reaped.
    let result = unsafe {
        WSASend(raw(socket), buffers, pieces.len() as u32, &raw mut bytes, 0, overlap.begin(), None)
    };
    started(result == 0, bytes, overlap)
}

/// Asks for an early end of the operation, which still ends in the port like any other. When it has just ended there
/// is nothing to be cancelled, so what this call returns says nothing.
pub(super) fn cancel(socket: &Socket, overlap: &Overlap) {
    assert!(overlap.is_in_flight(), "nothing to cancel");
    // SAFETY: the socket is open, and the OVERLAPPED is only compared.
    unsafe { CancelIoEx(raw(socket) as HANDLE, overlap.name()) };
}

/// How an operation ended whose completion was taken out of the port: its bytes, or Winsock's error.
pub(super) fn result(socket: &Socket, overlap: &mut Overlap) -> io::Result<u32> {
    let (mut bytes, mut flags) = (0, 0);
    overlap.end();
    let of: *const OVERLAPPED = overlap.name();
    // SAFETY: the operation is over, so this only reads how it went, and waits for nothing.
    let ok = unsafe { WSAGetOverlappedResult(raw(socket), of, &raw mut bytes, 0, &raw mut flags) };
    if ok == 0 { Err(last_error()) } else { Ok(bytes) }
}

fn started(at_once: bool, bytes: u32, overlap: &mut Overlap) -> io::Result<Started> {
    if at_once {
        overlap.end();
        return Ok(Started::Now(bytes));
    }
    let error = last_error();
    if error.raw_os_error() == Some(WSA_IO_PENDING) {
        return Ok(Started::Later);
    }
    overlap.end();
    Err(error)
}

fn raw(socket: &Socket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

fn last_error() -> io::Error {
    // SAFETY: it reads a number of this thread.
    io::Error::from_raw_os_error(unsafe { WSAGetLastError() })
}
