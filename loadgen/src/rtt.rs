//! Round trips on connections that stay open, on the calling thread: for the program's `rtt`, and for whoever measures
//! something around it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Clock, Nanos};
use crate::control::Control;
use crate::outcome::Outcomes;
use crate::pacer::Pacer;
use crate::payload::Pattern;
use crate::recorder::Recorder;
use crate::report::Summary;
use crate::script::Plan;
use crate::swarm::{self, Flow, Task};
use crate::sys;

pub use crate::swarm::Mark;

/// The largest message.
pub const SIZE_MAX: u32 = 16 << 20;
/// The most messages of one connection at a time.
pub const DEPTH_MAX: u32 = 4096;
/// The most messages of all connections at a time: each has its moment kept, 8 bytes.
pub const PLACES_MAX: u64 = 1 << 26;
/// Connections at a time whose first message is not back yet: more would only wait in the server's backlog.
const UNPROVEN_MAX: usize = 1024;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Rtt {
    /// The target, which must be an echo.
    pub remote: SocketAddr,
    /// Addresses to connect from, in rotation; empty where the kernel chooses. [`crate::sources::loopback`] has those of
    /// 127/8.
    pub sources: Vec<IpAddr>,
    /// Connections.
    pub connections: u32,
    /// Bytes of a message, from 1 to [`SIZE_MAX`].
    pub size: u32,
    /// Messages that a connection may have in flight, from 1 to [`DEPTH_MAX`], together at most [`PLACES_MAX`].
    pub depth: u32,
    /// Messages per second over all connections, on a schedule that waits for nobody; `None` for a closed loop.
    pub rate: Option<f64>,
    /// On a schedule: messages that are due at the same moment on the same connection, from 1 to `depth`.
    pub burst: u32,
    /// How long messages flow before they count.
    pub warm_up: Duration,
    /// How long they count. With zero there are none: connections stand, part and end.
    pub duration: Duration,
    /// The longest wait without progress.
    pub timeout: Duration,
    /// Whether to look without ever waiting, on a processor of its own.
    pub spin: bool,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// Connections that stood.
    pub connections: u64,
    /// Messages that came back in the window, as many as are in `latency`.
    pub messages: u64,
    /// Bytes that came back in the window: one direction.
    pub bytes: u64,
    /// The window's length.
    pub elapsed: Duration,
    /// Nanoseconds from when a message was due to when it was back, of those that came back in the window. Due is on a
    /// schedule its planned moment, otherwise the moment at which the one before it in its place came back.
    pub latency: Histogram<u64>,
    /// The same with the exact extremes.
    pub summary: Summary,
    /// Messages that were due before the end of the window and not back by then.
    pub unfinished: u64,
    /// Those of them that came back afterwards.
    pub late: u64,
    /// Those of them that had not got a place by then, and were never sent: only a schedule has such.
    pub unsent: u64,
    /// How connections ended.
    pub outcomes: Outcomes,
    /// The share of the window in which the thread had something to do, 0 to 1.
    pub busy: f64,
    /// Everything else that was seen of the connections.
    pub recorder: Recorder,
}

/// Connects, lets messages flow, half-closes and waits for the ends. The marks are called in their order, each once, on
/// this thread, also where the run is cut short or no connection stands.
///
/// # Errors
/// When this host cannot poll, or what is asked for has no meaning. What goes wrong with a connection is its outcome.
pub fn run(rtt: &Rtt, control: &Control, on_mark: &mut dyn FnMut(Mark)) -> io::Result<Measured> {
    run_by(Clock::start(), rtt, control, on_mark)
}

/// The same by a clock that has been started before.
///
/// # Errors
/// As [`run`].
pub fn run_by(
    clock: Clock,
    rtt: &Rtt,
    control: &Control,
    on_mark: &mut dyn FnMut(Mark),
) -> io::Result<Measured> {
    check(rtt)?;
    // Where it cannot be raised, or reserved, connections say what they lack.
    let _ = sys::raise_descriptor_limit();
    let _ = sys::reserve_descriptors(rtt.connections);
    let flow = Flow {
        size: rtt.size,
        depth: rtt.depth,
        rate: rtt.rate,
        burst: rtt.burst,
        warm_up_ns: nanos(rtt.warm_up),
        duration_ns: nanos(rtt.duration),
    };
    let (recorder, flowed) = swarm::run_with_flow(task(rtt), &flow, clock, control, on_mark)?;
    let elapsed = flowed.elapsed_ns.max(1) as f64;
    Ok(Measured {
        connections: flowed.connections,
        messages: flowed.messages,
        bytes: flowed.bytes,
        elapsed: Duration::from_nanos(flowed.elapsed_ns),
        latency: flowed.latency.histogram().clone(),
        summary: flowed.latency,
        unfinished: flowed.unfinished,
        late: flowed.late,
        unsent: flowed.unsent,
        outcomes: recorder.outcomes.clone(),
        busy: (flowed.busy_ns as f64 / elapsed).min(1.0),
        recorder,
    })
}

fn check(rtt: &Rtt) -> io::Result<()> {
    let wrong = if rtt.connections == 0 {
        "at least one connection is needed".to_owned()
    } else if !(1..=SIZE_MAX).contains(&rtt.size) {
        format!("a message has from 1 to {SIZE_MAX} bytes")
    } else if !(1..=DEPTH_MAX).contains(&rtt.depth) {
        format!("a connection has from 1 to {DEPTH_MAX} messages in flight")
    } else if u64::from(rtt.connections) * u64::from(rtt.depth) > PLACES_MAX {
        format!("all connections have at most {PLACES_MAX} messages in flight")
    } else if rtt.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        "a rate is more than 0".to_owned()
    } else if !(1..=rtt.depth).contains(&rtt.burst) {
        "a burst has from 1 to as many messages as a connection has in flight".to_owned()
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}

fn task(rtt: &Rtt) -> Task {
    let connections = u64::from(rtt.connections);
    Task {
        plan: Plan {
            size: u64::from(rtt.size),
            tail: 0,
            silent: 0,
            barrier: true,
            timeout_ns: nanos(rtt.timeout),
        },
        remote: rtt.remote,
        sources: rtt.sources.clone(),
        pacer: Pacer::closed(Some(connections), None),
        slots: usize::try_from(connections).unwrap_or(usize::MAX),
        unproven_max: UNPROVEN_MAX,
        ids: (0, 1),
        spin: rtt.spin,
        visits: None,
        pattern: Some(Arc::new(Pattern::new())),
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}
