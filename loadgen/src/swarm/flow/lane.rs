//! What flows on one connection, in numbers: messages that are due, those that have a place, those that are back.

use super::Nanos;

/// One connection on which messages flow. There may be a hundred thousand of them, and each message comes by here, so
/// that they are kept apart from all that is needed only when a connection begins or ends.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// The connection's number, on which its bytes depend.
    pub(super) id: u64,
    /// Its place in the order in which connections have their turn.
    pub(super) position: u64,
    /// Messages that a schedule has made due.
    pub(super) due: u64,
    /// Messages that have taken a place.
    pub(super) begun: u64,
    /// Bytes of the connection's stream that were sent.
    pub(super) sent: u64,
    /// Bytes of begun messages that are still to be sent.
    pub(super) unsent: u64,
    /// Bytes of the stream that came back.
    pub(super) received: u64,
    /// When something last came back, or the first message of several took its place.
    pub(super) progress: Nanos,
    /// Messages in flight.
    pub(super) flying: u32,
    /// The place of the oldest of them.
    pub(super) oldest: u32,
    /// Bytes of that message that are still to come back.
    pub(super) missing: u32,
    /// Whether messages flow here; otherwise the connection is ending, or is no more.
    pub(super) alive: bool,
    /// Whether it stands in the queue.
    pub(super) queued: bool,
    /// Whether there may be something to read that no event will tell of any more.
    pub(super) unread: bool,
    /// Whether the kernel takes no more before it says so.
    pub(super) blocked: bool,
}

impl Lane {
    /// A connection whose first message, of `size` bytes, has come back.
    pub(super) fn new(id: u64, size: u32) -> Self {
        Self {
            id,
            position: 0,
            due: 0,
            begun: 0,
            sent: u64::from(size),
            unsent: 0,
            received: u64::from(size),
            progress: 0,
            flying: 0,
            oldest: 0,
            missing: size,
            alive: true,
            queued: false,
            unread: false,
            blocked: false,
        }
    }

    /// A place for which there is no connection.
    pub(super) fn none() -> Self {
        Self { alive: false, ..Self::new(0, 0) }
    }

    /// Messages that came back.
    pub(super) fn back(&self) -> u64 {
        self.begun - u64::from(self.flying)
    }

    /// Gives a message of `size` bytes a place, of which there are `depth`: which one.
    pub(super) fn begin(&mut self, size: u32, depth: u32, now: Nanos) -> u32 {
        debug_assert!(self.flying < depth);
        if self.flying == 0 {
            self.progress = now;
        }
        let place = self.oldest + self.flying;
        self.begun += 1;
        self.flying += 1;
        self.unsent += u64::from(size);
        if place < depth { place } else { place - depth }
    }

    /// Whether with `bytes` more the oldest message in flight is back; its place then.
    pub(super) fn end(&mut self, bytes: &mut u64, size: u32, depth: u32) -> Option<u32> {
        let missing = u64::from(self.missing);
        if *bytes < missing {
            self.missing -= *bytes as u32;
            return None;
        }
        debug_assert!(self.flying > 0);
        *bytes -= missing;
        self.missing = size;
        self.flying -= 1;
        let place = self.oldest;
        self.oldest = if place + 1 < depth { place + 1 } else { 0 };
        Some(place)
    }
}
