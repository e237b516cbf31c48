//! [`fastway_fuzz::commands`] for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastway_fuzz::commands(data));
