//! What each manner does with a connection, from its first byte to its end.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::Shared;
use crate::support::wait_until;

const CHUNK: usize = 64 * 1024;

/// Long enough for a client to read what has come, and shorter than the 50 ms for which it waits for a RST behind an
/// EOF. What the client reads cannot be seen from here, except in a table that takes longer to read than that.
const A_WHILE: Duration = Duration::from_millis(5);

/// How many bytes a client sends, which the manners go by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    /// `--size`: those whose echo the client waits for.
    pub(crate) first: u64,
    /// `--tail`: those right before its FIN.
    pub(crate) tail: u64,
}

/// How a server treats a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Echoes everything, and answers the FIN with its own.
    Polite,
    /// Echoes half of the first bytes, then its FIN.
    CloseEarly,
    /// Echoes the first bytes with its FIN right behind them, in one segment.
    EofWhileHeld,
    /// Reads everything, echoes all but the last byte, then its FIN.
    TruncateWithFin,
    /// Reads everything, echoes all but the last byte, then a RST.
    TruncateWithReset,
    /// Echoes the byte at this offset with its lowest bit flipped, and is polite otherwise.
    Flip(u64),
    /// Echoes everything and one byte more, then its FIN.
    OneTooMany,
    /// Echoes the first bytes and four bytes more before the client sends its tail, then reads to the client's end: one
    /// might be what comes first in the tail.
    TooManyHeld,
    /// Echoes everything, and sends no FIN.
    NeverFin,
    /// Echoes everything, then a RST.
    ResetInsteadOfFin,
    /// Echoes half of the first bytes, then its FIN and at once a RST.
    ResetAfterFin,
    /// The same, but the RST comes after a while, when the client will have read the FIN.
    ResetAfterFinRead,
    /// Accepts, and reads nothing.
    NeverRead,
    /// Reads everything, and echoes nothing.
    NeverEcho,
    /// Echoes the first bytes, and reads nothing more.
    NeverTail,
    /// Reads everything, then pauses so often, so long each time, while it echoes the tail.
    Pause(u32, Duration),
    /// Pauses so often, so long each time, while it echoes the first bytes.
    PauseFirst(u32, Duration),
    /// Sends a RST as soon as it has accepted.
    ResetAtOnce,
    /// Reads the first bytes, echoes none and sends a RST.
    ResetUnanswered,
    /// Echoes the first bytes, then a RST after a while, when the client will have read them.
    ResetWhileHeld,
    /// Echoes so many bytes, then its FIN, and reads on.
    EndAfter(u64),
    /// Echoes so many bytes, then a RST.
    ResetAfter(u64),
    /// Echoes so many bytes, and sends nothing more, though it reads.
    SilentAfter(u64),
    /// Echoes so many bytes, does nothing for so long, and is polite from then on.
    StallAfter(u64, Duration),
    /// Echoes everything in pieces of 1 to 13 bytes, each in a segment of its own.
    Pieces,
}

/// One thing to do with a connection. What is read is owed until it is echoed.
#[derive(Clone, Copy)]
enum Step {
    ReadFirst,
    ReadToEof,
    /// Everything that is owed.
    Echo,
    EchoHalf,
    EchoButLast,
    /// The FIN in the same segment as what is owed.
    EchoWithFin,
    EchoSlowly(u32, Duration),
    /// Whatever comes, as it comes, until the client's FIN.
    EchoToEof,
    /// The same up to so many bytes, and not a byte more.
    EchoUntil(u64),
    /// The same to the client's FIN, in small pieces.
    EchoInPieces,
    /// From now on the byte at this offset is echoed wrongly.
    Flip(u64),
    /// A byte that nobody sent.
    Extra,
    Fin,
    Reset,
    /// For so long.
    Wait(Duration),
    /// Until the server ends.
    Hold,
}

impl Manner {
    fn steps(self) -> Vec<Step> {
        use Step::{
            Echo, EchoButLast, EchoHalf, EchoInPieces, EchoSlowly, EchoToEof, EchoUntil, EchoWithFin, Extra,
            Fin, Hold, ReadFirst, ReadToEof, Reset, Wait,
        };
        match self {
            Self::Polite => vec![ReadFirst, Echo, EchoToEof, Fin],
            // Reading to the end keeps unread bytes from making a RST of the close.
            Self::CloseEarly => vec![ReadFirst, EchoHalf, Fin, ReadToEof],
            Self::EofWhileHeld => vec![ReadFirst, EchoWithFin, ReadToEof],
            Self::TruncateWithFin => vec![ReadFirst, Echo, ReadToEof, EchoButLast, Fin],
            Self::TruncateWithReset => vec![ReadFirst, Echo, ReadToEof, EchoButLast, Reset],
            Self::Flip(at) => vec![Step::Flip(at), ReadFirst, Echo, EchoToEof, Fin],
            Self::OneTooMany => vec![ReadFirst, Echo, EchoToEof, Extra, Fin],
            Self::TooManyHeld => vec![ReadFirst, Echo, Extra, Extra, Extra, Extra, ReadToEof],
            Self::NeverFin => vec![ReadFirst, Echo, EchoToEof, Hold],
            Self::ResetInsteadOfFin => vec![ReadFirst, Echo, EchoToEof, Reset],
            Self::ResetAfterFin => vec![ReadFirst, EchoHalf, Fin, Reset],
            Self::ResetAfterFinRead => vec![ReadFirst, EchoHalf, Fin, Wait(A_WHILE), Reset],
            Self::NeverRead => vec![Hold],
            Self::NeverEcho => vec![ReadFirst, ReadToEof],
            Self::NeverTail => vec![ReadFirst, Echo, Hold],
            Self::Pause(times, each) => vec![ReadFirst, Echo, ReadToEof, EchoSlowly(times, each), Fin],
            Self::PauseFirst(times, each) => vec![ReadFirst, EchoSlowly(times, each), EchoToEof, Fin],
            Self::ResetAtOnce => vec![Reset],
            Self::ResetUnanswered => vec![ReadFirst, Reset],
            Self::ResetWhileHeld => vec![ReadFirst, Echo, Wait(A_WHILE), Reset],
            Self::EndAfter(bytes) => vec![EchoUntil(bytes), Fin, ReadToEof],
            Self::ResetAfter(bytes) => vec![EchoUntil(bytes), Wait(A_WHILE), Reset],
            Self::SilentAfter(bytes) => vec![EchoUntil(bytes), ReadToEof, Hold],
            Self::StallAfter(bytes, time) => vec![EchoUntil(bytes), Wait(time), EchoToEof, Fin],
            Self::Pieces => vec![EchoInPieces, Fin],
        }
    }
}

/// Treats one connection; an error is the client's doing.
pub(super) fn treat(shared: &Shared, stream: &TcpStream, manner: Manner, bytes: Bytes) -> io::Result<()> {
    let mut conversation = Conversation { shared, stream, bytes, owed: Vec::new(), at: 0, flip: None };
    manner.steps().into_iter().try_for_each(|step| conversation.take(step))
}

/// One connection, as far as it has come.
struct Conversation<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    bytes: Bytes,
    owed: Vec<u8>,
    /// The offset of what is owed.
    at: u64,
    flip: Option<u64>,
}

impl Conversation<'_> {
    fn take(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::ReadFirst => {
                self.owed = vec![0; usize::try_from(self.bytes.first).unwrap()];
                self.stream.read_exact(&mut self.owed)?;
                self.shared.begun.fetch_add(1, Ordering::Relaxed);
            }
            Step::ReadToEof => {
                self.stream.read_to_end(&mut self.owed)?;
                self.shared.parted.fetch_add(1, Ordering::Relaxed);
            }
            Step::Echo => self.echo(self.owed.len())?,
            Step::EchoHalf => self.echo(self.owed.len() / 2)?,
            Step::EchoButLast => self.echo(self.owed.len() - 1)?,
            Step::EchoWithFin => {
                // MSG_MORE (linux/socket.h): the bytes wait for what comes next, which is the FIN.
                const MORE: i32 = 0x8000;
                let sent = SockRef::from(self.stream).send_with_flags(&self.owed, MORE)?;
                assert_eq!(sent, self.owed.len(), "too much for one segment");
                self.stream.shutdown(Shutdown::Write)?;
            }
            Step::EchoSlowly(times, each) => {
                let piece = self.owed.len().div_ceil(times as usize).max(1);
                while !self.owed.is_empty() {
                    thread::sleep(each);
                    self.echo(piece.min(self.owed.len()))?;
                }
            }
            Step::EchoToEof => while self.echo_some(CHUNK)? {},
            Step::EchoUntil(bytes) => {
                while self.at < bytes && self.echo_some(CHUNK.min((bytes - self.at) as usize))? {}
            }
            Step::EchoInPieces => while self.echo_some(1 + self.at as usize % 13)? {},
            Step::Flip(at) => self.flip = Some(at),
            Step::Extra => self.stream.write_all(b"!")?,
            Step::Fin => self.stream.shutdown(Shutdown::Write)?,
            // The close, which comes next, sends it. What was echoed has reached the client: loopback delivers within
            // the call, and what is queued there stays readable on Linux.
            Step::Reset => SockRef::from(self.stream).set_linger(Some(Duration::ZERO))?,
            Step::Wait(time) => thread::sleep(time),
            Step::Hold => self.shared.hold(),
        }
        Ok(())
    }

    /// Echoes the first `count` bytes of what is owed.
    fn echo(&mut self, count: usize) -> io::Result<()> {
        let mut bytes: Vec<u8> = self.owed.drain(..count).collect();
        let index = self.flip.and_then(|flip| usize::try_from(flip.checked_sub(self.at)?).ok());
        if let Some(byte) = index.and_then(|index| bytes.get_mut(index)) {
            *byte ^= 1;
        }
        self.at += count as u64;
        self.stream.write_all(&bytes)
    }

    /// Echoes what comes next, at most `most` bytes of it; whether it was not the end.
    fn echo_some(&mut self, most: usize) -> io::Result<bool> {
        self.owed.resize(most, 0);
        let count = self.stream.read(&mut self.owed)?;
        self.owed.truncate(count);
        if count == 0 {
            self.shared.parted.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        self.echo(count)?;
        Ok(true)
    }
}

/// Waits until the kernel has taken a socket out of its table, which a RST does at once.
pub(super) fn wait_until_reset(client: &TcpStream) {
    // The address of the other end is gone with the connection.
    let (Ok(local), Ok(peer)) = (client.local_addr(), client.peer_addr()) else { return };
    wait_until("a RST has come", || !is_known(local, peer));
}

/// Whether the kernel's table has such a socket.
fn is_known(local: SocketAddr, peer: SocketAddr) -> bool {
    let (local, peer) = (in_proc(local), in_proc(peer));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| line.split_whitespace().skip(1).take(2).eq([&local, &peer]))
}

/// An address as /proc/net/tcp writes it: the bytes as they lie in memory, read as a number of this machine.
fn in_proc(addr: SocketAddr) -> String {
    let SocketAddr::V4(addr) = addr else { unreachable!("servers here listen on 127.0.0.1") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port())
}
