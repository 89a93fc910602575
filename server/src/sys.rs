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

/// Lets a listener be bound while connections of an earlier one are in TIME_WAIT, and no stranger on its port. On Windows
/// the option that does the one here (SO_REUSEADDR) would undo the other, and SO_EXCLUSIVEADDRUSE is what does both.
///
/// # Errors
/// As setsockopt(2).
pub fn claim_port(socket: &Socket) -> io::Result<()> {
    #[cfg(windows)]
    return windows::exclusive_address(socket);
    #[cfg(not(windows))]
    return socket.set_reuse_address(true);
}

/// Whether after a send that took less than it was given readiness is reported again. So it is with epoll; elsewhere it is
/// armed again by the call that would block, and who does not make it waits for ever.
pub const SHORT_COUNT_SUFFICES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The command that tells which program listens on `port`.
#[must_use]
pub fn who_has(port: u16) -> String {
    if cfg!(windows) {
        format!("netstat -ano -p TCP | findstr :{port}")
    } else {
        format!("ss -ltnp 'sport = :{port}'")
    }
}

/// Whose numbers this system's errors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// errno(3) of Linux.
    Linux,
    /// GetLastError and WSAGetLastError.
    Windows,
    /// Somebody else's: only what std makes of them is known.
    Other,
}

/// Whose numbers they are here.
pub const NUMBERS: Numbers = if cfg!(windows) {
    Numbers::Windows
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    Numbers::Linux
} else {
    Numbers::Other
};

/// The system's sockets, for as long as this lives: on Windows they are asked for, and given back after the last close.
#[derive(Debug)]
pub struct Sockets(());

impl Sockets {
    /// Asks for them.
    ///
    /// # Errors
    /// As WSAStartup, and `Unsupported` where Winsock 2.2 is not there; elsewhere none.
    pub fn start() -> io::Result<Self> {
        #[cfg(windows)]
        windows::startup()?;
        Ok(Self(()))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        #[cfg(windows)]
        windows::cleanup();
    }
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

/// The limit of descriptors that is in force.
///
/// # Errors
/// As getrlimit(2).
#[cfg(unix)]
pub fn descriptor_limit() -> io::Result<u64> {
    rlimit::Resource::NOFILE.get().map(|(soft, _)| soft)
}

/// Has this thread wait, when it wakes, until others have slept or used up their slice of time, instead of interrupting
/// them (sched(7), SCHED_BATCH).
///
/// # Errors
/// As pthread_setschedparam(3).
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a plain call into the system")]
pub fn wake_in_turn() -> io::Result<()> {
    // SAFETY: a plain structure of numbers, of which this policy takes 0 alone.
    let priority: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: it has no preconditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: this thread lives, and the structure outlives the call.
    let error = unsafe { libc::pthread_setschedparam(this, libc::SCHED_BATCH, &raw const priority) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Has this thread wait for its turn when it wakes, where the system can do that.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn wake_in_turn() -> io::Result<()> {
    Ok(())
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

/// Calls `act` on a thread of its own when the program is asked to end: at every Ctrl-C and Ctrl-Break, and twice when
/// its console closes or the system shuts down, where what is not over after the second time is cut off.
///
/// # Errors
/// As SetConsoleCtrlHandler.
#[cfg(windows)]
pub fn on_termination(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let events = windows::console_events()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for () in events {
            act();
        }
    })?;
    Ok(())
}

/// What Windows has no safe wrapper for.
#[cfg(windows)]
#[expect(unsafe_code, reason = "plain calls into the system")]
mod windows {
    use std::io;
    use std::mem::size_of_val;
    use std::os::windows::io::AsRawSocket;
    use std::sync::OnceLock;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use socket2::Socket;
    use windows_sys::Win32::Networking::WinSock::{
        SO_EXCLUSIVEADDRUSE, SOCKET, SOL_SOCKET, WSACleanup, WSADATA, WSAStartup, setsockopt,
    };
    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
        SetConsoleCtrlHandler,
    };

    /// Winsock 2.2: the minor version is the high byte.
    const VERSION: u16 = 0x0202;
    /// When a console closes, Windows ends the program after about five seconds. What a drain has not ended in this
    /// time is expired, so that there is a second left to say so.
    const CLOSE_DEADLINE: Duration = Duration::from_secs(4);
    const TRUE: i32 = 1;
    const FALSE: i32 = 0;

    static EVENTS: OnceLock<Sender<()>> = OnceLock::new();

    pub(super) fn startup() -> io::Result<()> {
        let mut data = WSADATA::default();
        // SAFETY: there is room for what it says.
        let error = unsafe { WSAStartup(VERSION, &raw mut data) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let version = data.wVersion;
        if version != VERSION {
            cleanup();
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("Winsock {version:#06x}, not 2.2"),
            ));
        }
        tracing::debug!("WSAStartup: Winsock 2.2");
        Ok(())
    }

    pub(super) fn cleanup() {
        // SAFETY: there was a startup for it, and whoever made sockets since then has closed them.
        match unsafe { WSACleanup() } {
            0 => tracing::debug!("WSACleanup"),
            _ => tracing::error!("WSACleanup failed: {}", io::Error::last_os_error()),
        }
    }

    pub(super) fn exclusive_address(socket: &Socket) -> io::Result<()> {
        let exclusive = TRUE;
        // SAFETY: the option is a number that lies where and is as long as is said.
        let result = unsafe {
            setsockopt(
                socket.as_raw_socket() as SOCKET,
                SOL_SOCKET,
                SO_EXCLUSIVEADDRUSE,
                (&raw const exclusive).cast(),
                size_of_val(&exclusive) as i32,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// What is to be done about the program's end, as it comes.
    pub(super) fn console_events() -> io::Result<Receiver<()>> {
        let (sender, receiver) = channel();
        if EVENTS.set(sender).is_err() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // SAFETY: the handler is a function, there for as long as the program.
        match unsafe { SetConsoleCtrlHandler(Some(handle), TRUE) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(receiver),
        }
    }

    /// Runs on a thread that Windows makes for each event.
    extern "system" fn handle(event: u32) -> i32 {
        let tell = || EVENTS.get().is_some_and(|events| events.send(()).is_ok());
        match event {
            CTRL_C_EVENT | CTRL_BREAK_EVENT => i32::from(tell()),
            CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => {
                // The program is ended when this returns, so it does not: the end of `main` ends this thread.
                tell();
                std::thread::sleep(CLOSE_DEADLINE);
                tell();
                loop {
                    std::thread::park();
                }
            }
            _ => FALSE,
        }
    }
}

/// Calls `act` when the program is asked to end.
///
/// # Errors
/// `Unsupported`: nobody knows how this system asks.
#[cfg(not(any(unix, windows)))]
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

/// Whether the connection is still one. A RST that a send was told of reads as EOF from then on; but there is no peer any
/// more (getpeername(2), ENOTCONN).
#[must_use]
pub fn has_peer(socket: SockRef<'_>) -> bool {
    socket.peer_addr().is_ok()
}
