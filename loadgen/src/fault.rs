//! What an error of the operating system means for a connection.

use std::io;

/// The kinds of error that a connection's end can be told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A RST came.
    Reset,
    /// A handshake was answered with a RST.
    Refused,
    /// TCP itself gave up waiting.
    TimedOut,
    /// There is no way to the target.
    Unreachable,
    /// No port to connect from is left, or no such address.
    Ports,
    /// No descriptor is left.
    Descriptors,
    /// No memory for sockets is left.
    Memory,
    /// Something else.
    Other,
}

/// EMFILE and ENFILE, and the former's counterpart on Windows: no kind of `io::Error` has them.
const DESCRIPTOR_ERRNOS: [i32; 3] = [24, 23, 10024];
/// ENOBUFS on Linux, macOS and Windows.
const BUFFER_ERRNOS: [i32; 3] = [105, 55, 10055];

impl Fault {
    /// What `error` means.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
    pub fn of(error: &io::Error) -> Self {
        if let Some(errno) = error.raw_os_error() {
            if DESCRIPTOR_ERRNOS.contains(&errno) {
                return Self::Descriptors;
            }
            if BUFFER_ERRNOS.contains(&errno) {
                return Self::Memory;
            }
        }
        match error.kind() {
            // A send after the RST was reported once says EPIPE.
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Reset,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            // A firewall of this host.
            | io::ErrorKind::PermissionDenied => Self::Unreachable,
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::Ports,
            io::ErrorKind::OutOfMemory => Self::Memory,
            _ => Self::Other,
        }
    }
}
