//! The buffers that the kernel receives into: leased while their bytes are owed, and sent back from where they lie.
//!
//! Buffers are consumed incrementally (IOU_PBUF_RING_INC, Linux 6.12): many small receives share one, which goes
//! back to the kernel once it is full and every byte in it was sent. Where that is not known, each receive takes a
//! small buffer of its own.

mod hand;
mod pages;

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::{BufRingEntry, IOU_PBUF_RING_INC};

use self::pages::Pages;
use super::Sizes;

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;
/// What all buffers of a server hold together, either way.
pub(super) const POOL_BYTES: u32 = 4 << 20;
/// Where buffers are not shared a receive of a few bytes takes a whole one, so there are more of them.
const SINGLE: Shape = Shape { count: 1024, size: POOL_BYTES / 1024, flags: 0 };
/// The kernel is given this many, used last first, so that what is received lands in memory that is in the cache: with
/// all of them messages of 16 KiB cost 4 to 6 % more, of 1 MiB 7 to 20 %.
const WARM_MIN: u16 = 2;
/// After so many buffers without a receive that found none, half of what the kernel is given is enough.
const CALM: u32 = 1024;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Shape {
    count: u16,
    size: u32,
    flags: u16,
}

/// The buffers of one ring.
pub(super) struct Pool {
    shape: Shape,
    /// The buffers, one behind the other.
    bytes: Pages,
    /// What is told to the kernel: a ring of `shape.count` entries.
    entries: Pages,
    tail: u16,
    /// Where the entry stands that the kernel takes from, as it counts.
    head: u16,
    buffers: Vec<Buffer>,
    /// Buffers that the kernel may still fill.
    in_kernel: u16,
    /// The buffer that is filled by hand, if there is one: the kernel does not have it.
    hand: Option<u16>,
    /// Empty buffers that the kernel does not have, the last used one last.
    reserve: Vec<u16>,
    /// Buffers that the kernel is to have, as far as there are some.
    warm: u16,
    /// Buffers given to the kernel since a receive found none.
    calm: u32,
    spans: Vec<Span>,
    /// The first unused place in `spans`.
    vacant: u32,
}

#[derive(Clone, Copy, Default)]
struct Buffer {
    /// Bytes that were filled.
    filled: u32,
    /// Spans that lie in it.
    spans: u32,
    /// More may be put into it, by the kernel or by hand.
    filling: bool,
}

/// Bytes of one connection, in one buffer.
#[derive(Clone, Copy)]
pub(super) struct Span {
    buffer: u16,
    start: u32,
    len: u32,
    next: u32,
}

impl Span {
    pub(super) fn len(&self) -> u32 {
        self.len
    }
}

/// Spans of one connection, oldest first.
#[derive(Clone, Copy)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
}

impl Queue {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE };

    pub(super) fn is_empty(self) -> bool {
        self.head == NONE
    }
}

impl Pool {
    /// Makes the buffers and gives some to the kernel.
    ///
    /// # Errors
    /// As io_uring_register(2), IORING_REGISTER_PBUF_RING (Linux 5.19).
    pub(super) fn register(submitter: &Submitter<'_>, sizes: Sizes) -> io::Result<Self> {
        let flags = if sizes.shared { IOU_PBUF_RING_INC as u16 } else { 0 };
        let shape = Shape { count: sizes.buffers, size: sizes.buffer_len, flags };
        Self::register_shape(submitter, shape).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Self::register_shape(submitter, SINGLE),
            Some(_) | None => Err(error),
        })
    }

    fn register_shape(submitter: &Submitter<'_>, shape: Shape) -> io::Result<Self> {
        let entries = Pages::new(usize::from(shape.count) * size_of::<BufRingEntry>());
        let address = entries.start.as_ptr() as u64;
        // SAFETY: the pages live as long as the pool, which outlives the ring (see the engine's `Drop`).
        unsafe { submitter.register_buf_ring_with_flags(address, shape.count, GROUP, shape.flags) }?;
        let mut pool = Self {
            shape,
            bytes: Pages::new(usize::from(shape.count) * shape.size as usize),
            entries,
            tail: 0,
            head: 0,
            buffers: vec![Buffer::default(); shape.count.into()],
            in_kernel: 0,
            hand: None,
            reserve: (0..shape.count).rev().collect(),
            // Where each receive takes a buffer there can never be too many.
            warm: if shape.flags == 0 { shape.count } else { WARM_MIN },
            calm: 0,
            spans: Vec::new(),
            vacant: NONE,
        };
        pool.top_up();
        Ok(pool)
    }

    /// Buffers that the kernel may still fill.
    pub(super) fn in_kernel(&self) -> u16 {
        self.in_kernel
    }

    /// A receive found no buffer: the kernel gets twice as many from now on.
    pub(super) fn ran_out(&mut self) {
        self.lay_down();
        // Whoever else found none in the same moment speaks of the same lack.
        if self.calm > 0 {
            self.warm = self.warm.saturating_mul(2).min(self.shape.count);
            self.calm = 0;
        }
        self.top_up();
    }

    /// Whether so few buffers are left that bytes which wait for a slow reader should move out.
    pub(super) fn is_low(&self) -> bool {
        usize::from(self.in_kernel) + self.reserve.len() <= usize::from(self.shape.count / 4)
    }

    /// A receive put `len` bytes into `buffer`; `more`: the kernel goes on filling it.
    pub(super) fn received(&mut self, buffer: u16, len: u32, more: bool) -> Span {
        let span = self.span(buffer, len);
        if !more {
            self.buffers[usize::from(buffer)].filling = false;
            self.in_kernel -= 1;
            self.head = self.head.wrapping_add(1);
            self.top_up();
        }
        span
    }

    /// The next `len` bytes of `buffer`, which were filled just now.
    fn span(&mut self, buffer: u16, len: u32) -> Span {
        let state = &mut self.buffers[usize::from(buffer)];
        assert!(state.filling, "a receive into a buffer that nobody fills");
        let start = state.filled;
        state.filled += len;
        state.spans += 1;
        assert!(state.filled <= self.shape.size, "a receive beyond its buffer");
        Span { buffer, start, len, next: NONE }
    }

    /// Lets `change` change bytes that were received just now, and shortens them to the length that it returns.
    pub(super) fn filter(&mut self, span: &mut Span, change: impl FnOnce(&mut [u8]) -> usize) {
        let start = self.offset(span);
        // SAFETY: these bytes were filled, whoever fills the buffer writes only behind them, and no send has them yet.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), span.len as usize) };
        let kept = change(bytes);
        assert!(kept <= bytes.len(), "more is kept than was received");
        span.len = kept as u32;
    }

    /// Nobody will look at these bytes.
    pub(super) fn discard(&mut self, span: Span) {
        self.release(span.buffer);
    }

    /// Appends bytes to a connection's queue, as one span with those before where they are neighbours.
    pub(super) fn append(&mut self, queue: &mut Queue, span: Span) {
        if let Some(last) = self.spans.get_mut(queue.tail as usize)
            && last.buffer == span.buffer
            && last.start + last.len == span.start
        {
            last.len += span.len;
            self.release(span.buffer);
            return;
        }
        let place = self.place(span);
        match self.spans.get_mut(queue.tail as usize) {
            Some(last) => last.next = place,
            None => queue.head = place,
        }
        queue.tail = place;
    }

    /// The bytes of a queue, span by span, oldest first.
    pub(super) fn pieces(&self, queue: Queue) -> impl Iterator<Item = &[u8]> {
        let mut at = queue.head;
        std::iter::from_fn(move || {
            let span = self.spans.get(at as usize)?;
            at = span.next;
            Some(self.slice(span))
        })
    }

    /// Forgets the first `len` bytes of a queue, and returns how many it did not have.
    pub(super) fn consume(&mut self, queue: &mut Queue, mut len: u32) -> u32 {
        while len > 0 && !queue.is_empty() {
            let span = &mut self.spans[queue.head as usize];
            let take = len.min(span.len);
            span.start += take;
            span.len -= take;
            len -= take;
            if span.len == 0 {
                self.pop(queue);
            }
        }
        len
    }

    /// Moves the bytes of a queue to the end of `own`.
    pub(super) fn move_out(&mut self, queue: &mut Queue, own: &mut Vec<u8>) {
        while !queue.is_empty() {
            own.extend_from_slice(self.slice(&self.spans[queue.head as usize]));
            self.pop(queue);
        }
    }

    /// Forgets a queue's bytes.
    pub(super) fn clear(&mut self, queue: &mut Queue) {
        while !queue.is_empty() {
            self.pop(queue);
        }
    }

    /// Leaves the memory to the kernel for good, because it may still write there.
    pub(super) fn leak(&mut self) {
        self.bytes.leaked = true;
        self.entries.leaked = true;
    }

    fn offset(&self, span: &Span) -> NonNull<u8> {
        let offset = usize::from(span.buffer) * self.shape.size as usize + span.start as usize;
        assert!(offset + span.len as usize <= self.bytes.layout.size());
        // SAFETY: the offset lies within the pages, as was just seen.
        unsafe { self.bytes.start.add(offset) }
    }

    fn slice(&self, span: &Span) -> &[u8] {
        let start = self.offset(span);
        // SAFETY: these bytes were filled, and whoever fills the buffer writes only behind them.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), span.len as usize) }
    }

    fn place(&mut self, span: Span) -> u32 {
        match self.spans.get_mut(self.vacant as usize) {
            Some(vacant) => {
                let place = std::mem::replace(&mut self.vacant, vacant.next);
                *vacant = span;
                place
            }
            None => {
                self.spans.push(span);
                u32::try_from(self.spans.len() - 1).expect("fewer than 2^32 spans")
            }
        }
    }

    fn pop(&mut self, queue: &mut Queue) {
        let place = queue.head;
        let Span { buffer, next, .. } = self.spans[place as usize];
        queue.head = next;
        if next == NONE {
            queue.tail = NONE;
        }
        self.spans[place as usize].next = std::mem::replace(&mut self.vacant, place);
        self.release(buffer);
    }

    fn release(&mut self, buffer: u16) {
        let state = &mut self.buffers[usize::from(buffer)];
        state.spans -= 1;
        if state.spans == 0 && !state.filling {
            self.reserve.push(buffer);
            self.top_up();
        }
    }

    /// Gives the kernel what it is to have, as far as there is some.
    fn top_up(&mut self) {
        while self.in_kernel < self.warm {
            let Some(buffer) = self.reserve.pop() else { return };
            self.provide(buffer);
        }
    }

    fn provide(&mut self, buffer: u16) {
        self.buffers[usize::from(buffer)] = Buffer { filled: 0, spans: 0, filling: true };
        self.in_kernel += 1;
        self.calm = self.calm.saturating_add(1);
        if self.calm >= CALM && self.warm > WARM_MIN && self.shape.flags != 0 {
            self.warm /= 2;
            self.calm = 0;
        }
        // SAFETY: the kernel reads no entry at or behind the tail.
        unsafe { self.write(self.tail, buffer) };
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry of the registered ring, initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.start.as_ptr().cast()) };
        // SAFETY: aligned, alive as long as the pool, and only the kernel reads it elsewhere.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Writes the whole of `buffer` into the entry at `at`, as the kernel counts.
    ///
    /// # Safety
    /// The kernel neither reads nor writes that entry at this time.
    unsafe fn write(&mut self, at: u16, buffer: u16) {
        let place = usize::from(at & (self.shape.count - 1));
        let offset = usize::from(buffer) * self.shape.size as usize;
        // SAFETY: `place` is below the number of entries that the pages were made for.
        let entry = unsafe { self.entries.start.cast::<BufRingEntry>().add(place) };
        // SAFETY: zeroed or written before, and by the caller's promise ours alone.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(self.bytes.start.as_ptr() as u64 + offset as u64);
        entry.set_len(self.shape.size);
        entry.set_bid(buffer);
    }

    /// Has the kernel fill the buffer that it is at from its start again, if everything in it was sent: so what is received
    /// lands in the same memory all the time, which is in the first caches.
    ///
    /// # Safety
    /// The kernel fills buffers only while it is entered, every completion was reaped, and it holds none back.
    pub(super) unsafe fn rewind(&mut self) {
        if self.shape.flags == 0 || self.in_kernel == 0 {
            return;
        }
        let place = usize::from(self.head & (self.shape.count - 1));
        // SAFETY: `place` is below the number of entries that the pages were made for.
        let entry = unsafe { self.entries.start.cast::<BufRingEntry>().add(place) };
        // SAFETY: written before, and by the caller's promise the kernel leaves it alone.
        let buffer = unsafe { entry.as_ref() }.bid();
        let state = &mut self.buffers[usize::from(buffer)];
        assert!(state.filling, "the kernel takes from a buffer that it does not have");
        if state.filled == 0 || state.spans > 0 {
            return;
        }
        state.filled = 0;
        // SAFETY: the caller's promise.
        unsafe { self.write(self.head, buffer) };
    }
}
