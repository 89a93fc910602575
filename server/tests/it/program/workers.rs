//! How the worker threads are scheduled, as proc(5) shows it.

use std::fs;
use std::num::NonZeroUsize;
use std::thread;

use finwait_server::engine::EngineKind;

use crate::support::{Program, graceful, stat};

/// sched(7): SCHED_OTHER and SCHED_BATCH.
const OTHER: &str = "0";
const BATCH: &str = "3";

/// More of them than processors would interrupt one another at each message.
#[test]
fn workers_that_share_processors_take_turns() {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for engine in [EngineKind::Uring, EngineKind::Mio] {
        assert_eq!(policies(engine, processors), vec![OTHER; processors], "{engine:?}");
        assert_eq!(policies(engine, processors + 1), vec![BATCH; processors + 1], "{engine:?}");
    }
}

/// By which policy each worker of a server that has served someone is scheduled.
#[track_caller]
fn policies(engine: EngineKind, workers: usize) -> Vec<String> {
    let program = Program::start(engine, &["--workers", &workers.to_string()]);
    let peer = program.connect_and_echo();
    let tasks = fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap().flatten();
    let workers = tasks
        .map(|task| task.path())
        .filter(|task| fs::read_to_string(task.join("comm")).unwrap().starts_with("worker-"));
    // Field 41 of proc(5).
    let policies = workers.map(|task| stat(&task.join("stat").to_string_lossy())[38].clone()).collect();
    peer.fin();
    peer.echo_and_eof();
    assert_eq!(program.end().tally, graceful(1, 1));
    policies
}
