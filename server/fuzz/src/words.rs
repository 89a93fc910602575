//! How bytes become what a client of the ledger says, and how that is cut up: judged by the model of
//! `server/tests/it/ledger`.

use crate::model::{model, real};

/// The cuts come first: their number, and then a length each.
const CUTS_MAX: usize = 8;
/// Runs that make a line too long; more of them only take time.
const LONG_MAX: usize = 2;
/// What comes behind the cuts before they come again; less than that only takes time where there are long runs.
const PIECE: usize = 97;
/// One byte less than a line may have before its LF, so that every sum around the limit is near.
const LONG: usize = 65_534;

/// What some bytes stand for: words that would take too long to be found.
const WORDS: [(u8, &str); 5] = [
    (0xfa, "!disconnect total="),
    (0xfb, " session="),
    (0xfc, "0123456789abcdefABCDEF0123456789"),
    (0xfd, "1844674407370955161"),
    (0xfe, "!disconnect total=7 session=00000000000000000000000000000001\n"),
];

/// Has a client say what the bytes stand for, and panics when it comes to something else than the model says.
pub fn play(data: &[u8]) {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let (cuts, said) = rest.split_at(rest.len().min(usize::from(cuts) % CUTS_MAX));
    let mut pieces: Vec<usize> = cuts.iter().map(|&cut| 1 + usize::from(cut)).collect();
    pieces.push(PIECE);
    let mut input = Vec::new();
    let mut long = 0;
    for &byte in said {
        match WORDS.iter().find(|(sign, _)| *sign == byte) {
            Some((_, word)) => input.extend_from_slice(word.as_bytes()),
            None if byte == 0xff && long < LONG_MAX => {
                input.resize(input.len() + LONG, b'0');
                long += 1;
            }
            None => input.push(byte),
        }
    }
    let expected = model(&input);
    assert_eq!(real(&input, &[usize::MAX]), expected, "whole");
    assert_eq!(real(&input, &pieces), expected, "in pieces of {pieces:?}");
}
