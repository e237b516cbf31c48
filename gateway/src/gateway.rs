//! The gateway as a whole: binding, starting the shards, stopping.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use fastway::id::{RemoteId, Side};
use fastway::net::{BindOptions, LINGER_TIMEOUT, Listener, Network};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::drain::{LAST_CLIENTS, drain_when_told};
use crate::groups::ServerGroup;
use crate::listener::Acceptor;
use crate::reconfigure::Reconfigured;
use crate::refusal::Refusal;
use crate::router::Counts;
use crate::session::FLUSH_TIMEOUT;
use crate::shard::{Accepted, Shard, Shared};
use crate::stats::{SessionInfo, Totals};

/// Accepted connections that may wait for their shard.
const HANDOVER_QUEUE: usize = 256;

/// Sessions need at most [`FLUSH_TIMEOUT`] and [`LINGER_TIMEOUT`] to end; this is for whoever is late.
pub(crate) const STOP_TIMEOUT: Duration =
    FLUSH_TIMEOUT.saturating_add(LINGER_TIMEOUT).saturating_add(Duration::from_secs(1));

/// Why a gateway did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration cannot work. Nothing was bound.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port cannot be had.
    #[error("cannot listen for {side}s on {addr}: {error}{}", remedy(error))]
    Bind {
        /// Whose port.
        side: Side,
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the network says.
        error: io::Error,
    },
}

/// What to do about a port that cannot be had.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop whoever has it, choose another port, or 0 for any free one",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 up, or give the process the right",
        _ => "",
    }
}

/// A gateway whose ports are bound. [`run`](Self::run) makes it serve.
#[derive(Debug)]
pub struct Gateway<N: Network> {
    shared: Arc<Shared>,
    /// One pair for all shards; or, with `reuse_port`, one for each.
    ports: Vec<Ports<N::Listener>>,
    rng: StdRng,
    client_addr: SocketAddr,
    server_addr: SocketAddr,
}

#[derive(Debug)]
struct Ports<L> {
    client: L,
    server: L,
}

/// A remote control of a gateway, also while it runs. A clone controls the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Makes the gateway stop: no new connections, every virtual connection is closed, what is queued is sent (for
    /// 10 s at most), physical connections are closed. [`Gateway::run`] returns then.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Makes the gateway end without losing anybody. No more clients are let in: the public port is closed, so that others on it
    /// or elsewhere get them. Those who are there go on for [`drain_timeout`](Config::drain_timeout) and are then told to go, spread
    /// over [`drain_spread`](Config::drain_spread). When the last one has gone it stops as by [`stop`](Self::stop). Servers can
    /// connect until then.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// How long [`drain`](Self::drain) takes at most, until the gateway has stopped.
    pub(crate) fn longest_drain(&self) -> Duration {
        let config = self.shared.config();
        config.drain_timeout + config.drain_spread + LAST_CLIENTS + STOP_TIMEOUT
    }

    /// Whether it was told to drain.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.is_cancelled()
    }

    /// Whether clients and servers can come in: both ports are served, and it was told neither to drain nor to stop.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.serving.load(Ordering::Relaxed) && !self.is_draining() && !self.is_stopping()
    }

    /// Whether it was told to stop, or has drained.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    /// Puts other settings into force, and drops nobody for it. What has to wait for the next start is left out, and said.
    ///
    /// # Errors
    ///
    /// If these settings cannot work. Then nothing has changed.
    pub fn reconfigure(&self, config: Config) -> Result<Reconfigured, ConfigError> {
        self.shared.reconfigure(config)
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.shared.config()
    }

    /// What is there at this moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { buffered_bytes: self.shared.budget.bytes(), ..self.shared.router.counts() }
    }

    /// The same, but for the bytes in queues, for which every session has to be looked at.
    pub(crate) fn numbers(&self) -> Counts {
        Counts { buffered_bytes: self.shared.budget.bytes(), ..self.shared.router.numbers() }
    }

    /// Each server group with how many of its members are registered, in the order of their IDs.
    #[must_use]
    pub fn groups(&self) -> Vec<(ServerGroup, usize)> {
        self.shared.router.groups()
    }

    /// How often the gateway refused something for this reason, since it began.
    #[must_use]
    pub fn refusals(&self, kind: Refusal) -> u64 {
        self.shared.refusals.get(kind)
    }

    /// What the gateway has come to since it began. The work does not depend on the number of sessions, and nobody is held up
    /// by it.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// Every session that is registered, clients first, each side by number. Whoever registers, dials or ends waits while
    /// pointers to them are copied; messages do not.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let everybody = self.shared.router.everybody();
        let now = Instant::now();
        let mut sessions: Vec<_> = everybody.iter().map(|outbox| outbox.info(now)).collect();
        sessions.sort_unstable_by_key(|session| (session.side == Side::Server, session.id));
        sessions
    }

    /// Ends a session in order: its virtual connections are closed, what is queued for it is sent (for 10 s at most), then its
    /// connection is closed. `false` if nobody is there by that number.
    pub fn close(&self, side: Side, id: u32) -> bool {
        self.shared.router.close(side, RemoteId::new(id))
    }
}

impl<N: Network> Gateway<N> {
    /// Checks the configuration and binds both ports.
    ///
    /// All randomness of the gateway (the challenges for servers) comes from `seed`: in production from the
    /// operating system, in a simulation from the world's seed.
    ///
    /// # Errors
    ///
    /// [`BindError`]; nothing stays bound then.
    pub async fn bind(network: &N, config: Config, seed: [u8; 32]) -> Result<Self, BindError> {
        config.check()?;
        let listeners = if config.reuse_port { config.threads.get() } else { 1 };
        let (mut client_addr, mut server_addr) = (config.client.addr, config.server.addr);
        let mut ports = Vec::with_capacity(listeners);
        for _ in 0..listeners {
            // With port 0 the first listener finds a free port, and the others share it.
            let client = bind_side(network, Side::Client, &mut client_addr, &config).await?;
            let server = bind_side(network, Side::Server, &mut server_addr, &config).await?;
            ports.push(Ports { client, server });
        }
        let shared = Arc::new(Shared::new(config));
        Ok(Self { shared, ports, rng: StdRng::from_seed(seed), client_addr, server_addr })
    }

    /// The public address, with the port that was found if 0 was asked for.
    #[must_use]
    pub fn client_addr(&self) -> SocketAddr {
        self.client_addr
    }

    /// The internal address, with the port that was found if 0 was asked for.
    #[must_use]
    pub fn server_addr(&self) -> SocketAddr {
        self.server_addr
    }

    /// A remote control, to be had before [`run`](Self::run) takes the gateway.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// Serves until [`Handle::stop`], and a little longer, to send what is queued.
    ///
    /// The first shard runs here, on the calling runtime; only further shards have threads of their own. With one
    /// shard, everything this gateway ever does happens in tasks of this runtime.
    ///
    /// Dropping the future stops the gateway without waiting for anything to be sent.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started. Later errors concern single connections and end those alone.
    pub async fn run(self) -> io::Result<()> {
        let _stop_when_dropped = StopOnDrop(self.handle());
        let Self { shared, ports, mut rng, .. } = self;
        let config = shared.config();
        let abandon = CancellationToken::new();
        let _abandon_all = abandon.clone().drop_guard();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..config.threads.get()).map(|_| mpsc::channel(HANDOVER_QUEUE)).unzip();
        let mut ports = ports.into_iter();
        let first_ports = ports.next().expect("bind made at least one pair");
        let mut shards = receivers.into_iter().enumerate().map(|(index, accepted)| {
            let rng = StdRng::from_rng(&mut rng);
            Shard::new(shared.clone(), rng, accepted, index)
        });
        let first_shard = shards.next().expect("there is at least one shard");
        // Without ports of their own, all shards get their connections from the first one's.
        let first_deals_to = if config.reuse_port { senders[..1].to_vec() } else { senders.clone() };

        let mut others = Vec::new();
        for (shard, sender) in shards.zip(&senders[1..]) {
            others.push(start_thread(shard, ports.next(), sender.clone(), abandon.clone())?);
        }
        drop(senders);
        first_ports.accept_into(&shared, &first_deals_to);
        drop(first_deals_to);
        shared.serving.store(true, Ordering::Relaxed);
        let drain = drain_when_told(shared.clone(), StdRng::from_rng(&mut rng));
        // Not a task of its own: what a gateway does when it is told to is nothing that anybody has to end.
        let mut first_shard = pin!(first_shard.run());
        let mut drain = pin!(drain);
        poll_fn(|cx| {
            let _: Poll<()> = drain.as_mut().poll(cx);
            first_shard.as_mut().poll(cx)
        })
        .await;

        let _ = timeout(STOP_TIMEOUT, shared.ended()).await;
        abandon.cancel();
        for ended in others {
            let _ = ended.await;
        }
        Ok(())
    }
}

/// Stops the gateway if its [`Gateway::run`] is dropped.
struct StopOnDrop(Handle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

async fn bind_side<N: Network>(
    network: &N,
    side: Side,
    addr: &mut SocketAddr,
    config: &Config,
) -> Result<N::Listener, BindError> {
    let options = BindOptions { reuse_port: config.reuse_port, ..BindOptions::default() };
    let failed = |error| BindError::Bind { side, addr: *addr, error };
    let listener = network.bind(*addr, options).await.map_err(failed)?;
    *addr = listener.local_addr().map_err(failed)?;
    Ok(listener)
}

impl<L: Listener> Ports<L> {
    /// Starts to accept, for these shards in turn; the first one runs here.
    fn accept_into(self, shared: &Arc<Shared>, shards: &[mpsc::Sender<Accepted<L::Stream>>]) {
        for (side, listener) in [(Side::Client, self.client), (Side::Server, self.server)] {
            let acceptor = Acceptor::new(side, shared.clone(), shards.to_vec());
            shared.tasks(side).spawn(acceptor.run(listener));
        }
    }

    fn adopt(self) -> io::Result<Self> {
        Ok(Self { client: self.client.adopt()?, server: self.server.adopt()? })
    }
}

/// Runs a shard on a thread of its own, with a runtime of its own: sessions of one shard never wait for another
/// thread's scheduler. Tells when it has ended.
#[expect(clippy::disallowed_methods, reason = "further shards are the one place that needs threads")]
fn start_thread<L: Listener>(
    shard: Shard<L::Stream>,
    ports: Option<Ports<L>>,
    sender: mpsc::Sender<Accepted<L::Stream>>,
    abandon: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, when_ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("fastway-shard".to_owned()).spawn(move || {
        let shared = shard.shared.clone();
        runtime.block_on(async move {
            if let Some(ports) = ports {
                match ports.adopt() {
                    Ok(ports) => ports.accept_into(&shared, std::slice::from_ref(&sender)),
                    Err(error) => {
                        tracing::error!(%error, "a shard cannot watch its ports and accepts nothing")
                    }
                }
            }
            // The shard ends when nobody is left who could send it connections.
            drop(sender);
            shard.run().await;
            abandon.run_until_cancelled(shared.ended()).await;
        });
        drop(runtime);
        let _ = ended.send(());
    })?;
    Ok(when_ended)
}
