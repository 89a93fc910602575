//! The program as its users see it.

mod output;
// No system of Apple's lets a thread choose its processors.
#[cfg(not(target_vendor = "apple"))]
mod processors;
mod rates;
mod runs;
mod signals;
