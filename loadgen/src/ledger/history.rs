//! The history of a ledger's sessions, as lines of JSON in a file that runs append to: what a later run repeats, and
//! holds the grand total against.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::answer::{Reply, Status};
use super::book::Book;
use super::{Attempt, Earlier, Session};
use crate::clock::Clock;

/// What the first line says that it is.
const FORMAT: &str = "finwait-loadgen ledger 1";

/// A file that is appended to.
#[derive(Debug)]
pub struct History {
    file: File,
    has_head: bool,
}

/// The first line: what the ledger had before the first session.
#[derive(Debug, Deserialize, Serialize)]
struct Head {
    history: String,
    grand_total: u64,
    boot: String,
    at_unix_ns: u64,
}

/// Every other line: one connection.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    session: String,
    total: u64,
    connection: u64,
    earlier: String,
    outcome: String,
    started_unix_ns: u64,
    fin_unix_ns: Option<u64>,
    replied_unix_ns: Option<u64>,
    ended_unix_ns: u64,
    reply: Option<Told>,
    may_be_added: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Told {
    status: String,
    seen: u64,
    grand_total: u64,
    boot: String,
}

impl History {
    /// Opens `path`, makes it where there is none, and enters into `book` what it has.
    ///
    /// # Errors
    /// When it cannot be read or written, or is no history.
    pub fn open(path: &Path, book: &mut Book) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut history = Self { file, has_head: false };
        for (index, line) in BufReader::new(&history.file).lines().enumerate() {
            let wrong = |why: &dyn std::fmt::Display| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {why}", index + 1))
            };
            let line = line?;
            if index == 0 {
                let head: Head = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
                if head.history != FORMAT {
                    return Err(wrong(&format_args!("`{}` is not `{FORMAT}`", head.history)));
                }
                book.base = Some(head.grand_total);
                history.has_head = true;
            } else {
                let line: Line = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
                let (session, reply) = line.taken().ok_or_else(|| wrong(&"no session"))?;
                book.note(session, reply, line.may_be_added);
            }
        }
        Ok(history)
    }

    /// Begins it, where it has not begun: the ledger says this, and no session of ours is in it.
    ///
    /// # Errors
    /// As write(2).
    pub fn begin(&mut self, reply: Reply, at_unix_ns: u64) -> io::Result<()> {
        if std::mem::replace(&mut self.has_head, true) {
            return Ok(());
        }
        let Reply { grand_total, boot, .. } = reply;
        let head = Head { history: FORMAT.to_owned(), grand_total, boot: hex(boot), at_unix_ns };
        self.file.write_all((serde_json::to_string(&head)? + "\n").as_bytes())
    }

    /// Appends what came of sessions, in one piece and onto the disk: a run that is killed later leaves it whole.
    ///
    /// # Errors
    /// As write(2).
    pub fn append(&mut self, attempts: &[Attempt], clock: Clock) -> io::Result<()> {
        let mut text = String::new();
        // Who claims 0 only asks, also before there is a first line.
        for attempt in attempts.iter().filter(|attempt| attempt.session.total > 0) {
            text.push_str(&serde_json::to_string(&Line::of(attempt, clock))?);
            text.push('\n');
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

impl Line {
    fn of(attempt: &Attempt, clock: Clock) -> Self {
        Self {
            session: hex(attempt.session.id),
            total: attempt.session.total,
            connection: attempt.connection,
            earlier: match attempt.earlier {
                Earlier::Nothing => "nothing",
                Earlier::Unseen => "unseen",
                Earlier::Answered(_) => "answered",
            }
            .to_owned(),
            outcome: attempt.outcome.name().to_owned(),
            started_unix_ns: clock.unix_ns(attempt.started),
            fin_unix_ns: attempt.fin.map(|at| clock.unix_ns(at)),
            replied_unix_ns: attempt.replied.map(|at| clock.unix_ns(at)),
            ended_unix_ns: clock.unix_ns(attempt.ended),
            reply: attempt.reply.map(|Reply { status, seen, grand_total, boot }| Told {
                status: status.name().to_owned(),
                seen,
                grand_total,
                boot: hex(boot),
            }),
            may_be_added: attempt.may_be_added,
        }
    }

    fn taken(&self) -> Option<(Session, Option<Reply>)> {
        let session = Session { id: u128::from_str_radix(&self.session, 16).ok()?, total: self.total };
        let Some(Told { status, seen, grand_total, boot }) = &self.reply else {
            return Some((session, None));
        };
        let (status, boot) = (Status::named(status)?, u128::from_str_radix(boot, 16).ok()?);
        Some((session, Some(Reply { status, seen: *seen, grand_total: *grand_total, boot })))
    }
}

fn hex(number: u128) -> String {
    format!("{number:032x}")
}
