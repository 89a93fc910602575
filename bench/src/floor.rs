//! The floor: what the kernel alone costs for the work of a server. Nothing in here decides anything, so nothing can be
//! left out: no readiness, no table of connections, no state but an order.
//!
//! It serves connections in the order in which they came, by blocking calls: a recv that finds bytes returns at once, and
//! one that finds none sleeps until they come. A server cannot know whose turn it is; this one is told by a load that
//! goes round its connections in order, so it never has to ask. What a server takes more than this is its own.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use socket2::SockRef;

use crate::peers::{self, Failure, pause_after, say_listening};
use crate::platform;

/// One buffer for all connections.
const BUFFER_BYTES: usize = 64 << 10;

/// How long it waits for a connection that says nothing, before it is the turn of the others: with several messages under
/// way, or large ones, a load may pass one over.
const SILENCE_MAX: Duration = Duration::from_millis(10);

/// What `floor` is told.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", global = true)]
    pub listen: SocketAddr,
    /// Which work.
    #[command(subcommand)]
    pub work: Work,
}

/// The works of a server.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Work {
    /// Echo a message of each connection, in the order in which they came, round after round.
    Echo {
        /// Bytes of a message: it is the next one's turn when so many were echoed.
        #[arg(long, value_name = "BYTES", default_value = "64")]
        size: usize,
    },
    /// Accept, echo and close connections that come and go, each in its turn.
    Churn,
}

/// Does the work until this process is killed.
///
/// # Errors
/// When the address cannot be listened on, or accepting is not possible at all.
pub fn run(args: &Args) -> Result<(), Failure> {
    // As many connections as the system allows; where it cannot be raised, the limit shows.
    let _ = finwait_server::sys::raise_descriptor_limit();
    let listener = peers::listen(args.listen)?;
    listener.set_nonblocking(true)?;
    // Inherited by whoever connects from now on, and so no call for each.
    SockRef::from(&listener).set_read_timeout(Some(SILENCE_MAX))?;
    say_listening(listener.local_addr()?)?;
    let done = match args.work {
        Work::Echo { size } => echo(&listener, size),
        Work::Churn => churn(&listener),
    };
    done.map_err(Failure::from)
}

fn echo(listener: &TcpListener, size: usize) -> io::Result<()> {
    let mut bytes = vec![0; BUFFER_BYTES];
    let mut conns: Vec<TcpStream> = Vec::new();
    loop {
        // Whoever comes has one message echoed, until the first one speaks again: then all are there, or have ended.
        while platform::wait_readable(listener, conns.first())? {
            while let Some(mut conn) = accept(listener) {
                if echo_message(&mut conn, size, &mut bytes).unwrap_or(false) {
                    conns.push(conn);
                }
            }
        }
        while !conns.is_empty() {
            conns.retain_mut(|conn| echo_message(conn, size, &mut bytes).unwrap_or(false));
        }
    }
}

/// Whether the connection goes on after its turn.
fn echo_message(conn: &mut TcpStream, size: usize, bytes: &mut [u8]) -> io::Result<bool> {
    let mut echoed = 0;
    while echoed < size {
        let taken = match conn.read(bytes) {
            Ok(0) => return Ok(false),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        conn.write_all(&bytes[..taken])?;
        echoed += taken;
    }
    Ok(true)
}

fn churn(listener: &TcpListener) -> io::Result<()> {
    let mut bytes = vec![0; BUFFER_BYTES];
    let mut conns: VecDeque<TcpStream> = VecDeque::new();
    loop {
        if conns.is_empty() {
            platform::wait_readable(listener, None)?;
        }
        conns.extend(std::iter::from_fn(|| accept(listener)));
        // Each in its turn, one step: the one that was served longest ago is the one that has most likely spoken.
        for _ in 0..conns.len() {
            let Some(mut conn) = conns.pop_front() else { break };
            if step(&mut conn, &mut bytes).unwrap_or(false) {
                conns.push_back(conn);
            }
        }
    }
}

/// One receive and what it asks for. False when the connection is over: dropped, it is closed, which sends our FIN.
fn step(conn: &mut TcpStream, bytes: &mut [u8]) -> io::Result<bool> {
    match conn.read(bytes) {
        Ok(0) => Ok(false),
        Ok(taken) => conn.write_all(&bytes[..taken]).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// A connection that waits; it blocks, though the listener does not.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept() {
        Ok((conn, _)) => Some(conn),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => {
            pause_after(&error).into_iter().for_each(thread::sleep);
            None
        }
    }
}
