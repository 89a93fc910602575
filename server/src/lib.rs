//! A completion-based TCP echo server that ends every connection properly and says how it ended.

pub mod conn;
pub mod drain;
pub mod proactor;
