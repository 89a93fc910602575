//! The one integration-test binary.
//!
//! - `walk`: every reachable state of the machine and of the world around it, and the promise in each of them.
//! - `snapshot`: the transition table of the machine, one line per transition.

mod snapshot;
//! - `tidy`: what no tool knows about the source: imports, places, sizes.
//! - `walk`: every reachable state of the machine, and the promise in each of them.

mod tidy;
mod walk;
