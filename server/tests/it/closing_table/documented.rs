//! What Microsoft's pages say of each row, in the words of the table, and the notes that explain the differences.
//!
//! `server/CLOSING.md` names the pages. Where they say nothing, neither does this: nobody has run it on Windows.

use super::row::{Linger, Row, Way};

/// Nothing is said about it.
const SILENT: &str = "not documented";

/// A RST for unread input is the sender's choice of what to do.
const UNREAD: u8 = 1;
/// A linger time on a socket that must not wait.
const LINGERING: u8 = 2;
/// What can still be read when a RST has come.
const BEHIND_A_RESET: u8 = 3;
/// SD_RECEIVE with input there.
const RECEIVING: u8 = 4;
/// What Wine makes of SD_RECEIVE.
const ONLY_NOTED: u8 = 5;

/// The cell of the Windows column.
pub(super) fn documented(row: Row) -> String {
    match row.way {
        Way::Both if row.unread => reset(row).to_owned(),
        Way::Both => format!("all, EOF; late byte RST; close: {}", close_after_fin(row)),
        Way::Send | Way::Disconnect => format!("all, EOF; late byte taken; close: {}", close_after_fin(row)),
        Way::Close => close(row).to_owned(),
    }
}

/// The close of a socket whose bytes and FIN have arrived, so that there is nothing left to send.
fn close_after_fin(row: Row) -> &'static str {
    match (row.linger, row.unread) {
        (Linger::Zero, _) => "RST",
        (Linger::Off | Linger::OneSecond, true) => SILENT,
        (Linger::Off, false) => "nothing",
        (Linger::OneSecond, false) => "nothing or error 10035",
    }
}

fn close(row: Row) -> &'static str {
    match (row.linger, row.unread, row.unsent) {
        (Linger::Zero, _, _) => reset(row),
        (Linger::Off, false, _) => "all, EOF",
        (Linger::OneSecond, _, true) => "error 10035, still open",
        (Linger::OneSecond, false, false) => "all, EOF; or error 10035",
        (Linger::Off, true, _) | (Linger::OneSecond, true, false) => SILENT,
    }
}

/// An abortive end, which loses what was not sent.
fn reset(row: Row) -> &'static str {
    if row.unsent { "not all, RST" } else { "RST" }
}

/// The notes of a row whose cells differ, by their numbers in the document.
pub(super) fn notes(row: Row) -> &'static [u8] {
    match (row.way, row.linger, row.unread, row.unsent) {
        (Way::Both, _, true, _) => &[BEHIND_A_RESET, RECEIVING, ONLY_NOTED],
        (Way::Both, Linger::OneSecond, false, _) => &[LINGERING, ONLY_NOTED],
        (Way::Both, Linger::Off | Linger::Zero, false, _) => &[ONLY_NOTED],
        (Way::Close, Linger::Zero, _, _) => &[BEHIND_A_RESET],
        (Way::Send | Way::Disconnect, Linger::Zero, _, _) => &[],
        (Way::Send | Way::Disconnect | Way::Close, Linger::OneSecond, true, _) => &[UNREAD, LINGERING],
        (Way::Send | Way::Disconnect | Way::Close, Linger::OneSecond, false, _) => &[LINGERING],
        (Way::Send | Way::Disconnect | Way::Close, Linger::Off, true, _) => &[UNREAD],
        (Way::Send | Way::Disconnect | Way::Close, Linger::Off, false, _) => &[],
    }
}
