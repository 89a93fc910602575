//! Bytes of a connection that are owed, in blocks leased from a pool only while there are any.

use std::collections::VecDeque;
use std::io::IoSlice;

/// The most bytes taken from one connection in one turn, and the size of a block.
pub(super) const RECV_MAX: usize = 64 * 1024;
/// Blocks kept for the next lease; what comes back beyond that is freed.
const SPARE_MAX: usize = 64;
/// Blocks sent with one system call.
const PIECES_MAX: usize = 16;

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
        // A shrunk block is not worth keeping.
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
pub(super) struct Blocks {
    blocks: VecDeque<Block>,
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
}

impl Blocks {
    /// Room for up to `max` more bytes, at least 1; [`Blocks::fill`] then says how many came.
    pub(super) fn space(&mut self, max: usize, pool: &mut Pool) -> &mut [u8] {
        if self.blocks.back().is_none_or(|last| last.tail == last.data.len()) {
            self.blocks.push_back(Block { data: pool.lease(), head: 0, tail: 0 });
        }
        let last = self.blocks.back_mut().expect("one was pushed");
        let end = last.data.len().min(last.tail + max);
        &mut last.data[last.tail..end]
    }

    /// The first `len` bytes of the room that [`Blocks::space`] gave hold bytes now.
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

    /// The first bytes, at most `len`, as one system call takes them.
    pub(super) fn pieces(&self, len: usize) -> Vec<IoSlice<'_>> {
        let mut left = len;
        let piece = |block: &'_ Block| -> usize {
            let take = left.min(block.bytes().len());
            left -= take;
            take
        };
        let lengths: Vec<usize> = self.blocks.iter().take(PIECES_MAX).map(piece).collect();
        let blocks = self.blocks.iter().zip(lengths).filter(|&(_, take)| take > 0);
        blocks.map(|(block, take)| IoSlice::new(&block.bytes()[..take])).collect()
    }

    /// Forgets the first `len` bytes.
    pub(super) fn consume(&mut self, mut len: usize, pool: &mut Pool) {
        while len > 0 {
            let first = self.blocks.front_mut().expect("no more bytes are consumed than there are");
            let take = len.min(first.bytes().len());
            first.head += take;
            len -= take;
            if first.head == first.tail {
                self.blocks.pop_front().into_iter().for_each(|empty| pool.give_back(empty.data));
            }
        }
    }

    /// Moves what a nearly empty block holds to memory of its own size.
    pub(super) fn shrink(&mut self, pool: &mut Pool) {
        for block in &mut self.blocks {
            if block.data.len() == RECV_MAX && block.bytes().len() <= RECV_MAX / 4 {
                let bytes: Box<[u8]> = block.bytes().into();
                let tail = bytes.len();
                pool.give_back(std::mem::replace(&mut block.data, bytes));
                (block.head, block.tail) = (0, tail);
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.blocks.drain(..).for_each(|block| pool.give_back(block.data));
    }
}
