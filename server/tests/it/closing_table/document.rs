//! The table in `server/CLOSING.md`: read, held against what was seen, and written when that is asked for.
//!
//! Each system sees one column, so that column is taken from it and the other measured one as it stands there.
//! Everything else in the table comes from the tests.

use std::fs;

use super::documented::{documented, notes};
use super::row::{Row, Way, rows};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/CLOSING.md");
/// The lines between which the table stands.
const BEGIN: &str = "<!-- The table, written by its test -->\n";
const END: &str = "<!-- The end of the table -->\n";
const HEAD: &str = "| linger | unread input | unsent bytes | Linux | Wine 8 | Windows, as documented | notes |\n\
    | --- | --- | --- | --- | --- | --- | --- |\n";
/// Where the first measured column stands in a line that is split at its bars.
const FIRST_MEASURED: usize = 4;

/// A column that is seen, and not told.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
pub(super) enum Column {
    Linux,
    Wine,
}

/// The measured cells of a row.
pub(super) type Measured = [String; 2];

/// The document, in the pieces that matter.
pub(super) struct Document {
    before: String,
    table: String,
    pub(super) after: String,
}

impl Document {
    #[track_caller]
    pub(super) fn read() -> Self {
        // A checkout on Windows may have its own ends of lines.
        let text = fs::read_to_string(FILE).expect("the document can be read").replace("\r\n", "\n");
        let (before, rest) = text.split_once(BEGIN).expect("the table begins somewhere");
        let (table, after) = rest.split_once(END).expect("the table ends somewhere");
        Self { before: before.to_owned(), table: table.to_owned(), after: after.to_owned() }
    }

    /// The measured cells of all rows; a question mark where the document has none.
    pub(super) fn measured(&self) -> Vec<Measured> {
        let lines = self.table.lines().filter(|line| line.starts_with("| {"));
        let mut cells: Vec<_> = lines.map(measured_in).collect();
        cells.resize(rows().len(), ["?", "?"].map(str::to_owned));
        cells
    }

    /// Asserts that the table is the one that these cells make.
    #[track_caller]
    pub(super) fn assert_holds(&self, measured: &[Measured]) {
        let table = render(measured);
        if table == self.table {
            return;
        }
        if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            let text = [&self.before, BEGIN, &table, END, &self.after].concat();
            return fs::write(FILE, text).expect("the document can be written");
        }
        panic!(
            "CLOSING.md does not say what was seen. Look at the difference; accept it with INSTA_UPDATE=always.\n{}",
            difference(&self.table, &table)
        );
    }

    /// Asserts that what was seen is what a column says.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub(super) fn assert_column(&self, column: Column, seen: Vec<String>) {
        let mut measured = self.measured();
        for (cells, seen) in measured.iter_mut().zip(seen) {
            cells[column as usize] = seen;
        }
        self.assert_holds(&measured);
    }
}

/// The numbers that a numbered list in the text has.
pub(super) fn numbers_of_list(text: &str) -> Vec<u8> {
    text.lines().filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
}

fn measured_in(line: &str) -> Measured {
    let mut cells = line.split('|').skip(FIRST_MEASURED).map(|cell| cell.trim().to_owned());
    [(); 2].map(|()| cells.next().unwrap_or_default())
}

fn render(measured: &[Measured]) -> String {
    let mut text = String::new();
    for way in Way::ALL {
        text.push_str(&format!("\n### `{}`\n\n{HEAD}", way.title()));
        for (row, measured) in rows().into_iter().zip(measured).filter(|(row, _)| row.way == way) {
            text.push_str(&line(row, measured));
        }
    }
    text.push('\n');
    text
}

fn line(row: Row, [linux, wine]: &Measured) -> String {
    let [unread, unsent] = [row.unread, row.unsent].map(|is_there| if is_there { "some" } else { "none" });
    let numbers: Vec<_> = notes(row).iter().map(u8::to_string).collect();
    let (linger, documented, numbers) = (row.linger.name(), documented(row), numbers.join(", "));
    format!("| {linger} | {unread} | {unsent} | {linux} | {wine} | {documented} | {numbers} |\n")
}

/// The lines that differ, each under the call that it is about.
fn difference(is: &str, should_be: &str) -> String {
    let (is, should_be): (Vec<_>, Vec<_>) = (is.lines().collect(), should_be.lines().collect());
    let mut text = String::new();
    let mut heading = "";
    for index in 0..is.len().max(should_be.len()) {
        let (is, should_be) = (is.get(index).copied(), should_be.get(index).copied());
        if is == should_be {
            heading = is.filter(|line| line.starts_with('#')).unwrap_or(heading);
            continue;
        }
        if !heading.is_empty() {
            text.push_str(&format!("{heading}\n"));
            heading = "";
        }
        is.into_iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        should_be.into_iter().for_each(|line| text.push_str(&format!("+ {line}\n")));
    }
    text
}
