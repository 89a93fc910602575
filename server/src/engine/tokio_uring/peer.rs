//! One connection: its socket, the bytes that it owes, and the task that moves them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::Notify;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use super::Shared;
use crate::conn::{Event, Fault, OpKind};
use crate::ledger::{Account, Answer, Fin, ReplyLine, Teller};
use crate::policy;
use crate::proactor::{Completion, Token};
use crate::sys;

/// What a receive has room for at first. It holds this much for as long as its peer is silent.
const ROOM_MIN: usize = 4 * 1024;
/// And after one that filled its room.
const ROOM_MAX: usize = 64 * 1024;

pub(super) struct Peer {
    token: Token,
    stream: TcpStream,
    /// Received and not yet sent, oldest first; none is empty.
    owed: RefCell<VecDeque<Chunk>>,
    /// What the ledger knows of it, unless it is an echo.
    account: RefCell<Option<Box<Account>>>,
    /// What it has answered to the peer's FIN.
    answer: Cell<Option<Answer>>,
    answer_came: Notify,
    recv: Cell<Option<Recv>>,
    send: Cell<Option<usize>>,
    /// Room for the next receive.
    room: Cell<usize>,
    /// Our FIN was asked for: nothing received from here on will be sent.
    discarding: Cell<bool>,
    cancelled: Cell<bool>,
    closing: Cell<bool>,
    /// The turn in which the socket was found empty.
    empty_in: Cell<Option<u64>>,
    recv_asked: Notify,
    send_asked: Notify,
}

#[derive(Clone, Copy)]
enum Recv {
    Keep(usize),
    Discard,
}

struct Chunk {
    data: Vec<u8>,
    sent: usize,
}

impl Peer {
    pub(super) fn new(token: Token, stream: std::net::TcpStream, account: Option<Box<Account>>) -> Self {
        Self {
            token,
            stream: TcpStream::from_std(stream),
            owed: RefCell::default(),
            account: RefCell::new(account),
            answer: Cell::new(None),
            answer_came: Notify::new(),
            recv: Cell::new(None),
            send: Cell::new(None),
            room: Cell::new(ROOM_MIN),
            discarding: Cell::new(false),
            cancelled: Cell::new(false),
            closing: Cell::new(false),
            empty_in: Cell::new(None),
            recv_asked: Notify::new(),
            send_asked: Notify::new(),
        }
    }

    /// Receives up to `max` bytes; `None`: whatever comes, and forgets it.
    pub(super) fn ask_recv(&self, max: Option<usize>) {
        self.recv.set(Some(max.map_or(Recv::Discard, Recv::Keep)));
        self.empty_in.set(None);
        self.recv_asked.notify_one();
    }

    /// Sends up to `len` bytes.
    pub(super) fn ask_send(&self, len: usize) {
        self.send.set(Some(len));
        self.send_asked.notify_one();
    }

    /// Sends our FIN.
    pub(super) fn fin(&self) -> Event {
        self.discarding.set(true);
        self.owed.borrow_mut().clear();
        match self.stream.shutdown(Shutdown::Write) {
            Ok(()) => Event::FinSent,
            Err(error) => Event::Failed { op: OpKind::Fin, fault: policy::shutdown_fault(&error) },
        }
    }

    /// Makes what is in flight end. A send ends only with its connection, and a RST is what its peer is to get anyway;
    /// SHUT_RD alone leaves the wire as it is.
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        if let Some(account) = &mut *self.account.borrow_mut() {
            account.give_up();
            self.answer_came.notify_one();
        }
        let ended = if self.send.get().is_some() {
            sys::disconnect(SockRef::from(&sys::borrowed(&self.stream)))
        } else {
            self.stream.shutdown(Shutdown::Read)
        };
        match ended {
            // It has ended by itself, and so has what was in flight.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                tracing::warn!(token = self.token.0, "nothing in flight could be cancelled: {error}");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Closes the socket; the task says when.
    pub(super) fn close(&self) {
        let idle = self.recv.get().is_none() && self.send.get().is_none();
        assert!(idle, "closed with an operation in flight");
        self.closing.set(true);
        self.recv_asked.notify_one();
        self.send_asked.notify_one();
    }

    /// Closes the socket with a RST.
    pub(super) fn reset(&self) {
        if let Err(error) = SockRef::from(&sys::borrowed(&self.stream)).set_linger(Some(Duration::ZERO)) {
            tracing::warn!(token = self.token.0, "SO_LINGER could not be set, so no RST is sent: {error}");
        }
        self.close();
    }

    /// Whether the socket is empty, was so in an earlier turn, and no receive has ended since.
    pub(super) fn is_dry(&self, turn: u64) -> bool {
        if self.account.borrow().as_ref().is_some_and(|account| account.is_awaiting()) {
            return false;
        }
        let is_empty = sys::is_empty(SockRef::from(&sys::borrowed(&self.stream)));
        let since = self.empty_in.get().filter(|_| is_empty);
        self.empty_in.set(if is_empty { Some(since.unwrap_or(turn)) } else { None });
        since.is_some_and(|since| since < turn)
    }

    /// We end the connection: what the ledger has us say.
    pub(super) fn part(&self, teller: &mut Teller) -> u32 {
        let line = self.account.borrow_mut().as_mut().and_then(|account| teller.part(account));
        line.map_or(0, |line| self.push(&line))
    }

    /// The ledger has answered the peer's FIN, or another's who was here before.
    pub(super) fn answered(&self, claim: u32, answer: Answer) {
        if self.account.borrow_mut().as_mut().is_some_and(|account| account.is_answered(claim)) {
            self.answer.set(Some(answer));
            self.answer_came.notify_one();
        }
    }

    fn push(&self, line: &ReplyLine) -> u32 {
        let data = line.as_ref().to_vec();
        let len = u32::try_from(data.len()).expect("a line");
        self.owed.borrow_mut().push_back(Chunk { data, sent: 0 });
        len
    }

    /// The peer's FIN was received: what it means, once the ledger has said so.
    async fn peer_fin(&self, shared: &Shared) -> Event {
        let has_peer = || sys::has_peer(SockRef::from(&sys::borrowed(&self.stream)));
        let fin = self
            .account
            .borrow_mut()
            .as_mut()
            .map_or(Fin::Bare, |account| shared.teller.borrow_mut().fin(account, self.token.0, has_peer));
        match fin {
            Fin::Bare => return Event::PeerFin { owed: 0 },
            Fin::Reset => return Event::Failed { op: OpKind::Recv, fault: Fault::Reset },
            Fin::Withheld => {}
        }
        // Whatever was answered at once, the loop may be waiting.
        shared.bell.news.notify_one();
        loop {
            if self.cancelled.get() {
                return Event::Failed { op: OpKind::Recv, fault: Fault::Cancelled };
            }
            match self.answer.take() {
                None => self.answer_came.notified().await,
                Some(Answer::Bare) => return Event::PeerFin { owed: 0 },
                Some(Answer::Replied(reply)) => return Event::PeerFin { owed: self.push(&reply.line()) },
                Some(Answer::Lost) => return Event::Failed { op: OpKind::Recv, fault: Fault::Local },
            }
        }
    }

    async fn next_recv(&self) -> Option<Recv> {
        next(&self.recv, &self.recv_asked, &self.closing).await
    }

    async fn next_send(&self) -> Option<usize> {
        next(&self.send, &self.send_asked, &self.closing).await
    }

    async fn receive(&self, recv: Recv, shared: &Shared) -> Event {
        let room = match recv {
            Recv::Keep(max) => max.min(self.room.get()),
            Recv::Discard => ROOM_MIN,
        };
        let buffer = Vec::with_capacity(room).slice(..room);
        let (result, buffer) = self.stream.read(buffer).await;
        let failed = |fault| Event::Failed { op: OpKind::Recv, fault };
        match result {
            // Ours, and not the peer's.
            Ok(0) if self.cancelled.get() => failed(Fault::Cancelled),
            Ok(0) => self.peer_fin(shared).await,
            Ok(taken) => {
                let is_kept = matches!(recv, Recv::Keep(_)) && !self.discarding.get();
                let owed = if is_kept { self.keep(buffer.into_inner(), room) } else { taken };
                let [taken, owed] =
                    [taken, owed].map(|len| u32::try_from(len).expect("no more than there was room for"));
                Event::Received { taken, owed }
            }
            Err(_) if self.cancelled.get() => failed(Fault::Cancelled),
            Err(error) => failed(policy::fault(&error)),
        }
    }

    /// Keeps what is owed for these bytes, and returns how much that is.
    fn keep(&self, mut data: Vec<u8>, room: usize) -> usize {
        self.room.set(if data.len() == room { ROOM_MAX } else { ROOM_MIN });
        if let Some(account) = &mut *self.account.borrow_mut() {
            let owed = account.take(&mut data);
            data.truncate(owed);
        }
        let owed = data.len();
        if owed > 0 {
            data.shrink_to_fit();
            self.owed.borrow_mut().push_back(Chunk { data, sent: 0 });
        }
        owed
    }

    async fn send(&self, len: usize) -> Event {
        let chunk = self.owed.borrow_mut().pop_front();
        let Chunk { data, sent: begin } = chunk.expect("no more is asked for than is owed");
        let end = data.len().min(begin + len);
        let (result, slice) = self.stream.write(data.slice(begin..end)).submit().await;
        let data = slice.into_inner();
        match result {
            Ok(sent) => {
                let rest = Chunk { data, sent: begin + sent };
                if rest.sent < rest.data.len() && !self.discarding.get() {
                    self.owed.borrow_mut().push_front(rest);
                }
                Event::Sent(u32::try_from(sent).expect("no more than was asked for"))
            }
            Err(_) if self.cancelled.get() => Event::Failed { op: OpKind::Send, fault: Fault::Cancelled },
            Err(error) => Event::Failed { op: OpKind::Send, fault: policy::fault(&error) },
        }
    }
}

/// What is asked for next; `None` when nothing will be any more.
async fn next<T: Copy>(asked: &Cell<Option<T>>, news: &Notify, closing: &Cell<bool>) -> Option<T> {
    loop {
        if closing.get() {
            return None;
        }
        match asked.get() {
            Some(what) => return Some(what),
            None => news.notified().await,
        }
    }
}

/// The task of a connection: receives and sends, each at its own pace, and closes the socket at the end.
pub(super) async fn serve(peer: Rc<Peer>, shared: Rc<Shared>) {
    let receiving = async {
        while let Some(recv) = peer.next_recv().await {
            let event = peer.receive(recv, &shared).await;
            peer.recv.set(None);
            shared.push(Completion::Event(peer.token, event));
        }
    };
    let sending = async {
        while let Some(len) = peer.next_send().await {
            let event = peer.send(len).await;
            peer.send.set(None);
            shared.push(Completion::Event(peer.token, event));
        }
    };
    tokio::join!(receiving, sending);
    let token = peer.token;
    drop(peer);
    // The last one: the socket is closed here, and its token is free.
    drop(shared.peers.borrow_mut().remove(token.index()));
    shared.push(Completion::Event(token, Event::Closed));
}
