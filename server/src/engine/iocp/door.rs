//! Where the engine's connections come in: pre-posted AcceptEx operations on a listener, or what a dealer hands over.

use std::io;
use std::net::TcpListener;

use socket2::{Domain, Protocol, Socket, Type};
use windows_sys::Win32::Networking::WinSock::LPFN_ACCEPTEX;
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::overlap::Overlap;
use super::port::Port;
use super::socket::{self, Accepted, Addresses, Started};
use crate::conn::Fault;
use crate::listener::{Closed, Dealer, Hand};
use crate::policy::{self, BACKLOG};

/// Operations that wait for connections on each listener: a burst of so many needs no turn of the loop between.
const ACCEPTS: usize = 64;

/// A listener with its operations.
pub(super) struct Acceptor {
    listener: Socket,
    domain: Domain,
    accept_ex: LPFN_ACCEPTEX,
    accepts: Vec<Accept>,
}

/// One AcceptEx at a time.
struct Accept {
    overlap: Overlap,
    addresses: Box<Addresses>,
    /// The socket that is to become a connection. It is kept when an operation was cancelled.
    socket: Option<Socket>,
}

/// What an operation that ended has brought.
pub(super) enum Brought {
    /// A connection.
    One(Accepted),
    /// Nothing: it was cancelled, or the connection was gone before it was accepted.
    Nothing,
    /// The listener cannot go on.
    Failure(io::Error),
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, port: &Port, key: usize) -> io::Result<Self> {
        let listener = Socket::from(listener);
        let domain =
            Domain::for_address(listener.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?);
        port.adopt(&listener, key)?;
        // For the last look at its queue; AcceptEx does not care.
        listener.set_nonblocking(true)?;
        let accept_ex = socket::find_accept_ex(&listener)?;
        let accept = || Accept { overlap: Overlap::new(), addresses: Box::new([0; _]), socket: None };
        let accepts = std::iter::repeat_with(accept).take(ACCEPTS).collect();
        Ok(Self { listener, domain, accept_ex, accepts })
    }

    /// Has every operation wait for a connection, and appends what came at once.
    ///
    /// # Errors
    /// When none of them can; with fewer than all it goes on.
    pub(super) fn post(&mut self, into: &mut Vec<Accepted>) -> io::Result<()> {
        for index in 0..self.accepts.len() {
            if self.accepts[index].overlap.is_in_flight() {
                continue;
            }
            match self.post_one(index) {
                Ok(Brought::One(accepted)) => into.push(accepted),
                Ok(Brought::Nothing) => {}
                Ok(Brought::Failure(error)) | Err(error) => {
                    return if self.is_in_flight() { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    fn post_one(&mut self, index: usize) -> io::Result<Brought> {
        let accept = &mut self.accepts[index];
        let socket = match accept.socket.take() {
            Some(socket) => socket,
            None => Socket::new(self.domain, Type::STREAM, Some(Protocol::TCP))?,
        };
        let socket = accept.socket.insert(socket);
        // SAFETY: the addresses are in a box that is kept for as long as the operation is in flight.
        let started = unsafe {
            socket::accept(self.accept_ex, &self.listener, socket, &mut accept.addresses, &mut accept.overlap)
        };
        match started {
            Ok(Started::Now(_)) => Ok(self.brought(index, Ok(()))),
            Ok(Started::Later) => Ok(Brought::Nothing),
            Err(error) => Ok(self.brought(index, Err(error))),
        }
    }

    /// Takes in the end of the operation that `name` names.
    pub(super) fn ended(&mut self, name: *const OVERLAPPED) -> Brought {
        let mut accepts = self.accepts.iter();
        let index =
            accepts.position(|accept| accept.overlap.name() == name).expect("an accept of this listener");
        let result = socket::result(&self.listener, &mut self.accepts[index].overlap);
        self.brought(index, result.map(drop))
    }

    fn brought(&mut self, index: usize, result: io::Result<()>) -> Brought {
        let accept = &mut self.accepts[index];
        let accepted = result.and_then(|()| {
            let socket = accept.socket.take().expect("an operation has a socket");
            Accepted::update(socket, &self.listener)
        });
        let error = match accepted {
            Ok(accepted) => return Brought::One(accepted),
            Err(error) => error,
        };
        match policy::fault(&error) {
            // Its socket is as good as new.
            Fault::Cancelled => Brought::Nothing,
            // The client was gone before it was accepted.
            Fault::Reset | Fault::Aborted | Fault::TimedOut => {
                tracing::debug!("a connection was lost before it was accepted: {error}");
                accept.socket = None;
                Brought::Nothing
            }
            Fault::Local | Fault::Shutdown => {
                accept.socket = None;
                Brought::Failure(error)
            }
        }
    }

    pub(super) fn cancel(&self) {
        for accept in self.accepts.iter().filter(|accept| accept.overlap.is_in_flight()) {
            socket::cancel(&self.listener, &accept.overlap);
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.accepts.iter().any(|accept| accept.overlap.is_in_flight())
    }

    /// What the queue still holds, at most one backlog's worth, once nothing waits for it any more. Closed after this.
    pub(super) fn empty(self, into: &mut Vec<Accepted>) {
        assert!(!self.is_in_flight(), "a listener was closed with an accept in flight");
        let queue = (0..BACKLOG).map_while(|_| self.listener.accept().ok());
        into.extend(queue.map(|(socket, _)| Accepted::plain(socket)));
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        for accept in self.accepts.drain(..).filter(|accept| accept.overlap.is_in_flight()) {
            // The kernel may write addresses there yet. Only a worker that failed leaves any behind.
            std::mem::forget(accept.addresses);
        }
    }
}

/// One listener of the worker.
pub(super) struct Door {
    pub(super) way: Way,
    pub(super) wish: Wish,
    /// There may be something to do before anything comes to the port.
    pub(super) hinted: bool,
}

/// Where connections come from.
pub(super) enum Way {
    /// A listener, and whom else its connections go to, if to anyone.
    Listener(Acceptor, Option<Dealer>),
    Hand(Hand),
    Closed,
}

/// What the loop wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Accept,
    Pause,
    Stop,
}

/// What a turn at a door has brought, besides connections.
pub(super) enum Turn {
    GoesOn,
    /// It is closed.
    Stopped,
    Failed(io::Error),
}

impl Door {
    pub(super) fn new(way: Way) -> Self {
        Self { way, wish: Wish::Pause, hinted: false }
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        self.wish = wish;
        self.hinted = true;
        match (&self.way, wish) {
            (Way::Listener(acceptor, _), Wish::Pause | Wish::Stop) => acceptor.cancel(),
            (Way::Listener(..), Wish::Accept) | (Way::Hand(_) | Way::Closed, _) => {}
        }
    }

    /// Does what is to be done now, and appends the connections that are this worker's own.
    pub(super) fn tend(&mut self, into: &mut Vec<Accepted>) -> Turn {
        if !std::mem::take(&mut self.hinted) {
            return Turn::GoesOn;
        }
        let mut came = Vec::new();
        let turn = match self.wish {
            Wish::Pause => Turn::GoesOn,
            Wish::Accept => self.accept(&mut came),
            Wish::Stop => self.stop(&mut came),
        };
        into.extend(came);
        turn
    }

    fn accept(&mut self, into: &mut Vec<Accepted>) -> Turn {
        match &mut self.way {
            Way::Listener(acceptor, dealer) => {
                let mut came = Vec::new();
                let result = acceptor.post(&mut came);
                // Those that ended at once wait for the next connections in the next turn.
                self.hinted = !came.is_empty() || !acceptor.is_in_flight();
                into.extend(came.into_iter().filter_map(|accepted| deal(dealer.as_mut(), accepted)));
                match result {
                    Ok(()) => Turn::GoesOn,
                    Err(error) => self.failed(error),
                }
            }
            Way::Hand(hand) => {
                if take(hand, into).is_err() {
                    self.way = Way::Closed;
                }
                Turn::GoesOn
            }
            Way::Closed => Turn::GoesOn,
        }
    }

    fn stop(&mut self, into: &mut Vec<Accepted>) -> Turn {
        match std::mem::replace(&mut self.way, Way::Closed) {
            Way::Listener(acceptor, dealer) if acceptor.is_in_flight() => {
                // The last cancelled operation hints again.
                self.way = Way::Listener(acceptor, dealer);
                return Turn::GoesOn;
            }
            Way::Listener(acceptor, mut dealer) => {
                let mut came = Vec::new();
                acceptor.empty(&mut came);
                into.extend(came.into_iter().filter_map(|accepted| deal(dealer.as_mut(), accepted)));
            }
            Way::Hand(hand) => {
                // There is more to come until the dealer has closed its listener, which wakes this worker.
                if take(&hand, into).is_ok() {
                    self.way = Way::Hand(hand);
                    return Turn::GoesOn;
                }
            }
            Way::Closed => {}
        }
        self.wish = Wish::Pause;
        Turn::Stopped
    }

    /// Takes in the end of an accept; the connection is returned when it is this worker's own.
    pub(super) fn ended(&mut self, name: *const OVERLAPPED) -> (Option<Accepted>, Turn) {
        let Way::Listener(acceptor, dealer) = &mut self.way else {
            unreachable!("an accept ended at a door without a listener")
        };
        self.hinted = true;
        match acceptor.ended(name) {
            Brought::One(accepted) => (deal(dealer.as_mut(), accepted), Turn::GoesOn),
            Brought::Nothing => (None, Turn::GoesOn),
            Brought::Failure(error) => (None, self.failed(error)),
        }
    }

    /// Accepting stops, and the loop decides when to try again. A door that is being closed does not try.
    fn failed(&mut self, error: io::Error) -> Turn {
        if self.wish != Wish::Accept {
            return Turn::GoesOn;
        }
        self.wish(Wish::Pause);
        Turn::Failed(error)
    }
}

/// Hands a connection to the worker whose turn it is, or returns it when that is this one.
fn deal(dealer: Option<&mut Dealer>, accepted: Accepted) -> Option<Accepted> {
    match dealer {
        Some(dealer) => dealer.deal(accepted.into_stream()).map(Accepted::dealt),
        None => Some(accepted),
    }
}

fn take(hand: &Hand, into: &mut Vec<Accepted>) -> Result<(), Closed> {
    while let Some(stream) = hand.take()? {
        into.push(Accepted::dealt(stream));
    }
    Ok(())
}
