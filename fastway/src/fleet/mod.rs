//! Many gateways as one: where they are, a server that is linked to all of them, a client that is linked to one and moves
//! to another when that one fails or drains.
//!
//! Nothing here needs the gateways to know each other. Which gateways there are, everybody learns from what is there
//! anyway: a list, a name in DNS, a stream of the caller's own ([`Gateways`]). What goes wrong, the caller sees
//! ([`Event`]): at which gateway, why, and what is done next.

mod backoff;
mod config;
mod ended;
mod event;
mod gateways;
mod reporter;
mod server;

pub use backoff::Backoff;
pub use config::{Choice, FleetConfig};
pub use ended::Ended;
pub use event::{Event, GatewayState, GatewayStatus, Trouble};
pub use gateways::{FindError, GatewayAddr, Gateways, Resolve, SystemResolver};
pub use server::{NoLink, Server, ServerDialError};
