//! The program as its users see it.

mod output;
mod processors;
mod rates;
mod runs;
mod signals;
