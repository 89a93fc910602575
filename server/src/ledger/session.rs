//! What one client of the ledger has said: lines that are counted, and the one line that claims a total.
//!
//! A line that begins with `!` is meant for the server and is not sent back; its first byte says so, hence an echo never
//! waits for the end of a line. Everything else is sent back byte for byte, whatever was wrong before. The line is taken
//! apart byte by byte as it comes, so that nothing is held of it but its two numbers, however it was cut into receives.
//! `server/LEDGER.md` has the grammar.

use memchr::{memchr, memchr_iter};

/// The longest line, its LF included.
pub const LINE_MAX: u32 = 64 << 10;

/// Digits of a session.
pub const SESSION_DIGITS: u8 = 32;

/// How the line begins that claims a total.
const WORD: &[u8] = b"!disconnect total=";
/// What stands between its numbers.
const NAME: &[u8] = b" session=";

/// The number by which a client repeats what it has claimed: its own, and never used for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u128);

/// What a client says that it has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Transactions, as the client counts them.
    pub total: u64,
    /// In which session.
    pub session: SessionId,
}

/// What a client has said by its FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtFin {
    /// It claimed nothing: the answer is our FIN alone.
    Plain,
    /// Something that the protocol does not know, which counts for nothing.
    Malformed,
    /// A total, in a line that was complete and the last one.
    Claim(Claim),
}

/// What one client has said so far.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session that is claimed, as far as its digits came.
    session: u128,
    /// The total that is claimed, likewise.
    total: u64,
    seen: u64,
    /// Bytes of the line that is not complete, [`LINE_MAX`] where there are more; 0 at the beginning of one.
    len: u32,
    line: Line,
    is_claimed: bool,
    is_malformed: bool,
}

/// What the line that is not complete will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Transaction,
    /// A claim, so far.
    Claim(Part),
    /// It begins with `!` and is nothing that is known.
    Unknown,
}

/// The part of a claim whose next byte is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// [`WORD`], of which so many bytes came.
    Word(u8),
    /// The first digit of the total, of which there must be one.
    FirstDigit,
    /// A further digit of it, or what follows them.
    Digit,
    /// [`NAME`], of which so many bytes came.
    Name(u8),
    /// The session, of which so many digits came.
    Session(u8),
    /// The end of the line.
    End,
    /// Its LF, after a CR.
    Lf,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A client that has said nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            session: 0,
            total: 0,
            seen: 0,
            len: 0,
            line: Line::Transaction,
            is_claimed: false,
            is_malformed: false,
        }
    }

    /// Takes in what was received next, moves what is to be sent back to the front, and returns its length.
    #[must_use]
    pub fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut kept, mut at) = (0, 0);
        while at < bytes.len() {
            // Nothing may stand behind a claim.
            self.is_malformed |= self.is_claimed;
            let rest = &bytes[at..];
            if self.len == 0 {
                self.line = if rest[0] == b'!' { Line::Claim(Part::Word(0)) } else { Line::Transaction };
            }
            let len = match self.line {
                Line::Transaction => {
                    let len = self.transactions(rest);
                    // Nothing moves before something was left out, which with a client that keeps to the rules is
                    // its last line.
                    if kept < at {
                        bytes.copy_within(at..at + len, kept);
                    }
                    kept += len;
                    len
                }
                Line::Claim(_) | Line::Unknown => self.control(rest),
            };
            at += len;
        }
        kept
    }

    /// Transactions that came whole, by our own count.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What it all amounts to if the client's FIN is next.
    #[must_use]
    pub fn at_fin(&self) -> AtFin {
        if self.is_malformed || self.len > 0 {
            AtFin::Malformed
        } else if self.is_claimed {
            AtFin::Claim(Claim { total: self.total, session: SessionId(self.session) })
        } else {
            AtFin::Plain
        }
    }

    /// Takes in lines of the client's up to one that begins with `!`, and returns the length of what it took.
    fn transactions(&mut self, bytes: &[u8]) -> usize {
        let mut from = 0;
        for lf in memchr_iter(b'\n', bytes) {
            self.grow(lf - from);
            if self.len < LINE_MAX {
                self.seen += 1;
            }
            self.len = 0;
            from = lf + 1;
            if bytes.get(from) == Some(&b'!') {
                return from;
            }
        }
        self.grow(bytes.len() - from);
        bytes.len()
    }

    /// Takes in a line that begins with `!`, or what there is of it, and returns the length of what it took.
    fn control(&mut self, bytes: &[u8]) -> usize {
        let lf = memchr(b'\n', bytes);
        let text = &bytes[..lf.unwrap_or(bytes.len())];
        self.grow(text.len());
        for &byte in text {
            match self.line {
                Line::Claim(part) => self.line = self.claim(part, byte).map_or(Line::Unknown, Line::Claim),
                Line::Transaction | Line::Unknown => break,
            }
        }
        self.is_malformed |= self.line == Line::Unknown;
        let Some(lf) = lf else { return bytes.len() };
        match self.line {
            Line::Claim(Part::End | Part::Lf) => self.is_claimed = true,
            Line::Claim(
                Part::Word(_) | Part::FirstDigit | Part::Digit | Part::Name(_) | Part::Session(_),
            )
            | Line::Transaction
            | Line::Unknown => self.is_malformed = true,
        }
        self.len = 0;
        lf + 1
    }

    /// Takes in one byte of a claim and returns what must follow; `None`: it is no claim.
    fn claim(&mut self, part: Part, byte: u8) -> Option<Part> {
        match part {
            Part::Word(came) => {
                (self.total, self.session) = (0, 0);
                let next = follow(WORD, came, byte)?;
                Some(next.map_or(Part::FirstDigit, Part::Word))
            }
            Part::Digit if byte == NAME[0] => Some(Part::Name(1)),
            Part::FirstDigit | Part::Digit => {
                let digit = (byte as char).to_digit(10)?;
                self.total = self.total.checked_mul(10)?.checked_add(digit.into())?;
                Some(Part::Digit)
            }
            Part::Name(came) => {
                let next = follow(NAME, came, byte)?;
                Some(next.map_or(Part::Session(0), Part::Name))
            }
            Part::Session(came) => {
                let digit = (byte as char).to_digit(16)?;
                self.session = self.session << 4 | u128::from(digit);
                Some(if came + 1 < SESSION_DIGITS { Part::Session(came + 1) } else { Part::End })
            }
            Part::End => (byte == b'\r').then_some(Part::Lf),
            Part::Lf => None,
        }
    }

    /// So many bytes more of a line, none of them its LF, for which there must be room.
    fn grow(&mut self, by: usize) {
        let room = (LINE_MAX - self.len) as usize;
        if by < room {
            self.len += by as u32;
        } else {
            self.len = LINE_MAX;
            self.is_malformed = true;
        }
    }
}

/// How much of `text` came once `byte` has, after `came` bytes of it: `Some(None)` is all, `None` that it is another text.
fn follow(text: &[u8], came: u8, byte: u8) -> Option<Option<u8>> {
    let came = usize::from(came);
    (text[came] == byte).then(|| if came + 1 < text.len() { Some(came as u8 + 1) } else { None })
}
