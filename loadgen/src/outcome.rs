//! How one connection ended, seen from the client: exactly one name each, by the first that matches.

use std::ops::{Index, IndexMut};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// How a connection ended. `Clean` is the one that was hoped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every byte came back, then the server's FIN, and no error behind it.
    Clean,
    /// The server's FIN came with bytes missing.
    Truncated,
    /// A wrong byte, or one too many.
    Corrupt,
    /// A RST with bytes missing, or before our FIN.
    ResetBeforeDrain,
    /// A RST instead of the server's FIN, after every byte.
    ResetAfterDrain,
    /// A RST behind the server's FIN.
    ResetAfterEof,
    /// The server's FIN was read before ours was sent.
    EarlyEof,
    /// An echo that was waited for did not come in time: of the first bytes, or of a message.
    EchoTimeout,
    /// Bytes were missing when nothing had moved for the whole timeout.
    DrainTimeout,
    /// Every byte came back, and the server's FIN did not come in time.
    EofTimeout,
    /// Our own `shutdown(SHUT_WR)` failed.
    ShutdownFailed,
    /// The handshake was answered with a RST.
    ConnectRefused,
    /// The handshake was not answered in time.
    ConnectTimeout,
    /// The connection was reset before the first byte was sent.
    ConnectReset,
    /// No way to the target, by a router's word or by this host's own.
    ConnectUnreachable,
    /// This host had no port left.
    LocalPorts,
    /// This process or host had no descriptor left.
    LocalFds,
    /// This host had no memory left for sockets.
    LocalMemory,
    /// A session that had been answered was added once more.
    LedgerTwice,
    /// The server's FIN came behind the whole echo and no reply to the claim.
    LedgerLost,
    /// A session that had never been claimed was called a duplicate.
    LedgerDuplicate,
    /// A duplicate was told another grand total than the first time.
    LedgerChanged,
    /// The reply counts other transactions than were sent.
    LedgerSeen,
    /// The total was taken for a wrong one.
    LedgerMismatch,
    /// What was sent was taken for malformed.
    LedgerMalformed,
    /// The grand total can hold no more.
    LedgerOverflow,
    /// The reply came before our FIN.
    LedgerEarly,
    /// The claim itself came back.
    LedgerEchoed,
    /// What came behind the echo is no reply.
    LedgerBadReply,
    /// The server ended first, and told so: the total was not added.
    LedgerDraining,
    /// We ended it with a RST, as we were told to.
    SelfReset,
    /// Under way when the run was interrupted.
    Censored,
}

impl Outcome {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 32] = [
        Self::Clean,
        Self::Truncated,
        Self::Corrupt,
        Self::ResetBeforeDrain,
        Self::ResetAfterDrain,
        Self::ResetAfterEof,
        Self::EarlyEof,
        Self::EchoTimeout,
        Self::DrainTimeout,
        Self::EofTimeout,
        Self::ShutdownFailed,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectReset,
        Self::ConnectUnreachable,
        Self::LocalPorts,
        Self::LocalFds,
        Self::LocalMemory,
        Self::LedgerTwice,
        Self::LedgerLost,
        Self::LedgerDuplicate,
        Self::LedgerChanged,
        Self::LedgerSeen,
        Self::LedgerMismatch,
        Self::LedgerMalformed,
        Self::LedgerOverflow,
        Self::LedgerEarly,
        Self::LedgerEchoed,
        Self::LedgerBadReply,
        Self::LedgerDraining,
        Self::SelfReset,
        Self::Censored,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::ResetBeforeDrain => "reset_before_drain",
            Self::ResetAfterDrain => "reset_after_drain",
            Self::ResetAfterEof => "reset_after_eof",
            Self::EarlyEof => "early_eof",
            Self::EchoTimeout => "echo_timeout",
            Self::DrainTimeout => "drain_timeout",
            Self::EofTimeout => "eof_timeout",
            Self::ShutdownFailed => "shutdown_failed",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectReset => "connect_reset",
            Self::ConnectUnreachable => "connect_unreachable",
            Self::LocalPorts => "local_ports",
            Self::LocalFds => "local_fds",
            Self::LocalMemory => "local_memory",
            Self::LedgerTwice => "ledger_twice",
            Self::LedgerLost => "ledger_lost",
            Self::LedgerDuplicate => "ledger_duplicate",
            Self::LedgerChanged => "ledger_changed",
            Self::LedgerSeen => "ledger_seen",
            Self::LedgerMismatch => "ledger_mismatch",
            Self::LedgerMalformed => "ledger_malformed",
            Self::LedgerOverflow => "ledger_overflow",
            Self::LedgerEarly => "ledger_early",
            Self::LedgerEchoed => "ledger_echoed",
            Self::LedgerBadReply => "ledger_bad_reply",
            Self::LedgerDraining => "ledger_draining",
            Self::SelfReset => "self_reset",
            Self::Censored => "censored",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "every byte came back, then the server's FIN",
            Self::Truncated => "the server's FIN came with bytes missing",
            Self::Corrupt => "a wrong byte, or one too many",
            Self::ResetBeforeDrain => "a RST with bytes missing",
            Self::ResetAfterDrain => "every byte, then a RST instead of the server's FIN",
            Self::ResetAfterEof => "a RST behind the server's FIN",
            Self::EarlyEof => "the server's FIN came before ours",
            Self::EchoTimeout => "an echo that was waited for did not come in time",
            Self::DrainTimeout => "bytes were missing when nothing moved any more",
            Self::EofTimeout => "every byte came back, but no FIN",
            Self::ShutdownFailed => "our own shutdown(SHUT_WR) failed",
            Self::ConnectRefused => "the handshake was answered with a RST",
            Self::ConnectTimeout => "the handshake was not answered in time",
            Self::ConnectReset => "reset before the first byte was sent",
            Self::ConnectUnreachable => "no way to the target",
            Self::LocalPorts => "this host had no port left",
            Self::LocalFds => "this process had no descriptor left",
            Self::LocalMemory => "this host had no socket memory left",
            Self::LedgerTwice => "a session that had been answered was added once more",
            Self::LedgerLost => "the server's FIN came without a reply to the claim",
            Self::LedgerDuplicate => "a session's first claim was called a duplicate",
            Self::LedgerChanged => "a duplicate was told another grand total",
            Self::LedgerSeen => "the reply counts other transactions than were sent",
            Self::LedgerMismatch => "a right total was called a mismatch",
            Self::LedgerMalformed => "what was sent was called malformed",
            Self::LedgerOverflow => "the grand total can hold no more",
            Self::LedgerEarly => "the reply came before our FIN",
            Self::LedgerEchoed => "the claim itself came back",
            Self::LedgerBadReply => "what came behind the echo is no reply",
            Self::LedgerDraining => "the server ended first, and said so",
            Self::SelfReset => "ended by our own RST, as --reset wants it",
            Self::Censored => "under way when the run was interrupted",
        }
    }

    /// Whether it is how we wanted it: clean, or as we ended it ourselves.
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        matches!(self, Self::Clean | Self::SelfReset)
    }

    /// Whether this host failed, and nothing is said about the target.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::LocalPorts | Self::LocalFds | Self::LocalMemory)
    }

    /// Whether no connection came to be.
    #[must_use]
    pub const fn is_connect(self) -> bool {
        matches!(
            self,
            Self::ConnectRefused | Self::ConnectTimeout | Self::ConnectReset | Self::ConnectUnreachable
        )
    }
}

/// A count for each outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Outcomes {
    /// Connections that ended, however they did.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every outcome with its count, in the order of [`Outcome::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self[outcome]))
    }

    /// The sum of those that `which` is true of.
    pub fn sum(&self, which: impl Fn(Outcome) -> bool) -> u64 {
        self.iter().filter(|&(outcome, _)| which(outcome)).map(|(_, count)| count).sum()
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }
}

impl Index<Outcome> for Outcomes {
    type Output = u64;

    fn index(&self, outcome: Outcome) -> &u64 {
        &self.0[outcome as usize]
    }
}

impl IndexMut<Outcome> for Outcomes {
    fn index_mut(&mut self, outcome: Outcome) -> &mut u64 {
        &mut self.0[outcome as usize]
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (outcome, count) in self.iter() {
            map.serialize_entry(outcome.name(), &count)?;
        }
        map.end()
    }
}
