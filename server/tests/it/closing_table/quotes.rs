//! The lines of code that the document quotes: each stands in the file that is named before it.

use std::fs;

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Fewer would mean that they are not found any more.
const QUOTES_MIN: usize = 40;

/// A quoted line and where it is said to be from.
struct Quote<'a> {
    file: &'a str,
    line: &'a str,
}

/// Asserts that every quote in the text is a whole line of its file, but for the spaces before it.
#[track_caller]
pub(super) fn assert_right(text: &str) {
    let quotes = quotes(text);
    let wrong: Vec<_> = quotes.iter().filter(|quote| !stands(quote)).collect();
    let list: String = wrong.iter().map(|quote| format!("\n{}: {}", quote.file, quote.line)).collect();
    assert!(wrong.is_empty(), "no such lines:{list}");
    assert!(quotes.len() >= QUOTES_MIN, "only {} quotes were found", quotes.len());
}

/// Every `file.rs`: `line` of a text, in these marks.
fn quotes(text: &str) -> Vec<Quote<'_>> {
    let spans: Vec<_> = text.split('`').collect();
    // In turn: text, and what stands in the marks.
    let pairs = spans.windows(3).skip(1).step_by(2);
    pairs
        .filter(|pair| pair[0].ends_with(".rs") && pair[1] == ": ")
        .map(|pair| Quote { file: pair[0], line: pair[2] })
        .collect()
}

fn stands(quote: &Quote<'_>) -> bool {
    let text = fs::read_to_string(format!("{ROOT}/{}", quote.file)).unwrap_or_default();
    // A bar ends a cell of a table unless it is escaped, even in code.
    let line = quote.line.replace("\\|", "|");
    text.lines().any(|of_file| of_file.trim() == line)
}

#[test]
fn a_wrong_quote_is_found() {
    let text = "a `b` c `server/src/lib.rs`: `no such line` | `server/src/none.rs`: `x` | `y`: `z`";
    let quotes = quotes(text);
    let files: Vec<_> = quotes.iter().map(|quote| (quote.file, quote.line)).collect();
    assert_eq!(files, [("server/src/lib.rs", "no such line"), ("server/src/none.rs", "x")]);
    assert!(!quotes.iter().any(stands));
    assert!(stands(&Quote { file: "server/src/conn.rs", line: "Some(Op::Fin)" }));
}
