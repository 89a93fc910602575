//! The real worker loop over the simulated kernel, clock and peers of `server/tests/it/sim`, where arbitrary bytes make
//! the choices that a seed makes there.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the suite uses more of the simulator than this")]

#[path = "../../tests/it"]
mod it {
    pub(crate) mod sim;
}

/// What the simulator takes from the suite.
mod support {
    use std::time::Instant;

    pub(crate) fn clock() -> Instant {
        Instant::now()
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    it::sim::run_script(data);
});
