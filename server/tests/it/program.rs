//! The program as its users see it: arguments, output, exit codes, signals.
//!
//! - `arguments`: defaults, usage errors, and the engine that is chosen.
//! - `check`: the health probe against servers good and bad.
//! - `descriptors`: more connections than a process has descriptors, and who cannot have them.
//! - `ledger`: what is said of a ledger, and a file that cannot be had.
//! - `output`: JSON and plain lines, and a stdout that nobody reads.
//! - `ring`: what io_uring is asked for, by who is idle and by who is not.
//! - `signals`: one drains, a second one expires.
//! - `workers`: how its threads are scheduled.

mod arguments;
mod check;
#[cfg(target_os = "linux")]
mod descriptors;
mod ledger;
mod output;
#[cfg(target_os = "linux")]
mod ring;
mod signals;
#[cfg(target_os = "linux")]
mod workers;
