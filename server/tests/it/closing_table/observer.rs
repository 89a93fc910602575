//! The other side, always Linux's own: what it reads, which end it meets, and whether a RST follows.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, SockRef, Socket, Type};

use super::row::{Row, Way, rows};
use crate::support::{LIMIT, wait_until};

/// Small, so that the sending side has something left. The kernel doubles it, and holds no more payload than that.
const RECEIVE_BUFFER: usize = 8 << 10;
/// Loopback's own segments are larger than such a buffer: every byte would wait for the zero-window probe.
const SEGMENT: u32 = 1000;
/// A call that took this long has waited for the linger time, which is a second.
const WAITED_MS: u64 = 900;

/// What is unread in rows with unread input.
const UNREAD: usize = 10;

/// What the two sides tell each other.
type Control = BufReader<TcpStream>;

/// What a call did on the side that made it.
#[derive(PartialEq, Eq)]
struct Call {
    waited: bool,
    error: i32,
}

/// How much was read.
enum Data {
    All,
    Part,
    Nothing,
}

/// What came behind it.
enum End {
    Eof,
    Reset,
}

/// Binds the place where the closer connects to.
pub(super) fn listen() -> TcpListener {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Connections inherit both, and the other side learns of the segments in the handshake.
    listener.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    listener.set_tcp_mss(SEGMENT).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(16).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener.into()
}

/// The cell of each row, as the closer goes through them.
pub(super) fn watch(listener: &TcpListener) -> Vec<String> {
    let control = accept(listener, "the closer is there");
    control.set_nodelay(true).unwrap();
    let mut control = BufReader::new(control);
    rows().into_iter().map(|row| cell(row, listener, &mut control)).collect()
}

fn cell(row: Row, listener: &TcpListener, control: &mut Control) -> String {
    let (mut stream, written) = set_up(row, listener, control);
    let seen = see(&mut stream, written, control);
    go(control);
    if row.way == Way::Close {
        return if seen.ends_with("EOF") && reset_follows(&stream) { format!("{seen}, RST") } else { seen };
    }
    let call = hear_call(control);
    let close = if reset_follows(&stream) { "RST" } else { "nothing" };
    go(control);
    let (mut stream, written) = set_up(row, listener, control);
    let again = see(&mut stream, written, control);
    assert_eq!(again, seen, "{row:?} in its second round");
    let late = late_byte(row, &mut stream, control);
    go(control);
    let again = hear_call(control);
    assert!(again == call, "{row:?} in its second round");
    go(control);
    format!("{seen}; late byte {late}; close: {close}{call}")
}

/// Makes the row's state: the connection, and how much was written into it.
fn set_up(row: Row, listener: &TcpListener, control: &mut Control) -> (TcpStream, u64) {
    let mut stream = accept(listener, "the round's connection is there");
    if row.unread {
        stream.write_all(&[0; UNREAD]).unwrap();
    }
    let [written, ..] = hear(control, "ready");
    // What could still be lost must not be here yet, and something must be, so that a part is neither all nor nothing.
    let room = SockRef::from(&stream).recv_buffer_size().unwrap();
    if row.unsent {
        assert!(written > room as u64, "{row:?}: {written} written, and room for {room}");
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    } else {
        wait_until("all is here", || stream.peek(&mut [0; 4096]).unwrap() as u64 == written);
    }
    (stream, written)
}

/// Lets the call be made, and reads when it has returned.
fn see(stream: &mut TcpStream, written: u64, control: &mut Control) -> String {
    go(control);
    let call = hear_call(control);
    let (data, end) = read_to_the_end(stream, written);
    format!("{data}, {end}{call}")
}

/// What becomes of a byte that is sent to a side which has ended its own direction.
fn late_byte(row: Row, stream: &mut TcpStream, control: &mut Control) -> &'static str {
    stream.write_all(&[0]).unwrap();
    if reset_follows(stream) {
        return "RST";
    }
    // Our FIN was taken behind it, so it is there if it is to be had at all.
    say(control, "peek");
    let [held, ..] = hear(control, "holds");
    let unread = if row.unread { UNREAD } else { 0 };
    if held == unread as u64 + 1 { "taken" } else { "lost" }
}

fn accept(listener: &TcpListener, what: &str) -> TcpStream {
    let mut accepted = None;
    wait_until(what, || {
        match listener.accept() {
            Ok((stream, _)) => accepted = Some(stream),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
        accepted.is_some()
    });
    let stream = accepted.expect("just accepted");
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn read_to_the_end(stream: &mut TcpStream, written: u64) -> (Data, End) {
    let mut read = 0;
    let end = loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => break End::Eof,
            Ok(some) => read += some as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
            Err(error) => panic!("after {read} of {written} bytes: {error}"),
        }
    };
    assert!(read <= written, "{read} bytes of {written}");
    let data = match read {
        0 => Data::Nothing,
        _ if read < written => Data::Part,
        _ => Data::All,
    };
    (data, end)
}

/// Whether the other side has answered with a RST, or answers our FIN with one. A RST that does not come cannot be
/// waited for; but the kernel there answers our FIN either way, and the connection is over when it has. A RST leaves an
/// error then: EPIPE if it came by itself, ECONNRESET if our FIN met it or provoked it, where no connection was left.
fn reset_follows(stream: &TcpStream) -> bool {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => panic!("{error}"),
        Ok(()) | Err(_) => {}
    }
    wait_until("the connection is over", || stream.peer_addr().is_err());
    let Some(error) = stream.take_error().unwrap() else { return false };
    let is_reset = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
    assert!(is_reset, "{error}");
    true
}

fn hear_call(control: &mut Control) -> Call {
    let [took_ms, error] = hear(control, "called");
    Call { waited: took_ms >= WAITED_MS, error: i32::try_from(error).unwrap() }
}

/// The numbers of the closer's next line, which begins with `word`; 0 where it has fewer.
fn hear(control: &mut Control, word: &str) -> [u64; 2] {
    let mut line = String::new();
    control.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some(word), "the closer said {line:?}");
    [(); 2].map(|()| words.next().map_or(0, |number| number.parse().unwrap()))
}

fn go(control: &mut Control) {
    say(control, "go");
}

fn say(control: &mut Control, word: &str) {
    control.get_mut().write_all(format!("{word}\n").as_bytes()).unwrap();
}

impl fmt::Display for Call {
    /// Nothing for a call that did what it should, at once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.waited {
            f.write_str(" (after 1 s)")?;
        }
        match self.error {
            0 => Ok(()),
            error => write!(f, " (error {error})"),
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Part => "part",
            Self::Nothing => "nothing",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eof => "EOF",
            Self::Reset => "RST",
        })
    }
}
