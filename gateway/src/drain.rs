//! Draining: how a gateway ends without losing anybody.
//!
//! No more clients come in; whoever asked for it is told so. Those who are there go on for a while. Then each is told to go at an instant of its own, so that
//! the gateways that they turn to have time for each of them. When the last one has gone, the servers are closed in order and the
//! gateway stops. How a single client is told to go, and why no message is lost by it, is in `session/end.rs` ([`End::Drained`]).
//!
//! [`End::Drained`]: crate::session::End::Drained

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fastway::net::LINGER_TIMEOUT;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tracing::info;

use crate::outbox::Cut;
use crate::router::notice;
use crate::session::FLUSH_TIMEOUT;
use crate::shard::Shared;

/// How often the log says how many are left.
const REPORTING: Duration = Duration::from_secs(10);

/// Sessions that are given notice in one go, before others have their turn.
const NOTICES_PER_TURN: usize = 1024;

/// So long the last ones who were told to go are waited for, which is what each of them may take. Most of them are gone in one
/// journey there and back. After that, somebody waits for a server that takes nothing.
pub(crate) const LAST_CLIENTS: Duration = FLUSH_TIMEOUT.saturating_add(LINGER_TIMEOUT);

/// Drains when the gateway is told to, and then stops it; never returns.
pub(crate) async fn drain_when_told(shared: Arc<Shared>, rng: StdRng) {
    shared.draining.cancelled().await;
    if shared.stopping.run_until_cancelled(drain(&shared, rng)).await.is_some() {
        info!(clients = shared.router.counts().clients, "drained: stopping");
        shared.stop();
    }
    pending::<()>().await;
}

async fn drain(shared: &Shared, rng: StdRng) {
    let config = shared.config();
    let (timeout, spread) = (config.drain_timeout, config.drain_spread);
    let clients = shared.router.counts().clients;
    info!(clients, ?timeout, ?spread, "draining: no more clients are let in");
    let begun = Instant::now() + timeout;
    give_notice(shared, begun + spread).await;
    let mut all_gone = pin!(shared.clients.wait());
    let mut telling = pin!(tell_everybody(shared, rng, begun, spread));
    let mut reporting = pin!(report(shared));
    poll_fn(|cx| {
        let _: Poll<()> = reporting.as_mut().poll(cx);
        let is_over = all_gone.as_mut().poll(cx).is_ready() || telling.as_mut().poll(cx).is_ready();
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whoever asked for it is told at once that the gateway drains, and that by `until` all clients will have been told to go.
async fn give_notice(shared: &Shared, until: Instant) {
    for some in shared.router.begin_draining(until).chunks(NOTICES_PER_TURN) {
        some.iter().for_each(|session| session.give_notice(notice(until)));
        yield_now().await;
    }
}

/// Each client in its turn, by age. The instants are spread evenly, and drawn within their share of the time: several gateways
/// that drain at once do not speak with one voice.
async fn tell_everybody(shared: &Shared, mut rng: StdRng, begun: Instant, spread: Duration) {
    sleep_until(begun).await;
    let clients = shared.router.clients();
    if !clients.is_empty() {
        info!(clients = clients.len(), ?spread, "draining: clients are told to go");
    }
    let count = clients.len() as f64;
    for (place, client) in clients.into_iter().enumerate() {
        let share = (place as f64 + rng.random::<f64>()) / count;
        sleep_until(begun + spread.mul_f64(share)).await;
        client.cut(Cut::Drained);
    }
    sleep_until(begun + spread).await;
    // Those who were on their way in when the others were counted.
    for client in shared.router.clients() {
        client.cut(Cut::Drained);
    }
    sleep(LAST_CLIENTS).await;
}

/// Says now and then how many are left.
async fn report(shared: &Shared) {
    let mut ticks = interval_at(Instant::now() + REPORTING, REPORTING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        info!(clients_left = shared.router.counts().clients, "draining");
    }
}
