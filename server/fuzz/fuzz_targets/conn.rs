//! One connection's machine, its peer and its kernel, doing whatever they may do in an order made of arbitrary bytes.

#![no_main]

use finwait_server_fuzz::script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| script::play(data));
