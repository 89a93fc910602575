//! The one integration-test binary.
//!
//! - `limits`: ports, source addresses and the law of TIME_WAIT.
//! - `pacer`: when connections are started.
//! - `payload`: what is sent.
//! - `validity`: when a run is about its generator.

mod limits;
mod pacer;
mod payload;
mod validity;
