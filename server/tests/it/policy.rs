//! Deadlines, accept verdicts, places and the stages of a drain, by themselves: no socket, no waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use finwait_server::conn::{Conn, Event, Fault, Op, Outcome};
use finwait_server::drain::{Drain, Stage};
use finwait_server::policy::{
    ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN, AcceptVerdict, Cause, Deadlines, LINGER_TOTAL, Patience, Places,
    accept_backoff, accept_verdict, cause_of, fault,
};

use finwait_server::sys::Numbers;

use crate::support::clock;

const IDLE: Duration = Duration::from_secs(30);
const STALL: Duration = Duration::from_secs(60);
const LINGER: Duration = Duration::from_secs(5);
const DEADLINES: Deadlines = Deadlines { idle: Some(IDLE), stall: STALL, linger: LINGER };
const TICK: Duration = Duration::from_nanos(1);

/// What is due on `conn` when its peer last moved `touched` ago and our FIN was asked for `fin` ago.
fn due(deadlines: &Deadlines, conn: &Conn, touched: Duration, fin: Duration) -> Option<Event> {
    let long_ago = clock();
    let now = long_ago + 2 * (touched + fin);
    deadlines.due(conn, now - touched, now - fin, now)
}

#[test]
fn an_idle_connection_is_drained_exactly_when_it_is_due() {
    let conn = Conn::new(1000);
    assert_eq!(due(&DEADLINES, &conn, IDLE - TICK, IDLE), None);
    assert_eq!(due(&DEADLINES, &conn, IDLE, IDLE), Some(Event::Drain));
    let patient = Deadlines { idle: None, ..DEADLINES };
    assert_eq!(due(&patient, &conn, IDLE * 1000, IDLE), None);
}

#[test]
fn a_connection_that_is_owed_bytes_stalls_and_never_idles() {
    let conn = owing();
    assert_eq!(due(&DEADLINES, &conn, STALL - TICK, STALL), None);
    assert_eq!(due(&DEADLINES, &conn, STALL, STALL), Some(Event::Expired));
    let mut flushing = owing();
    flushing.handle(Event::Drain);
    assert_eq!(due(&DEADLINES, &flushing, STALL - TICK, STALL), None);
    assert_eq!(due(&DEADLINES, &flushing, STALL, STALL), Some(Event::Expired));
}

#[test]
fn after_our_fin_a_silent_peer_gets_a_linger_and_a_chatty_one_six() {
    let conn = lingering();
    assert_eq!(due(&DEADLINES, &conn, LINGER - TICK, LINGER), None);
    assert_eq!(due(&DEADLINES, &conn, LINGER, LINGER), Some(Event::Expired));
    assert_eq!(due(&DEADLINES, &conn, TICK, LINGER * LINGER_TOTAL - TICK), None);
    assert_eq!(due(&DEADLINES, &conn, TICK, LINGER * LINGER_TOTAL), Some(Event::Expired));
}

#[test]
fn a_connection_that_waits_for_the_kernel_alone_has_no_deadline() {
    let age = Duration::from_secs(1_000_000);
    let mut taking = Conn::new(1000);
    operate(&mut taking);
    taking.handle(Event::Drain);
    assert_eq!(due(&DEADLINES, &taking, age, age), None, "the last take is being made");
    let mut aborting = owing();
    aborting.handle(Event::Expired);
    assert_eq!(due(&DEADLINES, &aborting, age, age), None, "aborting");
    let mut closing = Conn::new(1000);
    closing.handle(Event::Expired);
    operate(&mut closing);
    assert_eq!(due(&DEADLINES, &closing, age, age), None, "closing");
    closing.handle(Event::Closed);
    assert_eq!(due(&DEADLINES, &closing, age, age), None, "closed");
}

/// The loop takes in all events of a turn before it asks for operations, and a deadline may be among them.
#[test]
fn a_deadline_that_passes_in_the_turn_of_the_last_fin_changes_nothing() {
    let mut conn = lingering();
    conn.handle(Event::PeerFin { owed: 0 });
    conn.handle(Event::Expired);
    assert_eq!(operate(&mut conn), [Op::Close]);
    conn.handle(Event::Closed);
    assert_eq!(conn.outcome(), Some(Outcome::Graceful));
}

#[test]
fn deadlines_are_looked_at_several_times_within_the_shortest() {
    for shortest in [100, 1000, 5000].map(Duration::from_millis) {
        for deadlines in [
            Deadlines { idle: Some(shortest), ..DEADLINES },
            Deadlines { stall: shortest, ..DEADLINES },
            Deadlines { linger: shortest, ..DEADLINES },
        ] {
            assert!(deadlines.sweep_every() * 4 <= shortest, "{deadlines:?}");
        }
    }
    // Neither a spin for a tiny deadline, nor an hour's sleep for a huge one.
    let tiny = Deadlines { linger: TICK, ..DEADLINES };
    assert!(tiny.sweep_every() >= Duration::from_millis(1));
    let huge = Deadlines { idle: None, stall: STALL * 1000, linger: STALL * 1000 };
    assert!(huge.sweep_every() <= Duration::from_secs(1));
}

#[test]
fn a_lost_connection_does_not_pause_accepting_and_a_lack_does() {
    for kind in [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
        io::ErrorKind::NotConnected,
        io::ErrorKind::WouldBlock,
    ] {
        assert_eq!(accept_verdict(&kind.into()), AcceptVerdict::Again, "{kind}");
    }
    // EPERM, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM: accept(2). On Windows they are no errors of accepting, nor known ones.
    for errno in [1, 22, 24, 23, 105, 12] {
        let error = io::Error::from_raw_os_error(errno);
        assert_eq!(accept_verdict(&error), AcceptVerdict::Pause, "{error}");
    }
}

/// Each number of each system that a socket's end has been seen with, and what it means.
#[test]
fn numbers_mean_causes() {
    const TABLE: [(Numbers, &[i32], Cause); 11] = [
        (Numbers::Windows, &[64, 10054], Cause::Failed(Fault::Reset)),
        // At a `shutdown`, and Wine's AcceptEx.
        (Numbers::Windows, &[10057], Cause::Failed(Fault::Reset)),
        (Numbers::Windows, &[1236, 10053], Cause::Failed(Fault::Aborted)),
        (Numbers::Windows, &[121, 10060, 10052], Cause::Failed(Fault::TimedOut)),
        (Numbers::Windows, &[995, 676], Cause::Failed(Fault::Cancelled)),
        (Numbers::Windows, &[10101], Cause::Graceful),
        (Numbers::Windows, &[10058], Cause::Bug),
        (Numbers::Linux, &[104, 32, 107], Cause::Failed(Fault::Reset)),
        (Numbers::Linux, &[103], Cause::Failed(Fault::Aborted)),
        (Numbers::Linux, &[110], Cause::Failed(Fault::TimedOut)),
        (Numbers::Linux, &[125], Cause::Failed(Fault::Cancelled)),
    ];
    let meaning = |of: Numbers, number: i32| {
        let row = TABLE.iter().find(|(numbers, row, _)| *numbers == of && row.contains(&number));
        row.map(|&(_, _, cause)| cause)
    };
    for numbers in [Numbers::Windows, Numbers::Linux, Numbers::Other] {
        // One system's numbers mean nothing on another, and what is not in the table is left to std.
        for number in 0..12_000 {
            assert_eq!(cause_of(numbers, number), meaning(numbers, number), "{numbers:?} {number}");
        }
    }
}

/// Those numbers that are not in the table too: their kinds are told apart.
#[test]
fn causes_are_told_apart() {
    // ENOBUFS, ENOMEM, EBADF, EHOSTUNREACH, ENETUNREACH, and what Winsock has for them.
    const LINUX: &[(i32, Fault)] = &[
        (104, Fault::Reset),
        (32, Fault::Reset),
        (103, Fault::Aborted),
        (110, Fault::TimedOut),
        (113, Fault::TimedOut),
        (101, Fault::TimedOut),
        (105, Fault::Local),
        (12, Fault::Local),
        (9, Fault::Local),
    ];
    const WINDOWS: &[(i32, Fault)] = &[
        (10054, Fault::Reset),
        (10053, Fault::Aborted),
        (10060, Fault::TimedOut),
        (10065, Fault::TimedOut),
        (10051, Fault::TimedOut),
        (10055, Fault::Local),
        (8, Fault::Local),
        (10038, Fault::Local),
    ];
    for &(number, cause) in if cfg!(windows) { WINDOWS } else { LINUX } {
        let error = io::Error::from_raw_os_error(number);
        assert_eq!(fault(&error), cause, "{error}");
    }
}

#[test]
fn accept_backs_off_to_a_limit() {
    let mut pause = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        pause = accept_backoff(pause);
        pauses.push(pause);
    }
    assert_eq!((pauses[0], pauses[11]), (ACCEPT_BACKOFF_MIN, ACCEPT_BACKOFF_MAX));
    assert!(pauses.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(ACCEPT_BACKOFF_MAX)), "{pauses:?}");
}

#[test]
fn places_are_never_given_out_twice() {
    let places = Places::new(Some(3));
    let held = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if places.take() {
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 3, "a fourth place");
                        held.fetch_sub(1, Ordering::SeqCst);
                        places.give_back();
                    }
                }
            });
        }
    });
    for _ in 0..3 {
        assert!(places.is_free() && places.take());
    }
    assert!(!places.is_free() && !places.take());
    // Beyond the limit only in a drain; what is given back then makes no room before there is any.
    places.take_anyway();
    places.give_back();
    assert!(!places.take());
    places.give_back();
    assert!(places.take());
}

#[test]
fn without_a_limit_there_is_always_a_place() {
    let places = Places::new(None);
    assert!((0..100_000).all(|_| places.take()) && places.is_free());
}

#[test]
#[should_panic(expected = "not taken")]
fn a_place_is_given_back_once() {
    Places::new(Some(3)).give_back();
}

#[test]
fn the_stage_only_rises_and_wakes_at_every_rise() {
    let drain = Drain::default();
    let woken = Arc::new(Count::default());
    drain.subscribe(Waker::from(Arc::clone(&woken)));
    assert_eq!((drain.stage(), woken.times()), (Stage::Serving, 0));
    drain.raise(Stage::Serving);
    assert_eq!((drain.stage(), woken.times()), (Stage::Serving, 0));
    drain.raise(Stage::Draining);
    assert_eq!((drain.stage(), woken.times()), (Stage::Draining, 1));
    drain.raise(Stage::Draining);
    assert_eq!((drain.stage(), woken.times()), (Stage::Draining, 1));
    drain.raise(Stage::Expiring);
    drain.raise(Stage::Draining);
    assert_eq!((drain.stage(), woken.times()), (Stage::Expiring, 2));
}

#[test]
fn every_subscriber_is_woken() {
    let drain = Drain::default();
    let all: Vec<_> = (0..5).map(|_| Arc::new(Count::default())).collect();
    all.iter().for_each(|woken| drain.subscribe(Waker::from(Arc::clone(woken))));
    drain.raise(Stage::Expiring);
    assert!(all.iter().all(|woken| woken.times() == 1));
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU32);

impl Count {
    fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A connection with a send in flight.
fn owing() -> Conn {
    let mut conn = Conn::new(1000);
    operate(&mut conn);
    conn.handle(Event::Received { taken: 10, owed: 10 });
    assert!(operate(&mut conn).contains(&Op::Send { len: 10 }));
    conn
}

/// A connection whose FIN was sent and whose peer's was not received.
fn lingering() -> Conn {
    let mut conn = Conn::new(1000);
    operate(&mut conn);
    conn.handle(Event::Drain);
    operate(&mut conn);
    conn.handle(Event::Dry);
    conn.handle(Event::Parted { owed: 0 });
    assert_eq!(operate(&mut conn), [Op::Fin]);
    conn.handle(Event::FinSent);
    operate(&mut conn);
    conn
}

fn operate(conn: &mut Conn) -> Vec<Op> {
    std::iter::from_fn(|| conn.next_op()).collect()
}

/// How many of `waits` look on, where `comes` says whether something comes to the look of that number.
fn looks(patience: &mut Patience, waits: u32, mut comes: impl FnMut(u32) -> bool) -> u32 {
    let mut looks = 0;
    for _ in 0..waits {
        if patience.is_worth_a_look() {
            patience.learn(comes(looks));
            looks += 1;
        }
    }
    looks
}

#[test]
fn a_wait_looks_on_where_something_comes_as_a_rule() {
    let mut patience = Patience::default();
    assert_eq!(looks(&mut patience, 1_000, |_| true), 1_000);
    // One in twenty comes late.
    assert_eq!(looks(&mut patience, 1_000, |look| look % 20 != 0), 1_000);
    assert!(patience.is_confident());
}

#[test]
fn a_wait_sleeps_where_nothing_comes_or_something_every_other_time() {
    for every in [2, u32::MAX] {
        let mut patience = Patience::default();
        let comes = |look: u32| look % every == 1;
        assert!(looks(&mut patience, 100, comes) < 20);
        assert!(!patience.is_confident());
        // A few in a thousand, to notice a change.
        let later = looks(&mut patience, 10_000, comes);
        assert!((30..=50).contains(&later), "{later} of 10,000 waits looked");
    }
}

#[test]
fn a_wait_looks_on_again_when_things_have_changed() {
    let mut patience = Patience::default();
    let _ = looks(&mut patience, 10_000, |_| false);
    let _ = looks(&mut patience, 10_000, |_| true);
    assert_eq!(looks(&mut patience, 1_000, |_| true), 1_000);
}
