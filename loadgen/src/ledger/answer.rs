//! The reply, taken apart as strictly as `server/LEDGER.md` has it: what is not of its grammar is no reply.

/// The most bytes that a reply has.
pub const REPLY_MAX: usize = 126;

/// How every reply begins.
const BEGIN: &[u8] = b"!disconnect status=";
/// How every claim begins: who answers with that sends back what it got.
const CLAIM: &[u8] = b"!disconnect total=";
/// Hexadecimal digits of a boot.
const BOOT_DIGITS: usize = 32;

/// What a claim was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Added now.
    Ok,
    /// Added before.
    Duplicate,
    /// The total is not what was seen, or not what the session had.
    Mismatch,
    /// Something that the protocol has not.
    Malformed,
    /// More than the grand total can hold.
    Overflow,
    /// The server ended first.
    Draining,
}

impl Status {
    /// All of them, in the order of the grammar.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Duplicate, Self::Mismatch, Self::Malformed, Self::Overflow, Self::Draining];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Duplicate => "duplicate",
            Self::Mismatch => "mismatch",
            Self::Malformed => "malformed",
            Self::Overflow => "overflow",
            Self::Draining => "draining",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What became of the claim.
    pub status: Status,
    /// The transactions of the connection, by the server's count.
    pub seen: u64,
    /// All that was ever added.
    pub grand_total: u64,
    /// The time since the server was started.
    pub boot: u128,
}

impl Reply {
    /// Takes a whole line apart, its LF included; `None` where it is no reply.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let fields = line.strip_suffix(b"\n")?.strip_prefix(BEGIN)?;
        let mut fields = std::str::from_utf8(fields).ok()?.split(' ');
        let status = Status::named(fields.next()?)?;
        let seen = number(fields.next()?.strip_prefix("seen=")?)?;
        let grand_total = number(fields.next()?.strip_prefix("grand_total=")?)?;
        let boot = boot(fields.next()?.strip_prefix("boot=")?)?;
        fields.next().is_none().then_some(Self { status, seen, grand_total, boot })
    }
}

/// Digits without a leading zero, of 64 bits.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number)
}

fn boot(text: &str) -> Option<u128> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_boot = text.len() == BOOT_DIGITS && text.bytes().all(is_digit);
    u128::from_str_radix(text, 16).ok().filter(|_| is_boot)
}

/// What has come behind the echo.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    bytes: Vec<u8>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing yet.
    Nothing,
    /// What may become a reply.
    Part,
    /// A reply.
    Whole(Reply),
    /// The claim itself.
    Echoed,
    /// No reply, whatever comes.
    Bad,
}

impl Answer {
    /// Takes in what came next.
    pub fn take(&mut self, bytes: &[u8]) {
        // One byte too many is enough to know it.
        let room = (REPLY_MAX + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// What has come until now.
    #[must_use]
    pub fn said(&self) -> Said {
        if self.bytes.starts_with(CLAIM) {
            return Said::Echoed;
        }
        match self.bytes.iter().position(|&byte| byte == b'\n') {
            None if self.bytes.is_empty() => Said::Nothing,
            None if self.bytes.len() > REPLY_MAX => Said::Bad,
            None => Said::Part,
            Some(end) if end + 1 == self.bytes.len() && self.bytes.len() <= REPLY_MAX => {
                Reply::parse(&self.bytes).map_or(Said::Bad, Said::Whole)
            }
            Some(_) => Said::Bad,
        }
    }

    /// Bytes that came, up to one more than a reply can have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
