//! [`fastway_fuzz::frames`] for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastway_fuzz::frames(data));
