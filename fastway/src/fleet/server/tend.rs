//! The task of one gateway: connects to it, stays until the link ends, waits, connects again.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::members::{Failed, Shared};
use crate::endpoint::{self, ConnectError, LinkError};
use crate::fleet::event::{Event, Trouble};
use crate::fleet::gateways::GatewayAddr;
use crate::net::Network;

/// One gateway, as its task sees it.
pub(super) struct Tending<N> {
    shared: Arc<Shared>,
    network: N,
    gateway: GatewayAddr,
    rng: StdRng,
    /// Cancelled when the gateway leaves the set without having a link, or being about to have one, and when the server stops.
    task: CancellationToken,
}

impl<N: Network> Tending<N> {
    pub(super) fn new(
        shared: Arc<Shared>,
        network: N,
        gateway: GatewayAddr,
        rng: StdRng,
        task: CancellationToken,
    ) -> Self {
        Self { shared, network, gateway, rng, task }
    }

    /// Until the gateway has left the set and has no link, or the server stops.
    pub(super) async fn run(mut self) {
        let task = self.task.clone();
        while let Some(connected) = task.run_until_cancelled(self.connect()).await {
            let trouble = match connected {
                Ok((link, took)) => match self.serve(link, took).await {
                    Some(trouble) => trouble,
                    None => return,
                },
                Err(trouble) => trouble,
            };
            let Some(retry_in) = self.failed(trouble) else { return };
            if task.run_until_cancelled(sleep(retry_in)).await.is_none() {
                return;
            }
            self.shared.lock().connecting(&self.gateway, &self.task);
        }
    }

    /// A link through which this server is known to be registered, and how long that took. All of it has the one deadline.
    async fn connect(&self) -> Result<(endpoint::Server, Duration), Trouble> {
        let Shared { id, key, of_a_link, .. } = &*self.shared;
        let begun = Instant::now();
        let addr = self.gateway.as_str();
        let is_new = |reached| self.shared.lock().reach(&self.gateway, &self.task, reached);
        let link =
            endpoint::Server::connect_where(&self.network, addr, *id, key, of_a_link.clone(), is_new).await?;
        let after = of_a_link.connect_timeout;
        match timeout_at(begun + after, link.let_in()).await {
            Ok(Ok(())) => Ok((link, begun.elapsed())),
            Ok(Err(error)) => Err(Trouble::Link(error)),
            Err(_) => Err(ConnectError::Timeout { addr: addr.to_owned(), after }.into()),
        }
    }

    /// Stays until the link ends. `None`: the server stops, and the link, if it was closed, has ended in good order.
    async fn serve(&self, link: endpoint::Server, took: Duration) -> Option<Trouble> {
        let is_wanted =
            self.shared.change(|members| members.connected(&self.gateway, &self.task, link.clone(), took));
        if !is_wanted {
            return None;
        }
        self.shared.reporter.tell(Event::Connected { gateway: self.gateway.clone(), took });
        let until_the_end = async {
            if link.draining().await.is_ok() {
                self.shared.lock().drains(&self.gateway, &self.task);
                self.shared.reporter.tell(Event::Draining(self.gateway.clone()));
            }
            link.ended().await
        };
        match self.shared.stop.run_until_cancelled(until_the_end).await {
            Some(error) => Some(Trouble::Link(error)),
            None => {
                if self.shared.lock().is_closed() {
                    link.ended().await;
                }
                None
            }
        }
    }

    /// How long to wait before the next try; `None` if there is none.
    fn failed(&mut self, trouble: Trouble) -> Option<Duration> {
        let Self { shared, gateway, rng, task, .. } = self;
        // Somebody may be changing the password. Until then, asking more often is of no use.
        let turned_away = matches!(trouble, Trouble::Link(LinkError::TurnedAway));
        let backoff = shared.backoff;
        let wait = |failures| if turned_away { backoff.longest(rng) } else { backoff.after(failures, rng) };
        let failed = shared.change(|members| members.failed(gateway, task, &trouble, wait));
        let gateway = gateway.clone();
        match failed {
            Failed::Retry { retry_in, was_well } => {
                if was_well {
                    shared.reporter.well(Some(&gateway));
                }
                shared.reporter.tell(Event::Trouble { gateway, trouble, retry_in });
                Some(retry_in)
            }
            Failed::HadLeft => {
                shared.reporter.well(Some(&gateway));
                shared.reporter.tell(Event::Left { gateway, trouble });
                None
            }
            Failed::NobodysBusiness => None,
        }
    }
}
