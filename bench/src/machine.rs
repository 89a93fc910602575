//! The machine: what it is, and how much of it others used while it was measured.

use std::time::Duration;
use std::{fs, io, thread};

/// Other work, in percent of one CPU, up to which a figure is taken. With a compiler running on the same two CPUs a
/// ratio of 1.19 was seen as 0.97.
pub const QUIET_PERCENT: f64 = 15.0;

const QUIET_LOOK: Duration = Duration::from_millis(300);
const QUIET_LOOKS_MAX: usize = 1000;

/// The unit of `/proc/stat`, USER_HZ: 100 a second on every architecture that Rust has Linux for.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the whole machine since it booted.
pub struct Usage {
    /// Of everything that ran here.
    pub busy: Duration,
    /// Wanted here and given to other guests of the host.
    pub steal: Duration,
}

impl Usage {
    /// Up to now.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read, or reads otherwise than expected.
    pub fn now() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u32> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
            return Err(io::Error::other(format!("/proc/stat begins with {line:?}")));
        };
        Ok(Self { busy: TICK * (user + nice + system + irq + softirq), steal: TICK * steal })
    }
}

/// What the kernel keeps of a connection in TIME_WAIT.
const TIME_WAIT_BYTES: u64 = 256;

/// Bytes of memory that the kernel has for itself and cannot give back at will (sockets, files, what waits on them),
/// without connections in TIME_WAIT: those are of an earlier crowd, and go when their minute is over.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn slab_of_the_living() -> io::Result<u64> {
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let mut words = sockets.split_whitespace().skip_while(|&word| word != "tw").skip(1);
    let waiting: u64 =
        words.next().and_then(|word| word.parse().ok()).ok_or_else(|| io::Error::other("no tw"))?;
    let slab = kibibytes(&fs::read_to_string("/proc/meminfo")?, "SUnreclaim:")?;
    Ok(slab.saturating_sub(waiting * TIME_WAIT_BYTES))
}

/// The bytes in the line `name   123 kB` of a file in /proc.
pub(crate) fn kibibytes(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    number.map(|number| number << 10).ok_or_else(|| io::Error::other(format!("no {name} in kB")))
}

/// Waits until a look at the machine, with nothing of ours running, finds it quiet.
///
/// # Errors
/// When it does not get quiet within some minutes.
pub fn wait_for_quiet() -> io::Result<()> {
    for look in 0..QUIET_LOOKS_MAX {
        let before = Usage::now()?;
        thread::sleep(QUIET_LOOK);
        let busy = Usage::now()?.busy.saturating_sub(before.busy);
        if 100.0 * busy.as_secs_f64() / QUIET_LOOK.as_secs_f64() <= QUIET_PERCENT {
            return Ok(());
        }
        if look == 0 {
            eprintln!("waiting for other work to end");
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "this machine does not get quiet"))
}

/// One line: kernel, CPUs, what TCP is set to.
#[must_use]
pub fn facts() -> String {
    let cpuinfo = proc_text("cpuinfo");
    let values = |key| cpuinfo.lines().filter_map(move |line| line.strip_prefix(key)?.split(": ").nth(1));
    format!(
        "Linux {}, {} x {}, {}, {} TIME_WAIT sockets at most",
        proc_text("sys/kernel/osrelease"),
        values("processor").count(),
        values("model name").next().unwrap_or("unknown CPU"),
        proc_text("sys/net/ipv4/tcp_congestion_control"),
        proc_text("sys/net/ipv4/tcp_max_tw_buckets"),
    )
}

fn proc_text(name: &str) -> String {
    fs::read_to_string(format!("/proc/{name}")).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
