//! The endpoints against a scripted gateway that writes raw bytes, over memory and virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod closing;
mod connecting;
mod dialling;
mod draining;
mod keepalive;
mod receiving;
mod sending;
mod support;
