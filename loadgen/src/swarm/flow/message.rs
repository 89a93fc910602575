//! Messages out and back: what is written, what is read, and what is not as it should be.

use std::io::{self, Read, Write};

use super::super::transfer::{TURNS, would_block};
use super::lane::Lane;
use super::{Event, Nanos, Phase, Span, Swarm, Traffic};
use crate::fault::Fault;
use crate::sys;

impl Traffic<'_, '_> {
    pub(super) fn on_event(&mut self, event: &mio::event::Event) {
        let key = event.token().0;
        let Some(lane) = self.lanes.get_mut(key).filter(|lane| lane.alive) else {
            return self.swarm.on_event(event);
        };
        if event.is_writable() {
            lane.blocked = false;
        }
        let is_over = event.is_read_closed() || event.is_error();
        if event.is_readable() || is_over {
            self.receive(key, is_over);
        }
        self.send(key);
    }

    /// The turn of one that stands in the queue.
    pub(super) fn attend(&mut self, key: usize, now: Nanos) {
        let lane = &mut self.lanes[key];
        lane.queued = false;
        if !lane.alive {
            return;
        }
        if std::mem::take(&mut lane.unread) {
            self.receive(key, true);
        }
        let lane = &self.lanes[key];
        // A message that has no place yet waits for the target, not for us.
        if self.schedule.is_some() && lane.begun < lane.due && lane.flying < self.flow.depth {
            let lag = now.saturating_sub(self.due_at(lane, now));
            self.swarm.recorder.latency.start_lag.record(lag);
        }
        self.begin(key, now);
        self.send(key);
    }

    /// Gives places to messages that are due: on a schedule as many as it has made due, otherwise as many as there are
    /// places, due at `now`.
    fn begin(&mut self, key: usize, now: Nanos) {
        let (size, depth) = (self.flow.size, self.flow.depth);
        if self.span == Span::Ending {
            return;
        }
        loop {
            let lane = &self.lanes[key];
            let is_due = self.schedule.is_none() || lane.begun < lane.due;
            if !lane.alive || !is_due || lane.flying == depth {
                return;
            }
            let due_at = self.due_at(lane, now);
            let place = self.lanes[key].begin(size, depth, now);
            self.due_at[key * depth as usize + place as usize] = due_at;
            self.in_flight += 1;
        }
    }

    /// When the next message of a lane was due, or is. That follows from its number, so a queue needs no memory.
    fn due_at(&self, lane: &Lane, now: Nanos) -> Nanos {
        let burst = u64::from(self.flow.burst);
        let turns = lane.position + lane.begun / burst * self.order.len() as u64;
        self.planned(turns * burst).unwrap_or(now)
    }

    /// Sends what can be sent of messages that have a place: all of it in one call, up to the size of a piece.
    fn send(&mut self, key: usize) {
        let lane = &mut self.lanes[key];
        if !lane.alive || lane.unsent == 0 || lane.blocked {
            return;
        }
        let client = &mut self.swarm.clients[key];
        for _ in 0..TURNS {
            let bytes = self.pattern.piece(lane.id, lane.sent, lane.unsent);
            match client.stream.write(bytes) {
                Ok(sent) => {
                    lane.sent += sent as u64;
                    lane.unsent -= sent as u64;
                    if lane.unsent == 0 {
                        return;
                    }
                    // A large message may take long to be sent, and nothing of it be back before that.
                    lane.progress = lane.progress.max(self.swarm.now);
                }
                Err(error) if would_block(&error) => {
                    lane.blocked = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return self.hand_over(key, Event::SendFailed(Fault::of(&error)), Some(error));
                }
            }
        }
        self.enqueue(key);
    }

    /// Reads what there is, each piece with its time, and only then compares it. `to_the_end` where a read that brings
    /// little may hide an EOF that no event will tell of.
    fn receive(&mut self, key: usize, to_the_end: bool) {
        for _ in 0..TURNS {
            let Swarm { clients, buffer, clock, .. } = &mut *self.swarm;
            match clients[key].stream.read(buffer) {
                Ok(0) => {
                    let looked = self.swarm.looked;
                    return self.hand_over(key, Event::Eof { looked }, None);
                }
                Ok(len) => {
                    let now = clock.now();
                    let is_all = len < buffer.len() && sys::SHORT_READ_SUFFICES;
                    if !self.take_back(key, len, now) || (is_all && !to_the_end) {
                        return;
                    }
                }
                Err(error) if would_block(&error) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return self.hand_over(key, Event::ReceiveFailed(Fault::of(&error)), Some(error));
                }
            }
        }
        // There is more, and others have waited.
        self.lanes[key].unread = true;
        self.enqueue(key);
    }

    /// Takes in the `len` bytes that came at `now`; whether they were right.
    fn take_back(&mut self, key: usize, len: usize, now: Nanos) -> bool {
        let lane = &mut self.lanes[key];
        let mut bytes = len as u64;
        // An echo is never ahead of what it echoes.
        let is_owed = bytes <= lane.sent - lane.received;
        if !is_owed || !self.pattern.matches(lane.id, lane.received, &self.swarm.buffer[..len]) {
            self.hand_over(key, Event::Corrupt(bytes), None);
            return false;
        }
        lane.received += bytes;
        lane.progress = now;
        let counts = self.span == Span::Window;
        if counts {
            self.seen.bytes += bytes;
        }
        let (size, depth) = (self.flow.size, self.flow.depth);
        let places = &self.due_at[key * depth as usize..][..depth as usize];
        while let Some(place) = lane.end(&mut bytes, size, depth) {
            self.in_flight -= 1;
            if counts {
                self.seen.messages += 1;
                self.seen.latency.record(now.saturating_sub(places[place as usize]));
            }
        }
        self.begin(key, now);
        true
    }

    fn enqueue(&mut self, key: usize) {
        let lane = &mut self.lanes[key];
        if !lane.queued {
            lane.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Gives a connection back on which `event` has ended the flow.
    pub(super) fn hand_over(&mut self, key: usize, event: Event, error: Option<io::Error>) {
        let lane = &mut self.lanes[key];
        debug_assert!(lane.alive);
        lane.alive = false;
        self.alive -= 1;
        self.in_flight -= u64::from(lane.flying);
        let first = u64::from(self.flow.size);
        let client = &mut self.swarm.clients[key];
        client.script.flowed(lane.sent - first, lane.received - first, lane.progress);
        client.script.handle(event, self.swarm.clock.now());
        client.error = error;
        if matches!(event, Event::SendFailed(_)) {
            // What came before it can still be read, and says how it ended.
            self.swarm.receive(key, true);
            let client = &mut self.swarm.clients[key];
            if client.script.phase() == Phase::Held && !client.unread {
                client.script.handle(Event::ReceiveFailed(Fault::Reset), self.swarm.clock.now());
            }
        }
        self.swarm.enqueue(key);
        // What is held is looked at again sooner than what may time out.
        self.next_sweep = 0;
    }
}
