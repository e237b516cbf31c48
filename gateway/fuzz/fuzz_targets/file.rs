//! [`fastway_gateway_fuzz::file`] for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastway_gateway_fuzz::file(data));
