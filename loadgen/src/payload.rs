//! What is sent: bytes that depend on the connection and on the offset, so that an echo which went astray, lost a piece
//! or moved one is seen.

/// Bytes compared at a time.
const CHUNK: usize = 4096;

/// Fills `bytes` with what `connection` sends from `offset` on.
pub fn fill(connection: u64, offset: u64, bytes: &mut [u8]) {
    let into_word = (offset % 8) as usize;
    let mut index = offset / 8;
    // The rest of a word that was begun, then whole words, then the begin of one.
    let head = ((8 - into_word) % 8).min(bytes.len());
    let (first, rest) = bytes.split_at_mut(head);
    if head > 0 {
        first.copy_from_slice(&word(connection, index)[into_word..into_word + head]);
        index += 1;
    }
    let mut words = rest.chunks_exact_mut(8);
    for place in &mut words {
        place.copy_from_slice(&word(connection, index));
        index += 1;
    }
    let last = words.into_remainder();
    last.copy_from_slice(&word(connection, index)[..last.len()]);
}

/// Whether `bytes` are what `connection` sent from `offset` on.
#[must_use]
pub fn matches(connection: u64, mut offset: u64, bytes: &[u8]) -> bool {
    let mut expected = [0; CHUNK];
    bytes.chunks(CHUNK).all(|got| {
        let expected = &mut expected[..got.len()];
        fill(connection, offset, expected);
        offset += got.len() as u64;
        expected == got
    })
}

/// Eight bytes, well mixed: neighbours and neighbouring connections have nothing in common.
fn word(connection: u64, index: u64) -> [u8; 8] {
    let seed = connection.wrapping_mul(0xD605_1A9C_3B8E_97F5).wrapping_add(index);
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    (mixed ^ (mixed >> 29)).to_le_bytes()
}

/// After so many bytes a [`Pattern`] begins anew. It is a prime, so that neither a message nor a page nor a buffer that
/// went astray stands where it would do no harm.
pub const PATTERN_BYTES: usize = 65_521;
/// The most that is taken from a [`Pattern`] in one piece.
pub const PIECE_MAX: usize = 64 << 10;
/// How far apart in it neighbouring connections begin; no two of [`PATTERN_BYTES`] connections begin at one place.
const APART: u64 = 40_503;

/// What is sent where mixing each word anew would cost more than sending it: the same bytes, mixed once, in which each
/// connection begins somewhere else. A piece is a slice of it, so that sending copies nothing and comparing is one
/// `memcmp`. It fits in the second-level cache of any processor, which is why it is no longer.
#[derive(Debug)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// Mixes it.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = vec![0; PATTERN_BYTES + PIECE_MAX];
        fill(0, 0, &mut bytes[..PATTERN_BYTES]);
        // What it begins anew with, so that a piece may lie across its end.
        for from in (0..PIECE_MAX).step_by(PATTERN_BYTES) {
            let len = PATTERN_BYTES.min(PIECE_MAX - from);
            bytes.copy_within(..len, PATTERN_BYTES + from);
        }
        Self(bytes.into_boxed_slice())
    }

    /// What `connection` sends from `offset` on: `len` bytes, or [`PIECE_MAX`] where those are fewer.
    #[must_use]
    pub fn piece(&self, connection: u64, offset: u64, len: u64) -> &[u8] {
        const PERIOD: u64 = PATTERN_BYTES as u64;
        let begin = (connection % PERIOD * APART + offset % PERIOD) % PERIOD;
        &self.0[begin as usize..][..len.min(PIECE_MAX as u64) as usize]
    }

    /// Fills `bytes` with what `connection` sends from `offset` on.
    pub fn fill(&self, connection: u64, mut offset: u64, bytes: &mut [u8]) {
        for place in bytes.chunks_mut(PIECE_MAX) {
            place.copy_from_slice(self.piece(connection, offset, place.len() as u64));
            offset += place.len() as u64;
        }
    }

    /// Whether `bytes` are what `connection` sent from `offset` on.
    #[must_use]
    pub fn matches(&self, connection: u64, mut offset: u64, bytes: &[u8]) -> bool {
        bytes.chunks(PIECE_MAX).all(|got| {
            let is_right = self.piece(connection, offset, got.len() as u64) == got;
            offset += got.len() as u64;
            is_right
        })
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}
