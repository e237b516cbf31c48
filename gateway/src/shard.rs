//! One thread's share of the gateway: the sessions that it serves, and how they begin and end.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use fastway::handshake::Challenge;
use fastway::id::Side;
use fastway::net::Stream;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::alarm::{Alarms, Grain};
use crate::config::Config;
use crate::listener::{handshake, peer_name};
use crate::log_limit::LogLimit;
use crate::mailbox::Mailbox;
use crate::outbox::{Outbox, OutboxConfig, Owner};
use crate::pool::{Pool, TRIM_INTERVAL};
use crate::router::Router;
use crate::session::{End, Session, SessionConfig};

/// What all shards of one gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) router: Arc<Router>,
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
        Self {
            pool: Pool::new(config.mem_pool),
            config,
            router: Arc::new(Router::new()),
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
    rng: StdRng,
    accepted: mpsc::Receiver<Accepted<S>>,
    /// It trims the pool for all shards.
    is_first: bool,
    alarms: Arc<Alarms>,
    mailbox: Arc<Mailbox>,
    client_session: Arc<SessionConfig>,
    server_session: Arc<SessionConfig>,
}

impl<S: Stream> Shard<S> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        rng: StdRng,
        accepted: mpsc::Receiver<Accepted<S>>,
        is_first: bool,
    ) -> Self {
        let alarms = Arc::new(Alarms::new(Grain::of(&shared.config)));
        let mailbox = Arc::new(Mailbox::default());
        let session = |side| {
            let outbox = OutboxConfig::new(&shared.config, side, shared.pool.clone(), mailbox.clone());
            let (router, alarms) = (shared.router.clone(), alarms.clone());
            Arc::new(SessionConfig::new(&shared.config, side, router, alarms, outbox))
        };
        Self {
            client_session: session(Side::Client),
            server_session: session(Side::Server),
            shared,
            rng,
            accepted,
            is_first,
            alarms,
            mailbox,
        }
    }

    /// Starts a session for everything that is accepted, until the gateway stops.
    pub(crate) async fn run(mut self) {
        tokio::spawn(keep_house(self.shared.clone(), self.alarms.clone(), self.is_first));
        if self.shared.config.threads.get() > 1 {
            tokio::spawn(sort_mail(self.shared.clone(), self.mailbox.clone()));
        }
        while let Some(accepted) = self.accepted.recv().await {
            if let Err(error) = self.welcome(accepted) {
                debug!(%error, "a connection was gone before it was served");
            }
        }
    }

    fn welcome(&mut self, Accepted { stream, side, moved }: Accepted<S>) -> io::Result<()> {
        let stream = if moved { stream.adopt()? } else { stream };
        let shared = self.shared.clone();
        // Sessions bound what they do in one turn themselves; tokio's own budget would only interfere.
        match side {
            Side::Client => {
                let config = self.client_session.clone();
                if let Some(outbox) = shared.router.register_client(&config.outbox) {
                    self.shared.tasks.spawn(unconstrained(serve(stream, outbox, config, shared)));
                }
            }
            Side::Server => {
                let mut challenge = [0; Challenge::BYTES];
                self.rng.fill_bytes(&mut challenge);
                let meeting = meet_server(stream, Challenge(challenge), self.server_session.clone(), shared);
                self.shared.tasks.spawn(unconstrained(meeting));
            }
        }
        Ok(())
    }
}

/// Rings alarms and trims the pool, until the gateway has stopped and the last session has ended.
async fn keep_house(shared: Arc<Shared>, alarms: Arc<Alarms>, is_first: bool) {
    let trim = async {
        loop {
            sleep(TRIM_INTERVAL).await;
            shared.pool.trim(is_first);
        }
    };
    let (mut ring, mut trim, mut end) = (pin!(alarms.run()), pin!(trim), pin!(shared.tasks.wait()));
    poll_fn(|cx| {
        let _: (Poll<()>, Poll<()>) = (ring.as_mut().poll(cx), trim.as_mut().poll(cx));
        end.as_mut().poll(cx)
    })
    .await;
}

/// Wakes the sessions that other shards have messages for, until the gateway has stopped and the last session has ended.
async fn sort_mail(shared: Arc<Shared>, mailbox: Arc<Mailbox>) {
    let mut end = pin!(shared.tasks.wait());
    poll_fn(|cx| {
        mailbox.empty(cx);
        end.as_mut().poll(cx)
    })
    .await;
}

/// Handshake first, then the session.
async fn meet_server<S: Stream>(
    mut stream: S,
    challenge: Challenge,
    config: Arc<SessionConfig>,
    shared: Arc<Shared>,
) {
    let handshake = handshake(&mut stream, challenge, &shared);
    let Some(Some(id)) = shared.stopping.run_until_cancelled(handshake).await else { return };
    let Some(outbox) = shared.router.register_server(id, &config.outbox) else { return };
    info!(%id, peer = peer_name(&stream), "server registered");
    serve(stream, outbox, config, shared).await;
}

/// One session to its end. Not an `async fn`: that would hold what it is given twice.
fn serve<S: Stream>(
    stream: S,
    outbox: Arc<Outbox>,
    config: Arc<SessionConfig>,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> {
    let mut session = Session::new(stream, outbox, config);
    async move {
        let end = session.run().await;
        log_end(session.owner(), &end, &shared.limits);
    }
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

#[cfg(test)]
mod tests {
    use fastway::net::TcpNetStream;

    use super::*;

    /// What makes up most of an idle client's memory: sizes that the next larger class of the allocator begins after. tokio adds
    /// 104 bytes to a future, and rounds up to 128.
    #[test]
    fn an_idle_client_is_small() {
        fn size_of_output<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let (task, outbox) = (size_of_output(serve::<TcpNetStream>), size_of::<Outbox>());
        assert!(task <= 400, "a session takes {task} bytes");
        assert!(outbox <= 144, "an outbox takes {outbox} bytes");
    }
}
