//! The one integration-test binary.
//!
//! - `closing_table`: what the other side sees of each way to end a connection, held against `server/CLOSING.md`.
//! - `conformance`: the promise over real sockets, each case on each engine.
//! - `dealing`: one listening socket for several workers, where the kernel does not balance.
//! - `differential`: one made-up client against every engine, which must all do what the model says, and the same.
//! - `ledger`: what it makes of bytes, its books, and the file that it keeps them in, on disks that fail.
//! - `policy`: deadlines, accept verdicts, places and the stages of a drain, by themselves.
//! - `program`: the program as its users see it: arguments, output, exit codes, signals. From a Unix: Windows's is run
//!   from there, under Wine.
//! - `sim`: the worker loop over a simulated kernel, clock and peers, all of it from one seed.
//! - `sizes`: the ring with next to no memory, where everything that is rare happens all the time.
//! - `snapshot`: the transition table of the machine, one line per transition.
//! - `support`: the small vocabulary that the cases are written in.
//! - `tidy`: what no tool knows about the source: imports, places, sizes.
//! - `walk`: every reachable state of the machine and of the world around it, and the promise in each of them.

mod closing_table;
mod conformance;
mod dealing;
mod differential;
mod ledger;
mod policy;
#[cfg(not(windows))]
mod program;
mod sim;
#[cfg(target_os = "linux")]
mod sizes;
mod snapshot;
mod support;
mod tidy;
mod walk;
