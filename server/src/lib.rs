//! A completion-based TCP echo server that ends every connection properly and says how it ended.
//!
//! [`server::Server`] is the whole interface: start it with a [`config::Config`], drain it, join it, read the
//! [`metrics::Tally`]. `ARCHITECTURE.md` at the top of the repository tells how the modules fit together.

pub mod check;
pub mod config;
pub mod conn;
pub mod drain;
pub mod engine;
pub mod ledger;
pub mod listener;
pub mod metrics;
pub mod policy;
pub mod proactor;
pub mod server;
pub mod sys;
pub mod worker;
