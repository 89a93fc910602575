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
