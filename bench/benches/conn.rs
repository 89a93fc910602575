//! The machine alone.
fn main() {}
