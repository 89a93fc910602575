//! What a client of the ledger says, made of arbitrary bytes and cut up by them, against a model.

#![no_main]

use finwait_server_fuzz::words;

libfuzzer_sys::fuzz_target!(|data: &[u8]| words::play(data));
