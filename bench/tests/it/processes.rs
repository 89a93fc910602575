//! What holds for servers as processes: descriptors that run out, CPU time, and standing still.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use finwait_bench::peers::cpu;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::check;
use crate::support::{connect, program, runs, start, wait_until};

/// How long a server without descriptors is watched.
const WATCHED: Duration = Duration::from_millis(500);

#[test]
fn a_server_without_descriptors_waits_for_them() {
    for name in ["tokio", "tokio-lean", "monoio", "compio", "epoll", "threads"] {
        let server = start(&["peer", name]);
        let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
        let pid = server.pid() as i32;
        let (soft, hard) = (Some(open + 20), Some(open + 20));
        rlimit::prlimit(pid, rlimit::Resource::NOFILE, soft.zip(hard), None).unwrap();
        let streams: Vec<TcpStream> = (0..40).map(|_| connect(server.port)).collect();
        // Long enough for it to accept what it can.
        thread::sleep(WATCHED);
        let before = cpu::of_tree(server.pid()).unwrap();
        thread::sleep(WATCHED);
        let used = cpu::of_tree(server.pid()).unwrap() - before;
        assert!(used < WATCHED / 5, "{name} spins: {used:?} in {WATCHED:?}");
        drop(streams);
        assert_eq!(check::a_few_bytes_and_the_fin_at_once(&server), Ok(()), "{name}");
    }
}

#[test]
fn threads_and_processes_that_ended_count() {
    // One that was waited for, and one that lives.
    let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let script = format!("({burn}); ({burn}; sleep 60) & echo listening on 127.0.0.1:1; sleep 60 & wait");
    let server = start(&["peer", "external", "/bin/sh", "-c", &script]);
    let pids = cpu::processes(server.pid()).unwrap();
    let ended = cpu::of_tree(server.pid()).unwrap();
    assert!(ended > Duration::from_millis(20), "{ended:?}");
    assert!(pids.len() > 1, "{pids:?}");
    wait_until("what a child uses counts", || cpu::of_tree(server.pid()).unwrap() >= ended * 3 / 2);
    for pid in cpu::processes(server.pid()).unwrap() {
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    }

    let server = start(&["peer", "threads"]);
    let before = cpu::of_tree(server.pid()).unwrap();
    for _ in 0..8 {
        assert_eq!(check::four_mib_while_reading(&server), Ok(()));
    }
    let used = cpu::of_tree(server.pid()).unwrap() - before;
    assert!(used > Duration::from_millis(5), "{used:?}");
    assert!(cpu::of_tree(u32::MAX).is_err());
}

#[test]
fn a_process_that_stands_still_goes_on() {
    let mut still = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_raw(still.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    let mut watcher = Command::new(program())
        .args(["thaw", &still.id().to_string(), "--after", "60s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(watcher.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(watcher.stdin.take());
    let ended = watcher.wait().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    still.wait().unwrap();
    assert!(ended.success());
    assert_eq!(line, "watching\n");
    assert!(!stat.contains(") T "), "{stat}");
}

/// Killed, a comparison leaves none of its servers behind.
#[test]
fn servers_end_with_the_comparison() {
    let mut comparison = Command::new(program())
        .args(["compare", "--only", "echo-64", "--against", "epoll"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let servers = || {
        let family = cpu::processes(comparison.id()).unwrap();
        family.into_iter().filter(|&pid| pid != comparison.id()).collect::<Vec<_>>()
    };
    wait_until("both are there", || servers().len() >= 2);
    let servers = servers();
    comparison.kill().unwrap();
    comparison.wait().unwrap();
    wait_until("they are gone", || !servers.iter().any(|&pid| runs(pid)));
}
