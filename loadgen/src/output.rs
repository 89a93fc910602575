//! A file that appears whole or not at all, and whose place is tried before a run, not after it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::sys;

/// Where a report is to be written.
#[derive(Debug)]
pub enum Output {
    /// Written beside its place, and put there when it is whole.
    File(PathBuf),
    /// Something that is there and no regular file, like /dev/stdout: it must not be replaced.
    Special(PathBuf),
}

impl Output {
    /// Makes sure that `path` can be written to. Nothing is left behind by a run that is ended without a report.
    ///
    /// # Errors
    /// When it cannot.
    pub fn prepare(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => return Ok(Self::Special(path.to_owned())),
            Ok(_) | Err(_) => {}
        }
        beside(path)?;
        Ok(Self::File(path.to_owned()))
    }

    /// Writes `text` in one piece.
    ///
    /// # Errors
    /// When the disk is full, or the like; an older file stays as it was then.
    pub fn write(self, text: &str) -> io::Result<()> {
        match self {
            Self::Special(path) => fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes()),
            Self::File(path) => {
                let mut file = beside(&path)?;
                file.write_all(text.as_bytes())?;
                file.as_file().sync_all()?;
                file.persist(path)?;
                Ok(())
            }
        }
    }
}

/// A new file in the folder of `path`.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".finwait-loadgen-");
    if let Some(permissions) = sys::permissions_of_files() {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder)
}
