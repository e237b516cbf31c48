//! Servers and clients of many gateways, against scripted gateways, over memory and virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client_accepting;
mod client_choosing;
mod client_closing;
mod client_connecting;
mod client_losing;
mod client_renewing;
mod client_rerouting;
mod client_support;
mod scripted;
mod server_backoff;
mod server_conns;
mod server_ending;
mod server_sets;
mod server_troubles;
