//! The closing table: what the other side of a connection sees of every call that ends one, whatever that call meets.
//!
//! `server/CLOSING.md` holds the table, and these tests produce it. A *closer* goes through the rows and an *observer*,
//! always Linux's own, looks on: under Wine a RST that comes while no receive is pending reads as EOF.
//!
//! - `row`: the rows.
//! - `closer`: the side that ends its connection; a thread here, or the Windows build of this program under Wine.
//! - `calls`: the calls that have no safe wrapper.
//! - `observer`: the other side, and the words for what it sees.
//! - `documented`: what Windows is documented to do, and which note explains a difference.
//! - `document`: the table in the document.
//! - `quotes`: the lines of code that the document quotes.

#[cfg(any(target_os = "linux", windows))]
mod calls;
#[cfg(any(target_os = "linux", windows))]
mod closer;
mod document;
mod documented;
#[cfg(target_os = "linux")]
mod observer;
mod quotes;
mod row;

use document::Document;

/// Where the closer under Wine finds its observer.
#[cfg(any(target_os = "linux", windows))]
const OBSERVER: &str = "FINWAIT_CLOSING_OBSERVER";

#[cfg(target_os = "linux")]
#[test]
fn linux_closes_as_the_table_says() {
    let listener = observer::listen();
    let addr = listener.local_addr().unwrap();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| closer::run(addr));
        observer::watch(&listener)
    });
    Document::read().assert_column(document::Column::Linux, seen);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "it takes Wine: .ci/run wine-suite"]
fn wine_closes_as_the_table_says() {
    use std::process::{Command, Stdio};
    let program =
        std::env::var("FINWAIT_WINDOWS_TESTS").expect("the path of this test binary's Windows build");
    let listener = observer::listen();
    let addr = listener.local_addr().unwrap();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wine = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/wine/run"));
            wine.args([&program, "closing_table::closes_before_an_observer", "--exact", "--ignored"]);
            wine.env(OBSERVER, addr.to_string()).stdin(Stdio::null());
            let mut wine = wine.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // What Wine starts beside it may keep its output open, so that is read to its end only where it matters.
            if !wine.wait().unwrap().success() {
                let output = wine.wait_with_output().unwrap();
                let said = [output.stdout, output.stderr].concat();
                panic!("the closer under Wine:\n{}", String::from_utf8_lossy(&said));
            }
        });
        observer::watch(&listener)
    });
    Document::read().assert_column(document::Column::Wine, seen);
}

/// The other half of the test above; it runs under Wine.
#[cfg(windows)]
#[test]
#[ignore = "it takes an observer on Linux: .ci/run wine-suite"]
fn closes_before_an_observer() {
    let addr = std::env::var(OBSERVER).expect("the observer's address");
    closer::run(addr.parse().unwrap());
}

#[test]
fn what_is_not_measured_stands_there_as_it_does_here() {
    let document = Document::read();
    document.assert_holds(&document.measured());
}

#[test]
fn every_difference_has_a_note_and_every_note_a_difference() {
    let document = Document::read();
    let mut used: Vec<u8> = Vec::new();
    for (row, [linux, wine]) in row::rows().into_iter().zip(document.measured()) {
        let (windows, notes) = (documented::documented(row), documented::notes(row));
        let differs = linux != wine || linux != windows;
        assert_eq!(
            differs,
            !notes.is_empty(),
            "{row:?}: {linux} | {wine} | {windows} has the notes {notes:?}"
        );
        used.extend(notes);
    }
    used.sort_unstable();
    used.dedup();
    let (notes, _) = document.after.split_once("\n## ").expect("the notes end where the next part begins");
    assert_eq!(document::numbers_of_list(notes), used, "the notes below the table, and those that rows have");
}

#[test]
fn quoted_lines_stand_where_the_document_says() {
    quotes::assert_right(&Document::read().after);
}
