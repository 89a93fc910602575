//! Where a connection's descriptor lives: in the table of the process, or in the ring's own.
//!
//! A direct descriptor is a place in the ring's table. It is no number of the process's and does not count against its
//! limit, which bounds each table by itself. Only the ring can name it: what is a system call on a normal descriptor is
//! an entry on a direct one (`direct`), but for the close, which io_uring_register(2) does at once.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::Fd;
use io_uring::{Submitter, squeue};

use crate::sys;

/// The most that the kernel lets a table have (IORING_MAX_FIXED_FILES).
pub(super) const TABLE_MAX: u32 = 1 << 20;
/// The most accepts in flight for one listener: as many connections come in a turn, and each has a place reserved.
const ACCEPTS_MAX: u32 = 64;
/// Of the table at most this part is reserved for connections that are still to come, all listeners together.
const RESERVED: u32 = 8;
/// Kernel threads of a worker, for calls that may block and for those that may not. Only `shutdown` needs them.
const KERNEL_THREADS: [u32; 2] = [2, 2];

/// A connection's descriptor, by where it lives.
#[derive(Debug, Default)]
pub(super) enum Descriptor {
    /// It has none, or no more.
    #[default]
    None,
    /// In the table of the process.
    Normal(OwnedFd),
    /// In the table of the ring.
    Direct(u32),
}

impl Descriptor {
    /// What an entry has to call it. It takes [`Descriptor::flags`] besides.
    pub(super) fn fd(&self) -> Fd {
        match self {
            Self::Normal(fd) => Fd(fd.as_raw_fd()),
            Self::Direct(place) => Fd(place.cast_signed()),
            Self::None => panic!("an operation on a connection that is closed"),
        }
    }

    /// Which table an entry has to look in.
    pub(super) fn flags(&self) -> squeue::Flags {
        match self {
            Self::Direct(_) => squeue::Flags::FIXED_FILE,
            Self::Normal(_) | Self::None => squeue::Flags::empty(),
        }
    }
}

/// The ring's own file table. A place is taken before an accept is given to the kernel, which accepts and then drops a
/// connection that it finds no place for.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Places in all; 0: there is no table, and descriptors are normal ones.
    size: u32,
    /// By connections, and by accepts in flight.
    taken: u32,
    /// Accepts in flight for each listener.
    accepts: u32,
    /// Listeners that want a place each.
    listeners: u32,
}

impl Table {
    /// Makes a table of `size` places, fewer where the limit of descriptors is lower; none for 0.
    ///
    /// # Errors
    /// As getrlimit(2) and io_uring_register(2), IORING_REGISTER_FILES2 (Linux 5.19 for a table of empty places).
    pub(super) fn register(submitter: &Submitter<'_>, size: u32, listeners: usize) -> io::Result<Self> {
        if size == 0 {
            return Ok(Self::default());
        }
        // The kernel holds each table against the limit, by itself.
        let limit = u32::try_from(sys::descriptor_limit()?).unwrap_or(TABLE_MAX);
        let size = size.min(limit).min(TABLE_MAX);
        submitter.register_files_sparse(size)?;
        submitter.register_iowq_max_workers(&mut KERNEL_THREADS.clone())?;
        let listeners = u32::try_from(listeners).expect("fewer than 2^32 listeners");
        let accepts = (size / RESERVED / listeners.max(1)).clamp(1, ACCEPTS_MAX);
        tracing::debug!("direct descriptors: {size} places, {accepts} accepts in flight for each listener");
        Ok(Self { size, taken: 0, accepts, listeners })
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.size > 0
    }

    /// Takes a place for one more accept of a listener that has `in_flight`, if there is one. The first is to be had as
    /// long as any place is free; for a further one each listener must be able to have its first.
    pub(super) fn take(&mut self, in_flight: u32) -> bool {
        let wanted = if in_flight == 0 { 1 } else { self.listeners };
        let has_room = in_flight < self.accepts && self.taken + wanted <= self.size;
        if has_room {
            self.taken += 1;
        }
        has_room
    }

    /// Gives a place back: the accept brought nothing, or the connection is closed.
    pub(super) fn give_back(&mut self) {
        assert!(self.taken > 0, "a place in the table given back that was not taken");
        self.taken -= 1;
    }
}
