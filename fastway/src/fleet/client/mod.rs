//! A client that is linked to one of many gateways, whichever that is.
//!
//! | file | what it owns |
//! |---|---|
//! | `driver.rs` | the task that keeps a link: follows the set, connects, moves |
//! | `health.rs` | what is known of each gateway, and whom to turn to next |
//! | `choice.rs` | the order in which gateways that are equally well are taken |
//! | `shared.rs` | the links, dials with patience, and who waits for what |
//! | `conn.rs` | a connection that outlives its gateway |

mod choice;
mod conn;
mod driver;
mod error;
mod health;
#[cfg(test)]
mod moving_tests;
mod shared;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, mpsc};
use tokio::time::{Instant, timeout};

pub use self::conn::{Conn, Received};
use self::driver::Driver;
pub use self::error::{ConnEnd, NoConn, NoGateway, SendError, Tried};
use self::shared::Shared;
use crate::endpoint::{self, VirtualConn};
use crate::fleet::config::FleetConfig;
use crate::fleet::ended::Ended;
use crate::fleet::event::{Event, GatewayStatus};
use crate::fleet::gateways::{GatewayAddr, Gateways};
use crate::fleet::race::race;
use crate::id::ServerId;
use crate::net::Network;

/// A game client's link to one of many gateways. A clone is another handle to the same client.
///
/// When its gateway fails, it connects to another one. When its gateway says that it drains, it connects to another one
/// first, and what was opened before goes on until the old one ends it. When its gateway refuses a server that others may know, it
/// connects to one of those ([`FleetConfig::reroute`]). What was dialled is dialled again: see [`Conn`].
///
/// How long it is without a link after a loss: until the loss is known (at once if the connection ends,
/// [`FleetConfig::detection`] if the network is silent), then [`FleetConfig::spread`] at most, then one connect for each
/// gateway that is tried in vain, each [`connect_timeout`](crate::endpoint::EndpointConfig::connect_timeout) at most. One that
/// failed lately is tried after all others.
///
/// The link ends when [`close`](Self::close) is called, or when all clones and all connections are dropped; what was sent
/// before still goes out, and [`closed`](Self::closed) waits until it has.
#[derive(Clone, Debug)]
pub struct Client {
    accepts: Arc<Accepts>,
}

/// What clients' clones share, and connections do not. When the last one goes, nobody is left to accept.
#[derive(Debug)]
struct Accepts {
    handle: Arc<Handle>,
    accepted: Mutex<mpsc::Receiver<VirtualConn>>,
}

/// The users' hold on a client: its clones and its connections share it. When the last one goes, the client ends.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closing.cancel();
    }
}

impl Client {
    /// Connects to one of these gateways, trying one after the other: [`start`](Self::start), then [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// [`NoGateway`] if none has taken the client within [`FleetConfig::patience`]; at once if nobody is in the set and
    /// nobody will be.
    pub async fn connect<N: Network>(
        network: N,
        gateways: Gateways,
        config: FleetConfig,
    ) -> Result<Self, NoGateway> {
        let client = Self::start(network, gateways, config);
        client.ready().await?;
        Ok(client)
    }

    /// Begins to connect to one of these gateways, and returns at once. For those who want to hear of every try, by
    /// [`events`](Self::events), and to do without a deadline.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start<N: Network>(network: N, gateways: Gateways, config: FleetConfig) -> Self {
        Self::start_with(network, gateways, config, draining)
    }

    /// The same with another way to learn that a gateway drains.
    fn start_with<N, D, F>(network: N, gateways: Gateways, config: FleetConfig, draining: D) -> Self
    where
        N: Network,
        D: Fn(endpoint::Client) -> F + Send + Sync + 'static,
        F: Future<Output = Duration> + Send + 'static,
    {
        let shared = Shared::new(config);
        let (forwarded, accepted) = mpsc::channel(1);
        let driver = Driver { shared: shared.clone(), network, accepted: forwarded, draining };
        let client = Self {
            accepts: Arc::new(Accepts {
                handle: Arc::new(Handle(shared.clone())),
                accepted: Mutex::new(accepted),
            }),
        };
        tokio::spawn(driver.run(gateways));
        client
    }

    /// Waits until there is a link. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`NoGateway`] if there is none within [`FleetConfig::patience`]; at once if there can never be one. The client goes on
    /// trying all the same, for as long as it is held.
    pub async fn ready(&self) -> Result<(), NoGateway> {
        let begun = Instant::now();
        let shared = self.shared();
        match timeout(shared.config.patience, shared.link_after(None)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(shared.no_gateway(begun.elapsed())),
        }
    }

    /// Opens a virtual connection to a server, over the present link or the next one. Any number of dials may be under way.
    ///
    /// If the gateway refuses (as a rule because the server is not connected to it, just now or at all), does not answer or
    /// fails, the dial is made again, after a while or over the next link, until [`FleetConfig::patience`] is over. Dropping
    /// the future gives the dial up.
    ///
    /// # Errors
    ///
    /// [`NoConn`]
    pub async fn dial(&self, server: ServerId) -> Result<Conn, NoConn> {
        let dialled = self.shared().dial(server, None).await?;
        Ok(Conn::new(self.accepts.handle.clone(), server, dialled))
    }

    /// Waits for the next virtual connection that a server opens to this client, over whichever link. Cancel-safe.
    ///
    /// Such a connection ends with its link: this side does not know why the server dialled, and at another gateway the client
    /// has another number, so the server has to hear of it first.
    ///
    /// # Errors
    ///
    /// [`Ended`] if the client was closed, or can never have a link again.
    pub async fn accept(&self) -> Result<VirtualConn, Ended> {
        let next = async {
            match self.accepts.accepted.lock().await.recv().await {
                Some(conn) => Ok(conn),
                None => pending().await,
            }
        };
        race(async { Err(self.shared().ended().await) }, next).await
    }

    /// The gateway that dials go through; `None` while there is no link.
    #[must_use]
    pub fn gateway(&self) -> Option<GatewayAddr> {
        self.shared().gateway()
    }

    /// How each gateway is, by address: all of the set, and those that have left it but still have a link.
    #[must_use]
    pub fn status(&self) -> Vec<GatewayStatus> {
        self.shared().status()
    }

    /// What happens from now on. A receiver that is not read for long misses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared().events()
    }

    /// Closes the link and all connections; what is queued is still sent. Does not wait for that: [`closed`](Self::closed)
    /// does.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Waits until the client has ended and what was queued is sent, as far as it can be.
    pub async fn closed(&self) {
        self.shared().finished.cancelled().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.accepts.handle.0
    }
}

/// Waits until the gateway says that it will end this link, and returns the time that is left until then.
async fn draining(link: endpoint::Client) -> Duration {
    match link.draining().await {
        Ok(window) => window,
        // It ended without a notice, which others find out.
        Err(_) => pending().await,
    }
}
