//! What a client of many gateways tells its user when something does not work.

use std::fmt;
use std::time::Duration;

use crate::endpoint::DialError;
use crate::fleet::ended::Ended;
use crate::fleet::event::Trouble;
use crate::fleet::gateways::{FindError, GatewayAddr};
use crate::id::ServerId;

/// There is no link to any gateway. Its text has a line for every gateway that there is.
#[derive(Clone, Debug)]
pub struct NoGateway {
    /// For how long they were tried.
    pub after: Duration,
    /// Every gateway of the set, by address.
    pub tried: Vec<Tried>,
    /// Why the set is not known, or not known anew.
    pub not_found: Option<FindError>,
}

/// A gateway that there is no link to.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Which.
    pub gateway: GatewayAddr,
    /// What went wrong the last time; `None` if it has not answered yet, or was not tried.
    pub trouble: Option<Trouble>,
}

impl fmt::Display for NoGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tried.len() {
            0 => write!(f, "there is no gateway to connect to")?,
            count => write!(f, "none of {count} gateways could be connected to in {:.1?}", self.after)?,
        }
        for Tried { gateway, trouble } in &self.tried {
            match trouble {
                Some(trouble) => write!(f, "\n  {gateway}: {trouble}")?,
                None => write!(f, "\n  {gateway}: no answer yet")?,
            }
        }
        match &self.not_found {
            Some(error) => write!(f, "\n  {error}"),
            None if self.tried.is_empty() => write!(f, "\n  {}", FindError::Empty),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NoGateway {}

/// There is no virtual connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoConn {
    /// There was a link to a gateway, at one time at least, and the last dial failed.
    #[error(
        "no virtual connection to server {server} within {after:?}, over whichever gateway; the last answer: {error}"
    )]
    Failed {
        /// Who was dialled.
        server: ServerId,
        /// For how long it was tried.
        after: Duration,
        /// What became of the last try.
        error: DialError,
    },
    /// There was no gateway that could be asked.
    #[error(
        "server {server} could not be dialled: there was no link to a gateway for {after:?}; the client's events and its \
         status say why"
    )]
    NoLink {
        /// Who was to be dialled.
        server: ServerId,
        /// For how long a link was awaited.
        after: Duration,
    },
    /// The client has ended.
    #[error("cannot dial: {0}")]
    Ended(#[from] Ended),
}

/// Why a connection has ended for good.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnEnd {
    /// This side closed it.
    #[error("the virtual connection was closed on this side")]
    ClosedHere,
    /// The server closed it, or the gateway has lost the server.
    #[error(
        "the server closed the virtual connection, or went away from the gateway; dial again to wait for it"
    )]
    ClosedByRemote,
    /// Its messages were not received, and its queue was full.
    #[error(
        "the virtual connection was closed because its messages were not received in time; receive faster, raise the \
         receive queue's limits, or choose SlowReceiver::LinkWaits"
    )]
    SlowReceiver,
    /// Its gateway was lost, and there was no new one in its place.
    #[error("the virtual connection ended with its gateway: {0}")]
    NotRenewed(NoConn),
}

/// A message was not sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The message is too long for a packet. The connection stays open.
    #[error(
        "a message of {len} bytes is too long: the limit is {max}; split it, or raise the maximal packet size on every \
         endpoint and gateway"
    )]
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// The most that fits.
        max: usize,
    },
    /// The connection was lost. What was sent just before may not have reached the server.
    #[error("the virtual connection was interrupted: receive until it is renewed or has ended, then resume")]
    Interrupted,
    /// The connection has ended.
    #[error("cannot send: {0}")]
    Ended(ConnEnd),
}
