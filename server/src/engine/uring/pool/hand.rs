//! What recv(2) brings, instead of the ring: it goes into a buffer that the kernel does not have.

use std::mem::MaybeUninit;

use super::{Buffer, NONE, Pool, Span};

/// With less room than this a buffer is not filled by hand any more: the bytes of one connection should lie together.
const ROOM_MIN: u32 = 16 << 10;

impl Pool {
    /// Whether there is room: not where every buffer is in use or the kernel's.
    pub(in super::super) fn has_room_by_hand(&self) -> bool {
        self.hand.is_some() || !self.reserve.is_empty()
    }

    /// Room to receive into, at most `max` bytes, if there is some.
    pub(in super::super) fn room_by_hand(&mut self, max: u32) -> Option<&mut [MaybeUninit<u8>]> {
        if let Some(hand) = self.hand {
            let state = &mut self.buffers[usize::from(hand)];
            if state.spans == 0 {
                // The same memory again, which is in the cache.
                state.filled = 0;
            }
            if self.shape.size - state.filled < ROOM_MIN.min(self.shape.size) {
                self.lay_down();
            }
        }
        let hand = match self.hand {
            Some(hand) => hand,
            None => *self.hand.insert(self.reserve.pop()?),
        };
        let state = &mut self.buffers[usize::from(hand)];
        if !state.filling {
            *state = Buffer { filled: 0, spans: 0, filling: true };
        }
        let start = state.filled;
        let room = Span { buffer: hand, start, len: max.min(self.shape.size - start), next: NONE };
        let (start, len) = (self.offset(&room), room.len() as usize);
        // SAFETY: these bytes lie within the pages; the kernel does not have the buffer, and no span covers what was not filled.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr().cast(), len) })
    }

    /// The first `len` bytes of what [`Pool::room_by_hand`] gave were filled.
    pub(in super::super) fn filled_by_hand(&mut self, len: u32) -> Span {
        let buffer = self.hand.expect("a buffer was given to be filled");
        self.span(buffer, len)
    }

    /// Has the buffer that was filled by hand go the way of all others.
    pub(super) fn lay_down(&mut self) {
        let Some(hand) = self.hand.take() else { return };
        let state = &mut self.buffers[usize::from(hand)];
        state.filling = false;
        if state.spans == 0 {
            self.reserve.push(hand);
        }
    }
}
