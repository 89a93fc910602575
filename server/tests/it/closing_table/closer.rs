//! The side that ends its connection: a thread of the test, or the Windows build of this program under Wine.
//!
//! It connects once for what the two sides tell each other, and then once for each round. Its words are `ready BYTES`
//! (so many were written, and the row's state is there) and `called MILLISECONDS ERROR` (the call has returned, after so
//! long, with this error or 0). It goes on when the observer says `go`, and at `peek` says `holds BYTES`: unread ones.

use std::io::{self, BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::calls;
use super::row::{Linger, Row, Way, rows};
use crate::support::{LIMIT, clock};

/// What is written in a row without unsent bytes: it fits into any buffer.
const LITTLE: usize = 100;
/// Small, so that a row is over soon; larger than what the observer's kernel takes.
const SEND_BUFFER: usize = 64 << 10;
/// Far more than both kernels hold.
const MOST: usize = 64 << 20;

/// What the two sides tell each other.
type Control = BufReader<TcpStream>;

/// Goes through all rows with the observer at `addr`.
pub(super) fn run(addr: SocketAddr) {
    let control = TcpStream::connect(addr).unwrap();
    control.set_nodelay(true).unwrap();
    control.set_read_timeout(Some(LIMIT)).unwrap();
    let mut control = BufReader::new(control);
    for row in rows() {
        for _ in 0..row.way.rounds() {
            round(&mut control, row, connect(addr));
        }
    }
}

fn round(control: &mut Control, row: Row, socket: Socket) {
    if row.unread {
        assert_eq!(socket.peek(&mut [MaybeUninit::uninit()]).unwrap(), 1, "{row:?}");
    }
    socket.set_nonblocking(true).unwrap();
    let written = if row.unsent { write_what_fits(&socket) } else { socket.send(&[0; LITTLE]).unwrap() };
    socket.set_linger(linger(row)).unwrap();
    tell(control, &format!("ready {written}"), None);
    match row.way {
        Way::Send => timed(control, Some(&socket), || socket.shutdown(Shutdown::Write)),
        Way::Both => timed(control, Some(&socket), || socket.shutdown(Shutdown::Both)),
        Way::Disconnect => timed(control, Some(&socket), || calls::send_disconnect(&socket)),
        // The close is the call.
        Way::Close => {}
    }
    timed(control, None, || calls::close(socket));
}

fn linger(row: Row) -> Option<Duration> {
    match row.linger {
        Linger::Off => None,
        Linger::Zero => Some(Duration::ZERO),
        Linger::OneSecond => Some(Duration::from_secs(1)),
    }
}

fn connect(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(SEND_BUFFER).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket
}

fn write_what_fits(socket: &Socket) -> usize {
    let mut written = 0;
    while written < MOST {
        match socket.send(&[0; 4096]) {
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return written,
            Err(error) => panic!("after {written} bytes: {error}"),
        }
    }
    panic!("the other side's kernel took {written} bytes, or this one did");
}

/// Makes a call and says how it went. A socket that is open after it may then be looked into.
fn timed(control: &mut Control, socket: Option<&Socket>, call: impl FnOnce() -> io::Result<()>) {
    let began = clock();
    let result = call();
    let took_ms = began.elapsed().as_millis();
    let error = result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
    tell(control, &format!("called {took_ms} {error}"), socket);
}

/// Says a line, and does what the observer says until that is to go on.
fn tell(control: &mut Control, line: &str, socket: Option<&Socket>) {
    control.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    loop {
        let mut answer = String::new();
        control.read_line(&mut answer).unwrap();
        match (answer.as_str(), socket) {
            ("go\n", _) => return,
            ("peek\n", Some(socket)) => {
                // An error says that there is nothing: which one differs between systems.
                let held = socket.peek(&mut [MaybeUninit::uninit(); 64]).unwrap_or(0);
                control.get_mut().write_all(format!("holds {held}\n").as_bytes()).unwrap();
            }
            _ => panic!("the observer said {answer:?} after {line:?}"),
        }
    }
}
