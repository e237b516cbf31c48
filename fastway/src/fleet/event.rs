//! What happens to gateways, in words for people, and how they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gateways::{FindError, GatewayAddr};
use crate::endpoint::{ConnectError, LinkError};
use crate::id::ServerId;

/// Something happened that the caller may want to know. Its text is a sentence that says at which gateway, what, and what is
/// done next.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Event {
    /// There is one more gateway.
    #[error("gateway {0} is in the set")]
    Found(GatewayAddr),
    /// A gateway is not in the set any more. Its link, if there is one, goes on until it ends.
    #[error("gateway {0} is not in the set any more: it is not connected to again")]
    Gone(GatewayAddr),
    /// There is a link.
    #[error("connected to gateway {gateway} in {took:.1?}")]
    Connected {
        /// To which.
        gateway: GatewayAddr,
        /// How long that took.
        took: Duration,
    },
    /// The gateway gave notice that it drains. A client connects to another one; a server stays, for the clients that are left.
    #[error("gateway {0} drains: it takes no more clients, and will end its links")]
    Draining(GatewayAddr),
    /// There is no link, or none any more, or none of use.
    #[error("gateway {gateway}: {trouble}; it is tried again in {retry_in:.1?}, at the earliest")]
    Trouble {
        /// At which.
        gateway: GatewayAddr,
        /// Why.
        trouble: Trouble,
        /// When that gateway is tried again at the earliest.
        retry_in: Duration,
    },
    /// The link to a gateway that is not in the set any more has ended.
    #[error("gateway {gateway} is not in the set any more, and its link has ended: {trouble}")]
    Left {
        /// To which.
        gateway: GatewayAddr,
        /// Why.
        trouble: Trouble,
    },
    /// The set of gateways is not known, or not anew. The one that was known before stays.
    #[error("{error}; {}", what_next(*retry_in))]
    NotFound {
        /// Why.
        error: FindError,
        /// When it is looked again. `None`: whenever the caller's stream says something else.
        retry_in: Option<Duration>,
    },
}

fn what_next(retry_in: Option<Duration>) -> String {
    match retry_in {
        Some(retry_in) => format!("it is looked again in {retry_in:?}, and what was known before stays"),
        None => "what was known before stays, until the stream says something else".to_owned(),
    }
}

/// Why there is no link to a gateway, or none of use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// There was none.
    #[error("{}", why(_0))]
    Connect(Arc<ConnectError>),
    /// There was one, and it has ended.
    #[error("{}", without_advice(_0))]
    Link(LinkError),
    /// There is none, since a server is linked to this gateway by another name: a second link would end the first.
    #[error("it is the same as gateway {other}: both lead to {reached}; one name for each gateway is enough")]
    SameAs {
        /// The other name.
        other: GatewayAddr,
        /// Where both lead to.
        reached: SocketAddr,
    },
    /// There is one, to a gateway that has refused a client a server for [`reroute`](super::FleetConfig::reroute): the client
    /// connects to another gateway. What is open through this one goes on, and its end is that of the link.
    #[error("it has refused server {0} for too long, and another gateway may know it")]
    Refuses(ServerId),
}

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Arc::new(error))
    }
}

/// Which gateway it is, and that it is tried again, is said around it.
fn why(error: &ConnectError) -> String {
    match error {
        ConnectError::Network { error, .. } => format!("cannot connect: {error}"),
        ConnectError::Timeout { after, .. } => {
            format!("no answer within {after:?}; check the port, and that both ends use TLS, or neither")
        }
        ConnectError::Handshake { error, .. } => {
            format!("the handshake broke off: {error}; servers connect to a gateway's internal port")
        }
    }
}

/// The holder of a single link is told to connect again. Here that is done for him.
fn without_advice(error: &LinkError) -> String {
    let text = error.to_string();
    text.strip_suffix("; connect again").unwrap_or(&text).to_owned()
}

/// How one gateway is.
#[derive(Clone, Debug)]
pub struct GatewayStatus {
    /// Which.
    pub gateway: GatewayAddr,
    /// What is being done about it.
    pub state: GatewayState,
    /// Failures in a row, up to now. A link that was there for less than the longest wait between two tries does not end the
    /// row: a gateway that ends each link right away is a failing one.
    pub failures: u32,
    /// The last thing that went wrong, however long ago.
    pub last_trouble: Option<Trouble>,
    /// How long the last successful connect took.
    pub connect_time: Option<Duration>,
}

/// What is being done about a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayState {
    /// Nothing: a client needs one gateway only.
    Idle,
    /// It is being connected to.
    Connecting,
    /// There is a link since then.
    Connected(Instant),
    /// There is a link, but the gateway will soon end it.
    Draining(Instant),
    /// It failed, and is tried again then at the earliest.
    Waiting(Instant),
}
