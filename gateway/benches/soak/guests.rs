//! Who is there, and how many of each.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fastway_loadgen::Target;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::flood::{Ledger, flood, take};
use crate::garbage::Garbage;
use crate::slow::Slow;
use crate::tally::{Tally, count};
use crate::{hosts, rivals, visits, wire};

/// Servers that echo, by the IDs from 1.
const HOSTS: u32 = 4;

/// Clients that come and go, and clients that stay.
const VISITORS: u64 = 40;
const RESIDENTS: u64 = 20;

/// Clients that never read, and the messages that each of them is sent a second.
const SLOW: Slow = Slow { server: 1000, clients: 20, rate: 500.0, read: false };

/// The ID of a server that reads slowly, the clients that flood it, and how long a flood lasts, in ms.
const SLOW_SERVER: u32 = 1001;
const FLOODERS: u64 = 4;
const FLOOD_MS: std::ops::RangeInclusive<u64> = 100..=3000;

/// The slow server rests so many ms before each read.
const REST_MS: std::ops::RangeInclusive<u64> = 1..=8;

/// Peers that break the protocol, a second.
const GARBAGE_RATE: f64 = 150.0;

/// So long everybody has to finish what he is doing in the end.
const LEAVING: Duration = Duration::from_secs(30);

/// Everybody.
pub(crate) struct Guests {
    pub(crate) tally: Tally,
    /// They stop when they are told to; the hosts when they are dropped.
    guests: JoinSet<anyhow::Result<()>>,
    hosts: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    ledger: Arc<Ledger>,
}

impl Guests {
    /// Lets everybody in.
    pub(crate) async fn arrive(target: &Target, seed: u64) -> anyhow::Result<Self> {
        let (guests, hosts, stop) = (JoinSet::new(), JoinSet::new(), CancellationToken::new());
        let mut all = Self { tally: Tally::default(), guests, hosts, stop, ledger: Arc::default() };
        for id in 1..=HOSTS {
            let server = hosts::connect(&target.server_addr, id).await?;
            all.hosts.spawn(hosts::echo(server, all.tally.clone()));
            // The gateway does not say when a server is registered, but nobody who behaves may be refused.
            wire::dial(&mut wire::client(&target.client_addr).await?, id).await?;
        }
        let mut rngs = (0..).map(|stream| StdRng::seed_from_u64(seed.wrapping_add(stream << 32)));
        let mut rng = || rngs.next().expect("it is endless");
        let mut pace = rng();
        let rest = move || sleep(Duration::from_millis(pace.random_range(REST_MS)));
        all.hosts.spawn(take(target.clone(), SLOW_SERVER, rest, all.ledger.clone()));
        for _ in 0..FLOODERS {
            let flooder =
                flood_often(target.clone(), rng(), all.stop.clone(), all.ledger.clone(), all.tally.clone());
            all.guests.spawn(flooder);
        }
        for number in 0..VISITORS + RESIDENTS {
            let visitor =
                visits::Visitor::new(target, number, HOSTS, rng(), all.stop.clone(), all.tally.clone());
            if number < VISITORS {
                all.guests.spawn(visitor.come_and_go());
            } else {
                all.guests.spawn(visitor.stay());
            }
        }
        all.guests.spawn(rivals::take_turns(target.clone(), rng(), all.stop.clone(), all.tally.clone()));
        all.guests.spawn(rivals::visit_them(target.clone(), all.stop.clone(), all.tally.clone()));
        all.guests.spawn(SLOW.run(target.clone(), all.stop.clone(), all.tally.cut_offs.clone()));
        let garbage = Garbage { rate: GARBAGE_RATE, seed };
        all.guests.spawn(garbage.run(target.clone(), u64::MAX, all.stop.clone(), all.tally.garbage.clone()));
        Ok(all)
    }

    /// Waits for that, unless something is not as it should be.
    pub(crate) async fn watch_until<T>(&mut self, end: impl Future<Output = T>) -> anyhow::Result<()> {
        let mut end = pin!(end);
        let ended = tokio::select! {
            biased;
            _ = &mut end => return Ok(()),
            Some(ended) = self.guests.join_next() => ended,
            Some(ended) = self.hosts.join_next() => ended,
        };
        ended??;
        bail!("somebody has left too soon")
    }

    /// Lets everybody go: guests finish what they are doing, hosts follow.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.guests.join_next().await {
                ended??;
            }
            // What the slow server has still to read.
            while self.ledger.open() > 0 {
                if let Ok(Some(failed)) = timeout(Duration::from_millis(10), self.hosts.join_next()).await {
                    failed??;
                }
            }
            anyhow::Ok(())
        };
        timeout(LEAVING, all)
            .await
            .with_context(|| format!("not everybody could leave in {LEAVING:?}"))??;
        let idle = self.tally.idle();
        ensure!(idle.is_empty(), "nothing was tried of: {}", idle.join(", "));
        Ok(())
    }
}

/// Floods for a while, again and again.
async fn flood_often(
    target: Target,
    mut rng: StdRng,
    stop: CancellationToken,
    ledger: Arc<Ledger>,
    tally: Tally,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let enough = stop.child_token();
        let time = Duration::from_millis(rng.random_range(FLOOD_MS));
        let flooding = flood(target.client_addr.clone(), SLOW_SERVER, enough.clone(), ledger.clone());
        let end = async {
            stop.run_until_cancelled(sleep(time)).await;
            enough.cancel();
        };
        tokio::join!(flooding, end).0?;
        count(&tally.floods);
        stop.run_until_cancelled(sleep(time / 4)).await;
    }
    Ok(())
}
