//! One connection in this engine: its socket, its bytes, and what is in flight.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::bytes::{Bytes, Pool, RECV_MAX};
use super::overlap::Overlap;
use super::socket::{self, Accepted, Started};
use crate::conn::{Event, Fault, OpKind};
use crate::ledger::{Account, Answer, Fin, Teller};
use crate::policy::{self, Cause};
use crate::proactor::Token;
use crate::sys;

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
    /// What the ledger knows of it, unless it is an echo.
    account: Option<Box<Account>>,
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
    pub(super) fn new(socket: Accepted, account: Option<Box<Account>>) -> Self {
        let mut peer = Self {
            socket,
            bytes: Bytes::default(),
            account,
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
        let has_more = !self.is_awaiting() && (self.readable || self.end.is_some());
        self.want.is_some() && (has_more || is_over)
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

    fn is_awaiting(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.is_awaiting())
    }

    /// The ledger has answered the peer's FIN; nothing, where this peer waits for no such answer.
    pub(super) fn answered(&mut self, claim: u32, answer: Answer, pool: &mut Pool) -> Option<Event> {
        if !self.account.as_mut()?.is_answered(claim) {
            return None;
        }
        let event = match answer {
            Answer::Bare => Event::PeerFin { owed: 0 },
            Answer::Replied(reply) => Event::PeerFin { owed: self.bytes.push(reply.line().as_ref(), pool) },
            Answer::Lost => Event::Failed { op: OpKind::Recv, fault: Fault::Local },
        };
        Some(self.ended(event))
    }

    /// We end the connection: what the ledger has us say.
    pub(super) fn part(&mut self, teller: &mut Teller, pool: &mut Pool) -> u32 {
        let line = self.account.as_mut().and_then(|account| teller.part(account));
        line.map_or(0, |line| self.bytes.push(line.as_ref(), pool))
    }

    /// Tries the receive that is asked for, if there is one and something is known to be there.
    pub(super) fn receive(&mut self, token: Token, pool: &mut Pool, teller: &mut Teller) -> Option<Event> {
        let want = self.want.filter(|_| !self.is_awaiting())?;
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
            Ok((0, _)) => {
                self.end = Some(End::Fin);
                let has_peer = || sys::has_peer(SockRef::from(&*self.socket));
                match self
                    .account
                    .as_mut()
                    .map_or(Fin::Bare, |account| teller.fin(account, token.0, has_peer))
                {
                    Fin::Bare => {}
                    Fin::Reset => self.end = Some(End::Failed(Fault::Reset)),
                    Fin::Withheld => return None,
                }
                self.end.map(|end| self.ended(end.event()))
            }
            Ok((taken, owed)) => {
                self.look();
                let [taken, owed] =
                    [taken, owed].map(|len| u32::try_from(len).expect("no more than was asked for"));
                Some(self.ended(Event::Received { taken, owed }))
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

    /// Returns how much was taken, and how much is owed for it.
    fn read(&mut self, want: Want, pool: &mut Pool) -> io::Result<(usize, usize)> {
        match want {
            Want::Keep(max) if !self.discarding => {
                let room = self.bytes.space(max.min(RECV_MAX), pool);
                let result = (&*self.socket).read(room);
                let taken = *result.as_ref().unwrap_or(&0);
                let owed = match &mut self.account {
                    Some(account) => account.take(&mut room[..taken]),
                    None => taken,
                };
                self.bytes.fill(owed, pool);
                result.map(|taken| (taken, owed))
            }
            Want::Keep(_) | Want::Discard => (&*self.socket).read(pool.scratch()).map(|taken| (taken, taken)),
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
        if self.is_awaiting() {
            return false;
        }
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
        self.account.iter_mut().for_each(|account| account.give_up());
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
