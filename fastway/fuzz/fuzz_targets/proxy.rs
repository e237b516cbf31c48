//! [`fastway_fuzz::proxy`] for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastway_fuzz::proxy(data));
