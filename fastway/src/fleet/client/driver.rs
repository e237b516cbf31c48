//! The task that sees to it that a client has a link: it follows the set of gateways, connects, and moves.
//!
//! A search goes from one gateway to the next until one takes the client; whom it turns to is [`super::health`]'s business.
//! It begins at an instant that is drawn by lot, from [`FleetConfig::spread`](crate::fleet::FleetConfig::spread) after a loss, from
//! the time that is left if the gateway drains, from [`FleetConfig::reroute`](crate::fleet::FleetConfig::reroute) if it refuses a
//! server. In the latter two cases there are two links for a time: the old one stays, with what was opened through it, until the
//! gateway ends it, or until nothing is open through it any more.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::shared::{Linked, Shared};
use crate::endpoint::{self, ConnectError, EndpointConfig, LinkError, VirtualConn};
use crate::fleet::ended::Ended;
use crate::fleet::gateways::{Found, GatewayAddr, Gateways};
use crate::fleet::race::race;
use crate::net::Network;

/// One gateway, and the link to it with how long it took.
type Tried = (GatewayAddr, Result<(endpoint::Client, Duration), ConnectError>);

/// Why another link is needed.
enum Turn {
    /// It has ended.
    Lost,
    /// The gateway said that it drains, and that it will have ended all links after so long.
    Drains(Duration),
    /// The gateway refuses a server.
    Useless,
}

/// See the module. `draining` waits until the gateway says that it drains, and for how long it will keep the link.
pub(super) struct Driver<N, D> {
    pub(super) shared: Arc<Shared>,
    pub(super) network: N,
    /// Where what servers open goes to.
    pub(super) accepted: mpsc::Sender<VirtualConn>,
    pub(super) draining: D,
}

impl<N, D, F> Driver<N, D>
where
    N: Network,
    D: Fn(endpoint::Client) -> F + Send + Sync + 'static,
    F: Future<Output = Duration> + Send + 'static,
{
    /// Until the client is closed or dropped, or can never have a link again.
    pub(super) async fn run(self, gateways: Gateways) {
        let every = gateways.every();
        let found = gateways.watch();
        let live = race(async { match self.follow(found, every).await {} }, self.keep_a_link());
        if let Some(ended) = self.shared.closing.run_until_cancelled(live).await {
            self.shared.end(ended);
        }
        self.finish().await;
    }

    /// After `close` everything on the links ends, what is queued is sent. Without it, nobody holds more of this client than
    /// connections that it has accepted: the links end with those.
    async fn finish(self) {
        let links = self.shared.take_links();
        if self.shared.is_closed() {
            links.iter().for_each(|link| link.endpoint.close());
            for link in links {
                link.endpoint.ended().await;
            }
        }
        self.shared.finished.cancel();
    }

    async fn follow(&self, mut found: mpsc::Receiver<Found>, every: Option<Duration>) -> Infallible {
        while let Some(found) = found.recv().await {
            self.shared.found(found, every);
        }
        self.shared.set_is_final();
        pending().await
    }

    async fn keep_a_link(&self) -> Ended {
        loop {
            let (link, others) = match self.search().await {
                Ok(found) => found,
                Err(ended) => return ended,
            };
            let turn = race(self.turn_of(&link), async { match self.measure(others).await {} });
            let wait = match turn.await {
                Turn::Lost => self.shared.config.spread,
                Turn::Useless => continue,
                Turn::Drains(window) => {
                    self.shared.drains(&link);
                    // In the first half, since within the second the gateway ends links.
                    let wait = self.shared.draw(window / 2);
                    if timeout(wait, self.shared.lost(link.serial)).await.is_err() {
                        continue;
                    }
                    self.shared.config.spread
                }
            };
            sleep(self.shared.draw(wait)).await;
        }
    }

    /// Waits until another link is needed.
    async fn turn_of(&self, link: &Linked) -> Turn {
        let lost = async {
            self.shared.lost(link.serial).await;
            Turn::Lost
        };
        let useless = async {
            self.shared.useless(link.serial).await;
            Turn::Useless
        };
        let drains = async { Turn::Drains((self.draining)(link.endpoint.clone()).await) };
        race(lost, race(drains, useless)).await
    }

    /// Until there is a link. Others may still be being connected to.
    async fn search(&self) -> Result<(Linked, JoinSet<Tried>), Ended> {
        loop {
            let mut tries = JoinSet::new();
            for gateway in self.shared.next_gateways().await? {
                tries.spawn(connect(self.network.clone(), gateway, self.shared.config.of_a_link()));
            }
            while let Some(Ok((gateway, tried))) = tries.join_next().await {
                match tried {
                    Ok((endpoint, took)) => {
                        let tend = |link: &Linked| self.tend(link);
                        return Ok((self.shared.connected(gateway, endpoint, took, tend), tries));
                    }
                    Err(error) => self.shared.not_connected(gateway, error),
                }
            }
        }
    }

    /// Where there is a link already, others are connected to for as long as it takes to know how near they are.
    async fn measure(&self, mut others: JoinSet<Tried>) -> Infallible {
        while let Some(Ok((gateway, tried))) = others.join_next().await {
            match tried {
                Ok((_, took)) => self.shared.measured(&gateway, took),
                Err(error) => self.shared.not_connected(gateway, error),
            }
        }
        pending().await
    }

    /// Looks after a link until it ends.
    fn tend(&self, link: &Linked) -> AbortOnDropHandle<()> {
        let (shared, link, accepted) = (self.shared.clone(), link.clone(), self.accepted.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let leaving = async {
                shared.replaced(link.serial).await;
                link.endpoint.close_when_idle();
                pending().await
            };
            let ending = race(link.endpoint.ended(), forward(&link.endpoint, &accepted));
            let end = race(ending, leaving).await;
            shared.unlinked(link.serial, end);
        }))
    }
}

async fn connect<N: Network>(network: N, gateway: GatewayAddr, config: EndpointConfig) -> Tried {
    let begun = Instant::now();
    let connected = endpoint::Client::connect(&network, gateway.as_str(), config).await;
    (gateway, connected.map(|endpoint| (endpoint, begun.elapsed())))
}

/// Hands on what servers open. When nobody can accept it any more, it is closed.
async fn forward(link: &endpoint::Client, accepted: &mpsc::Sender<VirtualConn>) -> LinkError {
    loop {
        match link.accept().await {
            Ok(conn) => drop(accepted.send(conn).await),
            Err(end) => return end,
        }
    }
}
