//! Where one worker hands in what its clients said, and gets the answers.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::reply::Reply;

/// What the ledger says to one FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: our FIN alone.
    Bare,
    /// This line, then our FIN.
    Replied(Reply),
    /// It is not known whether the total was added, for the disk failed. The connection ends with a RST, from which the
    /// client sees that it has to claim it again.
    Lost,
}

/// What was answered and not yet fetched.
#[derive(Debug)]
pub(super) struct Mailbox {
    answers: Mutex<Vec<(u64, Answer)>>,
    waker: Waker,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self { answers: Mutex::default(), waker }
    }

    /// Moves everything behind what is in `to`.
    pub(super) fn fetch(&self, to: &mut Vec<(u64, Answer)>) {
        let mut answers = self.lock();
        if to.is_empty() {
            mem::swap(to, &mut *answers);
        } else {
            to.append(&mut answers);
        }
    }

    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Puts an answer in; whether it is the first one, so that the worker does not know of any.
    fn put(&self, token: u64, answer: Answer) -> bool {
        let mut answers = self.lock();
        answers.push((token, answer));
        answers.len() == 1
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Answer)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer that a desk waits for. One that is forgotten, because its thread panicked or is gone, is [`Answer::Lost`]:
/// a client never waits for what nobody will say.
#[derive(Debug)]
pub(super) struct Awaited {
    token: u64,
    mailbox: Option<Arc<Mailbox>>,
}

impl Awaited {
    pub(super) fn new(token: u64, mailbox: &Arc<Mailbox>) -> Self {
        Self { token, mailbox: Some(Arc::clone(mailbox)) }
    }

    /// Answers, and returns whom to wake, if anyone, once all answers are given.
    pub(super) fn answer(mut self, answer: Answer) -> Option<Arc<Mailbox>> {
        let mailbox = self.mailbox.take().expect("an answer is given once");
        mailbox.put(self.token, answer).then_some(mailbox)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take()
            && mailbox.put(self.token, Answer::Lost)
        {
            mailbox.wake();
        }
    }
}
