//! The tool from outside: the real binary as a process of its own, against the real gateway, through a relay where the network
//! has to misbehave. Nobody here asks for the verdict VALID, which a busy machine may rightly refuse: tests judge the numbers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "processes live in real time, and gateways beside them on threads"
)]
#![expect(clippy::disallowed_types, reason = "the relay uses sockets of its own, not the code under test")]

#[path = "../../../fastway/tests/tls/authority.rs"]
mod authority;
mod failover;
mod faults;
mod floor;
mod honesty;
mod mistakes;
mod outputs;
mod relay;
mod seed;
mod sides;
mod support;
mod tls;
