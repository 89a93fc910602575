//! The bytes that one connection owes: first those in memory of its own, then those in the shared buffers, then what the
//! ledger says last.

use std::io::{self, IoSlice};

use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use socket2::SockRef;

use super::pool::{Pool, Queue, Span};
use crate::ledger::ReplyLine;

/// Pieces sent with one operation.
const PIECES_MAX: usize = 64;
/// A send never waits inside the kernel.
const HOW: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

pub(super) struct Bytes {
    shared: Queue,
    /// What few connections have, so that the place of the others is small.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    /// Moved out of the shared buffers, because the peer reads slowly.
    own: Vec<u8>,
    /// Bytes of `own` that were sent already.
    own_sent: usize,
    /// Said behind everything else, and how much of it was sent.
    last: Option<(ReplyLine, usize)>,
    /// The message of an entry with several pieces; the kernel copies it when it is submitted.
    message: Option<Box<Message>>,
}

struct Message {
    header: libc::msghdr,
    pieces: [libc::iovec; PIECES_MAX],
}

impl Default for Bytes {
    fn default() -> Self {
        Self { shared: Queue::EMPTY, rest: None }
    }
}

impl Bytes {
    /// Whether it holds shared buffers.
    pub(super) fn is_pinning(&self) -> bool {
        !self.shared.is_empty()
    }

    pub(super) fn append(&mut self, pool: &mut Pool, span: Span) {
        pool.append(&mut self.shared, span);
    }

    /// Appends what is said last, and returns its length.
    pub(super) fn end(&mut self, line: ReplyLine) -> u32 {
        let len = u32::try_from(line.as_ref().len()).expect("a line");
        self.rest.get_or_insert_default().last = Some((line, 0));
        len
    }

    /// Sends the first bytes, at most `len`, at once, and returns how many there was room for.
    ///
    /// # Errors
    /// As send(2) with MSG_DONTWAIT.
    pub(super) fn send(&self, pool: &Pool, socket: SockRef<'_>, len: u32) -> io::Result<usize> {
        let mut pieces = self.pieces(pool, len);
        let first = pieces.next().expect("a send with something to send");
        let Some(second) = pieces.next() else { return socket.send_with_flags(first, HOW) };
        let mut all = [IoSlice::new(&[]); PIECES_MAX];
        let count = fill([first, second].into_iter().chain(pieces), &mut all, IoSlice::new);
        socket.send_vectored_with_flags(&all[..count], HOW)
    }

    /// The same as an entry for the ring. The bytes must neither move nor be consumed until it has ended.
    pub(super) fn send_entry(&mut self, pool: &Pool, fd: Fd, len: u32) -> squeue::Entry {
        let mut message = self.rest.as_mut().and_then(|rest| rest.message.take());
        let mut pieces = self.pieces(pool, len);
        let first = pieces.next().expect("a send with something to send");
        let Some(second) = pieces.next() else {
            let len = u32::try_from(first.len()).expect("no more than was asked for");
            return opcode::Send::new(fd, first.as_ptr(), len).flags(HOW).build();
        };
        let message = {
            let mut message = message.take().unwrap_or_else(Message::empty);
            let vector = |piece: &[u8]| libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            };
            let count = fill([first, second].into_iter().chain(pieces), &mut message.pieces, vector);
            message.header.msg_iov = message.pieces.as_mut_ptr();
            message.header.msg_iovlen = count as _;
            self.rest.get_or_insert_default().message.insert(message)
        };
        opcode::SendMsg::new(fd, &raw const message.header).flags(HOW.cast_unsigned()).build()
    }

    /// The first bytes, at most `len`, piece by piece.
    fn pieces<'a>(&'a self, pool: &'a Pool, len: u32) -> impl Iterator<Item = &'a [u8]> {
        let rest = self.rest.as_deref();
        let own = rest.map(|rest| &rest.own[rest.own_sent..]);
        let last = rest.and_then(|rest| rest.last.as_ref()).map(|(line, sent)| &line.as_ref()[*sent..]);
        let mut left = len as usize;
        let all = own.into_iter().chain(pool.pieces(self.shared)).chain(last);
        all.filter(|piece| !piece.is_empty()).map_while(move |piece| {
            let take = piece.len().min(left);
            left -= take;
            (take > 0).then_some(&piece[..take])
        })
    }

    /// Forgets the first `len` bytes: they were sent.
    pub(super) fn consume(&mut self, pool: &mut Pool, len: u32) {
        let Some(rest) = &mut self.rest else {
            let beyond = pool.consume(&mut self.shared, len);
            return assert!(beyond == 0, "more was sent than there is");
        };
        rest.message = None;
        let own = (len as usize).min(rest.own.len() - rest.own_sent);
        rest.own_sent += own;
        if rest.own_sent == rest.own.len() {
            (rest.own, rest.own_sent) = (Vec::new(), 0);
        }
        let beyond = pool.consume(&mut self.shared, len - own as u32);
        if beyond > 0 {
            let last = rest.last.as_mut().expect("no more is sent than there is");
            last.1 += beyond as usize;
        }
        if rest.own.is_empty() && rest.last.is_none() {
            self.rest = None;
        }
    }

    /// Moves everything to memory of its own. Only while no send is in the kernel.
    pub(super) fn move_out(&mut self, pool: &mut Pool) {
        let rest = self.rest.get_or_insert_default();
        rest.own.drain(..rest.own_sent);
        rest.own_sent = 0;
        pool.move_out(&mut self.shared, &mut rest.own);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.shared);
        *self = Self::default();
    }
}

/// Puts as many of `all` into `places` as fit, each as `made`, and returns how many.
fn fill<'a, T>(all: impl Iterator<Item = &'a [u8]>, places: &mut [T], made: impl Fn(&'a [u8]) -> T) -> usize {
    all.zip(places).map(|(piece, place)| *place = made(piece)).count()
}

impl Message {
    fn empty() -> Box<Self> {
        // SAFETY: a msghdr of zeros is one without name, vectors and control data.
        let header = unsafe { std::mem::zeroed() };
        let piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Self { header, pieces: [piece; PIECES_MAX] })
    }
}
