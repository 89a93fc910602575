//! Accepting on the ring: one multishot operation per listener, ended and reaped before the listener is closed.
//!
//! Into the ring's own table accepts are single ones, some in flight at a time, each with a place reserved: a multishot
//! accept takes in whoever is there, and the kernel drops a connection that it has accepted and finds no place for.
//! Without a place nothing is accepted, and the backlog holds those who wait.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::types::{CancelBuilder, DestinationSlot, Fd};
use io_uring::{cqueue, opcode, squeue};
use socket2::SockRef;

use super::descriptor::Descriptor;
use super::{Kind, Uring, tag};
use crate::listener::{self, Source};
use crate::policy::BACKLOG;
use crate::proactor::{Completion, ListenerId};

pub(super) struct Door {
    /// `None` once it is closed.
    listener: Option<TcpListener>,
    wish: Wish,
    /// Operations in the kernel.
    in_flight: u32,
    /// Their cancel was submitted.
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
                Ok(Self { listener: Some(listener), wish: Wish::Pause, in_flight: 0, cancelled: false })
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
        self.wish == Wish::Stop && self.in_flight == 0 && self.listener.is_some()
    }
}

impl Uring {
    pub(super) fn accept(&mut self, listener: ListenerId) {
        let door = &mut self.doors[listener.index()];
        door.wish = Wish::Accept;
        // While cancelled operations are still to be reaped, the end of the last arms the next ones.
        if door.cancelled && door.in_flight > 0 {
            return;
        }
        let Some(socket) = &door.listener else { return };
        let fd = Fd(socket.as_raw_fd());
        door.cancelled = false;
        if self.table.is_there() {
            return self.accept_directly(listener, fd);
        }
        if door.in_flight > 0 {
            return;
        }
        door.in_flight = 1;
        // Not SOCK_NONBLOCK: on such a socket the ring would answer EAGAIN instead of waiting.
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.push_accept(listener, entry);
    }

    /// Into the table, as far as there are places.
    fn accept_directly(&mut self, listener: ListenerId, fd: Fd) {
        let door = &mut self.doors[listener.index()];
        let mut more = 0;
        while self.table.take(door.in_flight) {
            door.in_flight += 1;
            more += 1;
        }
        if door.in_flight == 0 {
            // As where the process has no descriptor left: the loop tries again when a connection is closed.
            door.wish = Wish::Pause;
            let error = io::Error::from_raw_os_error(libc::EMFILE);
            return self.done.push(Completion::AcceptFailed { listener, error });
        }
        // What is in the table is closed by exec(2) in any case, and SOCK_CLOEXEC refused.
        let (nowhere, slot) = (std::ptr::null_mut(), DestinationSlot::auto_target());
        for _ in 0..more {
            let entry = opcode::Accept::new(fd, nowhere, std::ptr::null_mut()).file_index(Some(slot)).build();
            self.push_accept(listener, entry);
        }
    }

    fn push_accept(&mut self, listener: ListenerId, entry: squeue::Entry) {
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
        if door.in_flight == 0 || door.cancelled {
            return;
        }
        door.cancelled = true;
        let builder = CancelBuilder::user_data(tag(Kind::Accept, 0, listener.0)).all();
        let entry =
            opcode::AsyncCancel2::new(builder).build().user_data(tag(Kind::AcceptCancel, 0, listener.0));
        // SAFETY: a cancel names no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn accepted(&mut self, listener: ListenerId, result: i32, flags: u32) {
        if result >= 0 {
            let descriptor = if self.table.is_there() {
                Descriptor::Direct(result.cast_unsigned())
            } else {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
                Descriptor::Normal(unsafe { OwnedFd::from_raw_fd(result) })
            };
            let token = self.adopt(listener, descriptor);
            self.done.push(Completion::Accepted { listener, token });
        } else if self.table.is_there() {
            self.table.give_back();
        }
        // Any completion may be the last one, whatever its result.
        if cqueue::more(flags) {
            return;
        }
        let door = &mut self.doors[listener.index()];
        door.in_flight -= 1;
        if door.wish != Wish::Accept {
            return;
        }
        if result >= 0 || result == -libc::ECANCELED {
            self.accept(listener);
        } else {
            self.pause(listener);
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
                let token = self.adopt(listener, Descriptor::Normal(stream.into()));
                self.done.push(Completion::Accepted { listener, token });
            }
            drop(socket);
            self.done.push(Completion::AcceptStopped { listener });
        }
    }
}
