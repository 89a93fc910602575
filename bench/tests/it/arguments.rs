//! What the program says to what it is told.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{program, run};

/// The only line, and the exit code.
fn refused(args: &[&str]) -> (String, Option<i32>) {
    let output = run(args);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[test]
fn what_is_not_there_is_refused_in_a_line() {
    let (why, code) = refused(&["peer", "nginx"]);
    assert_eq!(code, Some(2));
    assert!(
        why.starts_with("finwait-bench: there is no server `nginx` here; there are uring, mio,"),
        "{why}"
    );
    assert_eq!(why.lines().count(), 1);
    let (why, code) = refused(&["peer", "tokio", "--", "--window", "1KiB"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        why,
        "finwait-bench: this server has no flags of its own, so `--window` means nothing to it\n"
    );
    let (why, code) = refused(&["peer", "epoll", "--listen", "192.0.2.1:0"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("cannot listen on 192.0.2.1:0: ") && why.ends_with("with --listen\n"), "{why}");
    let (why, code) = refused(&["peer", "tokio", "--buffer", "1"]);
    assert_eq!(code, Some(2));
    assert!(why.contains("a size from 64 to 16MiB, like 4KiB, is expected"), "{why}");
}

#[test]
fn flags_of_the_server_are_the_servers() {
    let (why, code) = refused(&["peer", "mio", "--", "--engine", "uring"]);
    assert_eq!(code, Some(2));
    assert!(why.contains("--engine"), "{why}");
    let (why, code) = refused(&["peer", "mio", "--", "--window", "1"]);
    assert_eq!(code, Some(2));
    assert!(why.contains("a size from 1KiB to 1GiB"), "{why}");
    let mut server = Command::new(program())
        .args(["peer", "mio", "--", "--ledger", "127.0.0.1:0", "--workers", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(server.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(lines[0].starts_with("listening on 127.0.0.1:"), "{lines:?}");
    assert!(lines[1].ends_with(" for the ledger"), "{lines:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_that_is_not_installed_is_named_with_its_package() {
    for (name, package) in [("socat", "socat"), ("haproxy", "haproxy"), ("node", "nodejs")] {
        let output = Command::new(program()).args(["peer", name]).env("PATH", "").output().unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        let expected = format!("{name} is not installed; on Debian: apt-get install {package}\n");
        assert_eq!(why, format!("finwait-bench: {expected}"));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
    let output = run(&["peer", "external", "/nowhere/at-all"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/at-all cannot be run: "));
}
