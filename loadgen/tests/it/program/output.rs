//! What is printed where: results on stdout, the rest on stderr, the same report in a file.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Bytes, Generator, Impolite, Judged, Manner, run};

const BYTES: Bytes = Bytes { first: 64, tail: 64 };
const ESCAPE: char = '\u{1b}';

/// Of a report, what two runs of the same have in common.
fn shape(value: &Value) -> Vec<String> {
    fn walk(path: &str, value: &Value, into: &mut Vec<String>) {
        into.push(path.to_owned());
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, field)| walk(&format!("{path}/{name}"), field, into));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
        }
    }
    let mut paths = Vec::new();
    walk("", value, &mut paths);
    paths
}

#[test]
fn health_is_one_line() {
    let good = run(&["health"]);
    assert_eq!((good.code, good.stdout.lines().count()), (Some(0), 1), "{}{}", good.stdout, good.stderr);
    assert_eq!(good.stderr, "", "a probe says nothing else");

    let server = Impolite::start(Manner::TruncateWithFin, BYTES);
    let bad = run(&["health", server.target()]);
    assert_eq!((bad.code, bad.stdout.lines().count()), (Some(1), 1), "{}{}", bad.stdout, bad.stderr);
    assert!(bad.stdout.contains("truncated"), "{}", bad.stdout);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn health_is_a_report_too() {
    let judged = Judged::run(&["health"]);
    assert_eq!((judged.code, judged.count("/outcomes/clean")), (Some(0), 1));
    assert_eq!(judged.at("/scenario"), "health");
    let [exemplar] = judged.exemplars(finwait_loadgen::outcome::Outcome::Clean)[..] else { panic!("one") };
    for time in ["t0_ns", "t2_ns", "t3_ns", "t4_ns"] {
        assert!(exemplar[time].is_u64(), "{exemplar:#}");
    }
}

#[test]
fn a_file_holds_the_report_and_nothing_is_left_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    let path = file.to_str().unwrap();
    for scenario in [&["storm", "-c", "5"][..], &["churn", "-n", "5"], &["health"]] {
        // What was there is replaced.
        fs::write(&file, "old").unwrap();
        let printed = Judged::run(&[scenario, &["-o", path]].concat());
        let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(written, printed.report, "the same run");
        let shown = run(&[scenario, &["-o", path]].concat());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with("}\n"), "a whole line");
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shape(&written), shape(&printed.report));
        assert!(serde_json::from_str::<Value>(&shown.stdout).is_err(), "the screen is for people");
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["run.json"]);
    }
}

/// Killed in the middle of a run, the generator leaves the older file as it was, and no other beside it.
#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.json");
    fs::write(&file, "old").unwrap();
    let server = Impolite::start(Manner::NeverRead, BYTES);
    let args = ["storm", server.target(), "-c", "3", "-o", file.to_str().unwrap()];
    let generator = Generator::start(&args);
    crate::support::wait_until("it is under way", || server.accepted() == 3);
    generator.signal("KILL");
    assert_eq!(generator.finish().code, None);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn dev_stdout_is_written_not_replaced() {
    let finished = run(&["health", "-o", "/dev/stderr"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(serde_json::from_str::<Value>(&finished.stderr).is_ok(), "{}", finished.stderr);
    assert!(fs::metadata("/dev/stderr").is_ok());
}

#[test]
fn results_are_on_stdout_and_the_rest_is_not() {
    let server = Impolite::start(Manner::Pause(1, Duration::from_millis(50)), BYTES);
    let finished = run(&["churn", server.target(), "-d", "1500ms", "-r", "20"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    for text in ["All 30 connections ended cleanly", "shutdown", "p50", "clean"] {
        assert!(finished.stdout.contains(text), "no {text} in {}", finished.stdout);
    }
    assert!(!finished.stderr.contains("p99"), "{}", finished.stderr);
    assert!(!finished.stderr.contains('\r') && !finished.stderr.contains(ESCAPE), "{:?}", finished.stderr);
}

/// Colour is for terminals, or for those who force it, but never for those who do not want it.
#[test]
fn colour_ends_where_it_is_not_wanted() {
    let args = ["churn", "-n", "3"];
    for (environment, is_coloured) in [
        ("", false),
        ("export CLICOLOR_FORCE=1;", true),
        ("export NO_COLOR=1;", false),
        ("export NO_COLOR=1 CLICOLOR_FORCE=1;", false),
    ] {
        let finished = Generator::start_in_shell(environment, &args).finish();
        assert_eq!(finished.stdout.contains(ESCAPE), is_coloured, "{environment} {}", finished.stdout);
    }
}

/// The verdict is in the exit code, whoever listens.
#[test]
fn a_reader_that_went_away_does_not_matter() {
    let polite = Impolite::start(Manner::Polite, BYTES);
    let bad = Impolite::start(Manner::TruncateWithFin, BYTES);
    for before in ["exec >&-;", "exec >/dev/full;", "exec 2>&-;", "exec >&- 2>&-;", "exec <&-;"] {
        for more in [&[][..], &["--json"]] {
            for (server, code) in [(&polite, 0), (&bad, 1)] {
                let args = [&["churn", server.target(), "-n", "5"], more].concat();
                let finished = Generator::start_in_shell(before, &args).finish();
                assert_eq!(finished.code, Some(code), "{before} {args:?}: {}", finished.stderr);
            }
        }
    }
    for more in [&[][..], &["--json"]] {
        let generator = Generator::start_unheard(&[&["churn", "-n", "50"], more].concat());
        assert_eq!(generator.finish().code, Some(0));
    }
}

/// Without a standard input the embedded server must not take its absence for the end.
#[test]
fn the_embedded_server_does_not_depend_on_our_own_input() {
    let finished = Generator::start_in_shell("exec <&-;", &["churn", "-n", "20", "--json"]).finish();
    assert_eq!(Judged::from(finished).code, Some(0));
    let finished = Generator::start_in_shell("exec </dev/null;", &["churn", "-n", "20", "--json"]).finish();
    assert_eq!(Judged::from(finished).code, Some(0));
}
