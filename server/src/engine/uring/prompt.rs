//! What comes at once: a new peer's first bytes, and the FIN behind their echo.
//!
//! Many a client connects, sends, reads the echo and half-closes, each without a pause. To have the ring receive takes an
//! entry, a poll of the socket and a completion each time, and to sleep and be woken takes several times that. So what a
//! new connection is expected to bring is looked for with recv(2) first, and a moment longer where the wait would sleep;
//! whether that is worth it is learned ([`Patience`](crate::policy::Patience)). Nothing is looked for where only the ring can
//! receive, which is with direct descriptors, and where the kernel is to have every buffer: before Linux 6.12, and while
//! receives find none.

use std::io;
use std::time::Duration;

use socket2::SockRef;

use super::descriptor::Descriptor;
use super::{Uring, clock};
use crate::policy::LOOK;
use crate::proactor::Token;

/// What a wait may be worth a look behind, each with a [`Patience`](crate::policy::Patience) of its own. What comes on a
/// connection that goes on and on is not awaited: taken in sooner, it would be taken in by smaller turns.
#[derive(Clone, Copy)]
pub(super) enum News {
    /// A connection was accepted, and its first bytes may follow.
    Connection,
    /// Its first bytes were received, and sent back where it is an echo. Many a client has no more to say.
    FirstBytes,
}

impl News {
    pub(super) const COUNT: usize = 2;
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has received nothing.
    #[default]
    New,
    /// It has received its first bytes.
    Begun,
    /// It has received more, and is expected to go on.
    Going,
}

impl Stage {
    /// Bytes were received; tells what may be worth a look now.
    pub(super) fn advance(&mut self) -> Option<News> {
        let news = (*self == Self::New).then_some(News::FirstBytes);
        *self = match self {
            Self::New => Self::Begun,
            Self::Begun | Self::Going => Self::Going,
        };
        news
    }
}

impl Uring {
    /// Sees to it that a connection receives: by the ring, or first by a look in the next wait.
    pub(super) fn receive_from(&mut self, token: Token, max: u32) {
        let slot = &mut self.slots[token.index()];
        let goes_on = slot.inlet.stage == Stage::Going || slot.inlet.is_paused() || slot.discarding;
        let is_normal = matches!(slot.descriptor, Descriptor::Normal(_));
        if goes_on || !is_normal || !self.pool.has_room_by_hand() {
            self.arm(token, max);
        } else if !std::mem::replace(&mut slot.inlet.looked_for, true) {
            self.prompt.push(token);
        }
    }

    /// Before the kernel is entered: looks for what comes at once, where that has been worth it, and for a moment where the
    /// wait would sleep. Tells whether something came; then what was queued may not have been submitted yet.
    pub(super) fn look_on(&mut self, may_sleep: bool) -> io::Result<bool> {
        let mut prompt = std::mem::take(&mut self.prompt);
        let mut came = false;
        // With direct descriptors a send is an entry, whose own completion would end the look.
        let news = self.news.take().filter(|_| !self.table.is_there());
        let is_worth_it = |news: &News| {
            let patience = &mut self.patience[*news as usize];
            // A trial takes a moment to wait.
            if may_sleep { patience.is_worth_a_look() } else { patience.is_confident() }
        };
        if let Some(news) = news.filter(is_worth_it) {
            if may_sleep && self.ring.has_submissions() {
                self.ring.enter(Some(Duration::ZERO), self.now)?;
            }
            let until = clock() + LOOK;
            loop {
                let waiting = prompt.len();
                prompt.retain(|&token| !self.look(token));
                came = prompt.len() < waiting || self.ring.has_more() || !self.ring.is_empty();
                if came || !may_sleep || clock() >= until {
                    break;
                }
                std::hint::spin_loop();
            }
            if may_sleep {
                self.patience[news as usize].learn(came);
            }
        }
        for token in prompt.drain(..) {
            let inlet = &mut self.slot(token).inlet;
            if std::mem::take(&mut inlet.looked_for)
                && let Some(max) = inlet.unattended()
            {
                self.arm(token, max);
            }
        }
        // The list keeps its memory.
        prompt.append(&mut self.prompt);
        self.prompt = prompt;
        Ok(came)
    }

    /// Receives what is there for a connection, and tells whether there was something.
    fn look(&mut self, token: Token) -> bool {
        let slot = &mut self.slots[token.index()];
        let asked = slot.inlet.unattended().filter(|_| slot.inlet.looked_for);
        let (Some(max), Descriptor::Normal(fd)) = (asked, &slot.descriptor) else { return false };
        let Some(room) = self.pool.room_by_hand(max) else { return false };
        match SockRef::from(fd).recv_with_flags(room, libc::MSG_DONTWAIT) {
            Ok(0) => self.ended(token, 0),
            Ok(len) => {
                let len = u32::try_from(len).expect("no more than was asked for");
                let span = self.pool.filled_by_hand(len);
                let owed = self.take_span(token, span);
                self.brought(token, len, owed);
            }
            Err(error) => match error.raw_os_error().unwrap_or(libc::EIO) {
                libc::EAGAIN | libc::EINTR => return false,
                errno => self.ended(token, errno),
            },
        }
        self.slot(token).inlet.looked_for = false;
        self.deliver(token);
        true
    }
}
