//! A small fixed piece of the kernel's work on loopback, timed before and after each round: the pace of the machine.
//!
//! The same binary has been seen to serve 170,000 and then 220,000 messages a CPU-second within a minute. So a ratio is
//! only taken between rounds whose calibrations agree, and figures are also given as if all had run at one pace.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::platform;

/// Round trips of 64 B on a connection of this thread with itself: some 60 ms. In 15 ms the pace of a virtual machine was
/// seen to vary by a half, which says nothing about a round of a second.
const TRIPS: u32 = 10_000;
/// What comes before, so that caches are warm.
const TRIPS_COLD: u32 = 200;
const MESSAGE: [u8; 64] = [0x5a; 64];

/// A connection with both of its ends.
#[derive(Debug)]
pub(super) struct Calibration {
    ends: [TcpStream; 2],
}

impl Calibration {
    /// Connects.
    ///
    /// # Errors
    /// As connect.
    pub(super) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        Ok(Self { ends: [near, far] })
    }

    /// CPU-nanoseconds of one round trip, on the CPU of the calling thread.
    ///
    /// # Errors
    /// As send, recv, and the clock.
    pub(super) fn trip_ns(&mut self) -> io::Result<f64> {
        self.trips(TRIPS_COLD)?;
        let before = platform::thread_cpu()?;
        self.trips(TRIPS)?;
        let spent: Duration = platform::thread_cpu()?.saturating_sub(before);
        Ok(spent.as_nanos() as f64 / f64::from(TRIPS))
    }

    fn trips(&mut self, count: u32) -> io::Result<()> {
        let mut bytes = [0; MESSAGE.len()];
        let [near, far] = &mut self.ends;
        for _ in 0..count {
            near.write_all(&MESSAGE)?;
            far.read_exact(&mut bytes)?;
            far.write_all(&bytes)?;
            near.read_exact(&mut bytes)?;
        }
        Ok(())
    }
}
