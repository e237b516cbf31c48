//! What can go wrong at an endpoint, and what to do about it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::command::CommandError;
use crate::frame::FrameError;
use crate::id::RemoteId;

/// There is no link to the gateway.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network could not connect.
    #[error("cannot connect to the gateway at {addr}: {error}; check the address, and that the gateway runs")]
    Network {
        /// Where to.
        addr: String,
        /// What the network says.
        error: io::Error,
    },
    /// It took too long.
    #[error(
        "no gateway at {addr} within {after:?}; check the address, that servers connect to its internal port, and that \
         both ends use TLS, or neither"
    )]
    Timeout {
        /// Where to.
        addr: String,
        /// The deadline that was set.
        after: Duration,
    },
    /// Connected, but the handshake broke off.
    #[error("the handshake with {addr} broke off: {error}; servers connect to a gateway's internal port")]
    Handshake {
        /// Where to.
        addr: String,
        /// What the network says.
        error: io::Error,
    },
}

/// Why the link to the gateway has ended. All its virtual connections have ended with it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// This side closed it.
    #[error("the link was closed on this side")]
    ClosedHere,
    /// The gateway closed it.
    #[error(
        "the gateway closed the link: it stops or drains, or this endpoint read too slowly, or, if it is a server, another one \
         registered by the same ID; connect again"
    )]
    ClosedByGateway,
    /// The gateway closed a server's link before it had said anything.
    #[error(
        "the gateway closed the link right after the handshake: most likely the key is not the gateway's; compare \
         it with the gateway's --server-auth-password"
    )]
    TurnedAway,
    /// The network failed.
    #[error("the link failed: {0}; connect again")]
    Failed(Arc<io::Error>),
    /// The gateway sent a frame that cannot be.
    #[error(
        "the other end is not a gateway that this library understands: {0}; compare the packet size limits, and the ports: \
         clients use the public one"
    )]
    Frame(#[from] FrameError),
    /// The gateway sent a command that cannot be.
    #[error("the other end is not a gateway that this library understands: {0}")]
    Command(#[from] CommandError),
    /// The gateway was silent for too long.
    #[error("nothing came from the gateway for {0:?}: it is gone, or the network is; connect again")]
    Silent(Duration),
}

/// There is no virtual connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialError {
    /// The gateway refused.
    #[error(
        "the gateway refused to open a virtual connection to {remote}: nobody by that ID is connected to it, or this \
         client holds as many connections as it may; dial later, or close some"
    )]
    Refused {
        /// Who was dialled.
        remote: RemoteId,
    },
    /// No answer in time. Should one still come, the connection is closed at once.
    #[error(
        "no answer to the dial to {remote} within {after:?}; the gateway is overloaded or the link is slow"
    )]
    Timeout {
        /// Who was dialled.
        remote: RemoteId,
        /// The deadline that was set.
        after: Duration,
    },
    /// The link has ended.
    #[error("cannot dial: {0}")]
    Link(#[from] LinkError),
}

/// Why a virtual connection has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseReason {
    /// This side closed it.
    #[error("the virtual connection was closed on this side")]
    ClosedHere,
    /// The other side closed it, or went away.
    #[error("the other side closed the virtual connection, or went away")]
    ClosedByRemote,
    /// Its messages were not received, and its queue was full.
    #[error(
        "the virtual connection was closed because its messages were not received in time; receive faster, raise the \
         receive queue's limits, or choose SlowReceiver::LinkWaits"
    )]
    SlowReceiver,
    /// The physical link has ended.
    #[error("the virtual connection ended with its link: {0}")]
    Link(LinkError),
}

/// A message was not sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The message is too long for a packet. The connection stays open.
    #[error(
        "a message of {len} bytes is too long: the limit is {max}; split it, or raise the maximal packet size on \
         every endpoint and gateway"
    )]
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// The most that fits.
        max: usize,
    },
    /// The virtual connection has ended.
    #[error("cannot send: {0}")]
    Closed(CloseReason),
}
