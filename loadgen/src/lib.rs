//! A load generator that judges how a TCP echo service ends its connections: the headline is the time from the
//! client's `SHUT_WR` to the server's EOF, with every byte verified and every other ending named.
//!
//! It judges from outside and shares no code with the server; `embedded` alone knows the one that it can start.

pub mod config;
pub mod outcome;
pub mod report;
