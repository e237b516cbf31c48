//! The gateway, given anything: at its public port, at its internal port, as flags, and as a configuration file.
//!
//! As in `fastway-fuzz`, a target is a function of arbitrary bytes that panics if something is wrong. How to run them:
//! `docs/hostile-input.md`.

mod config;
mod file;
mod judge;
mod peer;
mod script;
mod session;

pub use config::config;
pub use file::file;
pub use session::session;

#[cfg(test)]
mod tests {
    use fastway_fuzz::replay;

    use super::*;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn sessions_from_the_corpus() {
        replay::all(ROOT, "session", session);
    }

    #[test]
    fn configurations_from_the_corpus() {
        replay::all(ROOT, "config", config);
    }

    #[test]
    fn files_from_the_corpus() {
        replay::all(ROOT, "file", file);
    }
}
