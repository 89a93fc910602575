//! Accepting on the ring: one multishot operation per listener, ended and reaped before the listener is closed.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode};
use socket2::SockRef;

use super::{Kind, Uring, tag};
use crate::listener::{self, Source};
use crate::policy::BACKLOG;
use crate::proactor::{Completion, ListenerId};

pub(super) struct Door {
    /// `None` once it is closed.
    listener: Option<TcpListener>,
    wish: Wish,
    /// The operation is in the kernel.
    armed: bool,
    /// Its cancel was submitted.
    cancelled: bool,
}

/// What the loop wants; the kernel follows when the operation in flight has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Accept,
    Pause,
    Stop,
}

impl Door {
    pub(super) fn new(source: Source) -> io::Result<Self> {
        match source {
            Source::Socket(listener) => {
                Ok(Self { listener: Some(listener), wish: Wish::Pause, armed: false, cancelled: false })
            }
            // Wherever io_uring runs the kernel balances.
            Source::Dealer(..) | Source::Hand(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn refuse_handshakes(&self) {
        if let Some(listener) = &self.listener {
            listener::refuse_handshakes(SockRef::from(listener));
        }
    }

    /// Whether it can be closed now.
    pub(super) fn is_closing(&self) -> bool {
        self.wish == Wish::Stop && !self.armed && self.listener.is_some()
    }
}

impl Uring {
    pub(super) fn accept(&mut self, listener: ListenerId) {
        let door = &mut self.doors[listener.index()];
        door.wish = Wish::Accept;
        // While a cancelled operation is still to be reaped, its end arms the next one.
        if door.armed {
            return;
        }
        let Some(socket) = &door.listener else { return };
        door.armed = true;
        door.cancelled = false;
        // Not SOCK_NONBLOCK: on such a socket the ring would answer EAGAIN instead of waiting.
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: no address is asked for, so it names no memory.
        unsafe { self.ring.push(entry.user_data(tag(Kind::Accept, 0, listener.0))) };
    }

    pub(super) fn pause(&mut self, listener: ListenerId) {
        self.doors[listener.index()].wish = Wish::Pause;
        self.cancel_accept(listener);
    }

    pub(super) fn stop(&mut self, listener: ListenerId) {
        self.doors[listener.index()].wish = Wish::Stop;
        self.cancel_accept(listener);
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        let door = &mut self.doors[listener.index()];
        if !door.armed || door.cancelled {
            return;
        }
        door.cancelled = true;
        let builder = CancelBuilder::user_data(tag(Kind::Accept, 0, listener.0));
        let entry =
            opcode::AsyncCancel2::new(builder).build().user_data(tag(Kind::AcceptCancel, 0, listener.0));
        // SAFETY: a cancel names no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn accepted(&mut self, listener: ListenerId, result: i32, flags: u32) {
        if result >= 0 {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            let token = self.adopt(listener, fd);
            self.done.push(Completion::Accepted { listener, token });
        }
        // Any completion may be the last one, whatever its result.
        if cqueue::more(flags) {
            return;
        }
        let door = &mut self.doors[listener.index()];
        door.armed = false;
        if door.wish != Wish::Accept {
            return;
        }
        if result >= 0 || result == -libc::ECANCELED {
            self.accept(listener);
        } else {
            door.wish = Wish::Pause;
            let error = io::Error::from_raw_os_error(-result);
            self.done.push(Completion::AcceptFailed { listener, error });
        }
    }

    /// Closes the listeners that are to be closed and have nothing in flight, after a last look at their queue.
    pub(super) fn close_doors(&mut self) {
        for index in 0..self.doors.len() {
            if !self.doors[index].is_closing() {
                continue;
            }
            let Some(socket) = self.doors[index].listener.take() else { continue };
            let listener = ListenerId(u32::try_from(index).expect("fewer than 2^32 listeners"));
            if let Err(error) = socket.set_nonblocking(true) {
                tracing::error!("the backlog cannot be emptied: {error}");
                self.done.push(Completion::AcceptStopped { listener });
                continue;
            }
            for (stream, _) in (0..BACKLOG).map_while(|_| socket.accept().ok()) {
                // Accepted sockets are blocking ones on Linux, whatever their listener is.
                let token = self.adopt(listener, stream.into());
                self.done.push(Completion::Accepted { listener, token });
            }
            drop(socket);
            self.done.push(Completion::AcceptStopped { listener });
        }
    }
}
