//! A server that is linked to every gateway of a set.
//!
//! | file | what it owns |
//! |---|---|
//! | `members.rs` | all that is known of each gateway, and the links: what the tasks and the handles share |
//! | `watch.rs` | the task that follows the set: who joins, who leaves |
//! | `tend.rs` | the task of one gateway: connects, stays until the link ends, waits, connects again |

mod error;
mod members;
mod tend;
mod watch;

use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

pub use self::error::{NoLink, ServerDialError};
use self::members::Shared;
use super::config::FleetConfig;
use super::ended::Ended;
use super::event::{Event, GatewayStatus};
use super::gateways::Gateways;
use crate::endpoint::VirtualConn;
use crate::id::{ClientId, ServerId};
use crate::net::Network;

/// A game server that is linked to every gateway of a set. A clone is another handle to the same server.
///
/// Each gateway has a task of its own, which connects to it, registers, and connects again when the link is lost; so whatever
/// becomes of one gateway, clients of the others notice nothing. Gateways that join the set are connected to. One that leaves it
/// keeps its link for as long as that lives, and is not connected to again.
///
/// Virtual connections come from all gateways through one [`accept`](Self::accept); each says through which gateway it goes
/// ([`VirtualConn::gateway`]). A client is dialled by its gateway and its ID, since every gateway counts its clients itself.
///
/// When the last handle is dropped, no gateway is connected to any more, and each link ends when the last of its virtual
/// connections is dropped. [`close`](Self::close) ends all of them at once.
///
/// # Example
///
/// A server that finds its gateways by a name in DNS, such as that of a headless Service in Kubernetes. It looks every ten
/// seconds who has come and who has gone.
///
/// ```
/// use std::time::Duration;
/// use fastway::fleet::{FleetConfig, Gateways, Server};
/// use fastway::id::ServerId;
/// use fastway::net::TcpNetwork;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let gateways = Gateways::dns("gateways.games.svc.cluster.local:7020", Duration::from_secs(10))?;
/// let server = Server::start(TcpNetwork::new(), gateways, ServerId::new(1), b"the key", FleetConfig::default());
///
/// // What happens to gateways is in the log; a program that wants to know listens.
/// let mut events = server.events();
/// tokio::spawn(async move {
///     while let Ok(event) = events.recv().await {
///         println!("{event}");
///     }
/// });
///
/// server.ready().await?;
/// loop {
///     let mut conn = server.accept().await?;
///     println!("client {} of gateway {}", conn.remote(), conn.gateway());
///     tokio::spawn(async move {
///         while let Some(message) = conn.recv().await {
///             conn.send(message).await?;
///         }
///         Ok::<_, fastway::endpoint::SendError>(())
///     });
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Server {
    handle: Arc<Handle>,
}

impl Server {
    /// Starts to be the server `id` at every gateway of the set, each of which knows the shared `key`.
    ///
    /// Returns at once: links are made in the background. It does not fail; what goes wrong is an [`Event`], in the log too, and is
    /// tried again. Addresses are those of the gateways' internal ports.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start<N: Network>(
        network: N,
        gateways: Gateways,
        id: ServerId,
        key: &[u8],
        config: FleetConfig,
    ) -> Self {
        let rng = config.rng();
        let shared = Shared::new(id, key, config);
        shared.tasks.spawn(watch::watch(shared.clone(), network, gateways, rng));
        // Nobody outside spawns any: when all have ended, that is for good.
        shared.tasks.close();
        Self { handle: Arc::new(Handle(shared)) }
    }

    /// The ID that this server has at all gateways.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.shared().id
    }

    /// Waits until there is a link to at least one gateway. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the server was closed, or if there can never be a link.
    pub async fn ready(&self) -> Result<(), Ended> {
        self.shared().when(|members| members.ready()).await
    }

    /// Waits for the next virtual connection that a client opens, through whichever gateway. Cancel-safe: no connection is lost
    /// with the future.
    ///
    /// Gateways take turns, so that none with many clients keeps those of another waiting. What was not accepted yet waits at its
    /// link, [`accept_queue`](crate::endpoint::EndpointConfig::accept_queue) connections at each; further ones are closed.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the server was closed, or if there is no gateway and never will be.
    pub async fn accept(&self) -> Result<VirtualConn, Ended> {
        let shared = self.shared();
        shared.when_polled(|members, cx| members.poll_accept(cx)).await
    }

    /// Opens a virtual connection to a client of one gateway, as [`VirtualConn::gateway`] and [`VirtualConn::remote`] named them.
    /// Any number of dials may be under way.
    ///
    /// Dropping the future gives the dial up; if it succeeds after all, the connection is closed at once.
    ///
    /// # Errors
    ///
    /// [`ServerDialError`]: there is no link to that gateway, at once; or what that link's dial says.
    pub async fn dial(&self, gateway: &str, client: ClientId) -> Result<VirtualConn, ServerDialError> {
        let no_link = |why: NoLink| ServerDialError::NoLink { gateway: gateway.to_owned(), why };
        let (gateway, link) = self.shared().link(gateway).map_err(no_link)?;
        link.dial(client).await.map_err(|error| ServerDialError::Dial { gateway, error })
    }

    /// How every gateway is, in the order of their addresses. One that has left the set is there for as long as its link lives.
    #[must_use]
    pub fn status(&self) -> Vec<GatewayStatus> {
        self.shared().lock().status()
    }

    /// What happens from now on; what happened before is in [`status`](Self::status). Whoever does not listen for long misses the
    /// oldest, and is told so.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared().reporter.subscribe()
    }

    /// Closes all links with their virtual connections; what is queued is still sent. Does not wait for that:
    /// [`closed`](Self::closed) does.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Waits until all links have ended, for good, and what was queued is sent, as far as it can be.
    pub async fn closed(&self) {
        self.shared().tasks.wait().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("id", &self.id()).field("gateways", &self.status()).finish()
    }
}

/// What all clones share. When it goes, nobody is left to accept.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
