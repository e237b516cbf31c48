//! Many gateways as one: where they are, a server that is linked to all of them, a client that is linked to one and moves
//! to another when that one fails or drains.
//!
//! A client is a [`Client`], and what it dials is a [`Conn`], which outlives its gateway: its documentation has an example.
//!
//! Nothing here needs the gateways to know each other. Which gateways there are, everybody learns from what is there
//! anyway: a list, a name in DNS (A and AAAA records; SRV records with the feature `dns`), a stream of the caller's own
//! ([`Gateways`]). What goes wrong, the caller sees ([`Event`]): at which gateway, why, and what is done next.

mod backoff;
mod client;
mod config;
#[cfg(feature = "dns")]
mod dns;
mod ended;
mod event;
mod gateways;
mod race;
mod reporter;
mod server;

pub use backoff::Backoff;
pub use client::{Client, Conn, ConnEnd, NoConn, NoGateway, Received, SendError, Tried};
pub use config::{Choice, FleetConfig};
#[cfg(feature = "dns")]
pub use dns::DnsResolver;
pub use ended::Ended;
pub use event::{Event, GatewayState, GatewayStatus, Trouble};
pub use gateways::{FindError, GatewayAddr, Gateways, Resolve, SystemResolver};
pub use server::{NoLink, Server, ServerDialError};
