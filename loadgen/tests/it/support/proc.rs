//! Signals to processes, and what `/proc` tells of them.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a process a signal, by its name without `SIG`.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    let signal: Signal = format!("SIG{name}").parse().unwrap();
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// The processor time that a process has used, in hundredths of a second on every Linux that we know.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    // Fields 14 and 15 of proc(5).
    let fields = stat(&format!("/proc/{pid}/stat"));
    fields.map_or(0, |fields| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

/// Whether a server has had something to do: it has used some hundredths of a second, or its threads went to sleep or
/// were sent to sleep time and again.
pub(crate) fn is_at_work(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let statuses = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let switches = |status: &str| -> u64 {
        let lines = status.lines().filter(|line| line.contains("voluntary_ctxt_switches:"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    cpu_ticks(pid) > 3 || statuses.map(|status| switches(&status)).sum::<u64>() > 100
}

/// The group that a process is in, which a terminal's signals go to.
pub(crate) fn group(pid: u32) -> Option<String> {
    stat(&format!("/proc/{pid}/stat")).map(|mut fields| fields.swap_remove(2))
}

/// The processes that `pid` has started and that have not been waited for.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&child: &u32| {
        // The parent comes behind the state.
        stat(&format!("/proc/{child}/stat")).is_some_and(|fields| fields[1] == pid.to_string())
    })
    .collect()
}

/// Whether every thread of a process stands still: a signal is delivered to each when it gets to run.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let states = tasks.flatten().map(|task| stat(&task.path().join("stat").to_string_lossy()));
    states.flatten().all(|fields| fields[0] == "T")
}

/// Whether a process has ended, also when nobody has waited for it yet. A number is not given out anew so soon.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(&format!("/proc/{pid}/stat")).is_none_or(|fields| fields[0] == "Z" || fields[0] == "X")
}

/// The fields of a `stat` file from the state on; the name before it may contain blanks.
fn stat(path: &str) -> Option<Vec<String>> {
    let stat = fs::read_to_string(path).ok()?;
    let fields = stat.rsplit_once(") ")?.1;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
