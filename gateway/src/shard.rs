//! One thread's share of the gateway: the sessions that it serves, and how they begin and end.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use fastway::handshake::Challenge;
use fastway::id::Side;
use fastway::net::Stream;
use fastway::net::tls::TlsAcceptor;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, watch};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, info, warn};

use crate::access_log::EndLog;
use crate::admission::{Admission, Place};
use crate::alarm::{Alarms, Grain};
use crate::budget::{Account, Budget, relieve};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::listener::{handshake, peer_name};
use crate::log_limit::LogLimit;
use crate::mailbox::Mailbox;
use crate::outbox::{Outbox, OutboxConfig};
use crate::pool::{Pool, TRIM_INTERVAL};
use crate::proxy::{NoHeader, read_header};
use crate::reconfigure::{Reconfigured, reconfigure};
use crate::refusal::{Refusal, Refusals};
use crate::router::{NotRegistered, Router};
use crate::session::{Session, SessionConfig};
use crate::stats::{ShardStats, Tally, Totals};
use crate::tls::secure;

/// What all shards of one gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    config: watch::Sender<Arc<Config>>,
    pub(crate) router: Arc<Router>,
    pub(crate) admission: Admission,
    pub(crate) budget: Arc<Budget>,
    pub(crate) refusals: Arc<Refusals>,
    /// Those of each shard.
    stats: Box<[Arc<ShardStats>]>,
    clock: Clock,
    pool: Pool,
    /// Every session of a client and everything that comes before one, on whichever shard, from its listener on.
    pub(crate) clients: TaskTracker,
    /// The same for servers.
    pub(crate) servers: TaskTracker,
    /// Both ports are served.
    pub(crate) serving: AtomicBool,
    /// No client comes in any more.
    pub(crate) draining: CancellationToken,
    /// Nobody comes in any more, and everybody is to end.
    pub(crate) stopping: CancellationToken,
    pub(crate) limits: LogLimits,
    ends: Arc<EndLog>,
}

/// One limit for each kind of line that peers can cause.
#[derive(Debug, Default)]
pub(crate) struct LogLimits {
    pub(crate) accept_errors: LogLimit,
    pub(crate) handshakes: LogLimit,
    proxies: LogLimit,
    pub(crate) tls: LogLimit,
    pub(crate) debts: LogLimit,
    refusals: LogLimit,
    registrations: LogLimit,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let router = Router::new(config.client.max_clients);
        router.set_groups(&config.server.groups);
        Self {
            pool: Pool::new(config.mem_pool),
            router: Arc::new(router),
            admission: Admission::new(&config),
            budget: Arc::new(Budget::new(config.max_buffered_bytes, config.threads.get())),
            refusals: Arc::default(),
            ends: Arc::new(EndLog::new(config.access_log)),
            stats: (0..config.threads.get()).map(|_| Arc::default()).collect(),
            clock: Clock::new(Instant::now()),
            config: watch::Sender::new(Arc::new(config)),
            clients: TaskTracker::new(),
            servers: TaskTracker::new(),
            serving: AtomicBool::new(false),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            limits: LogLimits::default(),
        }
    }

    /// From now on no client comes in, and [`drain_when_told`](crate::drain::drain_when_told) does the rest.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
        self.clients.close();
    }

    /// From now on nobody comes in, and everybody is to end.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
        self.router.stop();
        self.clients.close();
        self.servers.close();
    }

    /// The gateway has stopped and the last session has ended.
    pub(crate) async fn ended(&self) {
        self.clients.wait().await;
        self.servers.wait().await;
    }

    /// Those of one side, from their listener on.
    pub(crate) fn tasks(&self, side: Side) -> &TaskTracker {
        match side {
            Side::Client => &self.clients,
            Side::Server => &self.servers,
        }
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Puts what can be changed of these settings into force; the rest stays as it is.
    pub(crate) fn reconfigure(&self, config: Config) -> Result<Reconfigured, ConfigError> {
        let mut outcome = Ok(Reconfigured::default());
        // The lock keeps two such changes apart.
        self.config.send_if_modified(|running| {
            outcome = reconfigure(running, config).map(|(config, reconfigured)| {
                self.router.set_max_clients(config.client.max_clients);
                if config.server.groups != running.server.groups {
                    self.router.set_groups(&config.server.groups);
                }
                self.admission.set_rules(&config);
                self.budget.set_limit(config.max_buffered_bytes);
                self.ends.set_access(config.access_log);
                *running = Arc::new(config);
                reconfigured
            });
            outcome.is_ok()
        });
        outcome
    }

    /// A client's place in the gateway, or why it has none.
    pub(crate) fn admit(&self, peer: Option<SocketAddr>) -> Result<Place, Refusal> {
        if self.budget.is_tight() {
            return Err(Refusal::BuffersTight);
        }
        self.admission.client(peer)
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals::of(self.stats.iter().map(|shard| &**shard), self.refusals.all())
    }

    pub(crate) fn refuse(&self, peer: Option<SocketAddr>, side: Side, refusal: Refusal) {
        self.refusals.count(refusal);
        if let Some(left_out) = self.limits.refusals.allow(Instant::now()) {
            warn!(%side, peer = peer_name(peer), reason = %refusal, left_out, "turned away");
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
    /// It counts among those of its side while it is on its way.
    pub(crate) _counted: TaskTrackerToken,
}

/// One shard, on the runtime that runs it.
#[derive(Debug)]
pub(crate) struct Shard<S> {
    pub(crate) shared: Arc<Shared>,
    /// For challenges.
    rng: StdRng,
    accepted: mpsc::Receiver<Accepted<S>>,
    /// The first one trims the pool for all, and sees to it that all queues together keep within their limit.
    index: usize,
    alarms: Arc<Alarms>,
    mailbox: Arc<Mailbox>,
    account: Account,
    config: watch::Receiver<Arc<Config>>,
    client_session: Arc<SessionConfig>,
    server_session: Arc<SessionConfig>,
}

impl<S: Stream> Shard<S> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        rng: StdRng,
        accepted: mpsc::Receiver<Accepted<S>>,
        index: usize,
    ) -> Self {
        if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
            shared.stats[index].has_many_threads();
        }
        let config = shared.config.subscribe();
        let running = config.borrow().clone();
        let alarms = Arc::new(Alarms::new(Grain::of(&running)));
        let mailbox = Arc::new(Mailbox::default());
        let account = Account::new(shared.budget.clone(), index);
        let session = |side| session_config(&running, side, &shared, index, &alarms, &mailbox, &account);
        Self {
            client_session: session(Side::Client),
            server_session: session(Side::Server),
            shared,
            rng,
            accepted,
            index,
            alarms,
            mailbox,
            account,
            config,
        }
    }

    /// New sessions follow the settings in force, in which there is something new.
    fn reconfigure(&mut self) {
        let running = self.config.borrow_and_update().clone();
        self.alarms.refine(Grain::of(&running));
        let Self { shared, index, alarms, mailbox, account, .. } = &*self;
        let session = |side| session_config(&running, side, shared, *index, alarms, mailbox, account);
        (self.client_session, self.server_session) = (session(Side::Client), session(Side::Server));
    }

    /// Starts a session for everything that is accepted, until the gateway stops.
    pub(crate) async fn run(mut self) {
        tokio::spawn(keep_house(self.shared.clone(), self.alarms.clone(), self.index == 0));
        if self.config.borrow().threads.get() > 1 {
            tokio::spawn(sort_mail(self.shared.clone(), self.mailbox.clone()));
        }
        while let Some(accepted) = self.accepted.recv().await {
            if self.config.has_changed().unwrap_or(false) {
                self.reconfigure();
            }
            if let Err(error) = self.welcome(accepted) {
                debug!(%error, "a connection was gone before it was served");
            }
        }
    }

    fn welcome(&mut self, Accepted { stream, side, moved, _counted }: Accepted<S>) -> io::Result<()> {
        let stream = if moved { stream.adopt()? } else { stream };
        let (peer, shared) = (stream.peer_addr().ok(), self.shared.clone());
        match side {
            Side::Client if shared.admission.is_proxy(peer) => {
                self.shared.clients.spawn(meet_proxy(stream, self.client_session.clone(), shared));
            }
            Side::Client => meet_client(stream, peer, self.client_session.clone(), shared),
            Side::Server => {
                if let Err(refusal) = shared.admission.server(peer) {
                    shared.refuse(peer, side, refusal);
                    return Ok(());
                }
                let mut challenge = [0; Challenge::BYTES];
                self.rng.fill_bytes(&mut challenge);
                meet_server(stream, Challenge(challenge), self.server_session.clone(), shared);
            }
        }
        Ok(())
    }
}

/// What new sessions of one side and shard have in common.
fn session_config(
    config: &Config,
    side: Side,
    shared: &Shared,
    index: usize,
    alarms: &Arc<Alarms>,
    mailbox: &Arc<Mailbox>,
    account: &Account,
) -> Arc<SessionConfig> {
    let tally = Tally::new(shared.stats[index].clone(), side, shared.clock);
    let (pool, mailbox) = (shared.pool.clone(), mailbox.clone());
    let outbox = OutboxConfig::new(config, side, pool, mailbox, account.clone(), tally);
    let (router, refusals, ends) = (shared.router.clone(), shared.refusals.clone(), shared.ends.clone());
    Arc::new(SessionConfig::new(config, side, router, refusals, alarms.clone(), outbox, ends))
}

/// Rings alarms, trims the pool and cuts off debtors, until the gateway has stopped and the last session has ended.
async fn keep_house(shared: Arc<Shared>, alarms: Arc<Alarms>, is_first: bool) {
    let trim = async {
        loop {
            sleep(TRIM_INTERVAL).await;
            shared.pool.trim(is_first);
        }
    };
    let relieve = async {
        if is_first {
            relieve(&shared.budget, &shared.router, &shared.refusals, &shared.limits.debts).await;
        }
        pending::<()>().await;
    };
    let (mut ring, mut trim, mut relieve) = (pin!(alarms.run()), pin!(trim), pin!(relieve));
    let mut end = pin!(shared.ended());
    poll_fn(|cx| {
        let _: [Poll<()>; 3] = [ring.as_mut().poll(cx), trim.as_mut().poll(cx), relieve.as_mut().poll(cx)];
        end.as_mut().poll(cx)
    })
    .await;
}

/// Wakes the sessions that other shards have messages for, until the gateway has stopped and the last session has ended.
async fn sort_mail(shared: Arc<Shared>, mailbox: Arc<Mailbox>) {
    let mut end = pin!(shared.ended());
    poll_fn(|cx| {
        mailbox.empty(cx);
        end.as_mut().poll(cx)
    })
    .await;
}

/// The proxy's header first: whose connection it is decides whether it is admitted. The session has a task of its own, since
/// this one is larger.
async fn meet_proxy<S: Stream>(mut stream: S, config: Arc<SessionConfig>, shared: Arc<Shared>) {
    let header = read_header(&mut stream);
    let Some(header) = shared.stopping.run_until_cancelled(header).await else { return };
    let proxy = stream.peer_addr().ok();
    match header {
        Ok(source) => meet_client(stream, source.or(proxy), config, shared),
        Err(NoHeader::Left) => debug!(peer = peer_name(proxy), "a proxy looked in"),
        Err(reason) => {
            shared.refusals.count(Refusal::ProxyHeader);
            if let Some(left_out) = shared.limits.proxies.allow(Instant::now()) {
                warn!(peer = peer_name(proxy), %reason, left_out, "a proxy was turned away");
            }
        }
    }
}

/// Admits a client. If clients come over TLS, that comes next, in a task of its own: nobody else waits for it.
fn meet_client<S: Stream>(
    stream: S,
    peer: Option<SocketAddr>,
    config: Arc<SessionConfig>,
    shared: Arc<Shared>,
) {
    match shared.admit(peer) {
        Ok(place) => match shared.config().client.tls.clone() {
            None => start_client(stream, peer, place, config, shared),
            Some(tls) => {
                let clients = shared.clients.clone();
                clients.spawn(secure_client(stream, tls, peer, place, config, shared));
            }
        },
        Err(refusal) => shared.refuse(peer, Side::Client, refusal),
    }
}

async fn secure_client<S: Stream>(
    stream: S,
    tls: TlsAcceptor,
    peer: Option<SocketAddr>,
    place: Place,
    config: Arc<SessionConfig>,
    shared: Arc<Shared>,
) {
    if shared.router.is_full() {
        return shared.refuse(peer, Side::Client, Refusal::Clients);
    }
    let deadline = Instant::now() + shared.config().client.tls_timeout;
    if let Some(stream) = secure(stream, &tls, Side::Client, deadline, &shared).await {
        start_client(stream, peer, place, config, shared);
    }
}

/// Registers a client, and starts its session. When the gateway stops, there is none, and that is nobody's fault.
fn start_client<S: Stream>(
    stream: S,
    peer: Option<SocketAddr>,
    place: Place,
    config: Arc<SessionConfig>,
    shared: Arc<Shared>,
) {
    match shared.router.register_client(&config.outbox, peer) {
        Ok(outbox) => {
            let clients = shared.clients.clone();
            clients.spawn(unconstrained(serve(stream, outbox, place, config)));
        }
        Err(NotRegistered::Full) => shared.refuse(peer, Side::Client, Refusal::Clients),
        Err(NotRegistered::Stopped) => {}
    }
}

/// TLS first if servers come over it, then who it is, then the session. One deadline for all that comes before the session.
fn meet_server<S: Stream>(stream: S, challenge: Challenge, config: Arc<SessionConfig>, shared: Arc<Shared>) {
    let settings = shared.config();
    let (servers, deadline) = (shared.servers.clone(), Instant::now() + settings.server.auth_timeout);
    match settings.server.tls.clone() {
        None => servers.spawn(unconstrained(start_server(stream, challenge, deadline, config, shared))),
        Some(tls) => servers.spawn(unconstrained(async move {
            if let Some(stream) = secure(stream, &tls, Side::Server, deadline, &shared).await {
                start_server(stream, challenge, deadline, config, shared).await;
            }
        })),
    };
}

/// Handshake first, then the session.
async fn start_server<S: Stream>(
    mut stream: S,
    challenge: Challenge,
    deadline: Instant,
    config: Arc<SessionConfig>,
    shared: Arc<Shared>,
) {
    let handshake = handshake(&mut stream, challenge, deadline, &shared);
    let Some(Some(id)) = shared.stopping.run_until_cancelled(handshake).await else { return };
    let peer = stream.peer_addr().ok();
    let Some(outbox) = shared.router.register_server(id, &config.outbox, peer) else { return };
    if let Some(left_out) = shared.limits.registrations.allow(Instant::now()) {
        info!(%id, peer = peer_name(peer), left_out, "server registered");
    }
    serve(stream, outbox, Place::any(), config).await;
}

/// One session to its end. Not an `async fn`: that would hold what it is given twice. It is to be spawned without tokio's own
/// budget: sessions bound what they do in one turn themselves, and it would only interfere.
fn serve<S: Stream>(
    stream: S,
    outbox: Arc<Outbox>,
    place: Place,
    config: Arc<SessionConfig>,
) -> impl Future<Output = ()> {
    let mut session = Session::new(stream, outbox, config);
    async move {
        let end = session.turns().await;
        // In memory of its own, or every session would keep room for its end all its life.
        Box::pin(session.wind_up(end)).await;
        drop((session, place));
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
        fn size_of_output<A, B, C, D, E>(_: fn(A, B, C, D) -> E) -> usize {
            size_of::<E>()
        }
        let (task, outbox) = (size_of_output(serve::<TcpNetStream>), size_of::<Outbox>());
        assert!(task <= 280, "a session takes {task} bytes");
        assert!(outbox <= 208, "an outbox takes {outbox} bytes");
    }
}
