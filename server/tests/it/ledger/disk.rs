//! A disk that loses power, stalls and fails, under the real database.
//!
//! It keeps what the system would show and what would be there after a loss of power apart: the first has every write, the
//! second only those before an fsync that succeeded, and any of the later ones.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use finwait_server::ledger::store::open_on;
use finwait_server::ledger::{Ledger, Options};
use oorandom::Rand64;
use redb::{Database, DatabaseError, StorageBackend};

/// The disks by their paths: the ledger opens its file by a plain function.
static DISKS: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Writes fail: it is full.
    Full,
    /// The next fsync fails, though everything came to be on the disk.
    SyncFailsAfter,
    /// The next fsync fails, and the system forgets that there is something to write, as Linux does: it is shown until the
    /// power goes.
    SyncForgets,
    /// So many more fsyncs succeed, and then nothing does.
    DiesIn(u32),
    /// The next fsync panics, as a bug in the database would.
    SyncPanics,
}

#[derive(Default)]
pub(super) struct Disk {
    platter: Mutex<Platter>,
    moved_on: Condvar,
}

#[derive(Default)]
struct Platter {
    /// What reads see.
    shown: Vec<u8>,
    /// What is there for sure after a loss of power.
    safe: Vec<u8>,
    /// What was written since.
    pending: Vec<Write>,
    fault: Fault,
    is_stalled: bool,
    /// Somebody waits for a stall to end.
    is_waited_for: bool,
    /// How long an fsync takes.
    slow: Duration,
    syncs: u64,
}

#[derive(Clone)]
enum Write {
    Len(u64),
    Bytes(u64, Vec<u8>),
}

/// A disk that stands still.
pub(super) struct Stall<'a>(&'a Disk);

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        self.0.lock().is_stalled = false;
        self.0.moved_on.notify_all();
    }
}

/// What the database holds of a disk.
struct Wire(Arc<Disk>);

impl Disk {
    /// A new disk with these bytes on it, under a path that no other has.
    pub(super) fn new(name: &str, bytes: Vec<u8>) -> (PathBuf, Arc<Self>) {
        let disk = Arc::new(Self::default());
        *disk.lock() = Platter { shown: bytes.clone(), safe: bytes, ..Platter::default() };
        let path = PathBuf::from(format!("a disk of a test/{name}"));
        DISKS.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), Arc::clone(&disk));
        (path, disk)
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    pub(super) fn slow_down(&self, sync: Duration) {
        self.lock().slow = sync;
    }

    /// From now on an fsync does not return, until what this returns is dropped: before the ledger, whose end waits.
    pub(super) fn stall(&self) -> Stall<'_> {
        self.lock().is_stalled = true;
        Stall(self)
    }

    /// Whether somebody waits for an fsync.
    pub(super) fn is_waited_for(&self) -> bool {
        self.lock().is_waited_for
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// What is there if the power goes now: of what was not yet synced each write is there or not.
    pub(super) fn after_power_loss(&self, dice: &mut Rand64) -> Vec<u8> {
        let platter = self.lock();
        let mut bytes = platter.safe.clone();
        for write in &platter.pending {
            if dice.rand_range(0..2) == 1 {
                write.apply(&mut bytes);
            }
        }
        bytes
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a ledger on a disk.
pub(super) fn open(path: &Path) -> Ledger {
    Ledger::open(path, Options { horizon: 1 << 12, open: plug }).unwrap()
}

fn plug(path: &Path) -> Result<Database, DatabaseError> {
    let disk = Arc::clone(&DISKS.lock().unwrap_or_else(PoisonError::into_inner)[path]);
    open_on(Wire(disk))
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Len(len) => to.resize(*len as usize, 0),
            Self::Bytes(offset, bytes) => {
                let (from, end) = (*offset as usize, *offset as usize + bytes.len());
                // The length that makes room may be among what was lost.
                to.resize(to.len().max(end), 0);
                to[from..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Platter {
    fn write(&mut self, write: Write) -> io::Result<()> {
        if matches!(self.fault, Fault::Full | Fault::DiesIn(0)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write.apply(&mut self.shown);
        self.pending.push(write);
        Ok(())
    }
}

impl StorageBackend for Wire {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock();
        let from = platter.shown.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().write(Write::Len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        // Only what was written before it began is what it puts on the disk.
        let begun = platter.pending.len();
        let slow = platter.slow;
        drop(platter);
        std::thread::sleep(slow);
        platter = self.0.lock();
        while platter.is_stalled {
            platter.is_waited_for = true;
            platter = self.0.moved_on.wait(platter).unwrap_or_else(PoisonError::into_inner);
        }
        platter.is_waited_for = false;
        platter.syncs += 1;
        let fault = platter.fault;
        if fault == Fault::DiesIn(0) {
            return Err(io::Error::other("the disk is dead"));
        }
        let done: Vec<Write> = platter.pending.drain(..begun).collect();
        if fault != Fault::SyncForgets {
            for write in &done {
                write.apply(&mut platter.safe);
            }
        }
        match fault {
            Fault::None => Ok(()),
            Fault::DiesIn(more) => {
                platter.fault = Fault::DiesIn(more - 1);
                Ok(())
            }
            Fault::Full => Err(io::ErrorKind::StorageFull.into()),
            Fault::SyncPanics => panic!("a bug in the database, made by a test"),
            Fault::SyncFailsAfter | Fault::SyncForgets => {
                platter.fault = Fault::None;
                Err(io::Error::other("the disk failed"))
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().write(Write::Bytes(offset, data.to_vec()))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a disk of a test")
    }
}
