//! The small vocabulary that the cases are written in.
//!
//! - `engine`: what a case runs on.
//! - `peer`: a plain blocking client whose bytes depend on the connection and the offset.
//! - `running`: a server inside this process, and what its tally must say at the end.
//! - `program`: the server as a child process, for limits, signals, memory and processor time.
//! - `scratch`: a folder of a test's own.
//! - `wine`: what Wine cannot show, case by case.

mod engine;
mod peer;
mod program;
mod running;
mod scratch;
mod wine;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use engine::Engine;
pub(crate) use peer::{Part, Peer};
pub(crate) use program::Program;
#[cfg(target_os = "linux")]
pub(crate) use program::stat;
#[cfg(not(windows))]
pub(crate) use program::{Finished, run_to_end};
pub(crate) use running::{Running, config, graceful, outcomes};
pub(crate) use scratch::Scratch;
pub(crate) use wine::shows;

/// The one limit on every wait: generous, for a test machine may be busy, and never reached by a good server.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How often something that can only be looked at is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Makes a test of each listed `fn(Engine)` for each engine of this system, named `uring::case` and `mio::case`. An
/// engine that cannot run here fails its tests: a suite that skips in silence proves nothing.
macro_rules! engines {
    ($($case:ident),+ $(,)?) => {
        #[cfg(not(windows))]
        mod uring {
            $(#[test] fn $case() { super::$case(finwait_server::engine::EngineKind::Uring.into()) })+
        }
        #[cfg(not(windows))]
        mod uring_direct {
            use finwait_server::engine::{Descriptors, EngineKind};
            $(#[test] fn $case() { super::$case((EngineKind::Uring, Descriptors::Direct).into()) })+
        }
        #[cfg(windows)]
        mod iocp {
            $(#[test] fn $case() { super::$case(finwait_server::engine::EngineKind::Iocp.into()) })+
        }
        mod mio {
            $(#[test] fn $case() { super::$case(finwait_server::engine::EngineKind::Mio.into()) })+
        }
        #[cfg(not(windows))]
        mod tokio_uring {
            $(#[test] fn $case() { super::$case(finwait_server::engine::EngineKind::TokioUring.into()) })+
        }
    };
}
pub(crate) use engines;

/// As [`engines`], for cases with a server in a process of its own, which take a Unix: signals, SIGSTOP, /proc, a shell.
/// There the engine of Windows has its tests too: its program runs under Wine, and the peers are Linux's own. They are
/// ignored but where `.ci/wine/suite` asks for them.
macro_rules! programs {
    ($($case:ident),+ $(,)?) => {
        #[cfg(windows)]
        const _: &[fn($crate::support::Engine)] = &[$($case),+];
        #[cfg(not(windows))]
        mod program {
            mod uring {
                $(#[test] fn $case() { super::super::$case(finwait_server::engine::EngineKind::Uring.into()) })+
            }
            mod uring_direct {
                use finwait_server::engine::{Descriptors, EngineKind};
                $(#[test] fn $case() { super::super::$case((EngineKind::Uring, Descriptors::Direct).into()) })+
            }
            mod mio {
                $(#[test] fn $case() { super::super::$case(finwait_server::engine::EngineKind::Mio.into()) })+
            }
            mod tokio_uring {
                $(#[test] fn $case() { super::super::$case(finwait_server::engine::EngineKind::TokioUring.into()) })+
            }
            mod iocp {
                $(
                    #[test]
                    #[ignore = "it takes Wine: .ci/run wine-suite"]
                    fn $case() { super::super::$case(finwait_server::engine::EngineKind::Iocp.into()) }
                )+
            }
        }
    };
}
pub(crate) use programs;

/// Held by every case of more than 500 sockets: a process has 20,000 descriptors here, and cases run in parallel.
pub(crate) fn many_sockets() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    finwait_server::sys::raise_descriptor_limit().unwrap();
    guard
}

/// Waits until `is_so`, for at most [`LIMIT`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = clock();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `value` has not changed for a quarter of a second, and returns it. Looking too early makes a case
/// easier to pass, never harder.
#[track_caller]
pub(crate) fn wait_until_still(mut value: impl FnMut() -> u64) -> u64 {
    const STILL: Duration = Duration::from_millis(250);
    let began = clock();
    let (mut last, mut since) = (value(), began);
    while since.elapsed() < STILL {
        assert!(began.elapsed() < LIMIT, "it never came to rest");
        std::thread::sleep(LOOK_EVERY);
        let seen = value();
        if seen != last {
            (last, since) = (seen, clock());
        }
    }
    last
}

/// Now. The cases look at the wall clock only to bound a wait, or where passing time is what they are about.
#[expect(clippy::disallowed_methods, reason = "a test is a client of its own: no engine to ask for the time")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}
