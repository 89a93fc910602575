//! The promise over real sockets: plain clients of this process against a real server, each case on each engine.
//!
//! - `addresses`: several listeners, IPv6, and a port that is taken.
//! - `backpressure`: peers that do not read hold up themselves and nobody else, in bounded memory.
//! - `closing`: close cases by list, from gVisor, packetdrill and liburing, and which of our cases is which of theirs.
//! - `crowds`: thousands of connections that end together.
//! - `drain`: every byte that came before our FIN comes back, whatever a connection is doing when the drain begins.
//! - `echo`: what is sent comes back, of every size and in every order of sending and reading.
//! - `ending`: who sends the first FIN, what comes after it, and the deadlines of every wait.
//! - `exhaustion`: descriptors and places run out, nothing spins, and whoever waited is served.
//! - `ledger`: totals told at the end of a connection, and the grand total that answers them.
//! - `reset`: a RST at every point of a connection's life is counted as one, and hurts nobody else.
//! - `storm`: a drain while clients reconnect as fast as they can.

mod addresses;
mod backpressure;
mod closing;
mod crowds;
mod drain;
mod echo;
mod ending;
mod exhaustion;
mod ledger;
mod reset;
mod storm;
