//! Why a server could not dial a client.

use crate::endpoint;
use crate::fleet::event::Trouble;
use crate::fleet::gateways::GatewayAddr;

/// A server's dial got no virtual connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServerDialError {
    /// There is no link to that gateway.
    #[error("cannot dial through gateway {gateway}: {why}")]
    NoLink {
        /// Which was asked for.
        gateway: String,
        /// Why there is none.
        why: NoLink,
    },
    /// The gateway did not open one.
    #[error("dialling through gateway {gateway}: {error}")]
    Dial {
        /// Which.
        gateway: GatewayAddr,
        /// What it said, or what became of the link.
        error: endpoint::DialError,
    },
}

/// Why there is no link to a gateway that somebody wanted to dial through.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoLink {
    /// The server was closed.
    #[error("this server was closed")]
    Closed,
    /// There is no such gateway.
    #[error("it is not one of the gateways of this server, which are: {}", listed(_0))]
    Unknown(Vec<GatewayAddr>),
    /// Not yet, or not any more. With the last thing that went wrong there, if anything did.
    #[error("there is no link to it at present{}; it is connected to as soon as it can be", in_brackets(_0.as_ref()))]
    NotConnected(Option<Trouble>),
}

fn in_brackets(trouble: Option<&Trouble>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"))
}

fn listed(gateways: &[GatewayAddr]) -> String {
    let names: Vec<_> = gateways.iter().map(GatewayAddr::as_str).collect();
    if names.is_empty() { "none at present".to_owned() } else { names.join(", ") }
}
