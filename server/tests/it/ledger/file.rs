//! Files that are there, are not, or are somebody else's.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use finwait_server::ledger::reply::Status;
use finwait_server::ledger::store::{OpenError, Why};
use finwait_server::ledger::{Ledger, Options};
use oorandom::Rand64;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::{Teller, claim, said};
use crate::support::Scratch;

fn open(path: &Path) -> Result<Ledger, OpenError> {
    Ledger::open(path, Options { horizon: 1 << 12, ..Options::default() })
}

#[track_caller]
fn refusal(path: &Path) -> String {
    let error = open(path).expect_err("such a file is refused");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot keep the ledger in {}: ", path.display())), "{text}");
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn the_books_are_there_after_a_restart() {
    let scratch = Scratch::new("restart");
    let path = scratch.file();
    let mut boots = Vec::new();
    for life in 1..=4 {
        let ledger = open(&path).unwrap();
        assert_eq!(ledger.grand_total(), 10 * (life as u64 - 1));
        let mut teller = Teller::new(&ledger);
        assert_eq!(said(teller.ask(claim(life, 10))), (Status::Ok, 10 * life as u64));
        for former in 1..=life {
            assert_eq!(said(teller.ask(claim(former, 10))), (Status::Duplicate, 10 * former as u64));
        }
        boots.push(ledger.boot());
    }
    boots.dedup();
    assert_eq!(boots.len(), 4, "each life has its number");
    let left: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["ledger"], "nothing else is left there");
}

/// The books forget by themselves when they are read; the file would only grow.
#[test]
fn the_file_has_no_more_sessions_than_are_remembered() {
    let scratch = Scratch::new("bounded");
    let ledger = Ledger::open(&scratch.file(), Options { horizon: 100, ..Options::default() }).unwrap();
    let mut teller = Teller::new(&ledger);
    for session in 0..1000 {
        teller.submit(0, claim(session, 1));
    }
    teller.wait(1000);
    drop((ledger, teller));
    let database = Database::open(scratch.file()).unwrap();
    let transaction = database.begin_read().unwrap();
    let tables: Vec<_> = transaction.list_tables().unwrap().collect();
    assert_eq!(tables.len(), 1);
    let table = tables.into_iter().next().unwrap();
    assert_eq!(transaction.open_untyped_table(table).unwrap().len().unwrap(), 100);
}

/// As `mktemp` leaves one.
#[test]
fn an_empty_file_is_a_new_ledger() {
    let scratch = Scratch::new("empty");
    fs::write(scratch.file(), "").unwrap();
    assert_eq!(open(&scratch.file()).unwrap().grand_total(), 0);
}

#[test]
fn one_file_has_one_ledger() {
    let scratch = Scratch::new("locked");
    let ledger = open(&scratch.file()).unwrap();
    assert!(refusal(&scratch.file()).contains("another process keeps one there"));
    let mut teller = Teller::new(&ledger);
    assert_eq!(said(teller.ask(claim(1, 5))), (Status::Ok, 5), "the first one goes on");
    drop((ledger, teller));
    assert_eq!(open(&scratch.file()).unwrap().grand_total(), 5);
}

#[test]
fn files_of_others_are_refused_and_left_alone() {
    let scratch = Scratch::new("foreign");
    let zeros = vec![0; 2 << 20];
    for bytes in [&b"x"[..], b"a page of notes\n", b"SQLite format 3\0", &zeros] {
        fs::write(scratch.file(), bytes).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 365);
        File::options().write(true).open(scratch.file()).unwrap().set_modified(long_ago).unwrap();
        assert!(refusal(&scratch.file()).contains("a file of another program"));
        assert_eq!(fs::read(scratch.file()).unwrap(), bytes);
        assert_eq!(
            fs::metadata(scratch.file()).unwrap().modified().unwrap(),
            long_ago,
            "not even written again"
        );
    }
    // A database of the same kind.
    const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("somebody's");
    fs::remove_file(scratch.file()).unwrap();
    let database = Database::create(scratch.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(OTHER).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(refusal(&scratch.file()).contains("a file of another program"));
    let database = Database::create(scratch.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    assert_eq!(transaction.open_table(OTHER).unwrap().insert(1, 3).unwrap().unwrap().value(), 2);
    assert_eq!(transaction.list_tables().unwrap().count(), 1);
}

#[test]
fn places_where_no_file_can_be_are_refused() {
    let scratch = Scratch::new("places");
    let missing = refusal(&scratch.0.join("missing/ledger"));
    assert!(missing.contains("create the directory first"), "{missing}");
    let error = open(&scratch.0).expect_err("a directory");
    assert!(matches!(error.why(), Why::Io(_)), "{error}");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0, "nothing is left there");
}

/// A file with some wrong bytes is refused, or repaired to what it was; it never has other books.
#[test]
fn a_damaged_file_has_no_other_books() {
    let scratch = Scratch::new("damaged");
    let ledger = open(&scratch.file()).unwrap();
    let mut teller = Teller::new(&ledger);
    for session in 1..=300 {
        teller.submit(0, claim(session, 1));
    }
    teller.wait(300);
    drop((ledger, teller));
    let whole = fs::read(scratch.file()).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() as u64;
    let mut dice = Rand64::new(1);
    let mut refused = 0;
    for _ in 0..100 {
        let mut bytes = whole.clone();
        for _ in 0..dice.rand_range(1..4) {
            bytes[dice.rand_range(0..used) as usize] ^= dice.rand_range(1..256) as u8;
        }
        fs::write(scratch.file(), bytes).unwrap();
        match open(&scratch.file()) {
            Ok(ledger) => assert_eq!(ledger.grand_total(), 300),
            Err(error) => {
                assert!(matches!(error.why(), Why::Damaged(_) | Why::Foreign), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}

/// Half of a file, as a disk that was full leaves a copy.
#[test]
fn a_file_that_was_cut_short_is_refused() {
    let scratch = Scratch::new("short");
    drop(open(&scratch.file()).unwrap());
    let whole = fs::read(scratch.file()).unwrap();
    for len in [whole.len() / 2, 4096, 400, 9] {
        fs::write(scratch.file(), &whole[..len]).unwrap();
        refusal(&scratch.file());
    }
}
