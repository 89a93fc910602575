//! A plain blocking client whose bytes depend on the connection and the offset.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::LIMIT;

const CHUNK: usize = 64 * 1024;

/// One client connection. Its methods take `&self`, so that one thread can send while another reads.
pub(crate) struct Peer {
    stream: TcpStream,
    id: u64,
    sent: AtomicU64,
    read: AtomicU64,
}

/// What a read brought.
pub(crate) enum Part {
    Bytes,
    Eof,
    Reset,
}

impl Peer {
    /// Connects, with the buffers that the system gives.
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::from(TcpStream::connect(addr).unwrap())
    }

    /// Connects as [`Peer::connect`] does, where that may fail.
    pub(crate) fn try_connect(addr: SocketAddr, timeout: Duration) -> io::Result<Self> {
        TcpStream::connect_timeout(&addr, timeout).map(Self::from)
    }

    /// Connects with small buffers, so that little is under way and much is owed. Small segments go with them: over
    /// loopback's own, larger than such a buffer, every byte would wait for the zero-window probe.
    #[track_caller]
    pub(crate) fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        #[cfg(not(windows))]
        {
            socket.set_tcp_mss(1000).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.set_send_buffer_size(4096).unwrap();
        }
        // Windows has no such option, so there no buffer is smaller than loopback's segments, and the one to receive is
        // the system's own, which stays small while nobody reads. Were its size set, Linux, under Wine, would drop what
        // it has no memory for, and after a short segment (of less than a KiB, in 6.18) refuse every later ACK too, also
        // one that tells of room: until the peer reads it sends no more, and a server that took everything owes nothing.
        #[cfg(windows)]
        socket.set_send_buffer_size(128 << 10).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::from(TcpStream::from(socket))
    }

    /// The next `len` bytes of this connection.
    #[track_caller]
    pub(crate) fn send(&self, len: usize) {
        self.try_send(len).unwrap();
    }

    /// As [`Peer::send`], where the server may have ended the connection.
    pub(crate) fn try_send(&self, len: usize) -> io::Result<()> {
        let mut buffer = vec![0; len.min(CHUNK)];
        let mut left = len;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK)];
            self.fill(self.sent(), chunk);
            let sent = ignoring_interrupts(|| (&self.stream).write(chunk))?;
            self.sent.fetch_add(sent as u64, Ordering::Relaxed);
            left -= sent;
        }
        Ok(())
    }

    /// The next `len` bytes and the FIN, in one segment.
    #[track_caller]
    pub(crate) fn send_with_fin(&self, len: usize) {
        // MSG_MORE (linux/socket.h): the bytes wait for what comes next, which is the FIN. Elsewhere it may be two segments.
        const MORE: i32 = if cfg!(target_os = "linux") { 0x8000 } else { 0 };
        let mut bytes = vec![0; len];
        self.fill(self.sent(), &mut bytes);
        assert_eq!(SockRef::from(&self.stream).send_with_flags(&bytes, MORE).unwrap(), len);
        self.sent.fetch_add(len as u64, Ordering::Relaxed);
        self.fin();
    }

    /// Sends until the kernel takes no more at this moment, at most `most` bytes.
    #[track_caller]
    pub(crate) fn send_what_fits(&self, most: usize) {
        self.stream.set_nonblocking(true).unwrap();
        let result = self.try_send(most);
        self.stream.set_nonblocking(false).unwrap();
        assert!(result.err().is_none_or(|error| error.kind() == io::ErrorKind::WouldBlock), "not just full");
    }

    /// The FIN: `shutdown(SD_SEND)`.
    #[track_caller]
    pub(crate) fn fin(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// As [`Peer::fin`], where the server may have ended the connection.
    pub(crate) fn try_fin(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads the next `len` bytes of the echo.
    #[track_caller]
    pub(crate) fn echo(&self, len: usize) {
        let until = self.read() + len as u64;
        while self.read() < until {
            match self.read_some(usize::try_from(until - self.read()).unwrap()).unwrap() {
                Part::Bytes => {}
                Part::Eof => panic!("EOF after {} of {until} bytes", self.read()),
                Part::Reset => panic!("reset after {} of {until} bytes", self.read()),
            }
        }
    }

    /// Reads to the server's FIN: everything that was sent must have come back before it.
    #[track_caller]
    pub(crate) fn echo_and_eof(&self) {
        self.echo_to_eof();
        assert_eq!(self.read(), self.sent(), "a clean EOF after a truncated echo");
    }

    /// Reads to the server's FIN, when only the server knows how much it still echoes.
    #[track_caller]
    pub(crate) fn echo_to_eof(&self) {
        loop {
            match self.read_some(CHUNK).unwrap() {
                Part::Bytes => {}
                Part::Eof => return,
                Part::Reset => panic!("reset after {} bytes, {} sent", self.read(), self.sent()),
            }
        }
    }

    /// Reads to the server's RST: an EOF would say that the echo is complete.
    #[track_caller]
    pub(crate) fn echo_to_reset(&self) {
        loop {
            match self.read_some(CHUNK).unwrap() {
                Part::Bytes => {}
                Part::Eof => panic!("EOF after {} bytes, {} sent: a RST was due", self.read(), self.sent()),
                Part::Reset => return,
            }
        }
    }

    /// Reads to the server's FIN or RST, where either may come. `true` when it was the FIN.
    #[track_caller]
    pub(crate) fn echo_to_eof_or_reset(&self) -> bool {
        loop {
            match self.read_some(CHUNK).unwrap() {
                Part::Bytes => {}
                Part::Eof => return true,
                Part::Reset => return false,
            }
        }
    }

    /// Sends the next `len` bytes and reads their echo. `false` when the server's FIN came before all of it.
    #[track_caller]
    pub(crate) fn send_and_echo_or_eof(&self, len: usize) -> bool {
        self.send(len);
        let mut left = len;
        while left > 0 {
            let before = self.read();
            match self.read_some(left).unwrap() {
                Part::Bytes => left -= usize::try_from(self.read() - before).unwrap(),
                Part::Eof => return false,
                Part::Reset => panic!("reset after {} bytes, {} sent", self.read(), self.sent()),
            }
        }
        true
    }

    /// Looks for `time` whether anything comes, and asserts that nothing does.
    #[track_caller]
    pub(crate) fn hears_nothing_for(&self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let error = ignoring_interrupts(|| (&self.stream).read(&mut [0])).expect_err("something came");
        // Windows calls it a timeout.
        let is_over = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(is_over, "{error}");
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
    }

    /// Closes with a RST.
    #[track_caller]
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Has what is sent leave at once: some congestion controls (bbr) pace it even on loopback, so that bytes arrive some
    /// time after `send` has returned.
    pub(crate) fn send_unpaced(&self) {
        #[cfg(target_os = "linux")]
        SockRef::from(&self.stream).set_tcp_congestion(b"reno").expect("reno is in every kernel");
    }

    /// Bytes sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes of the echo read.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Reads once, at most `most` bytes, and checks that they are the next ones of the echo.
    ///
    /// # Errors
    /// As recv(2), with a RST as a [`Part`].
    pub(crate) fn read_some(&self, most: usize) -> io::Result<Part> {
        let mut buffer = vec![0; most.min(CHUNK)];
        let read = match ignoring_interrupts(|| (&self.stream).read(&mut buffer)) {
            Ok(0) => return Ok(Part::Eof),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Part::Reset),
            Err(error) => return Err(error),
        };
        let mut expected = vec![0; read];
        self.fill(self.read(), &mut expected);
        assert!(buffer[..read] == expected, "the echo differs in the {read} bytes from {}", self.read());
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(Part::Bytes)
    }

    fn fill(&self, offset: u64, bytes: &mut [u8]) {
        for (byte, at) in bytes.iter_mut().zip(offset..) {
            // The top byte of a Weyl sequence: no period that a lost or doubled buffer could hide in.
            *byte = ((self.id << 40 ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
    }
}

impl From<TcpStream> for Peer {
    fn from(stream: TcpStream) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Self { stream, id, sent: AtomicU64::new(0), read: AtomicU64::new(0) }
    }
}

/// A call with a timeout is interrupted by whatever the kernel has to do on its thread: an io_uring that was set up
/// there and is being taken down, for one.
fn ignoring_interrupts(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
