//! [`fastway_gateway_fuzz::config`] for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastway_gateway_fuzz::config(data));
