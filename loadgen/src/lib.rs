//! A load generator that judges how a TCP echo service ends its connections: the headline is the time from the
//! client's `SHUT_WR` to the server's EOF, with every byte verified and every other ending named.
//!
//! It judges from outside and shares no code with the server; `embedded` alone knows the one that it can start.

pub mod clock;
pub mod config;
pub mod control;
pub mod doctor;
pub mod embedded;
pub mod fault;
pub mod freeze;
pub mod host;
pub mod ledger;
pub mod outcome;
pub mod output;
pub mod pacer;
pub mod payload;
pub mod progress;
pub mod recorder;
pub mod report;
pub mod rtt;
pub mod scenario;
pub mod script;
pub mod sources;
pub mod split;
pub mod swarm;
pub mod sys;
pub mod validity;
