//! The program as its users see it.

mod output;
mod rates;
mod runs;
mod signals;
