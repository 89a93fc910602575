//! The ledger as a client knows it (`server/LEDGER.md`, from whose text this was written, and not from the server's
//! code): what is sent, what is answered, and what the answers of all sessions come to.

use crate::clock::Nanos;
use crate::outcome::Outcome;

use self::answer::{Reply, Status};

pub mod answer;
pub mod book;
pub mod draw;
pub mod history;
pub mod lines;
pub mod order;

/// A session: what one claim and its repetitions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The number that was drawn for it.
    pub id: u128,
    /// The total that it claims.
    pub total: u64,
}

/// What came of a session before a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// It cannot have been added.
    Nothing,
    /// It may have been added: a claim and a FIN went out, and no answer was seen.
    Unseen,
    /// It was answered so: it is in the books.
    Answered(Reply),
}

/// How a connection gets into trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// We end it with a RST.
    Reset,
    /// We neither read nor send for a while.
    Stall,
}

/// Trouble that we make on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which.
    pub manner: Manner,
    /// After how many bytes were sent; `None`: behind our FIN.
    pub at: Option<u64>,
    /// A stall: how long. A RST: how long behind what was sent last.
    pub wait_ns: Nanos,
}

/// One connection that is to be made for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The session.
    pub session: Session,
    /// What came of it before.
    pub earlier: Earlier,
    /// What goes wrong.
    pub trouble: Option<Trouble>,
    /// Whether the session is to be repeated at once when it was answered.
    pub again: bool,
}

/// One connection that was made for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The session.
    pub session: Session,
    /// What came of it before.
    pub earlier: Earlier,
    /// The connection's number.
    pub connection: u64,
    /// How the connection ended.
    pub outcome: Outcome,
    /// When it was started.
    pub started: Nanos,
    /// Just before the FIN behind the claim.
    pub fin: Option<Nanos>,
    /// When the reply was whole.
    pub replied: Option<Nanos>,
    /// When it was closed.
    pub ended: Nanos,
    /// The reply.
    pub reply: Option<Reply>,
    /// Whether it may have been added although no reply was seen.
    pub may_be_added: bool,
}

impl Reply {
    /// Whether it says that the session is in the books.
    #[must_use]
    pub fn is_added(&self) -> bool {
        match self.status {
            Status::Ok | Status::Duplicate => true,
            Status::Mismatch | Status::Malformed | Status::Overflow | Status::Draining => false,
        }
    }

    /// Whether the same again would get the same.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status != Status::Draining
    }
}
