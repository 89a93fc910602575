//! What the loop asks of an engine: sockets and bytes behind tokens, operations in, completions out.

use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::conn::{Event, Op};

/// A connection of one worker, by its place in the worker's and the engine's tables. It is used again only after
/// [`Event::Closed`], when nothing of the old connection is left in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

impl Token {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A listener of one worker, by its place in the list that the worker was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

impl ListenerId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an engine hands back.
#[derive(Debug)]
pub enum Completion {
    /// A connection was accepted, and `token` names it from now on.
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// Its name.
        token: Token,
    },
    /// Accepting failed and has stopped, until [`Proactor::start_accepting`] is called again.
    AcceptFailed {
        /// Which listener.
        listener: ListenerId,
        /// Why.
        error: io::Error,
    },
    /// The listener is closed; it had been asked for with [`Proactor::stop_accepting`].
    AcceptStopped {
        /// Which listener.
        listener: ListenerId,
    },
    /// Something happened to a connection.
    Event(Token, Event),
    /// Somebody called the waker.
    Woken,
}

/// An engine: it owns sockets and bytes, starts operations and hands back completions.
///
/// `submit` never completes anything; `wait` appends everything that is ready. Where an engine is cleverer than
/// this interface (a multishot accept, an operation done at once), an early completion is queued inside it.
pub trait Proactor {
    /// Accept connections on `listener`, until told otherwise or until accepting fails.
    fn start_accepting(&mut self, listener: ListenerId);

    /// Leave further connections in the backlog. A few that the kernel had accepted already may still come.
    fn pause_accepting(&mut self, listener: ListenerId);

    /// Let no new handshake begin, where the kernel can do that, while those under way are still completed and
    /// accepted. Without it a storm of connects keeps "accept until the queue is empty" busy for ever.
    fn refuse_handshakes(&mut self, listener: ListenerId);

    /// Accept what the backlog holds, at most one backlog's worth, then close the listener and report
    /// [`Completion::AcceptStopped`].
    fn stop_accepting(&mut self, listener: ListenerId);

    /// Start `op` on `token`. Its end comes back as one [`Event`] from a later `wait`. That of a send may come late, with
    /// whatever ends a `wait` next, while a receive is in flight: whoever cannot leave it at that lets no `wait` block.
    fn submit(&mut self, token: Token, op: Op);

    /// Whether the kernel holds nothing, neither bytes nor a FIN, for the receive in flight on `token`: a true look,
    /// not a memory of one.
    fn is_dry(&mut self, token: Token) -> bool;

    /// Tells the protocol of `token` that we end the connection and count nothing that comes from now on. Returns the
    /// bytes that are owed in parting, already queued behind the others.
    fn part(&mut self, token: Token) -> u32;

    /// Wait until something is ready or `timeout` has passed (`None`: for ever), and append everything that is.
    ///
    /// # Errors
    /// Only when the engine itself is broken and cannot go on.
    fn wait(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// The engine's clock: monotonic, and taken once per `wait`.
    fn now(&self) -> Instant;

    /// Wakes a `wait` from another thread, which then reports [`Completion::Woken`].
    fn waker(&self) -> Waker;
}
