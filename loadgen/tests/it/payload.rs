//! What is sent depends on the connection and on every offset.

use finwait_loadgen::payload::{PATTERN_BYTES, PIECE_MAX, Pattern, fill, matches};

fn bytes(connection: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(connection, offset, &mut bytes);
    bytes
}

#[test]
fn a_piece_is_the_same_however_it_is_cut() {
    let whole = bytes(7, 0, 10_000);
    for offset in [0, 1, 7, 8, 9, 4095, 4096, 4097, 9999] {
        for len in [0, 1, 2, 7, 8, 9, 63, 64, 5000] {
            let end = (offset + len).min(whole.len());
            assert_eq!(bytes(7, offset as u64, end - offset), whole[offset..end], "{offset}..{end}");
            assert!(matches(7, offset as u64, &whole[offset..end]), "{offset}..{end}");
        }
    }
}

#[test]
fn one_wrong_bit_anywhere_is_seen() {
    let right = bytes(3, 5, 9000);
    for place in 0..right.len() {
        let mut wrong = right.clone();
        wrong[place] ^= 1 << (place % 8);
        assert!(!matches(3, 5, &wrong), "byte {place}");
    }
}

#[test]
fn another_connection_and_another_offset_have_other_bytes() {
    let right = bytes(1, 0, 64);
    for connection in (0..1000).filter(|&connection| connection != 1) {
        assert!(!matches(connection, 0, &right), "connection {connection}");
    }
    // An echo that lost a piece goes on with bytes of a later offset: by a byte, a word, a page, 64 KiB, 4 GiB.
    for lost in [1, 2, 8, 64, 4096, 65_536, 1 << 32] {
        assert!(!matches(1, lost, &right), "{lost} bytes lost");
    }
}

#[test]
fn bytes_are_well_spread() {
    // A payload of few values would let a misplaced one pass.
    let mut seen = [0_u32; 256];
    bytes(0, 0, 256 * 256).into_iter().for_each(|byte| seen[usize::from(byte)] += 1);
    assert!(seen.iter().all(|&count| (128..=512).contains(&count)), "{seen:?}");
}

#[test]
fn a_pattern_is_the_same_however_it_is_cut() {
    let pattern = Pattern::new();
    let period = PATTERN_BYTES as u64;
    for connection in [0, 1, 999, period - 1, period, u64::from(u32::MAX)] {
        let mut whole = vec![0; 3 * PATTERN_BYTES];
        pattern.fill(connection, 5, &mut whole);
        assert!(pattern.matches(connection, 5, &whole), "{connection}");
        assert!(!pattern.matches(connection, 6, &whole), "{connection}");
        for offset in [0, 1, 63, 4096, period - 1, period, period + 1, 2 * period - 3] {
            for len in [1, 64, 4096, PIECE_MAX as u64] {
                let piece = pattern.piece(connection, 5 + offset, len);
                assert_eq!(piece.len() as u64, len);
                let end = whole.len().min((offset + len) as usize);
                assert_eq!(whole[offset as usize..end], piece[..end - offset as usize], "{offset} {len}");
            }
        }
    }
    assert_eq!(pattern.piece(1, 0, u64::MAX).len(), PIECE_MAX, "no more than there is in one piece");
}

/// Messages of one connection and of others, and pieces that went missing, stand elsewhere in the pattern.
#[test]
fn a_pattern_shows_what_went_astray() {
    let pattern = Pattern::new();
    let right = pattern.piece(1, 0, 64);
    for connection in (0..20_000).filter(|&connection| connection != 1) {
        assert!(!pattern.matches(connection, 0, right), "connection {connection}");
    }
    for lost in [1, 2, 8, 64, 4096, 65_536, 1 << 20, 1 << 32] {
        assert!(!pattern.matches(1, lost, right), "{lost} bytes lost");
    }
    for place in 0..64 {
        let mut wrong = right.to_vec();
        wrong[place] ^= 1;
        assert!(!pattern.matches(1, 0, &wrong), "byte {place}");
    }
}
