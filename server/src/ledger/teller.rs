//! Who serves the ledger's clients at one worker: each connection has an account, and what it claims goes to the desk.

use std::ops::Range;
use std::task::Waker;

use super::reply::ReplyLine;
use super::session::Session;
use super::{Answer, Desk, Ledger};

/// The ledger, as one worker is told of it.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The ledger of all workers.
    pub ledger: Ledger,
    /// Which of a worker's listeners are the ledger's, by their places.
    pub listeners: Range<usize>,
}

/// What an engine has of the ledger; without one, every connection is an echo.
#[derive(Debug)]
pub struct Teller {
    counter: Option<(Desk, Ledger)>,
    listeners: Range<usize>,
    /// Claims are numbered, so that the answer to one never reaches whoever has its place by then.
    claims: u32,
    /// Some were answered at once.
    has_answers: bool,
}

/// What becomes of a client's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fin {
    /// Nothing is owed for it.
    Bare,
    /// It is withheld until it is answered, which is heard from [`Teller::answers`].
    Withheld,
    /// It was none, but a RST whose report has gone to somebody else: nothing is counted.
    Reset,
}

/// One connection of the ledger.
#[derive(Debug, Default)]
pub struct Account {
    session: Session,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The client's FIN was received, and this claim is not answered yet.
    Awaiting(u32),
    /// Nothing counts any more.
    Over,
}

impl Teller {
    /// A teller of one worker, which `waker` wakes when there are answers.
    #[must_use]
    pub fn new(branch: Option<&Branch>, waker: Waker) -> Self {
        let listeners = branch.map_or(0..0, |branch| branch.listeners.clone());
        let counter = branch.map(|branch| (branch.ledger.desk(waker), branch.ledger.clone()));
        Self { counter, listeners, claims: 0, has_answers: false }
    }

    /// An account for a connection of this listener; `None`: it is an echo.
    #[must_use]
    pub fn open(&self, listener: usize) -> Option<Box<Account>> {
        self.listeners.contains(&listener).then(Box::default)
    }

    /// The client's FIN was received, or what looks like one: `has_peer` says whether the connection still stands.
    #[must_use]
    pub fn fin(&mut self, account: &mut Account, token: u32, has_peer: impl FnOnce() -> bool) -> Fin {
        let Some((desk, _)) = self.counter.as_mut().filter(|_| account.stage == Stage::Open) else {
            return Fin::Bare;
        };
        if !has_peer() {
            account.stage = Stage::Over;
            return Fin::Reset;
        }
        self.claims = self.claims.wrapping_add(1);
        account.stage = Stage::Awaiting(self.claims);
        desk.submit(
            u64::from(self.claims) << 32 | u64::from(token),
            account.session.at_fin(),
            account.session.seen(),
        );
        self.has_answers = true;
        Fin::Withheld
    }

    /// We end the connection: what is said to that.
    ///
    /// # Panics
    /// When the client's FIN waits for its answer: then it is the client that ends it.
    #[must_use]
    pub fn part(&mut self, account: &mut Account) -> Option<ReplyLine> {
        assert!(!account.is_awaiting(), "parted while the peer's FIN waits for its answer");
        account.stage = Stage::Over;
        let (_, ledger) = self.counter.as_ref()?;
        Some(ledger.draining(account.session.seen()).line())
    }

    /// Whether there may be answers that no waker tells of.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.has_answers
    }

    /// Appends the answers that came since, each with its connection and its claim.
    pub fn answers(&mut self, to: &mut Vec<(u32, u32, Answer)>) {
        self.has_answers = false;
        if let Some((desk, _)) = &mut self.counter {
            to.extend(desk.answers().map(|(key, answer)| (key as u32, (key >> 32) as u32, answer)));
        }
    }
}

impl Account {
    /// Takes in what was received next, moves what is owed for it to the front, and returns its length. Once we have
    /// parted that is nothing.
    #[must_use]
    pub fn take(&mut self, bytes: &mut [u8]) -> usize {
        match self.stage {
            Stage::Open => self.session.take(bytes),
            Stage::Awaiting(_) | Stage::Over => 0,
        }
    }

    /// Whether the client's FIN waits for its answer.
    #[must_use]
    pub fn is_awaiting(&self) -> bool {
        matches!(self.stage, Stage::Awaiting(_))
    }

    /// Whether this is the answer that the connection waits for; it is told once.
    #[must_use]
    pub fn is_answered(&mut self, claim: u32) -> bool {
        let is_so = self.stage == Stage::Awaiting(claim);
        if is_so {
            self.stage = Stage::Over;
        }
        is_so
    }

    /// The connection is given up: whatever is answered, nobody hears it.
    pub fn give_up(&mut self) {
        self.stage = Stage::Over;
    }
}
