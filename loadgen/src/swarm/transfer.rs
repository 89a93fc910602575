//! Bytes out and in, and the end: what a script asks for, done on its socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use super::{Event, Fault, Nanos, Phase, Swarm, connect};
use crate::script::Op;
use crate::sys;

/// Bytes sent or received at a time.
pub(super) const BUFFER_BYTES: usize = 64 << 10;
/// Buffers sent or received for one connection before others have their turn.
pub(super) const TURNS: usize = 4;

impl Swarm<'_> {
    /// Does what a connection asks for, as far as it goes without waiting.
    pub(super) fn advance(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.queued = false;
        if client.script.phase() == Phase::Connecting {
            if !self.first_send(key) {
                return;
            }
        } else if client.unread {
            self.clients[key].unread = false;
            self.receive(key, true);
            self.settle(key);
        }
        for _ in 0..TURNS {
            let goes_on = match self.clients[key].script.op() {
                Some(Op::Send { offset, len }) => self.send(key, offset, len),
                Some(Op::HalfClose) => {
                    self.half_close(key);
                    true
                }
                Some(Op::Check) => {
                    self.check(key);
                    true
                }
                Some(Op::Reset) => {
                    // Closing sends a RST then. If it cannot be set, the target sees a FIN, which a judge may see as well.
                    let _ = SockRef::from(&self.clients[key].stream).set_linger(Some(Duration::ZERO));
                    return self.finish(key);
                }
                Some(Op::Close) => return self.finish(key),
                None => false,
            };
            if !goes_on {
                // A stall or a RST may be due long before any timeout.
                let due = self.clients[key].script.due().unwrap_or(Nanos::MAX);
                self.next_sweep = self.next_sweep.min(due);
                // What came before the first send was not read yet, and no event will tell of it any more.
                if !std::mem::take(&mut self.clients[key].unread) {
                    return;
                }
                self.receive(key, true);
                self.settle(key);
            }
        }
        // It has more to do, and others have waited.
        self.enqueue(key);
    }

    /// The first send tells whether there is a connection. Its error is the reason when there is none; asking for
    /// SO_ERROR instead would take a reset away from the receive that is to report it.
    fn first_send(&mut self, key: usize) -> bool {
        let client = &mut self.clients[key];
        let Some(at) = client.writable_at else { return false };
        let size = usize::try_from(client.script.first_bytes()).unwrap_or(usize::MAX);
        let bytes = &mut self.buffer[..size.min(BUFFER_BYTES)];
        client.wire.fill(client.id, 0, bytes);
        let now = self.now;
        match client.stream.write(bytes) {
            Ok(sent) => {
                client.script.handle(Event::Connected, at);
                client.script.handle(Event::Sent(sent as u64), now);
            }
            Err(error) if would_block(&error) => {
                client.writable_at = None;
                return false;
            }
            Err(error) => {
                client.script.handle(Event::ConnectFailed(Fault::of(&error)), now);
                client.error = Some(error);
            }
        }
        true
    }

    /// Whether it is worth asking again at once.
    fn send(&mut self, key: usize, offset: u64, len: u64) -> bool {
        let client = &mut self.clients[key];
        let bytes = &mut self.buffer[..usize::try_from(len).unwrap_or(usize::MAX).min(BUFFER_BYTES)];
        client.wire.fill(client.id, offset, bytes);
        match client.stream.write(bytes) {
            Ok(sent) => {
                client.script.handle(Event::Sent(sent as u64), self.now);
                true
            }
            Err(error) if would_block(&error) => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => {
                client.script.handle(Event::SendFailed(Fault::of(&error)), self.clock.now());
                client.error = Some(error);
                self.receive(key, true);
                true
            }
        }
    }

    fn half_close(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.script.handle(Event::HalfClosing, self.clock.now());
        if let Err(error) = client.stream.shutdown(Shutdown::Write) {
            client.script.handle(Event::HalfCloseFailed, self.clock.now());
            client.error = Some(error);
            self.receive(key, true);
        }
    }

    fn check(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let pending = connect::pending_error(&client.stream).unwrap_or_else(Some);
        client.script.handle(Event::Checked { error: pending.is_some() }, self.now);
        client.error = pending.or_else(|| client.error.take());
    }

    /// Reads what there is, each piece with its time, and only then compares it. `to_the_end` where a read that brings
    /// little may hide an EOF that no event will tell of.
    pub(super) fn receive(&mut self, key: usize, to_the_end: bool) {
        let client = &mut self.clients[key];
        for _ in 0..TURNS {
            if !client.script.is_receiving() {
                return;
            }
            match client.stream.read(&mut self.buffer) {
                Ok(0) => {
                    let looked = client.looked.unwrap_or(self.looked);
                    client.script.handle(Event::Eof { looked }, self.clock.now());
                    // One that is held is looked at again sooner than one that may time out.
                    self.next_sweep = self.next_sweep.min(client.script.due().unwrap_or(Nanos::MAX));
                }
                Ok(len) => {
                    let now = self.clock.now();
                    client.take_in(&self.buffer[..len], now);
                    if !to_the_end && len < self.buffer.len() && sys::SHORT_READ_SUFFICES {
                        return;
                    }
                }
                Err(error) if would_block(&error) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    client.script.handle(Event::ReceiveFailed(Fault::of(&error)), self.clock.now());
                    client.error = Some(error);
                }
            }
        }
        client.unread = true;
        self.enqueue(key);
    }
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
