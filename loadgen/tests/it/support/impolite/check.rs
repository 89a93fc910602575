//! The manners do what they say, as a plain blocking client sees it: a judge that errs is found by another.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::manner::wait_until_reset;
use super::{Bytes, Impolite, Manner, full, refusing};
use crate::support::LIMIT;

const FIRST: &[u8] = b"The first bytes.";
const TAIL: &[u8] = b"And the tail.";
const BYTES: Bytes = Bytes { first: FIRST.len() as u64, tail: TAIL.len() as u64 };

/// How long a client waits for what is not to come.
const IN_VAIN: Duration = Duration::from_millis(100);

/// ECONNRESET and EPIPE of Linux.
const CONNRESET: Option<i32> = Some(104);
const PIPE: Option<i32> = Some(32);

/// How a client saw a connection end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The FIN, and the error that was pending behind it.
    Eof(Option<i32>),
    Reset,
    Nothing,
}

/// Reads up to `most` bytes, or to the end.
fn read(stream: &TcpStream, most: usize) -> (Vec<u8>, Option<End>) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.len() < most {
        match { stream }.read(&mut byte) {
            Ok(0) => {
                let pending = stream.take_error().unwrap().and_then(|error| error.raw_os_error());
                return (bytes, Some(End::Eof(pending)));
            }
            Ok(_) => bytes.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (bytes, Some(End::Reset)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (bytes, Some(End::Nothing)),
            Err(error) => panic!("{error}"),
        }
    }
    (bytes, None)
}

/// What a client gets that waits for the echo of its first bytes, and then sends the tail and its FIN.
fn whole(manner: Manner, patience: Duration) -> (String, End) {
    let server = Impolite::start(manner, BYTES);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(FIRST).unwrap();
    let (mut bytes, mut end) = read(&stream, FIRST.len());
    if end.is_none() {
        // The server may have ended its side, or all of it.
        if stream.write_all(TAIL).is_ok() {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let (rest, ended) = read(&stream, usize::MAX);
        bytes.extend(rest);
        end = ended;
    }
    assert_eq!(server.accepted(), 1);
    (String::from_utf8(bytes).unwrap(), end.unwrap())
}

#[test]
fn each_manner_is_seen_by_a_plain_client() {
    let all = "The first bytes.And the tail.";
    let pause = Duration::from_millis(20);
    for (manner, echo, end) in [
        (Manner::Polite, all, End::Eof(None)),
        (Manner::CloseEarly, "The firs", End::Eof(None)),
        (Manner::EofWhileHeld, "The first bytes.", End::Eof(None)),
        (Manner::TruncateWithFin, "The first bytes.And the tail", End::Eof(None)),
        (Manner::TruncateWithReset, "The first bytes.And the tail", End::Reset),
        (Manner::Flip(0), "Uhe first bytes.And the tail.", End::Eof(None)),
        (Manner::Flip(BYTES.first), "The first bytes.@nd the tail.", End::Eof(None)),
        (Manner::OneTooMany, "The first bytes.And the tail.!", End::Eof(None)),
        (Manner::TooManyHeld, "The first bytes.!!!!", End::Eof(None)),
        (Manner::ResetInsteadOfFin, all, End::Reset),
        (Manner::Pause(3, pause), all, End::Eof(None)),
        (Manner::PauseFirst(3, pause), all, End::Eof(None)),
        (Manner::ResetUnanswered, "", End::Reset),
        (Manner::EndAfter(20), "The first bytes.And ", End::Eof(None)),
        (Manner::ResetAfter(29), all, End::Reset),
        (Manner::StallAfter(20, pause), all, End::Eof(None)),
        (Manner::Pieces, all, End::Eof(None)),
    ] {
        assert_eq!(whole(manner, LIMIT), (echo.to_owned(), end), "{manner:?}");
    }
    for (manner, echo) in [
        (Manner::NeverFin, all),
        (Manner::NeverRead, ""),
        (Manner::NeverEcho, ""),
        (Manner::NeverTail, "The first bytes."),
        (Manner::SilentAfter(20), "The first bytes.And "),
    ] {
        assert_eq!(whole(manner, IN_VAIN), (echo.to_owned(), End::Nothing), "{manner:?}");
    }
}

/// FIN, then RST: an EOF to a reader, and EPIPE to one who asks behind it, when the client has not sent its FIN.
#[test]
fn a_reset_behind_the_fin_is_pending() {
    let server = Impolite::start(Manner::ResetAfterFin, BYTES);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(FIRST).unwrap();
    // Both have come before the client reads anything.
    wait_until_reset(&stream);
    assert_eq!(read(&stream, usize::MAX), (FIRST[..FIRST.len() / 2].to_vec(), Some(End::Eof(PIPE))));

    // Where the RST comes later, it is pending behind an EOF that was read before, as a rule.
    let server = Impolite::start(Manner::ResetAfterFinRead, BYTES);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(FIRST).unwrap();
    let (bytes, end) = read(&stream, usize::MAX);
    assert_eq!(bytes, &FIRST[..FIRST.len() / 2]);
    if end != Some(End::Eof(PIPE)) {
        assert_eq!(end, Some(End::Eof(None)));
        wait_until_reset(&stream);
        assert_eq!(stream.take_error().unwrap().and_then(|error| error.raw_os_error()), PIPE);
    }
}

#[test]
fn a_reset_while_held_comes_after_the_first_bytes() {
    let server = Impolite::start(Manner::ResetWhileHeld, BYTES);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(FIRST).unwrap();
    assert_eq!(read(&stream, usize::MAX), (FIRST.to_vec(), Some(End::Reset)));
}

#[test]
fn a_reset_at_once_answers_nothing() {
    let server = Impolite::start(Manner::ResetAtOnce, BYTES);
    let stream = TcpStream::connect(server.addr()).unwrap();
    wait_until_reset(&stream);
    assert_eq!(stream.take_error().unwrap().and_then(|error| error.raw_os_error()), CONNRESET);
}

#[test]
fn connections_are_refused_or_left_unanswered() {
    let (_socket, addr) = refusing();
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let (_listener, _only, addr) = full();
    assert_eq!(TcpStream::connect_timeout(&addr, IN_VAIN).unwrap_err().kind(), ErrorKind::TimedOut);
}

/// Each connection has its own manner, by its number.
#[test]
fn manners_can_be_mixed() {
    let server =
        Impolite::start_mixed(
            BYTES,
            |number| {
                if number % 2 == 0 { Manner::Polite } else { Manner::CloseEarly }
            },
        );
    for echoed in [FIRST.len(), FIRST.len() / 2, FIRST.len()] {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(FIRST).unwrap();
        assert_eq!(read(&stream, FIRST.len()).0.len(), echoed);
    }
    assert_eq!((server.accepted(), server.begun()), (3, 3));
}
