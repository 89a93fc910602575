//! The one integration-test binary.
//!
//! - `walk`: every reachable state of the machine and of the world around it, and the promise in each of them.

mod walk;
