//! One client: what it sends, how it reads, how it ends, and what it must have received when it reads our FIN.

use std::time::Duration;

use finwait_server::conn::Fault;

use super::dice::Dice;
use super::socket::{PeerFin, Socket};
use super::swarm::{Crowd, Swarm};

/// What a client does when it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// `shutdown(SD_SEND)`, and it reads on.
    HalfClose,
    /// `close`: what comes later is answered with a RST.
    Close,
    Reset,
    /// It waits for our FIN.
    Wait,
}

/// What it does when it reads our FIN, if its own is not out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Fin,
    /// It sends that much first.
    SendThenFin(u64),
    /// Nothing, for ever.
    Silence,
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Did {
    Sent(u64),
    Fin,
    Closed,
    Reset,
    Read(u64),
    ReadFin,
    ReadReset,
}

/// What came of one turn of a client.
pub(super) struct Turn {
    pub(super) did: Option<Did>,
    /// When it wants another.
    pub(super) next: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Peer {
    to_send: u64,
    sent: u64,
    chunk: u64,
    pace: Duration,
    read_chunk: u64,
    read_pace: Duration,
    /// It reads no further than this.
    read_max: u64,
    ending: Ending,
    reply: Reply,
    fin: bool,
    gone: bool,
    /// It has read our FIN or RST.
    pub(super) ended: bool,
    pub(super) is_reading: bool,
}

impl Peer {
    pub(super) fn draw(dice: &mut Dice, swarm: &Swarm) -> Self {
        let crowd = &swarm.crowd;
        let to_send = if dice.chance(150) { 0 } else { dice.between(1, crowd.bytes_max) };
        // At most some forty turns each, so that a slow one is slow and does not last for ever.
        let chunk = dice.between(1 + to_send / 40, 1 + to_send);
        let read_chunk = dice.between(1 + to_send / 40, 1 + to_send);
        let reads_slowly = dice.chance(300);
        Self {
            to_send,
            sent: 0,
            chunk,
            pace: if dice.chance(500) { Duration::ZERO } else { dice.span(30) },
            read_chunk,
            read_pace: if reads_slowly { dice.span(40) } else { dice.moment(200) },
            read_max: if dice.chance(crowd.stalls) { dice.between(0, to_send) } else { u64::MAX },
            ending: Self::draw_ending(dice, crowd),
            reply: Self::draw_reply(dice, crowd),
            fin: false,
            gone: false,
            ended: false,
            is_reading: false,
        }
    }

    fn draw_ending(dice: &mut Dice, crowd: &Crowd) -> Ending {
        if dice.chance(crowd.waits) {
            Ending::Wait
        } else if dice.chance(crowd.resets) {
            Ending::Reset
        } else if dice.chance(crowd.closes) {
            Ending::Close
        } else {
            Ending::HalfClose
        }
    }

    fn draw_reply(dice: &mut Dice, crowd: &Crowd) -> Reply {
        if dice.chance(crowd.rude) {
            Reply::Silence
        } else if dice.chance(crowd.late_senders) {
            Reply::SendThenFin(dice.between(1, crowd.bytes_max))
        } else if dice.chance(crowd.resets) {
            Reply::Reset
        } else {
            Reply::Fin
        }
    }

    /// A delay before the first turn.
    pub(super) fn starts_after(&self, dice: &mut Dice) -> Duration {
        if self.pace.is_zero() { Duration::ZERO } else { dice.moment(5000) }
    }

    pub(super) fn read_pace(&self) -> Duration {
        self.read_pace
    }

    /// It sends, or ends.
    pub(super) fn write(&mut self, socket: &mut Socket, swarm: &Swarm) -> Turn {
        if socket.is_over() || self.fin || self.gone {
            return Turn { did: None, next: None };
        }
        if self.sent < self.to_send {
            let room = swarm.recv_room.saturating_sub(socket.unread());
            let len = self.chunk.min(self.to_send - self.sent).min(room);
            self.sent += len;
            socket.arrived += len;
            let pace = if len == 0 { self.pace.max(Duration::from_millis(3)) } else { self.pace };
            return Turn { did: (len > 0).then_some(Did::Sent(len)), next: Some(pace) };
        }
        let did = match self.ending {
            Ending::HalfClose => Some(self.fin(socket)),
            Ending::Close => {
                self.gone = true;
                if socket.sent > socket.read { Some(reset(socket, swarm)) } else { Some(self.fin(socket)) }
            }
            Ending::Reset => Some(reset(socket, swarm)),
            Ending::Wait => None,
        };
        let did = did.map(|did| if did == Did::Fin && self.gone { Did::Closed } else { did });
        Turn { did, next: None }
    }

    /// It reads what we sent, and our end.
    pub(super) fn read(&mut self, socket: &mut Socket, swarm: &Swarm) -> Turn {
        let none = Turn { did: None, next: None };
        if self.ended || (socket.is_over() && !socket.rst) {
            return none;
        }
        if socket.rst {
            self.ended = true;
            return Turn { did: Some(Did::ReadReset), next: None };
        }
        if self.gone {
            // Whatever comes now finds no socket.
            let did = (socket.sent > socket.read).then(|| reset(socket, swarm));
            return Turn { did, next: None };
        }
        let len = (socket.sent - socket.read).min(self.read_chunk).min(self.read_max - socket.read);
        if len > 0 {
            socket.read += len;
            return Turn { did: Some(Did::Read(len)), next: Some(self.read_pace) };
        }
        if socket.read < socket.sent || !socket.fin {
            return none;
        }
        self.read_fin(socket, swarm)
    }

    fn read_fin(&mut self, socket: &Socket, swarm: &Swarm) -> Turn {
        self.ended = true;
        assert!(
            socket.read == socket.kept,
            "a peer reads our FIN after {} of {} bytes that the server had received",
            socket.read,
            socket.kept
        );
        // What is still to be sent is sent; only then comes what it does at our FIN.
        self.ending = match self.reply {
            Reply::Fin => Ending::HalfClose,
            Reply::SendThenFin(len) => {
                self.to_send += len.min(swarm.crowd.bytes_max);
                Ending::HalfClose
            }
            Reply::Silence => {
                self.to_send = self.sent;
                Ending::Wait
            }
            Reply::Reset => Ending::Reset,
        };
        Turn { did: Some(Did::ReadFin), next: Some(self.pace) }
    }

    fn fin(&mut self, socket: &mut Socket) -> Did {
        self.fin = true;
        socket.peer_fin = PeerFin::Queued;
        Did::Fin
    }
}

fn reset(socket: &mut Socket, swarm: &Swarm) -> Did {
    socket.breaks(Fault::Reset, swarm.purges);
    Did::Reset
}
