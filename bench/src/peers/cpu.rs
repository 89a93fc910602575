//! The CPU time of a server that is more than one process, or whose threads come and go.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

use crate::platform::process_cpu;

/// The unit of `/proc/PID/stat`, USER_HZ: 100 a second on every architecture that Rust has Linux for.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of the process `pid` and of all that descend from it so far, with that of threads that ended, and of
/// processes that ended and were waited for.
///
/// The kernel counts living processes in nanoseconds, and those that have ended in ticks of 10 ms: where none ends this is
/// exact, and elsewhere a round of a second is known to a percent.
///
/// # Errors
/// When there is no such process, or the files of the system read otherwise than expected.
pub fn of_tree(pid: u32) -> io::Result<Duration> {
    let stats = stats()?;
    if !stats.contains_key(&pid) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no process {pid}")));
    }
    tree(&stats, pid).into_iter().map(|pid| Ok(stats[&pid].ended_children + process_cpu(pid)?)).sum()
}

/// The process `pid`, if there is one, and all that descend from it.
///
/// # Errors
/// When the files of the system read otherwise than expected.
pub fn processes(pid: u32) -> io::Result<Vec<u32>> {
    let stats = stats()?;
    Ok(if stats.contains_key(&pid) { tree(&stats, pid) } else { Vec::new() })
}

struct Stat {
    parent: u32,
    /// Of children that have ended and were waited for, with theirs.
    ended_children: Duration,
}

fn tree(stats: &BTreeMap<u32, Stat>, root: u32) -> Vec<u32> {
    let mut tree = vec![root];
    let mut seen = 0;
    while seen < tree.len() {
        let parent = tree[seen];
        tree.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        seen += 1;
    }
    tree
}

fn stats() -> io::Result<BTreeMap<u32, Stat>> {
    let mut stats = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let stat =
            parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat reads {text:?}")))?;
        stats.insert(pid, stat);
    }
    Ok(stats)
}

/// The second field is the program's name in parentheses, in which anything may stand.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // proc(5) counts from 1, and these begin with the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
    Some(Stat { parent: field(4)?, ended_children: TICK * (field(16)? + field(17)?) })
}
