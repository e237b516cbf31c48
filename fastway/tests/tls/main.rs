//! TLS on networks in memory: what it carries, whom it trusts, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authority;
mod carrying;
mod ending;
mod files;
mod strangers;
mod support;
mod trust;
