//! The one integration-test binary.
//!
//! - `conformance`: the promise over real sockets, each case on each engine.
//! - `snapshot`: the transition table of the machine, one line per transition.
//! - `support`: the small vocabulary that the cases are written in.
//! - `tidy`: what no tool knows about the source: imports, places, sizes.
//! - `walk`: every reachable state of the machine and of the world around it, and the promise in each of them.

mod conformance;
mod snapshot;
mod support;
mod tidy;
mod walk;
