//! Listening: a port of our own, a real backlog, and a share of the connections for each worker.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::policy::{BACKLOG, PORT_RETRIES, PORT_RETRY};
use crate::sys::{self, Balance};

/// Where one worker's connections come from.
#[derive(Debug)]
pub enum Source {
    /// A listening socket of its own.
    Socket(TcpListener),
    /// The listening socket that all workers share; this worker accepts and deals out.
    Dealer(TcpListener, Dealer),
    /// What the dealer hands over.
    Hand(Hand),
}

/// Deals accepted connections out, each worker in turn.
#[derive(Debug)]
pub struct Dealer {
    hands: Vec<(Sender<TcpStream>, Arc<OnceLock<Waker>>)>,
    next: usize,
}

/// One worker's end of a [`Dealer`].
#[derive(Debug)]
pub struct Hand {
    streams: Receiver<TcpStream>,
    waker: Arc<OnceLock<Waker>>,
}

/// Binds `addr` and returns a source for each of `workers` workers, with the address that was bound (a port of 0 is
/// resolved).
///
/// The first socket is bound alone, so that a port which another process holds is an error; only then does it allow
/// siblings. With SO_REUSEPORT from the start a second server of the same user would take half of the connections,
/// and nobody would be told.
///
/// A port that is taken is tried again for a second ([`PORT_RETRIES`]), for its holder may be a server that was killed and
/// is not yet gone from the kernel.
///
/// # Errors
/// As socket(2), bind(2) and listen(2).
pub fn bind(addr: SocketAddr, workers: usize, balance: Balance) -> io::Result<(SocketAddr, Vec<Source>)> {
    for _ in 0..PORT_RETRIES {
        match bind_now(addr, workers, balance) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(PORT_RETRY),
            done => return done,
        }
    }
    bind_now(addr, workers, balance)
}

fn bind_now(addr: SocketAddr, workers: usize, balance: Balance) -> io::Result<(SocketAddr, Vec<Source>)> {
    let first = socket(addr)?;
    first.bind(&addr.into())?;
    let bound = first.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    if workers > 1 && balance == Balance::Deal {
        first.listen(BACKLOG as i32)?;
        return Ok((bound, deal(first.into(), workers)));
    }
    let mut sockets = vec![first];
    if workers > 1 {
        sys::share_port(&sockets[0])?;
        for _ in 1..workers {
            let sibling = socket(addr)?;
            sys::share_port(&sibling)?;
            sibling.bind(&bound.into())?;
            sockets.push(sibling);
        }
    }
    for socket in &sockets {
        socket.listen(BACKLOG as i32)?;
    }
    Ok((bound, sockets.into_iter().map(|socket| Source::Socket(socket.into())).collect()))
}

/// Lets no new handshake begin on `listener`, where the system can do that; elsewhere says so.
pub fn refuse_handshakes(listener: SockRef<'_>) {
    if let Err(error) = sys::refuse_handshakes(listener) {
        tracing::info!(
            "new handshakes cannot be refused here ({error}); at most {BACKLOG} more are accepted"
        );
    }
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    sys::claim_port(&socket)?;
    if addr.is_ipv6() {
        // Whether [::] takes IPv4 too differs between systems; here it never does, and both can be listened on.
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it, which saves a system call on each.
    socket.set_tcp_nodelay(true)?;
    // Inherited likewise: an urgent byte is a byte like any other (RFC 6093), and echoed in its place.
    socket.set_out_of_band_inline(true)?;
    Ok(socket)
}

fn deal(listener: TcpListener, workers: usize) -> Vec<Source> {
    let mut hands = Vec::new();
    let mut sources = Vec::new();
    for _ in 1..workers {
        let (sender, streams) = channel();
        let waker = Arc::new(OnceLock::new());
        hands.push((sender, Arc::clone(&waker)));
        sources.push(Source::Hand(Hand { streams, waker }));
    }
    sources.insert(0, Source::Dealer(listener, Dealer { hands, next: 0 }));
    sources
}

impl Dealer {
    /// Hands `stream` to the worker whose turn it is, or returns it when that is the dealer itself.
    pub fn deal(&mut self, stream: TcpStream) -> Option<TcpStream> {
        self.next = (self.next + 1) % (self.hands.len() + 1);
        let Some((sender, waker)) = self.next.checked_sub(1).map(|turn| &self.hands[turn]) else {
            return Some(stream);
        };
        // A worker that is gone (it failed) cannot serve: the dealer does.
        let refused = sender.send(stream).err().map(|unsent| unsent.0);
        wake(waker);
        refused
    }
}

impl Drop for Dealer {
    /// No more connections: each worker finds its channel closed, once it looks.
    fn drop(&mut self) {
        for (sender, waker) in self.hands.drain(..) {
            drop(sender);
            wake(&waker);
        }
    }
}

fn wake(waker: &OnceLock<Waker>) {
    if let Some(waker) = waker.get() {
        waker.wake_by_ref();
    }
}

impl Hand {
    /// Has `waker` called whenever there is something to take.
    pub fn wake_with(&self, waker: Waker) {
        self.waker.get_or_init(|| waker);
    }

    /// The next connection; `None` when there is none now.
    ///
    /// # Errors
    /// When the dealer has closed its listener and there will be no more.
    pub fn take(&self) -> Result<Option<TcpStream>, Closed> {
        match self.streams.try_recv() {
            Ok(stream) => Ok(Some(stream)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Closed),
        }
    }
}

/// There will be no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;
