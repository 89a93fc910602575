//! Every server that finwait is measured beside echoes to the end as finwait does, and the one that is wrong on purpose
//! is told apart: otherwise what is measured would not be the same work.

mod arguments;
mod check;
#[cfg(target_os = "linux")]
mod compare;
mod findings;
#[cfg(target_os = "linux")]
mod floor;
mod peers;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod programs;
mod support;
