//! The books in a file: an embedded database (redb) with one table of sessions, in the order in which they were added.
//!
//! Before it is opened every byte of the file is written again, as it is, and synced. After an fsync that failed the system
//! may show pages that it calls clean and the disk never got, and whoever builds on them loses all of it with the power:
//! the database keeps two states, and its next commit writes over the one that was whole. Writing the same bytes again can
//! be cut short anywhere: that is a commit cut short, which the database knows how to come back from.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, Database, DatabaseError, ReadableTable, ReadableTableMetadata, StorageBackend,
    StorageError, Table, TableDefinition, TableHandle,
};

use super::books::{Books, Entry};
use super::reply::Boot;
use super::session::{Claim, SessionId};

/// Opens the database behind a path: [`open_file`], or what a test puts in its place.
pub type Open = fn(&Path) -> Result<Database, DatabaseError>;

/// Sessions by their place in the order of all that were ever added: session, its total, the grand total with it. Few
/// pages change with each commit, for they are added at one end and forgotten at the other.
const SESSIONS: TableDefinition<'_, u64, (u128, u64, u64)> = TableDefinition::new("finwait ledger 1");

/// What every file of the database begins with (its header's format, version 1 to 3).
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// How much of the file is written back at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Memory for pages of the file, which has 11 to 17 MB with all sessions in it.
const CACHE_BYTES: usize = 8 << 20;

/// Why the books cannot be kept in a file.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    why: Why,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum Why {
    /// A process has it open.
    Locked,
    /// It was not written by a ledger.
    Foreign,
    /// It was written by a ledger and by something else after it.
    Damaged(String),
    /// It has less in it than this process has said to clients.
    Older,
    /// The system refused something.
    Io(io::Error),
}

impl OpenError {
    pub(super) fn new(path: &Path, error: impl Into<redb::Error>) -> Self {
        Self { path: path.to_owned(), why: error.into().into() }
    }

    /// What is wrong with the file.
    #[must_use]
    pub fn why(&self) -> &Why {
        &self.why
    }
}

impl From<redb::Error> for Why {
    #[expect(clippy::wildcard_enum_match_arm, reason = "redb::Error is open-ended, and not ours")]
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Locked,
            // Anything that does not begin as its files do.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::Foreign,
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => Self::Foreign,
            redb::Error::UpgradeRequired(_) => Self::Foreign,
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot keep the ledger in {}: {}", self.path.display(), self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => write!(f, "another process keeps one there: end it or choose another file"),
            Self::Foreign => write!(f, "it is a file of another program: choose another one"),
            Self::Damaged(what) => write!(
                f,
                "it is damaged ({what}): put back a copy, or move it away to begin with nothing, which counts \
                 again whatever clients repeat"
            ),
            Self::Older => {
                write!(f, "it has become older than this server: stop the server before a copy is put back")
            }
            Self::Io(error) => write!(f, "{error}; {}", remedy(error)),
        }
    }
}

impl std::error::Error for OpenError {}

#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is open-ended, and not ours")]
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create the directory first",
        io::ErrorKind::PermissionDenied => {
            "this user must be able to read and write the file and its directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or choose a file on another disk"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a file on a disk that can be written",
        io::ErrorKind::IsADirectory => "name a file in it",
        _ => "choose a file on another disk",
    }
}

/// The books' file, open.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    /// The place that the next session gets.
    next: u64,
    horizon: u64,
}

impl Store {
    /// Opens the file, or creates it, and reads what it has, all of which is on the disk then. `least`: no grand total
    /// below this one can be right.
    pub(super) fn open(
        path: &Path,
        open: Open,
        horizon: usize,
        least: u64,
    ) -> Result<(Self, Books), OpenError> {
        let database = open(path).map_err(|error| OpenError::new(path, error))?;
        let foreign = is_foreign(&database).map_err(|error| OpenError::new(path, error))?;
        if foreign {
            return Err(OpenError { path: path.to_owned(), why: Why::Foreign });
        }
        let mut store = Self { database, next: 0, horizon: horizon as u64 };
        let books = store.read(horizon).map_err(|error| OpenError::new(path, error))?;
        let books = books.map_err(|why| OpenError { path: path.to_owned(), why })?;
        if books.grand_total() < least {
            return Err(OpenError { path: path.to_owned(), why: Why::Older });
        }
        Ok((store, books))
    }

    /// Adds what the books added, in one transaction. It is on the disk when this returns, and whether it is when this
    /// fails, nobody knows: the store is of no use then, and has to be opened again.
    pub(super) fn add(&mut self, added: &[Entry]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        self.append(&mut transaction.open_table(SESSIONS)?, added.iter().copied())?;
        transaction.commit()?;
        Ok(())
    }

    /// Ends it, so that opening it again takes no repair.
    pub(super) fn close(self) -> Result<(), redb::Error> {
        Ok(self.database.close()?)
    }

    fn read(&mut self, horizon: usize) -> Result<Result<Books, Why>, redb::Error> {
        let mut books = Books::new(horizon);
        let transaction = self.database.begin_write()?;
        {
            let table = transaction.open_table(SESSIONS)?;
            for row in table.iter()? {
                let (place, row) = row?;
                let (session, total, grand_total) = row.value();
                let claim = Claim { total, session: SessionId(session) };
                if !books.restore(Entry { claim, grand_total }) {
                    let what = format!("session {session:032x} does not follow from the one before");
                    return Ok(Err(Why::Damaged(what)));
                }
                self.next = place.value() + 1;
            }
        }
        transaction.abort()?;
        Ok(Ok(books))
    }

    fn append(
        &mut self,
        table: &mut Table<'_, u64, (u128, u64, u64)>,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<(), StorageError> {
        for Entry { claim, grand_total } in entries {
            table.insert(self.next, (claim.session.0, claim.total, grand_total))?;
            self.next += 1;
        }
        while table.len()? > self.horizon {
            table.pop_first()?;
        }
        Ok(())
    }
}

/// Whether it is a database of this kind, but not a ledger's.
fn is_foreign(database: &Database) -> Result<bool, redb::Error> {
    let transaction = database.begin_write()?;
    let mut tables = transaction.list_tables()?;
    let foreign = tables.any(|table| table.name() != SESSIONS.name())
        || transaction.list_multimap_tables()?.next().is_some();
    drop(tables);
    transaction.abort()?;
    Ok(foreign)
}

/// Opens a database file, and creates it if there is none.
///
/// # Errors
/// As open(2), and what the database says of a file that it did not write, or that another process has open.
pub fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    if let Err(error) = fs::metadata(path)
        && error.kind() == io::ErrorKind::NotFound
    {
        create(path)?;
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    // Where it is there and empty it is made here; a crash in the middle of that leaves a file that is nobody's.
    open_on(FileBackend::new(file)?)
}

/// As [`open_file`], whatever holds the bytes.
///
/// # Errors
/// As [`open_file`].
pub fn open_on(backend: impl StorageBackend) -> Result<Database, DatabaseError> {
    const ALL: (Bound<u64>, Bound<u64>) = (Bound::Unbounded, Bound::Unbounded);
    match backend.try_lock_range(ALL.0, ALL.1) {
        Ok(true) => {
            let written = write_back(&backend);
            // The database locks it for itself, and would find our lock in its way.
            backend.unlock_range(ALL.0, ALL.1)?;
            written?;
        }
        Ok(false) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(BackendError::Unsupported) => write_back(&backend)?,
        Err(error) => return Err(error.into()),
    }
    builder().create_with_backend(backend)
}

/// Writes every byte of a database's file once more, as it is, and has it synced: redb 4.5 syncs before its first commit
/// too, but nobody said that it always will.
fn write_back(backend: &impl StorageBackend) -> io::Result<()> {
    let len = backend.len()?;
    let mut piece = vec![0; PIECE_BYTES];
    for from in (0..len).step_by(PIECE_BYTES) {
        piece.truncate((len - from).min(PIECE_BYTES as u64) as usize);
        backend.read(from, &mut piece)?;
        if from == 0 && !piece.starts_with(MAGIC) {
            // Not ours: the database says so, and it stays as it is.
            return Ok(());
        }
        backend.write(from, &piece)?;
    }
    backend.sync_data()
}

/// Makes an empty database under another name, and gives it this one when it is whole: the database takes a file that it
/// was making when it was killed for another program's.
fn create(path: &Path) -> Result<(), DatabaseError> {
    let mut aside = path.as_os_str().to_owned();
    // Another one each time: two processes may begin at once, and what a killed one leaves is in nobody's way.
    aside.push(format!(".{}", Boot::by_chance()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&aside)?;
    let made = builder().create_with_backend(FileBackend::new(file)?).and_then(Database::close);
    // A link is made only where there is nothing, unlike a new name. Where the file system has none, the file is made in
    // place, by whoever asked.
    let linked = made.map(|()| fs::hard_link(&aside, path));
    fs::remove_file(&aside)?;
    if let Err(error) = linked? {
        tracing::debug!("{} is made in place: {error}", path.display());
    }
    sync_directory(path)
}

/// Puts the file's name on the disk. Where a directory cannot be opened (Windows) the system sees to that.
fn sync_directory(path: &Path) -> Result<(), DatabaseError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(directory) = File::open(parent) {
        directory.sync_all()?;
    }
    Ok(())
}

/// Every file is looked through before it is trusted: it is small, and what is wrong with it is told at the start.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}
