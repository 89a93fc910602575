//! The bytes that one connection owes: first those in memory of its own, then those in the shared buffers, then what the
//! ledger says last.

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::pool::{Pool, Queue, Span};
use crate::ledger::ReplyLine;

/// Pieces sent with one operation.
const PIECES_MAX: usize = 64;

pub(super) struct Bytes {
    /// Moved out of the shared buffers, because the peer reads slowly.
    own: Vec<u8>,
    /// Bytes of `own` that were sent already.
    own_sent: usize,
    shared: Queue,
    /// Said behind everything else, and how much of it was sent.
    last: Option<Box<(ReplyLine, usize)>>,
    /// The message of a send of several pieces; the kernel copies it when it is submitted.
    message: Option<Box<Message>>,
}

struct Message {
    header: libc::msghdr,
    pieces: [libc::iovec; PIECES_MAX],
}

impl Default for Bytes {
    fn default() -> Self {
        Self { own: Vec::new(), own_sent: 0, shared: Queue::EMPTY, last: None, message: None }
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
        self.last = Some(Box::new((line, 0)));
        u32::try_from(line.as_ref().len()).expect("a line")
    }

    /// A send of the first bytes, at most `len`, and how many they are. They must neither move nor be consumed until it has
    /// ended.
    pub(super) fn send_entry(&mut self, pool: &Pool, fd: Fd, len: u32, flags: i32) -> (squeue::Entry, u32) {
        let own = &self.own[self.own_sent..];
        let own = (!own.is_empty()).then_some((own.as_ptr(), own.len()));
        let last =
            self.last.iter().map(|last| &last.0.as_ref()[last.1..]).map(|last| (last.as_ptr(), last.len()));
        let mut left = len as usize;
        let all = own.into_iter().chain(pool.pieces(self.shared)).chain(last);
        let mut pieces = all.map_while(|(start, piece)| {
            let take = piece.min(left);
            left -= take;
            (take > 0).then_some((start, take))
        });
        let (start, first) = pieces.next().expect("a send with something to send");
        let Some(second) = pieces.next() else {
            let first = u32::try_from(first).expect("no more than was asked for");
            return (opcode::Send::new(fd, start, first).flags(flags).build(), first);
        };
        let vector = |(start, len): (*const u8, usize)| libc::iovec {
            iov_base: start.cast_mut().cast(),
            iov_len: len,
        };
        let message = self.message.get_or_insert_with(Message::empty);
        let all = [(start, first), second].into_iter().chain(pieces);
        let count = all.zip(&mut message.pieces).map(|(piece, place)| *place = vector(piece)).count();
        message.header.msg_iov = message.pieces.as_mut_ptr();
        message.header.msg_iovlen = count as _;
        let all: usize = message.pieces[..count].iter().map(|piece| piece.iov_len).sum();
        let all = u32::try_from(all).expect("no more than was asked for");
        (opcode::SendMsg::new(fd, &raw const message.header).flags(flags as u32).build(), all)
    }

    /// Forgets the first `len` bytes: they were sent.
    pub(super) fn consume(&mut self, pool: &mut Pool, len: u32) {
        self.message = None;
        let own = (len as usize).min(self.own.len() - self.own_sent);
        self.own_sent += own;
        if self.own_sent == self.own.len() {
            (self.own, self.own_sent) = (Vec::new(), 0);
        }
        let rest = pool.consume(&mut self.shared, len - own as u32);
        if rest > 0 {
            let last = self.last.as_mut().expect("no more is sent than there is");
            last.1 += rest as usize;
        }
    }

    /// Moves everything to memory of its own. Only while no send is in the kernel.
    pub(super) fn move_out(&mut self, pool: &mut Pool) {
        self.own.drain(..self.own_sent);
        self.own_sent = 0;
        pool.move_out(&mut self.shared, &mut self.own);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.shared);
        *self = Self::default();
    }
}

impl Message {
    fn empty() -> Box<Self> {
        // SAFETY: a msghdr of zeros is one without name, vectors and control data.
        let header = unsafe { std::mem::zeroed() };
        let piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Self { header, pieces: [piece; PIECES_MAX] })
    }
}
