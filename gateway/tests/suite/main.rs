//! The gateway from outside: scripted peers that write raw bytes, over real loopback sockets or, where minutes have to
//! pass, over memory and virtual time. Each rule of the protocol has tests here that name it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod admin;
mod admission;
#[path = "../../../fastway/tests/tls/authority.rs"]
mod authority;
mod backpressure;
mod closing;
mod config_file;
mod data;
mod dead_peers;
mod draining;
mod endpoint;
mod folder;
mod groups;
mod handshake;
#[cfg(target_os = "linux")]
#[path = "../../benches/common/hosts.rs"]
mod hosts;
mod keepalive;
mod limits;
mod notices;
mod opening;
mod overload;
mod pid_file;
mod pitfalls;
mod proxy;
mod reloading;
mod service_manager;
mod stats;
mod stopping;
mod support;
mod takeover;
mod tls;
mod tls_files;
