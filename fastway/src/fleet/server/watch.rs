//! The task that follows the set of gateways: who joins gets a task, who leaves loses it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::members::{Joined, Shared};
use super::tend::Tending;
use crate::fleet::event::Event;
use crate::fleet::gateways::{GatewayAddr, Gateways};
use crate::net::Network;

/// Follows the set until nothing more can change in it, or the server stops.
pub(super) async fn watch<N: Network>(shared: Arc<Shared>, network: N, gateways: Gateways, mut rng: StdRng) {
    let every = gateways.every();
    let mut updates = gateways.watch();
    loop {
        match shared.stop.run_until_cancelled(updates.recv()).await {
            Some(Some(Ok(found))) => {
                shared.reporter.well(None);
                update(&shared, &network, &found, &mut rng);
            }
            Some(Some(Err(error))) => shared.reporter.tell(Event::NotFound { error, retry_in: every }),
            Some(None) => return shared.change(|members| members.settle()),
            None => return,
        }
    }
}

fn update<N: Network>(shared: &Arc<Shared>, network: &N, found: &BTreeSet<GatewayAddr>, rng: &mut StdRng) {
    for gateway in shared.change(|members| members.leave(|gateway| found.contains(gateway))) {
        shared.reporter.well(Some(&gateway));
        shared.reporter.tell(Event::Gone(gateway));
    }
    for gateway in found {
        let joined = shared.lock().join(gateway, &shared.stop);
        match joined {
            Joined::New(task) => {
                shared.reporter.tell(Event::Found(gateway.clone()));
                // A generator for each: what becomes of one gateway does not change when others are tried.
                let rng = StdRng::from_rng(rng);
                let tending = Tending::new(shared.clone(), network.clone(), gateway.clone(), rng, task);
                shared.tasks.spawn(tending.run());
            }
            Joined::Again => shared.reporter.tell(Event::Found(gateway.clone())),
            Joined::Already => {}
        }
    }
}
