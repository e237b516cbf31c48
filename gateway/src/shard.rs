//! One thread's share of the gateway: the sessions that it serves, and how they begin and end.

use std::io;
use std::sync::Arc;

use fastway::handshake::Challenge;
use fastway::id::Side;
use fastway::net::Stream;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::alarm::Grain;
use crate::config::Config;
use crate::listener::{handshake, peer_name};
use crate::log_limit::LogLimit;
use crate::outbox::{Outbox, OutboxConfig, Owner};
use crate::pool::{Pool, TRIM_INTERVAL};
use crate::router::Router;
use crate::session::{End, Session, SessionConfig};

/// What all shards of one gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) router: Arc<Router>,
    client_session: Arc<SessionConfig>,
    server_session: Arc<SessionConfig>,
    client_outbox: Arc<OutboxConfig>,
    server_outbox: Arc<OutboxConfig>,
    pool: Pool,
    /// Every session and handshake, on whichever shard.
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    pub(crate) limits: LogLimits,
}

/// One limit for each kind of line that peers can cause.
#[derive(Debug, Default)]
pub(crate) struct LogLimits {
    pub(crate) accept_errors: LogLimit,
    pub(crate) handshakes: LogLimit,
    violations: LogLimit,
    slow_clients: LogLimit,
    stalled_servers: LogLimit,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let (client, server) = (&config.client, &config.server);
        let intervals = [
            client.keepalive.ping_interval,
            client.keepalive.idle_timeout,
            server.keepalive.ping_interval,
            server.keepalive.idle_timeout,
            server.stall_timeout,
        ];
        let grain = Grain::for_intervals(Instant::now(), &intervals);
        let client_session = SessionConfig {
            max_packet: config.max_packet,
            keepalive: client.keepalive,
            max_dialled: client.max_conn,
            stall_timeout: None,
            grain,
        };
        let server_session = SessionConfig {
            max_packet: config.max_packet,
            keepalive: server.keepalive,
            max_dialled: usize::MAX,
            stall_timeout: Some(server.stall_timeout),
            grain,
        };
        let pool = Pool::new(config.mem_pool);
        let outbox =
            |limits, buffer_bytes| Arc::new(OutboxConfig { limits, buffer_bytes, pool: pool.clone() });
        Self {
            client_outbox: outbox(client.queue, client.buffer_bytes),
            server_outbox: outbox(server.queue, server.buffer_bytes),
            pool,
            config,
            router: Arc::new(Router::new()),
            client_session: Arc::new(client_session),
            server_session: Arc::new(server_session),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            limits: LogLimits::default(),
        }
    }
}

/// A connection on its way from a listener to its shard.
#[derive(Debug)]
pub(crate) struct Accepted<S> {
    pub(crate) stream: S,
    pub(crate) side: Side,
    /// Another shard accepted it.
    pub(crate) moved: bool,
}

/// One shard, on the runtime that runs it.
#[derive(Debug)]
pub(crate) struct Shard<S> {
    pub(crate) shared: Arc<Shared>,
    /// For challenges.
    pub(crate) rng: StdRng,
    pub(crate) accepted: mpsc::Receiver<Accepted<S>>,
    /// It keeps house for all shards.
    pub(crate) is_first: bool,
}

impl<S: Stream> Shard<S> {
    /// Starts a session for everything that is accepted, until the gateway stops.
    pub(crate) async fn run(mut self) {
        let mut trim_at = Instant::now() + TRIM_INTERVAL;
        loop {
            match timeout_at(trim_at, self.accepted.recv()).await {
                Ok(Some(accepted)) => {
                    if let Err(error) = self.welcome(accepted) {
                        debug!(%error, "a connection was gone before it was served");
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.shared.pool.trim(self.is_first);
                    trim_at = Instant::now() + TRIM_INTERVAL;
                }
            }
        }
    }

    fn welcome(&mut self, Accepted { stream, side, moved }: Accepted<S>) -> io::Result<()> {
        let stream = if moved { stream.adopt()? } else { stream };
        let shared = self.shared.clone();
        // Sessions bound what they do in one turn themselves; tokio's own budget would only interfere.
        match side {
            Side::Client => {
                if let Some(outbox) = shared.router.register_client(&shared.client_outbox) {
                    self.shared.tasks.spawn(unconstrained(serve(stream, outbox, shared)));
                }
            }
            Side::Server => {
                let mut challenge = [0; Challenge::BYTES];
                self.rng.fill_bytes(&mut challenge);
                let meeting = meet_server(stream, Challenge(challenge), shared);
                self.shared.tasks.spawn(unconstrained(meeting));
            }
        }
        Ok(())
    }
}

/// Handshake first, then the session.
async fn meet_server<S: Stream>(mut stream: S, challenge: Challenge, shared: Arc<Shared>) {
    let handshake = handshake(&mut stream, challenge, &shared);
    let Some(Some(id)) = shared.stopping.run_until_cancelled(handshake).await else { return };
    let Some(outbox) = shared.router.register_server(id, &shared.server_outbox) else { return };
    info!(%id, peer = peer_name(&stream), "server registered");
    serve(stream, outbox, shared).await;
}

async fn serve<S: Stream>(stream: S, outbox: Arc<Outbox>, shared: Arc<Shared>) {
    let owner = outbox.owner();
    let config = match owner {
        Owner::Client(_) => &shared.client_session,
        Owner::Server(_) => &shared.server_session,
    };
    // Borrowed, not moved: a future that takes its session by value holds it twice.
    let mut session = Session::new(stream, outbox, shared.router.clone(), config.clone());
    let end = session.run().await;
    log_end(owner, &end, &shared.limits);
}

/// Ends that a peer can cause at will are logged within limits, and those of clients that just leave at debug level.
fn log_end(owner: Owner, end: &End, limits: &LogLimits) {
    let (side, id) = (owner.side(), owner.remote_id());
    let limit = match end {
        End::SlowClient => Some(&limits.slow_clients),
        End::Stalled => Some(&limits.stalled_servers),
        end if end.is_violation() => Some(&limits.violations),
        _ => None,
    };
    match limit.map(|limit| limit.allow(Instant::now())) {
        Some(Some(left_out)) => warn!(%side, %id, reason = %end, left_out, "session ended"),
        Some(None) => {}
        None if side == Side::Server => info!(%side, %id, reason = %end, "session ended"),
        None => debug!(%side, %id, reason = %end, "session ended"),
    }
}
