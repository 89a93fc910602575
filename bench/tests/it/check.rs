//! What every echo must do with a connection that is ended by its client, whatever the client is like.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use finwait_bench::server::Server;

use crate::support::{connect, connect_with, while_it_stands_still};

const MIB: usize = 1 << 20;

/// More than a server's send buffer takes on loopback, so that the server itself has to keep something.
const SLOW_BYTES: usize = 4 * MIB;

/// What the kernel takes on the slow reader's side.
const SLOW_ROOM: usize = 64 << 10;

/// What is wrong with an echo, in words.
pub(crate) type Verdict = Result<(), String>;

/// One of the checks.
pub(crate) type Check = fn(&Server) -> Verdict;

/// Bytes and the FIN right behind them, which the server finds together: it stands still until they are there.
pub(crate) fn a_few_bytes_and_the_fin_at_once(server: &Server) -> Verdict {
    let payloads: Vec<Vec<u8>> = (0..20).map(|nth| payload(123, nth)).collect();
    let streams: Result<Vec<TcpStream>, String> = while_it_stands_still(server, || {
        let said_all = |bytes: &Vec<u8>| {
            let mut stream = connect(server.port);
            stream.write_all(bytes).map_err(said("send"))?;
            stream.shutdown(Shutdown::Write).map_err(said("shutdown"))?;
            Ok(stream)
        };
        payloads.iter().map(said_all).collect()
    });
    streams?.into_iter().zip(&payloads).try_for_each(|(stream, bytes)| heard(stream, bytes))
}

/// A client that reads while it sends.
pub(crate) fn four_mib_while_reading(server: &Server) -> Verdict {
    exchange(connect(server.port), payload(4 * MIB, 1), Duration::ZERO)
}

/// All are open before the first one ends.
pub(crate) fn sixty_four_that_all_half_close(server: &Server) -> Verdict {
    let payloads: Vec<Vec<u8>> = (0..64).map(|nth| payload(1 + 97 * nth, nth)).collect();
    let mut streams: Vec<TcpStream> = payloads.iter().map(|_| connect(server.port)).collect();
    for (stream, bytes) in streams.iter_mut().zip(&payloads) {
        stream.write_all(bytes).map_err(said("send"))?;
    }
    for stream in &streams {
        stream.shutdown(Shutdown::Write).map_err(said("shutdown"))?;
    }
    streams.into_iter().zip(&payloads).try_for_each(|(stream, bytes)| heard(stream, bytes))
}

/// A client that has said much before it listens.
pub(crate) fn a_slow_reader(server: &Server) -> Verdict {
    let stream = connect_with(server.port, Some(SLOW_ROOM)).map_err(said("connect"))?;
    exchange(stream, payload(SLOW_BYTES, 2), Duration::from_millis(200))
}

/// A RST, early and in the middle of an echo, is the end of that connection alone.
pub(crate) fn a_reset_ends_no_other(server: &Server) -> Verdict {
    let mut other = connect(server.port);
    other.write_all(b"other").map_err(said("send"))?;
    for nth in 0..20 {
        let mut stream = connect(server.port);
        let aborted = io::Result::Ok(()).and_then(|()| {
            if nth % 2 == 0 {
                stream.write_all(&payload(64 << 10, nth))?;
            }
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        });
        // With this linger the close is a RST.
        aborted.map_err(said("abort"))?;
        drop(stream);
    }
    other.shutdown(Shutdown::Write).map_err(said("shutdown"))?;
    heard(other, b"other")?;
    a_few_bytes_and_the_fin_at_once(server)
}

/// Nothing at all is an echo too.
pub(crate) fn a_fin_alone(server: &Server) -> Verdict {
    let stream = connect(server.port);
    stream.shutdown(Shutdown::Write).map_err(said("shutdown"))?;
    heard(stream, &[])
}

/// Bytes that tell their place, and whose they are.
pub(crate) fn payload(length: usize, nth: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at >> 12) as u8 ^ nth as u8).collect()
}

/// Sends on a thread of its own, and begins to read after `pause`.
fn exchange(stream: TcpStream, bytes: Vec<u8>, pause: Duration) -> Verdict {
    let mut sender = stream.try_clone().map_err(said("clone"))?;
    thread::scope(|scope| {
        let sent = scope.spawn(|| sender.write_all(&bytes).and_then(|()| sender.shutdown(Shutdown::Write)));
        thread::sleep(pause);
        let heard = heard(stream, &bytes);
        let sent = sent.join().map_err(|_| "the sender panicked".to_owned())?;
        heard.and(sent.map_err(said("send")))
    })
}

/// Whether all of `expected`, and the FIN behind it, comes back.
pub(crate) fn heard(mut stream: TcpStream, expected: &[u8]) -> Verdict {
    let mut echo = Vec::new();
    let read = stream.read_to_end(&mut echo);
    let same = echo.iter().zip(expected).take_while(|(heard, sent)| heard == sent).count();
    if same < echo.len() {
        return Err(format!("byte {same} of the echo is wrong"));
    }
    let got = format!("{} of {} bytes came back", echo.len(), expected.len());
    match read {
        Ok(_) if echo.len() == expected.len() => Ok(()),
        Ok(_) => Err(format!("{got}, and a clean EOF")),
        Err(error) => Err(format!("{got}, and: {error}")),
    }
}

fn said(call: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{call}: {error}")
}
