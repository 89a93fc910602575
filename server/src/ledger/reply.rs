//! What the ledger says to a client after its FIN, and how it stands on the line.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::BuildHasher;

/// The longest reply in bytes, its LF included: the longest status and two numbers of 20 digits.
pub const REPLY_MAX: usize = 126;

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The total was added.
    Ok,
    /// It was added before, for the same session; the grand total is the one that was said then.
    Duplicate,
    /// It is not what the server counted, or not what the session has claimed before; nothing was added.
    Mismatch,
    /// The client said something that the protocol does not know; nothing was added.
    Malformed,
    /// The grand total would exceed what 64 bits hold; nothing was added.
    Overflow,
    /// The server ends this connection before the client has; nothing was added, or will be.
    Draining,
}

impl Status {
    /// Its name on the line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Duplicate => "duplicate",
            Self::Mismatch => "mismatch",
            Self::Malformed => "malformed",
            Self::Overflow => "overflow",
            Self::Draining => "draining",
        }
    }
}

/// A number for the time from a ledger's start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Boot(pub u128);

impl Boot {
    /// Another one each time, but for one time in 2^128: what std seeds its hash maps with comes from the system's own
    /// source of chance, and the hash (SipHash) is made to be told from chance by nobody.
    #[must_use]
    pub fn by_chance() -> Self {
        let state = RandomState::new();
        let half = |which: u64| u128::from(state.hash_one((std::process::id(), which)));
        Self(half(0) << 64 | half(1))
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The ledger's answer to a client's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// What became of the claim.
    pub status: Status,
    /// Transactions of this connection, by the server's own count.
    pub seen: u64,
    /// All that was ever added.
    pub grand_total: u64,
    /// Since when the ledger has run without an end.
    pub boot: Boot,
}

impl Reply {
    /// The bytes that go over the line.
    #[must_use]
    pub fn line(&self) -> ReplyLine {
        let mut line = ReplyLine { bytes: [0; REPLY_MAX], len: 0 };
        writeln!(line, "{self}").expect("a reply is at most REPLY_MAX long");
        line
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, seen, grand_total, boot } = self;
        let status = status.name();
        write!(f, "!disconnect status={status} seen={seen} grand_total={grand_total} boot={boot}")
    }
}

/// A reply as it goes over the line, its LF included.
#[derive(Clone, Copy, Debug)]
pub struct ReplyLine {
    bytes: [u8; REPLY_MAX],
    len: usize,
}

impl AsRef<[u8]> for ReplyLine {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for ReplyLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes[self.len..].get_mut(..text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
