//! What differs between operating systems and has no portable wrapper: limits, signals, socket options.

use std::io;

use socket2::{SockRef, Socket};

/// How the kernel spreads connections over several listeners on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// By a hash over the group of listeners: SO_REUSEPORT on Linux (3.9), SO_REUSEPORT_LB on FreeBSD (12).
    Kernel,
    /// Not at all: one acceptor has to deal the connections out.
    Deal,
}

/// What this system does.
#[must_use]
pub const fn balance() -> Balance {
    if cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd")) {
        Balance::Kernel
    } else {
        Balance::Deal
    }
}

/// Lets `socket` share its port with siblings that ask for the same.
///
/// # Errors
/// As setsockopt(2).
pub fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket.set_reuse_port(true);
    #[cfg(target_os = "freebsd")]
    return socket.set_reuse_port_lb(true);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Lets a listener be bound while connections of an earlier one are in TIME_WAIT. On Windows the same option would
/// let a stranger take the port, so it is left alone there.
///
/// # Errors
/// As setsockopt(2).
pub fn reuse_address(socket: &Socket) -> io::Result<()> {
    if cfg!(unix) { socket.set_reuse_address(true) } else { Ok(()) }
}

/// Drops SYNs that arrive at a listening socket, so that no new handshake begins while those under way finish
/// (socket(7), SO_ATTACH_FILTER: on a TCP socket a filter sees the segment from its TCP header on).
///
/// # Errors
/// As setsockopt(2), and `Unsupported` where there are no such filters.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn refuse_handshakes(listener: SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
    // linux/filter.h and linux/bpf_common.h; RFC 9293, 3.1 for the flags at offset 13.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_AND_ACK: u32 = 0x12;
    listener.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(AND, 0, 0, SYN_AND_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

/// Drops SYNs that arrive at a listening socket, where the system can do that.
///
/// # Errors
/// `Unsupported`, always.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn refuse_handshakes(_listener: SockRef<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Raises the soft limit of descriptors to the hard one, and returns the limit then in force.
///
/// # Errors
/// As setrlimit(2).
#[cfg(unix)]
pub fn raise_descriptor_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}

/// Raises the soft limit of descriptors to the hard one: Windows has no such limit.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn raise_descriptor_limit() -> io::Result<u64> {
    Ok(u64::MAX)
}

/// Calls `act` on a thread of its own at every SIGTERM and SIGINT.
///
/// # Errors
/// As sigaction(2).
#[cfg(unix)]
pub fn on_termination(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            act();
        }
    })?;
    Ok(())
}

/// Calls `act` when the program is asked to end.
///
/// # Errors
/// `Unsupported`: there is no engine for this system yet whose drain could be asked for.
#[cfg(not(unix))]
pub fn on_termination(_act: impl FnMut() + Send + 'static) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The descriptor of something that owns one and shows only its number.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "an owner that lends its descriptor only as a number")]
pub fn borrowed(owner: &impl std::os::fd::AsRawFd) -> std::os::fd::BorrowedFd<'_> {
    // SAFETY: the owner keeps its descriptor open while it is borrowed itself, for which the lifetime stands.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Ends a TCP connection at once, with a RST where one is due, and with it whatever waits for it in the kernel; the
/// socket stays (connect(2), AF_UNSPEC).
///
/// # Errors
/// As connect(2).
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "an address of no family, which there is no safe way to make")]
pub fn disconnect(socket: SockRef<'_>) -> io::Result<()> {
    use socket2::{SockAddr, SockAddrStorage};
    let nowhere = SockAddrStorage::zeroed();
    // SAFETY: zeroed storage is a valid address of the family AF_UNSPEC, which is 0, of any length.
    let nowhere = unsafe { SockAddr::new(nowhere, size_of::<libc::sockaddr>() as libc::socklen_t) };
    socket.connect(&nowhere)
}

/// Whether the kernel holds nothing for a receive: neither bytes, nor a FIN, nor an error.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_empty(socket: SockRef<'_>) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let peeked = socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
