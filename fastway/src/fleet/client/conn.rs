//! A connection that outlives its gateway.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Handle;
use super::error::{ConnEnd, NoConn, SendError};
use super::shared::{Dialled, Shared};
use crate::endpoint::{self, CloseReason, LinkError};
use crate::fleet::ended::Ended;
use crate::fleet::gateways::GatewayAddr;
use crate::id::ServerId;

/// A Close that comes so shortly before the end of its link belongs to it: a gateway that is stopped closes its servers' links
/// and its clients' at once, and what the former leads to may be on its way to a client first.
const PARTING: Duration = Duration::from_millis(100);

/// A virtual connection to a server, which is dialled again when its gateway is lost.
///
/// The new connection is to the same server, but the server does not know that: for it the old one was closed and somebody has
/// dialled. So [`recv`](Self::recv) says where the one ends and the other begins, [`Received::Renewed`], and until it has said
/// so nothing can be sent: no message of the old conversation gets into the new one by mistake.
///
/// What is lost in between: a message that [`send`](Self::send) took shortly before may or may not have reached the server, and
/// what the server sent meanwhile may never come. Only the application can tell which of them matter, so it resumes: it says who it
/// is and how far it had got, in whatever way its protocol does that.
///
/// ```
/// use fastway::fleet::{Client, Conn, FleetConfig, Gateways, NoConn, Received};
/// use fastway::id::ServerId;
/// use fastway::net::Network;
///
/// /// Counts what the server says, for as long as it says something.
/// async fn follow(client: &Client) -> Result<u32, Box<dyn std::error::Error>> {
///     let mut conn = client.dial(ServerId::new(1)).await?;
///     let mut seen = 0_u32;
///     conn.send("begin").await?;
///     while let Some(received) = conn.recv().await {
///         match received {
///             Received::Message(_) => seen += 1,
///             // The server has never heard of this connection: it is told where to go on. Should the gateway be lost again
///             // right now, there will be another `Renewed`.
///             Received::Renewed { gateway } => {
///                 println!("going on through {gateway}");
///                 let _ = conn.send(format!("go on after {seen}")).await;
///             }
///         }
///     }
///     println!("{:?}", conn.close_reason());
///     Ok(seen)
/// }
///
/// async fn run<N: Network>(network: N) -> Result<u32, Box<dyn std::error::Error>> {
///     let gateways = Gateways::list(["a.example:7010", "b.example:7010"])?;
///     follow(&Client::connect(network, gateways, FleetConfig::default()).await?).await
/// }
/// ```
///
/// When it ends, and when it is renewed:
///
/// - The *link* has ended, whatever the reason: it is dialled again over the next one, for [`FleetConfig::patience`] at most, also
///   if the server is not there yet. Connections of one client are dialled side by side. The dial begins when `recv` has given out
///   everything that had arrived before.
/// - The *server* has closed it, or has gone from a gateway that is still there; a gateway says the same in both cases. Then it
///   ends: a server that closes a connection does not expect it to be dialled at once. Whoever wants to go on calls
///   [`Client::dial`](super::Client::dial), which waits for a server that comes back. The end of the link within 100 ms makes it the
///   first case.
///
/// Dropping it closes it; messages that were sent before still go out.
///
/// [`FleetConfig::patience`]: crate::fleet::FleetConfig::patience
#[derive(Debug)]
pub struct Conn {
    stage: Stage,
    remote: ServerId,
    handle: Arc<Handle>,
}

/// What [`Conn::recv`] receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message from the server.
    Message(Bytes),
    /// A new connection has taken the place of the old one, and the server knows nothing of the old one: resume here.
    Renewed {
        /// Through which gateway it goes.
        gateway: GatewayAddr,
    },
}

/// Open, then renewing, then open or ended.
#[derive(Debug)]
enum Stage {
    /// Messages that have arrived may wait to be received, also if it has ended.
    Open(Dialled),
    /// It was lost, and all that had arrived is received.
    Renewing(AbortOnDropHandle<Result<Dialled, ConnEnd>>),
    Ended(ConnEnd),
}

impl Conn {
    pub(super) fn new(handle: Arc<Handle>, remote: ServerId, dialled: Dialled) -> Self {
        Self { stage: Stage::Open(dialled), remote, handle }
    }

    /// The server at the other end.
    #[must_use]
    pub fn remote(&self) -> ServerId {
        self.remote
    }

    /// Through which gateway it goes; `None` while it is not open.
    #[must_use]
    pub fn gateway(&self) -> Option<GatewayAddr> {
        match &self.stage {
            Stage::Open(open) if open.conn.close_reason().is_none() => Some(open.gateway.clone()),
            _ => None,
        }
    }

    /// The next message, or the news that the connection is another one; `None` when it has ended for good, and
    /// [`close_reason`](Self::close_reason) says why. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Received> {
        loop {
            match &mut self.stage {
                Stage::Open(open) => {
                    if let Some(message) = open.conn.recv().await {
                        return Some(Received::Message(message));
                    }
                    let (link, reason) = (open.link, open.conn.close_reason());
                    self.stage = self.after_the_end(link, reason);
                }
                Stage::Renewing(task) => match poll_fn(|cx| Pin::new(&mut *task).poll(cx)).await {
                    Ok(Ok(dialled)) => {
                        let gateway = dialled.gateway.clone();
                        self.stage = Stage::Open(dialled);
                        return Some(Received::Renewed { gateway });
                    }
                    Ok(Err(end)) => self.stage = Stage::Ended(end),
                    // The runtime is shut down, so nobody will ask.
                    Err(_) => self.stage = Stage::Ended(ConnEnd::ClosedHere),
                },
                Stage::Ended(_) => return None,
            }
        }
    }

    /// Queues a message for the server, waiting while the link's queue is full. Cancel-safe: a future that is dropped has sent
    /// nothing.
    ///
    /// The message has not reached the server when this returns: see [`Conn`].
    ///
    /// # Errors
    ///
    /// [`SendError::Interrupted`] between the loss of the connection and the [`Received::Renewed`] that [`recv`](Self::recv) gives.
    /// In any case of an error the message was not sent.
    pub async fn send(&mut self, message: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.open()?.conn.send(message).await.map_err(not_sent)
    }

    /// Waits until everything queued so far, on this link, is handed to the network.
    ///
    /// # Errors
    ///
    /// [`SendError::Interrupted`] or [`SendError::Ended`] if that cannot be any more.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        self.open()?.conn.flush().await.map_err(not_sent)
    }

    /// Closes the connection: the server receives what was sent before, then the end. What waits to be received here is dropped.
    pub fn close(&mut self) {
        if !matches!(self.stage, Stage::Ended(_)) {
            self.stage = Stage::Ended(ConnEnd::ClosedHere);
        }
    }

    /// Why it has ended for good; `None` while it is open or being dialled again, and before [`recv`](Self::recv) has given out all
    /// that came before.
    #[must_use]
    pub fn close_reason(&self) -> Option<ConnEnd> {
        match &self.stage {
            Stage::Ended(end) => Some(end.clone()),
            Stage::Open(_) | Stage::Renewing(_) => None,
        }
    }

    fn open(&mut self) -> Result<&mut Dialled, SendError> {
        match &mut self.stage {
            Stage::Open(open) => Ok(open),
            Stage::Renewing(_) => Err(SendError::Interrupted),
            Stage::Ended(end) => Err(SendError::Ended(end.clone())),
        }
    }

    fn after_the_end(&self, link: u64, reason: Option<CloseReason>) -> Stage {
        let closed = match reason {
            Some(CloseReason::SlowReceiver) => return Stage::Ended(ConnEnd::SlowReceiver),
            Some(CloseReason::ClosedHere | CloseReason::Link(LinkError::ClosedHere)) => {
                return Stage::Ended(ConnEnd::ClosedHere);
            }
            Some(CloseReason::ClosedByRemote) => true,
            Some(CloseReason::Link(_)) | None => false,
        };
        let renewed = renew(self.handle.0.clone(), self.remote, link, closed);
        Stage::Renewing(AbortOnDropHandle::new(tokio::spawn(renewed)))
    }
}

/// Dials again what went through `link`. If it was `closed` while the link lived, only if the link ends as well.
async fn renew(shared: Arc<Shared>, remote: ServerId, link: u64, closed: bool) -> Result<Dialled, ConnEnd> {
    if closed && timeout(PARTING, shared.lost(link)).await.is_err() {
        return Err(ConnEnd::ClosedByRemote);
    }
    shared.dial(remote, Some(link)).await.map_err(|error| match error {
        NoConn::Ended(Ended::ClosedHere) => ConnEnd::ClosedHere,
        error => ConnEnd::NotRenewed(error),
    })
}

/// Whether the end of the old connection is the end of this one, [`Conn::recv`] finds out.
fn not_sent(error: endpoint::SendError) -> SendError {
    match error {
        endpoint::SendError::TooLong { len, max } => SendError::TooLong { len, max },
        endpoint::SendError::Closed(_) => SendError::Interrupted,
    }
}
