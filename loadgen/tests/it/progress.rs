//! What is said while a run is under way, where there is no terminal.

use std::time::Duration;

use finwait_loadgen::progress::{Lines, Progress, Snapshot};

const CHURNING: Snapshot = Snapshot {
    phase: "churning",
    done: 0,
    total: None,
    in_flight: 64,
    failed: 0,
    elapsed: Duration::ZERO,
    limit: None,
};

/// The lines of a run that is looked at ten times a second.
fn lines(seconds: u64, snapshot: impl Fn(u64) -> Snapshot) -> Vec<String> {
    let mut lines = Lines::default();
    let ticks = 0..=seconds * 10;
    ticks.filter_map(|tick| lines.due(Duration::from_millis(tick * 100), &snapshot(tick))).collect()
}

#[test]
fn there_is_a_line_a_second() {
    let said = lines(3, |tick| Snapshot { done: tick * 411, failed: tick / 15, ..CHURNING });
    assert_eq!(
        said,
        [
            "  1 s: churning, 4,110 done, 64 in flight, 4,110/s",
            "  2 s: churning, 8,220 done (1 not clean), 64 in flight, 4,110/s",
            "  3 s: churning, 12,330 done (2 not clean), 64 in flight, 4,110/s",
        ]
    );
}

#[test]
fn a_goal_and_a_limit_are_said() {
    let count =
        lines(1, |tick| Snapshot { phase: "connecting", done: tick, total: Some(10_000), ..CHURNING });
    assert_eq!(count, ["  1 s: connecting, 10 of 10,000 done, 64 in flight, 10/s"]);
    let limit = Some(Duration::from_secs(2));
    let time = lines(2, |tick| Snapshot {
        elapsed: Duration::from_millis(tick * 100),
        limit,
        in_flight: 1,
        ..CHURNING
    });
    assert_eq!(
        time,
        [
            "  1 s: churning, 0 done, 1 in flight, 0/s, 1 s left",
            // What is under way then has no limit.
            "  2 s: churning, 0 done, 1 in flight, 0/s",
        ]
    );
}

#[test]
fn a_new_phase_is_said_at_once_and_has_a_pace_of_its_own() {
    let said = lines(2, |tick| match tick {
        0..=14 => Snapshot { phase: "connecting", done: tick * 100, ..CHURNING },
        _ => Snapshot { phase: "half-closing", done: (tick - 15) * 7, ..CHURNING },
    });
    assert_eq!(
        said,
        ["  1 s: connecting, 1,000 done, 64 in flight, 1,000/s", "  1 s: half-closing, 0 done, 64 in flight",]
    );
}

#[test]
fn lines_are_plain_text() {
    for line in lines(5, |tick| Snapshot { done: tick, ..CHURNING }) {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.len() <= 100, "{line:?}");
    }
}

#[test]
fn it_can_be_shown_and_ended_at_any_time() {
    Progress::start("storm").finish();
    let mut progress = Progress::start("storm");
    // No line is due yet where this is no terminal, so that the output of the tests stays clean.
    progress.show(Duration::ZERO, &Snapshot { total: Some(0), limit: Some(Duration::ZERO), ..CHURNING });
    progress.show(Duration::ZERO, &Snapshot { done: u64::MAX, total: Some(1), ..CHURNING });
    progress.finish();
    let mut lines = Lines::default();
    assert!(lines.due(Duration::MAX, &CHURNING).is_some());
    assert!(lines.due(Duration::MAX, &CHURNING).is_some(), "the clock is at its end: nothing waits for more");
    assert!(lines.due(Duration::ZERO, &CHURNING).is_none());
}
