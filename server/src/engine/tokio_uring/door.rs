//! Where connections come in: a listening socket, or what a dealer hands over. A task each.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::unconstrained;

use super::Shared;
use crate::listener::{self, Closed, Dealer, Hand, Source};
use crate::policy::BACKLOG;
use crate::proactor::{Completion, ListenerId};

/// Connections accepted in one turn, so that those which are open are not kept waiting by a storm.
const ACCEPTS: u32 = 256;

pub(super) struct Door {
    listener: ListenerId,
    /// `None` where a dealer hands over, and when it is closed.
    socket: RefCell<Option<Rc<TcpListener>>>,
    state: Cell<State>,
    /// The state has changed, or a dealer has something for us.
    news: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Stopping,
}

/// Who gets what was accepted, or who gives it.
enum Way {
    Ours,
    Dealt(Dealer),
    Hand(Hand),
}

/// What a turn of accepting left behind.
enum Left {
    /// Perhaps more.
    More,
    /// Nothing now.
    Nothing,
    /// Nothing, for ever.
    Closed,
}

impl Door {
    /// Within the runtime.
    pub(super) fn open(listener: ListenerId, source: Source, shared: &Rc<Shared>) -> io::Result<Rc<Self>> {
        let news = Arc::new(Notify::new());
        let (socket, way) = match source {
            Source::Socket(socket) => (Some(socket), Way::Ours),
            Source::Dealer(socket, dealer) => (Some(socket), Way::Dealt(dealer)),
            Source::Hand(hand) => {
                hand.wake_with(Arc::new(Handed(Arc::clone(&news))).into());
                (None, Way::Hand(hand))
            }
        };
        let socket = socket.map(watched).transpose()?.map(Rc::new);
        let door =
            Rc::new(Self { listener, socket: RefCell::new(socket), state: Cell::new(State::Paused), news });
        // Not to be told that there is nothing when there was much: the last look before a close must be a true one.
        tokio_uring::spawn(unconstrained(serve(Rc::clone(&door), way, Rc::clone(shared))));
        Ok(door)
    }

    pub(super) fn start(&self) {
        self.enter(State::Open);
    }

    pub(super) fn pause(&self) {
        self.enter(State::Paused);
    }

    pub(super) fn stop(&self) {
        self.enter(State::Stopping);
    }

    pub(super) fn refuse_handshakes(&self) {
        if let Some(socket) = &*self.socket.borrow() {
            listener::refuse_handshakes(SockRef::from(&**socket));
        }
    }

    /// Until there is something to accept, of which the last look has left word, or something to do.
    async fn wait_for_more(&self) {
        let mut news = std::pin::pin!(self.news.notified());
        let mut is_woken = false;
        poll_fn(|context| {
            if news.as_mut().poll(context).is_ready() || std::mem::replace(&mut is_woken, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn enter(&self, state: State) {
        self.state.set(state);
        self.news.notify_one();
    }

    /// Accepts the next connection, without waiting; the task is woken when there is one.
    async fn accept(&self) -> io::Result<Option<TcpStream>> {
        let Some(socket) = self.socket.borrow().clone() else { return Ok(None) };
        let accepted = poll_fn(|context| match socket.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        });
        accepted.await.map(|accepted| accepted?.0.into_std()).transpose()
    }

    /// Takes one connection.
    async fn take_one(&self, way: &mut Way, shared: &Rc<Shared>) -> io::Result<Left> {
        let stream = match way {
            Way::Hand(hand) => match hand.take() {
                Ok(stream) => stream,
                Err(Closed) => return Ok(Left::Closed),
            },
            Way::Ours | Way::Dealt(_) => self.accept().await?,
        };
        let Some(stream) = stream else { return Ok(Left::Nothing) };
        let ours = match way {
            Way::Dealt(dealer) => dealer.deal(stream),
            Way::Ours | Way::Hand(_) => Some(stream),
        };
        // One that went to another worker is no news for this one, but there may be more.
        ours.map_or(Ok(()), |stream| shared.admit(self.listener, stream)).map(|()| Left::More)
    }

    /// Takes up to `most` connections.
    async fn take(&self, most: u32, way: &mut Way, shared: &Rc<Shared>) -> io::Result<Left> {
        for _ in 0..most {
            match self.take_one(way, shared).await? {
                Left::More => {}
                left @ (Left::Nothing | Left::Closed) => return Ok(left),
            }
        }
        Ok(Left::More)
    }
}

async fn serve(door: Rc<Door>, mut way: Way, shared: Rc<Shared>) {
    let listener = door.listener;
    loop {
        match door.state.get() {
            State::Paused => door.news.notified().await,
            State::Open => match door.take(ACCEPTS, &mut way, &shared).await {
                Ok(Left::More) => tokio::task::yield_now().await,
                Ok(Left::Nothing) => door.wait_for_more().await,
                // The dealer is gone: there is nothing to do until this door is asked to stop.
                Ok(Left::Closed) => door.news.notified().await,
                Err(error) => {
                    door.state.set(State::Paused);
                    shared.push(Completion::AcceptFailed { listener, error });
                }
            },
            State::Stopping => {
                if is_stopped(&door, &mut way, &shared).await {
                    door.socket.replace(None);
                    drop(way);
                    return shared.push(Completion::AcceptStopped { listener });
                }
                door.news.notified().await;
            }
        }
    }
}

/// The last turn: one backlog's worth ends it even where handshakes cannot be refused. Whether it is over, which with a
/// dealer means that the dealer is.
async fn is_stopped(door: &Door, way: &mut Way, shared: &Rc<Shared>) -> bool {
    for _ in 0..BACKLOG {
        match door.take_one(way, shared).await {
            Ok(Left::More) => {}
            Ok(Left::Nothing) => break,
            Ok(Left::Closed) => return true,
            // It is lost, and the next one may not be.
            Err(error) => tracing::warn!("a connection of the backlog cannot be served: {error}"),
        }
    }
    !matches!(way, Way::Hand(_))
}

fn watched(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

struct Handed(Arc<Notify>);

impl std::task::Wake for Handed {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}
