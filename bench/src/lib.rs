//! What the benches and the comparisons share.

pub mod spread;
