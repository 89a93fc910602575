//! Where the readiness engine's connections come in: a listening socket, or what a dealer hands over.

use std::io;
use std::task::Waker;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::SockRef;

use crate::listener::{self, Dealer, Hand, Source};
use crate::policy::BACKLOG;

/// Connections accepted in one turn, so that those which are open are not kept waiting by a storm.
const ACCEPTS: u32 = 256;

pub(super) struct Door {
    way: Way,
    state: State,
    /// There may be something to take.
    hinted: bool,
}

enum Way {
    Socket(TcpListener),
    Dealer(TcpListener, Dealer),
    Hand(Hand),
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Stopping,
}

/// How a turn of taking ended.
pub(super) enum Taken {
    /// It goes on.
    Some,
    /// The door is closed.
    Stopped,
}

impl Door {
    pub(super) fn open(
        source: Source,
        registry: &Registry,
        token: mio::Token,
        waker: impl FnOnce() -> Waker,
    ) -> io::Result<Self> {
        let listen = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(listener);
            registry.register(&mut listener, token, Interest::READABLE)?;
            Ok::<_, io::Error>(listener)
        };
        let way = match source {
            Source::Socket(listener) => Way::Socket(listen(listener)?),
            Source::Dealer(listener, dealer) => Way::Dealer(listen(listener)?, dealer),
            Source::Hand(hand) => {
                hand.wake_with(waker());
                Way::Hand(hand)
            }
        };
        Ok(Self { way, state: State::Paused, hinted: true })
    }

    pub(super) fn start(&mut self) {
        self.state = State::Open;
        self.hinted = true;
    }

    pub(super) fn pause(&mut self) {
        self.state = State::Paused;
    }

    pub(super) fn stop(&mut self) {
        self.state = State::Stopping;
        self.hinted = true;
    }

    pub(super) fn hint(&mut self) {
        self.hinted = true;
    }

    pub(super) fn refuse_handshakes(&mut self) {
        match &self.way {
            Way::Socket(listener) | Way::Dealer(listener, _) => {
                listener::refuse_handshakes(SockRef::from(listener));
            }
            Way::Hand(_) | Way::Closed => {}
        }
    }

    /// Whether the next turn has something to do here.
    pub(super) fn is_busy(&self) -> bool {
        match self.state {
            State::Open | State::Stopping => self.hinted,
            State::Paused => false,
        }
    }

    /// Takes what there is, up to a limit, and gives each connection to `admit`.
    pub(super) fn take(
        &mut self,
        registry: &Registry,
        mut admit: impl FnMut(&Registry, TcpStream) -> io::Result<()>,
    ) -> io::Result<Taken> {
        if !self.is_busy() {
            return Ok(Taken::Some);
        }
        let most = match self.state {
            State::Open | State::Paused => ACCEPTS,
            // The last turn: one backlog's worth ends it even where handshakes cannot be refused.
            State::Stopping => BACKLOG,
        };
        for _ in 0..most {
            match self.next() {
                Ok(Some(stream)) => {
                    if let Some(stream) = self.deal(stream)
                        && let Err(error) = admit(registry, stream)
                    {
                        if self.state == State::Stopping {
                            // It is lost, and the next one may not be: the door is to be closed in any case.
                            tracing::warn!("a connection of the backlog cannot be served: {error}");
                            continue;
                        }
                        self.state = State::Paused;
                        return Err(error);
                    }
                }
                Ok(None) => {
                    self.hinted = false;
                    break;
                }
                Err(_) if self.state == State::Stopping => break,
                Err(error) => {
                    self.state = State::Paused;
                    return Err(error);
                }
            }
        }
        let more_to_come = matches!(self.way, Way::Hand(_));
        if self.state != State::Stopping || more_to_come {
            return Ok(Taken::Some);
        }
        self.state = State::Paused;
        self.way = Way::Closed;
        Ok(Taken::Stopped)
    }

    fn next(&mut self) -> io::Result<Option<TcpStream>> {
        match &self.way {
            Way::Socket(listener) | Way::Dealer(listener, _) => match listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
            Way::Hand(hand) => match hand.take() {
                Ok(Some(stream)) => Ok(Some(TcpStream::from_std(stream))),
                Ok(None) => Ok(None),
                Err(_) => {
                    self.way = Way::Closed;
                    Ok(None)
                }
            },
            Way::Closed => Ok(None),
        }
    }

    fn deal(&mut self, stream: TcpStream) -> Option<TcpStream> {
        match &mut self.way {
            Way::Dealer(_, dealer) => dealer.deal(stream.into()).map(TcpStream::from_std),
            Way::Socket(_) | Way::Hand(_) | Way::Closed => Some(stream),
        }
    }
}
