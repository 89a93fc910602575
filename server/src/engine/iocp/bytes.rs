//! Bytes of a connection that are owed, in blocks that stay where they are while a send has them.

use std::collections::VecDeque;
use std::io::IoSlice;

/// The most bytes taken from one connection in one turn, and the size of a block.
pub(super) const RECV_MAX: usize = 64 * 1024;
/// The most bytes in one send. A send that waits shows no progress before its last byte, and a peer that takes less
/// than this within the stall timeout looks as if it took nothing.
const SEND_MAX: usize = 64 * 1024;
/// Blocks kept for the next lease; what comes back beyond that is freed.
const SPARE_MAX: usize = 64;

/// Blocks that no connection leases now.
#[derive(Default)]
pub(super) struct Pool {
    spare: Vec<Box<[u8]>>,
    scratch: Box<[u8]>,
}

impl Pool {
    /// Room for bytes that nobody will look at.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        if self.scratch.is_empty() {
            self.scratch = fresh();
        }
        &mut self.scratch
    }

    fn lease(&mut self) -> Box<[u8]> {
        self.spare.pop().unwrap_or_else(fresh)
    }

    fn give_back(&mut self, data: Box<[u8]>) {
        // A block of a few bytes is not worth keeping.
        if data.len() == RECV_MAX && self.spare.len() < SPARE_MAX {
            self.spare.push(data);
        }
    }
}

fn fresh() -> Box<[u8]> {
    vec![0; RECV_MAX].into()
}

/// The bytes of one connection, oldest first. No block is ever empty between two calls.
#[derive(Default)]
pub(super) struct Bytes {
    blocks: VecDeque<Block>,
    /// So many of the first blocks belong to a send in flight: they neither move nor change.
    locked: usize,
}

struct Block {
    data: Box<[u8]>,
    head: usize,
    tail: usize,
}

impl Block {
    fn bytes(&self) -> &[u8] {
        &self.data[self.head..self.tail]
    }

    /// Moves what a nearly empty block holds to memory of its own size: a peer that reads slowly may leave it there.
    fn shrink(&mut self, pool: &mut Pool) {
        if self.data.len() == RECV_MAX && self.bytes().len() <= RECV_MAX / 4 {
            let bytes: Box<[u8]> = self.bytes().into();
            (self.head, self.tail) = (0, bytes.len());
            pool.give_back(std::mem::replace(&mut self.data, bytes));
        }
    }
}

impl Bytes {
    /// Room for up to `max` more bytes, at least 1; [`Bytes::fill`] then says how many came.
    pub(super) fn space(&mut self, max: usize, pool: &mut Pool) -> &mut [u8] {
        let is_full = |last: &Block| last.tail == last.data.len();
        if self.blocks.len() == self.locked || self.blocks.back().is_none_or(is_full) {
            self.blocks.push_back(Block { data: pool.lease(), head: 0, tail: 0 });
        }
        let last = self.blocks.back_mut().expect("one was pushed");
        let end = last.data.len().min(last.tail + max);
        &mut last.data[last.tail..end]
    }

    /// The first `len` bytes of the room that [`Bytes::space`] gave hold bytes now.
    pub(super) fn fill(&mut self, len: usize, pool: &mut Pool) {
        if let Some(last) = self.blocks.back_mut() {
            last.tail += len;
            if last.head == last.tail {
                self.blocks.pop_back().into_iter().for_each(|empty| pool.give_back(empty.data));
            }
        }
    }

    /// Appends `bytes`, and returns how many they are.
    pub(super) fn push(&mut self, bytes: &[u8], pool: &mut Pool) -> u32 {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.space(rest.len(), pool);
            let len = room.len();
            room.copy_from_slice(&rest[..len]);
            self.fill(len, pool);
            rest = &rest[len..];
        }
        u32::try_from(bytes.len()).expect("less than a window")
    }

    /// The first bytes, at most `len`, for a send. They stay where they are until [`Bytes::unlock`].
    pub(super) fn lock(&mut self, len: usize, pool: &mut Pool) -> Vec<IoSlice<'_>> {
        assert!(self.locked == 0, "a send has bytes already");
        let mut left = len.min(SEND_MAX);
        let mut pieces = Vec::new();
        for block in &mut self.blocks {
            if left == 0 {
                break;
            }
            block.shrink(pool);
            let take = left.min(block.bytes().len());
            left -= take;
            self.locked += 1;
            pieces.push(IoSlice::new(&block.bytes()[..take]));
        }
        pieces
    }

    /// No send has any of the bytes any more, and the first `sent` were sent.
    pub(super) fn unlock(&mut self, sent: usize, pool: &mut Pool) {
        self.locked = 0;
        let mut left = sent;
        while left > 0 {
            let first = self.blocks.front_mut().expect("no more bytes are sent than there are");
            let take = left.min(first.bytes().len());
            first.head += take;
            left -= take;
            if first.head == first.tail {
                self.blocks.pop_front().into_iter().for_each(|empty| pool.give_back(empty.data));
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        assert!(self.locked == 0, "a send still has bytes of this connection");
        self.blocks.drain(..).for_each(|block| pool.give_back(block.data));
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // The kernel may still read them, whenever the send ends: then they are never freed. Only a worker that failed
        // leaves any behind.
        if self.locked > 0 {
            std::mem::forget(std::mem::take(&mut self.blocks));
        }
    }
}
