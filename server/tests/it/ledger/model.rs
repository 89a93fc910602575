//! What a whole input means, read from LEDGER.md and not from the code: slow, and with all of it in memory.

use finwait_server::ledger::session::{AtFin, Claim, Session, SessionId};

/// What is to come of an input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) echo: Vec<u8>,
    pub(crate) seen: u64,
    pub(crate) at_fin: AtFin,
}

/// What comes of `input`, by the book.
pub(crate) fn model(input: &[u8]) -> Outcome {
    let lines: Vec<&[u8]> = input.split_inclusive(|&byte| byte == b'\n').collect();
    let is_whole = |line: &[u8]| line.ends_with(b"\n") && line.len() <= 65_536;
    let is_transaction = |line: &&&[u8]| line[0] != b'!';
    let claims: Vec<&&[u8]> = lines.iter().filter(|line| line[0] == b'!').collect();
    let at_fin = match claims[..] {
        _ if !lines.iter().all(|line| is_whole(line)) => AtFin::Malformed,
        [] => AtFin::Plain,
        [_] if lines.last().is_some_and(|last| last[0] == b'!') => {
            parse(lines[lines.len() - 1]).map_or(AtFin::Malformed, AtFin::Claim)
        }
        _ => AtFin::Malformed,
    };
    Outcome {
        echo: lines.iter().filter(is_transaction).flat_map(|line| line.iter().copied()).collect(),
        seen: lines.iter().filter(is_transaction).filter(|line| is_whole(line)).count() as u64,
        at_fin,
    }
}

fn parse(line: &[u8]) -> Option<Claim> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (total, session) = line.strip_prefix("!disconnect total=")?.split_once(" session=")?;
    let digits = |text: &str| text.chars().all(|digit| digit.is_ascii_hexdigit());
    if !total.chars().all(|digit| digit.is_ascii_digit()) || session.len() != 32 || !digits(session) {
        return None;
    }
    let session = SessionId(u128::from_str_radix(session, 16).ok()?);
    Some(Claim { total: total.parse().ok()?, session })
}

/// What the real one makes of the same bytes, cut up so: the lengths of the pieces, again and again.
pub(crate) fn real(input: &[u8], pieces: &[usize]) -> Outcome {
    let mut session = Session::new();
    let (mut echo, mut bytes) = (Vec::new(), Vec::new());
    let mut rest = input;
    for &piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        bytes.clear();
        bytes.extend_from_slice(now);
        let kept = session.take(&mut bytes);
        echo.extend_from_slice(&bytes[..kept]);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    Outcome { echo, seen: session.seen(), at_fin: session.at_fin() }
}
