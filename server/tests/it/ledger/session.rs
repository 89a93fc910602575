//! What a client says: tables, every way to cut an input up, and made-up inputs against the model.

use finwait_server::ledger::session::{AtFin, LINE_MAX, Session};
use proptest::prelude::Strategy;
use proptest::test_runner::{self, FileFailurePersistence, TestRunner};
use proptest::{collection, sample};

use super::claim;
use super::model::{Outcome, model, real};

/// Inputs tried when `PROPTEST_CASES` does not say: some seconds.
const CASES: u32 = 2000;

const ID: &str = "0123456789abcdefABCDEF9876543210";
const ID_VALUE: u128 = 0x0123_4567_89ab_cdef_abcd_ef98_7654_3210;

/// Checks one input against what it must come to, and against the model, whole and cut up.
#[track_caller]
fn check(input: &str, echo: &str, seen: u64, at_fin: AtFin) {
    let input = input.replace("ID", ID);
    let expected = Outcome { echo: echo.into(), seen, at_fin };
    assert_eq!(model(input.as_bytes()), expected, "the model of {input:?}");
    for pieces in [[usize::MAX].as_slice(), &[1], &[2], &[3, 1], &[17]] {
        assert_eq!(real(input.as_bytes(), pieces), expected, "{input:?} in pieces of {pieces:?}");
    }
}

#[test]
fn transactions_are_counted_with_their_lf() {
    check("", "", 0, AtFin::Plain);
    check("a\n", "a\n", 1, AtFin::Plain);
    check("\n\n", "\n\n", 2, AtFin::Plain);
    check("a\r\n b\0\n", "a\r\n b\0\n", 2, AtFin::Plain);
    check("a\nb", "a\nb", 1, AtFin::Malformed);
    // It does not begin with `!`.
    check(" !x\nb!disconnect\n", " !x\nb!disconnect\n", 2, AtFin::Plain);
    check(
        "b!disconnect total=1 session=ID\n",
        &format!("b!disconnect total=1 session={ID}\n"),
        1,
        AtFin::Plain,
    );
}

#[test]
fn claims_are_taken_from_the_last_line() {
    let of = |total| AtFin::Claim(claim(ID_VALUE, total));
    check("!disconnect total=0 session=ID\n", "", 0, of(0));
    check("a\nb\n!disconnect total=2 session=ID\n", "a\nb\n", 2, of(2));
    check("a\n!disconnect total=2 session=ID\r\n", "a\n", 1, of(2));
    check("!disconnect total=18446744073709551615 session=ID\n", "", 0, of(u64::MAX));
    check("!disconnect total=0000000000000000000000000000007 session=ID\n", "", 0, of(7));
    let zero = "00000000000000000000000000000000";
    check(&format!("!disconnect total=1 session={zero}\n"), "", 0, AtFin::Claim(claim(0, 1)));
}

#[test]
fn whatever_else_begins_with_a_bang_is_malformed() {
    for line in [
        "!\n",
        "!!\n",
        "!disconnect\n",
        "!disconnect \n",
        "!disconnect total=\n",
        "!disconnect total= session=ID\n",
        "!disconnect total=1\n",
        "!disconnect total=1 \n",
        "!disconnect total=1 session=\n",
        "!disconnect total=1 session=0123456789abcdef0123456789abcde\n",
        "!disconnect total=1 session=ID0\n",
        "!disconnect total=1 session=0123456789abcdef0123456789abcdeg\n",
        "!disconnect total=1 session=ID \n",
        "!disconnect total=1 session=ID\r\r\n",
        "!disconnect total=1 session=ID\rx\n",
        "!disconnect total=1  session=ID\n",
        "!disconnect  total=1 session=ID\n",
        "!disconnect session=ID total=1\n",
        "!disconnect total=-1 session=ID\n",
        "!disconnect total=+1 session=ID\n",
        "!disconnect total=0x1 session=ID\n",
        "!disconnect total=1. session=ID\n",
        "!disconnect total=18446744073709551616 session=ID\n",
        "!disconnect total=99999999999999999999 session=ID\n",
        "!disconnect total=1 session=ID seen=1\n",
        "!DISCONNECT total=1 session=ID\n",
        "!disconnec\n",
        "!disconnectt total=1 session=ID\n",
        // Incomplete at the FIN.
        "!",
        "!disconnect total=1",
        "!disconnect total=1 session=ID",
        "!disconnect total=1 session=ID\r",
    ] {
        check(line, "", 0, AtFin::Malformed);
        check(&format!("a\n{line}"), "a\n", 1, AtFin::Malformed);
    }
}

#[test]
fn a_claim_must_be_the_last_line() {
    let claim = "!disconnect total=1 session=ID\n";
    check(&format!("{claim}{claim}"), "", 0, AtFin::Malformed);
    check(&format!("{claim}x"), "x", 0, AtFin::Malformed);
    check(&format!("{claim}\n"), "\n", 1, AtFin::Malformed);
    check(&format!("a\n{claim}b\n!x\nc\n{claim}"), "a\nb\nc\n", 3, AtFin::Malformed);
}

#[test]
fn a_line_has_64_kib_with_its_lf() {
    let max = LINE_MAX as usize;
    assert_eq!(max, 65_536);
    let text = "x".repeat(max - 1);
    check(&format!("{text}\n"), &format!("{text}\n"), 1, AtFin::Plain);
    check(&format!("{text}\nb\n"), &format!("{text}\nb\n"), 2, AtFin::Plain);
    // Sent back all the same, and not counted; what comes after it is.
    check(&format!("{text}x\nb\n"), &format!("{text}x\nb\n"), 1, AtFin::Malformed);
    check(&format!("{text}xx"), &format!("{text}xx"), 0, AtFin::Malformed);
    // A claim is a line as well.
    let zeros = |more: usize| "0".repeat(max - "!disconnect total=1 session=ID".len() - 30 - 1 + more);
    let long = |more| format!("!disconnect total={}1 session=ID\n", zeros(more));
    assert_eq!(long(0).replace("ID", ID).len(), max);
    check(&long(0), "", 0, AtFin::Claim(claim(ID_VALUE, 1)));
    check(&long(1), "", 0, AtFin::Malformed);
}

/// A line is over its limit as soon as its last byte cannot be the LF any more, not when the LF comes.
#[test]
fn a_line_is_too_long_at_its_65536th_byte() {
    let mut session = Session::new();
    let mut text = vec![b'x'; LINE_MAX as usize];
    assert_eq!(session.take(&mut text), text.len());
    assert_eq!(session.take(&mut [b'\n']), 1);
    assert_eq!((session.seen(), session.at_fin()), (0, AtFin::Malformed));
}

#[test]
fn what_is_sent_back_is_moved_to_the_front() {
    let mut session = Session::new();
    let mut bytes = *b"a\n!x\nbc\n!y\nd";
    let kept = session.take(&mut bytes);
    assert_eq!(&bytes[..kept], b"a\nbc\nd");
    assert_eq!(session.take(&mut []), 0);
}

/// There is one for each connection.
#[test]
fn a_session_is_small() {
    assert_eq!(size_of::<Session>(), 48);
}

/// Every way to cut an input of up to 14 bytes, and every place for two cuts in one with a claim.
#[test]
fn no_cut_makes_a_difference() {
    for input in ["a\n!x\nbc\n", "!a\n\n!\r\nb", "\r\n!disconnect", "a\nb\n!\nc\n\n!!"] {
        let expected = model(input.as_bytes());
        for cuts in 0..1_u32 << (input.len() - 1) {
            let mut pieces = vec![1];
            for place in 0..input.len() - 1 {
                match cuts >> place & 1 {
                    0 => *pieces.last_mut().unwrap() += 1,
                    _ => pieces.push(1),
                }
            }
            assert_eq!(real(input.as_bytes(), &pieces), expected, "{input:?} in {pieces:?}");
        }
    }
    for end in ["\n", "\r\n", "", "\nx", "x\n"] {
        let input = format!("ab\n!disconnect total=18446744073709551615 session={ID}{end}");
        let expected = model(input.as_bytes());
        for first in 1..input.len() {
            for second in 1..=input.len() - first {
                let pieces = [first, second, usize::MAX];
                assert_eq!(real(input.as_bytes(), &pieces), expected, "{input:?} in {pieces:?}");
            }
        }
    }
}

/// Inputs made of what matters, cut up anyhow.
#[test]
fn made_up_inputs_come_to_what_the_model_says() {
    const PARTS: [&str; 18] = [
        "a",
        "\n",
        "\r",
        "!",
        " ",
        "0",
        "9",
        "f",
        "!disconnect",
        " total=",
        "!disconnect total=",
        " session=",
        "18446744073709551615",
        ID,
        "a line\n",
        "!disconnect total=12 session=",
        "LONG",
        "CLAIM",
    ];
    let part = sample::select(&PARTS[..]).prop_map(|part| match part {
        // One byte less than a line may have before its LF, so that every sum around the limit comes up.
        "LONG" => "0".repeat(LINE_MAX as usize - 2),
        "CLAIM" => format!("!disconnect total=3 session={ID}\n"),
        other => other.to_owned(),
    });
    let input = collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    let pieces = collection::vec(1..80_usize, 1..6);
    let defaults = test_runner::Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { defaults.cases } else { CASES };
    let config = test_runner::Config {
        cases,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..defaults
    };
    let result = TestRunner::new(config).run(&(input, pieces), |(input, pieces)| {
        let expected = model(input.as_bytes());
        assert_eq!(real(input.as_bytes(), &pieces), expected, "in {pieces:?}");
        assert_eq!(real(input.as_bytes(), &[usize::MAX]), expected, "whole");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
