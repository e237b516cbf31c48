//! What is in the folder `deploy`, looked at before anybody installs it: it says what its own format allows, and nothing that
//! the gateway does not know.
//!
//! Tools that not every machine has are asked where they are there; the tests that need them say so where they are not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test says what it skips, and what it has measured")]

mod files;
mod grafana;
mod image;
mod kubernetes;
mod prometheus;
mod systemd;
