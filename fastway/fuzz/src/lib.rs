//! What the library reads from the network, given anything.
//!
//! Each target is a function of arbitrary bytes that panics if something is wrong. libFuzzer calls it from `fuzz_targets`;
//! `cargo test` calls it with the corpus, and with every input that once found a bug ([`replay`]). How to run them:
//! `docs/hostile-input.md`.

mod bytes;
mod commands;
mod frames;
mod handshake;
mod proxy;
pub mod replay;

pub use bytes::Bytes;
pub use commands::commands;
pub use frames::frames;
pub use handshake::handshake;
pub use proxy::proxy;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn frames_from_the_corpus() {
        replay::all(ROOT, "frames", frames);
    }

    #[test]
    fn commands_from_the_corpus() {
        replay::all(ROOT, "commands", commands);
    }

    #[test]
    fn handshakes_from_the_corpus() {
        replay::all(ROOT, "handshake", handshake);
    }
    #[test]
    fn headers_of_proxies_from_the_corpus() {
        replay::all(ROOT, "proxy", proxy);
    }
}
