//! What a connection sends to a ledger: transactions, lines whose bytes depend on the connection and on the offset, and
//! behind them the claim, which does not come back.

use super::Session;
use crate::payload;

/// Bytes compared at a time.
const CHUNK: usize = 4096;
/// The first of the 64 characters that lines are made of. None of them is `!`: where one comes back, a reply begins.
const FIRST: u8 = b'#';

/// The bytes of one connection.
#[derive(Clone, Debug)]
pub struct Lines {
    line_bytes: u64,
    echoed: u64,
    claim: String,
}

impl Lines {
    /// A transaction for each that the session claims, of so many bytes each, its LF included, and the claim.
    #[must_use]
    pub fn new(session: Session, line_bytes: u64) -> Self {
        let Session { id, total } = session;
        let claim = format!("!disconnect total={total} session={id:032x}\n");
        Self { line_bytes, echoed: total * line_bytes, claim }
    }

    /// Bytes that are to come back: all but the claim.
    #[must_use]
    pub fn echoed(&self) -> u64 {
        self.echoed
    }

    /// Bytes of the claim.
    #[must_use]
    pub fn claim(&self) -> u64 {
        self.claim.len() as u64
    }

    /// Fills `bytes` with what `connection` sends from `offset` on, which must not lie behind the claim's end.
    pub fn fill(&self, connection: u64, offset: u64, bytes: &mut [u8]) {
        let left = usize::try_from(self.echoed.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (lines, claim) = bytes.split_at_mut(left.min(bytes.len()));
        self.fill_lines(connection, offset, lines);
        if !claim.is_empty() {
            // Shorter than a line on a terminal, so it fits whatever a pointer has.
            let begin = offset.saturating_sub(self.echoed) as usize;
            claim.copy_from_slice(&self.claim.as_bytes()[begin..begin + claim.len()]);
        }
    }

    /// How many of `got`, from the first on, are the echo of what `connection` sent from `offset` on.
    #[must_use]
    pub fn matching(&self, connection: u64, offset: u64, got: &[u8]) -> usize {
        let left = usize::try_from(self.echoed.saturating_sub(offset)).unwrap_or(usize::MAX);
        let got = &got[..left.min(got.len())];
        let mut expected = [0; CHUNK];
        let mut matching = 0;
        for got in got.chunks(CHUNK) {
            let expected = &mut expected[..got.len()];
            self.fill_lines(connection, offset + matching as u64, expected);
            if expected != got {
                return matching + expected.iter().zip(got).take_while(|(wanted, got)| wanted == got).count();
            }
            matching += got.len();
        }
        matching
    }

    fn fill_lines(&self, connection: u64, offset: u64, bytes: &mut [u8]) {
        payload::fill(connection, offset, bytes);
        bytes.iter_mut().for_each(|byte| *byte = FIRST + (*byte & 63));
        let ends = self.line_bytes - 1 - offset % self.line_bytes;
        let step = usize::try_from(self.line_bytes).unwrap_or(usize::MAX);
        let ends = usize::try_from(ends).unwrap_or(usize::MAX);
        bytes.iter_mut().skip(ends).step_by(step).for_each(|byte| *byte = b'\n');
    }
}
