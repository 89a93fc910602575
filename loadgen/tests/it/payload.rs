//! What is sent depends on the connection and on every offset.

use finwait_loadgen::payload::{fill, matches};

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
