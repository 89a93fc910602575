//! One connection in this engine: its socket, its bytes, and what is in flight.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::time::Duration;

use windows_sys::Win32::System::IO::OVERLAPPED;

use super::bytes::{Bytes, Pool, RECV_MAX};
use super::overlap::Overlap;
use super::socket::{self, Accepted, Started};
use crate::conn::{Event, Fault, OpKind};
use crate::policy::{self, Cause};

/// What the loop wants to receive.
#[derive(Clone, Copy)]
pub(super) enum Want {
    Keep(usize),
    Discard,
}

/// How receiving has ended. It is latched: what is reported once looks like a FIN from then on.
#[derive(Clone, Copy)]
enum End {
    Fin,
    Failed(Fault),
}

impl End {
    fn event(self) -> Event {
        match self {
            Self::Fin => Event::PeerFin { owed: 0 },
            Self::Failed(fault) => Event::Failed { op: OpKind::Recv, fault },
        }
    }
}

fn end_of(error: &io::Error) -> End {
    match policy::cause(error) {
        Cause::Graceful => End::Fin,
        Cause::Failed(fault) => End::Failed(fault),
        Cause::Bug => End::Failed(policy::fault(error)),
    }
}

/// A connection. While it is open a receive of no bytes is in flight whenever nothing is known to be there: without
/// one the system may never tell of a reset. It owns no buffer.
pub(super) struct Peer {
    socket: Accepted,
    bytes: Bytes,
    /// The receive of no bytes.
    look: Overlap,
    send: Overlap,
    want: Option<Want>,
    /// There is something to receive: the last look ended.
    readable: bool,
    end: Option<End>,
    /// The loop has cancelled what was in flight.
    aborting: bool,
    /// The close was asked for, and waits until nothing is in flight.
    closing: bool,
    /// Our FIN was asked for: nothing received from here on will be sent.
    discarding: bool,
}

impl Peer {
    /// A connection whose first look is under way.
    pub(super) fn new(socket: Accepted) -> Self {
        let mut peer = Self {
            socket,
            bytes: Bytes::default(),
            look: Overlap::new(),
            send: Overlap::new(),
            want: None,
            readable: false,
            end: None,
            aborting: false,
            closing: false,
            discarding: false,
        };
        peer.look();
        peer
    }

    /// Whether a receive that is asked for can be tried without waiting for anything.
    pub(super) fn is_ready(&self) -> bool {
        let is_over = self.aborting && !self.look.is_in_flight();
        self.want.is_some() && (self.readable || self.end.is_some() || is_over)
    }

    pub(super) fn want(&mut self, want: Want) {
        assert!(self.want.is_none(), "two receives at a time");
        self.want = Some(want);
    }

    /// Sends the first `len` bytes; an event when that is over at once.
    pub(super) fn send(&mut self, len: u32, pool: &mut Pool) -> Option<Event> {
        if let Some(End::Failed(fault)) = self.end {
            // A reset is reported once: the send might look as if it had worked.
            return Some(Event::Failed { op: OpKind::Send, fault });
        }
        let pieces = self.bytes.lock(len as usize, pool);
        // SAFETY: they are locked, and unlocked when the send is over.
        let started = unsafe { socket::send(&self.socket, &pieces, &mut self.send) };
        match started {
            Ok(Started::Now(sent)) => Some(self.sent(Ok(sent), pool)),
            Ok(Started::Later) => None,
            Err(error) => Some(self.sent(Err(error), pool)),
        }
    }

    /// The send in flight is over.
    pub(super) fn send_ended(&mut self, pool: &mut Pool) -> Event {
        let result = socket::result(&self.socket, &mut self.send);
        self.sent(result, pool)
    }

    fn sent(&mut self, result: io::Result<u32>, pool: &mut Pool) -> Event {
        self.bytes.unlock(*result.as_ref().unwrap_or(&0) as usize, pool);
        let fault = match result {
            Ok(0) => Fault::Local,
            Ok(sent) => return Event::Sent(sent),
            Err(error) => policy::fault(&error),
        };
        Event::Failed { op: OpKind::Send, fault }
    }

    /// The look in flight is over.
    pub(super) fn look_ended(&mut self) {
        match socket::result(&self.socket, &mut self.look) {
            Ok(_) => self.readable = true,
            Err(_) if self.aborting || self.closing => {}
            Err(error) => self.end = Some(end_of(&error)),
        }
    }

    pub(super) fn is_look(&self, name: *const OVERLAPPED) -> bool {
        self.look.name() == name
    }

    /// Tries the receive that is asked for, if there is one and something is known to be there.
    pub(super) fn receive(&mut self, pool: &mut Pool) -> Option<Event> {
        let want = self.want?;
        if let Some(end) = self.end {
            return Some(self.ended(end.event()));
        }
        if self.aborting {
            // The look that was cancelled first has its end reaped.
            let is_over = !self.look.is_in_flight();
            return is_over.then(|| self.ended(Event::Failed { op: OpKind::Recv, fault: Fault::Cancelled }));
        }
        if !self.readable {
            return None;
        }
        self.readable = false;
        match self.read(want, pool) {
            Ok(0) => {
                self.end = Some(End::Fin);
                Some(self.ended(End::Fin.event()))
            }
            Ok(taken) => {
                self.look();
                let taken = u32::try_from(taken).expect("no more than was asked for");
                Some(self.ended(Event::Received { taken, owed: taken }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.look();
                None
            }
            Err(error) => {
                let end = end_of(&error);
                self.end = Some(end);
                Some(self.ended(end.event()))
            }
        }
    }

    fn ended(&mut self, event: Event) -> Event {
        self.want = None;
        event
    }

    fn read(&mut self, want: Want, pool: &mut Pool) -> io::Result<usize> {
        match want {
            Want::Keep(max) if !self.discarding => {
                let room = self.bytes.space(max.min(RECV_MAX), pool);
                let result = (&*self.socket).read(room);
                self.bytes.fill(*result.as_ref().unwrap_or(&0), pool);
                result
            }
            Want::Keep(_) | Want::Discard => (&*self.socket).read(pool.scratch()),
        }
    }

    /// Has the system tell when there is something to receive.
    fn look(&mut self) {
        match socket::receive_nothing(&self.socket, &mut self.look) {
            Ok(Started::Now(_)) => self.readable = true,
            Ok(Started::Later) => {}
            Err(error) => self.end = Some(end_of(&error)),
        }
    }

    /// Whether the system holds nothing. A look takes nothing out, so nothing can be on its way through the port.
    pub(super) fn is_dry(&self) -> bool {
        let look = self.socket.peek(&mut [MaybeUninit::uninit()]);
        look.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) fn fin(&mut self, pool: &mut Pool) -> Event {
        self.discarding = true;
        self.bytes.clear(pool);
        // SD_SEND, never SD_BOTH: after SD_RECEIVE Windows answers a late byte with a RST.
        match self.socket.shutdown(Shutdown::Write) {
            Ok(()) => Event::FinSent,
            Err(error) => Event::Failed { op: OpKind::Fin, fault: policy::shutdown_fault(&error) },
        }
    }

    pub(super) fn cancel(&mut self) {
        self.aborting = true;
        for overlap in [&self.look, &self.send] {
            if overlap.is_in_flight() {
                socket::cancel(&self.socket, overlap);
            }
        }
    }

    /// The close was asked for. On Windows one with a receive in flight would be a RST, so that is cancelled first.
    pub(super) fn close(&mut self) {
        assert!(self.want.is_none() && !self.send.is_in_flight(), "closed with an operation in flight");
        self.closing = true;
        if self.look.is_in_flight() {
            socket::cancel(&self.socket, &self.look);
        }
    }

    /// As [`Peer::close`], with a RST.
    pub(super) fn reset(&mut self) {
        // {1, 0}, the only linger there is beside the default: any other time would block, or fail.
        if let Err(error) = self.socket.set_linger(Some(Duration::ZERO)) {
            tracing::warn!("SO_LINGER could not be set, so no RST is sent: {error}");
        }
        self.close();
    }

    /// Whether it is to be closed and can be: everything that was started has ended.
    pub(super) fn is_closable(&self) -> bool {
        self.closing && !self.look.is_in_flight() && !self.send.is_in_flight()
    }

    /// Gives back what it has leased; the socket is closed when this returns.
    pub(super) fn end(mut self, pool: &mut Pool) {
        assert!(self.is_closable(), "closed with an operation in flight");
        self.bytes.clear(pool);
    }
}
