//! One script on a real socket, and what was seen on both sides.

use std::thread::sleep;
use std::time::Duration;

use finwait_server::metrics::Tally;

use super::script::{Script, Step};
use crate::support::{Part, Peer, Running};

/// Reads that are followed by a pause; without a limit a hundred kilobytes read in pieces would take seconds.
const PAUSED_READS: u32 = 8;
/// How long a client that can neither send nor read waits before it tries again.
const FULL_RETRY: Duration = Duration::from_micros(200);

/// How the connection ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By the server's FIN.
    Eof,
    /// By a RST of the server.
    Reset,
    /// By its own RST, before it had read an end.
    Cut,
    /// By its own RST, after the server's FIN.
    CutAfterEof,
}

/// What was sent and read when the drain began, and what the server knew of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtDrain {
    pub(super) sent: u64,
    pub(super) read: u64,
    /// Bytes that the server counted as received.
    pub(super) received: u64,
}

/// What was seen of one connection. The bytes themselves are compared as they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sent: u64,
    pub(super) read: u64,
    pub(super) ending: Ending,
    pub(super) at_drain: Option<AtDrain>,
    /// What the server counted for this connection.
    pub(super) tally: Tally,
}

struct Player<'a> {
    script: &'a Script,
    peer: Peer,
    fin: bool,
    end: Option<Ending>,
    reads: u32,
}

/// Plays `script` against `server`; `settle` then fills in what the server counted.
pub(super) fn play(script: &Script, server: &Running, settle: impl FnOnce(&mut Seen)) -> Seen {
    let peer = if script.narrow { server.connect_narrow() } else { server.connect() };
    // A drain is judged by what had arrived when it began.
    peer.send_unpaced();
    if cfg!(windows) {
        // AcceptEx says nothing of a client that is gone before it was accepted.
        peer.send(1);
        peer.echo(1);
    }
    let mut player = Player { script, peer, fin: false, end: None, reads: 0 };
    let mut at_drain = None;
    for &step in &script.steps {
        match step {
            Step::Send(len) => player.send(len),
            Step::Pause(ms) => sleep(Duration::from_millis(ms)),
            Step::Echo(len) => player.echo(len),
            Step::Drain => {
                let received = server.tally().bytes_received;
                at_drain = Some(AtDrain { sent: player.peer.sent(), read: player.peer.read(), received });
                server.drain();
            }
            Step::Fin => player.fin(),
            Step::Reset => {}
        }
    }
    let (sent, read, ending) = player.finish(at_drain.is_some());
    let mut seen = Seen { sent, read, ending, at_drain, tally: Tally::default() };
    settle(&mut seen);
    seen
}

impl Player<'_> {
    fn send(&mut self, len: usize) {
        let goal = self.peer.sent() + len as u64;
        // After a RST, which the model judges, there is no way any more.
        while self.peer.sent() < goal && self.end != Some(Ending::Reset) {
            let before = self.peer.sent();
            self.peer.send_what_fits(usize::try_from(goal - before).expect("a send of less than 4 GiB"));
            if self.peer.sent() == before {
                // The way is full, so an echo is there or on its way; after the server's FIN it only takes.
                if self.end.is_none() { self.read(usize::MAX) } else { sleep(FULL_RETRY) }
            }
        }
    }

    fn echo(&mut self, len: usize) {
        let goal = self.peer.sent().min(self.peer.read() + len as u64);
        while self.end.is_none() && self.peer.read() < goal {
            self.read(usize::try_from(goal - self.peer.read()).expect("an echo of less than 4 GiB"));
        }
    }

    fn fin(&mut self) {
        self.fin = true;
        self.peer.fin();
    }

    fn read(&mut self, most: usize) {
        match self.peer.read_some(most.min(self.script.reading.chunk)).unwrap() {
            Part::Bytes => {}
            Part::Eof => self.end = Some(Ending::Eof),
            Part::Reset => self.end = Some(Ending::Reset),
        }
        self.reads += 1;
        if self.reads <= PAUSED_READS && self.script.reading.pause_ms > 0 {
            sleep(Duration::from_millis(self.script.reading.pause_ms));
        }
    }

    /// What is left to do after the steps; returns what was sent and read in all, and the ending.
    fn finish(mut self, drained: bool) -> (u64, u64, Ending) {
        let is_cut = self.script.has(Step::Reset);
        if !is_cut {
            // After a drain the server ends it, so either end may be the first.
            if !self.fin && !drained {
                self.fin();
            }
            while self.end.is_none() {
                self.read(usize::MAX);
            }
            if !self.fin && self.end == Some(Ending::Eof) {
                self.fin();
            }
        }
        let (sent, read) = (self.peer.sent(), self.peer.read());
        match self.end {
            Some(ending) if !is_cut => (sent, read, ending),
            end => {
                self.peer.reset();
                (sent, read, if end == Some(Ending::Eof) { Ending::CutAfterEof } else { Ending::Cut })
            }
        }
    }
}
