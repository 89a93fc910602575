//! Which processors the generator and its server run on, and what becomes of a run where they share one.

use std::fs;

use finwait_loadgen::outcome::Outcome;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::support::{Generator, Judged, children, wait_until};

/// The processors that the threads of a process whose name begins so may run on, as `0-3,7`.
fn allowed(pid: u32, name: &str) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let statuses = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let of_that_name = statuses.filter(|status| field(status, "Name:").starts_with(name));
    of_that_name.map(|status| field(&status, "Cpus_allowed_list:")).collect()
}

#[test]
fn a_generator_and_its_server_do_not_share_one() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(cpus > 1, "it takes two processors");
    let generator = Generator::start(&["churn", "-c", "4", "-d", "1h", "-t", "1"]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // A thread of ours goes to its own when it begins.
    wait_until("both have threads, and ours one processor", || {
        ours = allowed(generator.pid(), "swarm-");
        theirs = children(generator.pid()).into_iter().flat_map(|server| allowed(server, "")).collect();
        ours.iter().any(|ours| ours.parse::<usize>().is_ok()) && theirs.len() > 1
    });
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert!(theirs.iter().all(|theirs| *theirs != ours[0]), "{ours:?} and {theirs:?}");
    if cpus == 2 {
        assert!(theirs.iter().all(|theirs| theirs.parse::<usize>().is_ok()), "{ours:?} and {theirs:?}");
    }
}

/// Where they must take turns on one, EOFs stand unseen for milliseconds. That may happen anywhere for a moment, so a
/// storm is tried again, three times in all; then it is not believed.
#[test]
fn a_storm_that_was_not_seen_well_is_repeated() {
    let mut one = CpuSet::new();
    let me = Pid::from_raw(0);
    let all = sched_getaffinity(me).unwrap();
    one.set((0..CpuSet::count()).find(|&cpu| all.is_set(cpu).unwrap()).unwrap()).unwrap();
    // What this thread starts has it from this thread.
    sched_setaffinity(me, &one).unwrap();
    let judged = Judged::run(&["storm", "-c", "500"]);
    assert_eq!(judged.code, Some(4), "{}", judged.explained());
    assert_eq!(judged.outcomes(), [(Outcome::Clean, 500)], "{}", judged.explained());
    let warnings = judged.at("/warnings").as_array().unwrap();
    let discarded = warnings.iter().filter(|warning| warning["what"].as_str().unwrap().contains("discarded"));
    assert_eq!(discarded.count(), 2, "{}", judged.explained());

    // A churn is not: it may be long, and its rate is a matter of its target.
    let judged = Judged::run(&["churn", "-r", "500", "-n", "1000"]);
    let warnings = judged.at("/warnings").to_string();
    assert!(!warnings.contains("discarded"), "{warnings}");
}
