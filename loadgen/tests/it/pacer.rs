//! When connections are started, without a clock: every moment is given.

use finwait_loadgen::pacer::{Pacer, Start};

const MS: u64 = 1_000_000;

#[test]
fn a_closed_loop_starts_whenever_it_is_asked_until_its_count() {
    let mut pacer = Pacer::closed(Some(2), None);
    assert_eq!(pacer.take(5), Some(Start::Now));
    assert!(!pacer.is_over(5));
    assert_eq!(pacer.take(5), Some(Start::Now));
    assert_eq!(pacer.take(5), None);
    assert!(pacer.is_over(5));
    assert_eq!(pacer.give_up(9), 0, "a closed loop has no plan to miss");
}

#[test]
fn a_closed_loop_starts_nothing_once_its_time_is_over() {
    let mut pacer = Pacer::closed(None, Some(10));
    assert_eq!(pacer.take(9), Some(Start::Now));
    assert_eq!(pacer.take(10), None);
    assert!(pacer.is_over(10));
}

#[test]
fn an_open_loop_keeps_its_schedule_however_late_it_is_asked() {
    let mut pacer = Pacer::open(1000.0, 5 * MS, (0, 1), None, None);
    assert_eq!(pacer.next(), Some(5 * MS));
    assert_eq!(pacer.take(5 * MS - 1), None);
    // Asked 3 ms late, all that was due comes, each with the moment that it was planned for.
    let taken: Vec<_> = std::iter::from_fn(|| pacer.take(8 * MS)).collect();
    assert_eq!(taken, [5, 6, 7, 8].map(|ms| Start::Planned(ms * MS)));
    assert_eq!(pacer.next(), Some(9 * MS));
}

#[test]
fn threads_share_one_schedule() {
    let starts = |first| {
        let mut pacer = Pacer::open(1000.0, 0, (first, 2), Some(2), None);
        std::iter::from_fn(move || pacer.take(MS * 100)).collect::<Vec<_>>()
    };
    assert_eq!(starts(0), [Start::Planned(0), Start::Planned(2 * MS)]);
    assert_eq!(starts(1), [Start::Planned(MS), Start::Planned(3 * MS)]);
}

#[test]
fn a_long_schedule_does_not_drift() {
    // A third of a second is no whole number of nanoseconds; adding it up a million times would show.
    let mut pacer = Pacer::open(3.0, 0, (0, 1), Some(3_000_001), None);
    let last = std::iter::from_fn(|| pacer.take(u64::MAX)).last();
    assert_eq!(last, Some(Start::Planned(1_000_000_000_000_000)));
}

#[test]
fn what_was_planned_and_not_taken_was_missed() {
    let mut pacer = Pacer::open(1000.0, 0, (0, 1), None, Some(10 * MS));
    assert!(pacer.take(0).is_some());
    // Nothing starts at the end of the time, and what was planned before it is counted: nine of ten.
    assert_eq!(pacer.take(10 * MS), None);
    assert_eq!(pacer.give_up(20 * MS), 9);
    assert_eq!(pacer.give_up(20 * MS), 0, "once");

    let mut interrupted = Pacer::open(1000.0, 0, (0, 1), None, Some(10 * MS));
    assert_eq!(interrupted.give_up(2 * MS), 3, "0, 1 and 2 ms; what was planned for later was not missed");
}
