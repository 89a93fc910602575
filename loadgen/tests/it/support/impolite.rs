//! Servers that end their connections wrongly, each in its own manner: blocking, a thread for each connection.

mod check;
mod manner;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};

use socket2::{Domain, SockRef, Socket, Type};

pub(crate) use manner::{Bytes, Manner};

/// A connection's thread holds one buffer, and little else.
const STACK_BYTES: usize = 256 * 1024;

/// A server on a free port of 127.0.0.1. Dropping it ends its connections and its threads.
pub(crate) struct Impolite {
    addr: SocketAddr,
    target: String,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of a server have in common.
#[derive(Default)]
struct Shared {
    accepted: AtomicU64,
    /// Connections whose first bytes have been read.
    begun: AtomicU64,
    /// Connections whose FIN has been read.
    parted: AtomicU64,
    /// Connections with which the server is done.
    done: AtomicU64,
    ending: Mutex<bool>,
    ended: Condvar,
    /// Weak, so that the thread of a connection closes it when it drops it: a RST is sent by the last close.
    connections: Mutex<Vec<Weak<TcpStream>>>,
    handlers: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// Keeps the caller until the server ends.
    fn hold(&self) {
        let ending = self.ending.lock().unwrap();
        drop(self.ended.wait_while(ending, |ending| !*ending).unwrap());
    }
}

impl Impolite {
    /// A server that treats every connection in one manner.
    pub(crate) fn start(manner: Manner, bytes: Bytes) -> Self {
        Self::start_mixed(bytes, move |_| manner)
    }

    /// A server that treats each connection in the manner that its number among the accepted ones, from 0, has.
    pub(crate) fn start_mixed(bytes: Bytes, manner: impl Fn(u64) -> Manner + Send + 'static) -> Self {
        let listener = Arc::new(listening(1024));
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || {
                // Shutting the listener down, which is how the server ends, fails the accept.
                while let Ok((stream, _)) = listener.accept() {
                    let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
                    treat(&shared, stream, manner(number), bytes);
                }
            }
        });
        Self { addr, target: addr.to_string(), listener, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens, as an argument.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that it has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections whose first bytes it has read.
    pub(crate) fn begun(&self) -> u64 {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// Connections whose FIN it has read.
    pub(crate) fn parted(&self) -> u64 {
        self.shared.parted.load(Ordering::Relaxed)
    }

    /// Connections with which it is done, because the client has ended them or because they were ended here.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }
}

impl Drop for Impolite {
    fn drop(&mut self) {
        *self.shared.ending.lock().unwrap() = true;
        self.shared.ended.notify_all();
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        let acceptor = self.acceptor.take().map(JoinHandle::join);
        for connection in self.shared.connections.lock().unwrap().iter().filter_map(Weak::upgrade) {
            // It may have ended in the meantime.
            let _ = connection.shutdown(Shutdown::Both);
        }
        let handlers = std::mem::take(&mut *self.shared.handlers.lock().unwrap());
        let failed =
            handlers.into_iter().map(JoinHandle::join).chain(acceptor).filter(Result::is_err).count();
        assert!(failed == 0 || thread::panicking(), "{failed} threads of the server panicked");
    }
}

/// Starts the thread of one connection.
fn treat(shared: &Arc<Shared>, stream: TcpStream, manner: Manner, bytes: Bytes) {
    // Without it the pieces that a manner sends apart would wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    let stream = Arc::new(stream);
    shared.connections.lock().unwrap().push(Arc::downgrade(&stream));
    let own = Arc::clone(shared);
    let handler = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        // An error says that the peer went away first, which is its right.
        let _ = manner::treat(&own, &stream, manner, bytes);
        own.done.fetch_add(1, Ordering::Relaxed);
    });
    let mut handlers = shared.handlers.lock().unwrap();
    // Churn makes many: those that have ended need no join, except to know of their panics.
    let (done, running): (Vec<_>, _) = handlers.drain(..).partition(JoinHandle::is_finished);
    *handlers = running;
    handlers.push(handler.unwrap());
    drop(handlers);
    done.into_iter().for_each(|handler| handler.join().unwrap());
}

fn listening(backlog: i32) -> TcpListener {
    let socket = bound();
    socket.listen(backlog).unwrap();
    socket.into()
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket
}

/// A port on which nobody listens, and nobody else will while this is held: SYNs are answered with a RST.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = bound();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// A port on which someone listens who accepts nobody, with its backlog full: SYNs are dropped.
pub(crate) fn full() -> (TcpListener, TcpStream, SocketAddr) {
    // Linux holds one more than the backlog.
    let listener = listening(0);
    let addr = listener.local_addr().unwrap();
    let only = TcpStream::connect(addr).unwrap();
    (listener, only, addr)
}
