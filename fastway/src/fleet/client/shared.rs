//! What the handles of a client, its connections and its driver have in common: the links, and what is known of gateways.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::error::{NoConn, NoGateway, Tried};
use super::health::{Health, Pick};
use crate::endpoint::{self, ConnectError, DialError, LinkError, VirtualConn};
use crate::fleet::config::FleetConfig;
use crate::fleet::ended::Ended;
use crate::fleet::event::{Event, GatewayStatus, Trouble};
use crate::fleet::gateways::{FindError, Found, GatewayAddr};
use crate::fleet::reporter::Reporter;
use crate::id::ServerId;

/// Dials that may be under way at once. A gateway limits what one client asks of it, and after a move all are dialled again.
const DIALS_AT_ONCE: usize = 64;

/// A link to a gateway.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    /// Counts up: the newest has the greatest.
    pub(super) serial: u64,
    pub(super) gateway: GatewayAddr,
    pub(super) endpoint: endpoint::Client,
}

/// A virtual connection over the link that was there when it was dialled.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) conn: VirtualConn,
    pub(super) gateway: GatewayAddr,
    /// The serial number of the link.
    pub(super) link: u64,
}

/// Since when a gateway refuses a server that is dialled through it.
#[derive(Clone, Copy, Debug)]
struct Refusing {
    link: u64,
    /// When that has been enough.
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: FleetConfig,
    state: Mutex<State>,
    /// Something in the state is new. Everybody who waits is woken, in the order in which they came: a `watch` channel
    /// would wake them in an order that is drawn by lot.
    changed: Notify,
    reporter: Reporter,
    dials: Semaphore,
    /// The driver has to end.
    pub(super) closing: CancellationToken,
    /// The driver has ended, and what was queued is sent.
    pub(super) finished: CancellationToken,
}

#[derive(Debug)]
struct State {
    health: Health,
    rng: StdRng,
    last_serial: u64,
    /// Every link that has not ended, by serial number. More than one only while one drains.
    links: BTreeMap<u64, Tended>,
    /// The one that is dialled over.
    present: Option<u64>,
    /// Counts changes after which another gateway may be the best.
    news: u64,
    /// The last that was said about the set, if it was a mistake.
    not_found: Option<FindError>,
    /// Nothing is said about it any more.
    set_is_final: bool,
    ended: Option<Ended>,
}

/// A link, and the task that looks after it.
#[derive(Debug)]
struct Tended {
    linked: Linked,
    /// Its gateway refuses a server: another one is looked for. It ends when nothing is open through it any more.
    is_useless: bool,
    _task: AbortOnDropHandle<()>,
}

impl Shared {
    pub(super) fn new(config: FleetConfig) -> Arc<Self> {
        let state = State {
            health: Health::new(&config),
            rng: config.rng(),
            last_serial: 0,
            links: BTreeMap::new(),
            present: None,
            news: 0,
            not_found: None,
            set_is_final: false,
            ended: None,
        };
        Arc::new(Self {
            config,
            state: Mutex::new(state),
            changed: Notify::new(),
            reporter: Reporter::new("client".to_owned()),
            dials: Semaphore::new(DIALS_AT_ONCE),
            closing: CancellationToken::new(),
            finished: CancellationToken::new(),
        })
    }

    /// Opens a virtual connection over the present link, or over the next one. Failing, it tries again, until
    /// [`FleetConfig::patience`] is over; and if that goes on for [`FleetConfig::reroute`], another gateway is looked for. With
    /// `lost`, that link is out of the question.
    pub(super) async fn dial(&self, server: ServerId, lost: Option<u64>) -> Result<Dialled, NoConn> {
        let after = self.config.patience;
        let (mut lost, mut failures, mut last_error) = (lost, 0, None);
        let mut refusing = None;
        let in_time = async {
            loop {
                let Linked { serial, gateway, endpoint } = self.link_after(lost).await?;
                let permit = self.dials.acquire().await.expect("it is never closed");
                let error = match endpoint.dial(server).await {
                    Ok(conn) => return Ok(Dialled { conn, gateway, link: serial }),
                    Err(error) => error,
                };
                drop((permit, endpoint));
                if matches!(error, DialError::Link(_)) {
                    lost = Some(serial);
                } else {
                    failures += 1;
                    self.refused(server, serial, &mut refusing);
                    let wait = self.config.redial.after(failures, &mut self.state.lock().rng);
                    // Another gateway may know the server.
                    let _ = timeout(wait, self.link_after(Some(serial))).await;
                }
                last_error = Some(error);
            }
        };
        timeout(after, in_time).await.unwrap_or_else(|_| {
            Err(match last_error {
                Some(error) => NoConn::Failed { server, after, error },
                None => NoConn::NoLink { server, after },
            })
        })
    }

    /// A dial over this link has failed, not for the first time perhaps.
    fn refused(&self, server: ServerId, link: u64, refusing: &mut Option<Refusing>) {
        let reroute = self.config.reroute;
        let now = Instant::now();
        let since = refusing.filter(|refusing| refusing.link == link);
        let until = since.map_or_else(|| now + reroute + self.draw(reroute), |refusing| refusing.until);
        *refusing = Some(Refusing { link, until });
        if now < until || reroute.is_zero() {
            return;
        }
        let state = &mut *self.state.lock();
        let is_present = state.present == Some(link);
        let Some(tended) = state.links.get_mut(&link).filter(|_| is_present) else { return };
        if tended.is_useless || !state.health.has_another(now) {
            return;
        }
        tended.is_useless = true;
        let gateway = tended.linked.gateway.clone();
        let trouble = Trouble::Refuses(server);
        let retry_in = state.health.failed(&gateway, trouble.clone(), now, &mut state.rng);
        self.reporter.tell(Event::Trouble { gateway, trouble, retry_in });
        self.changed.notify_waiters();
    }

    /// Waits until this link is of no use to somebody who dials.
    pub(super) async fn useless(&self, serial: u64) {
        self.until(|state| state.links.get(&serial)?.is_useless.then_some(())).await;
    }

    /// Waits until there is another link in the place of a useless one.
    pub(super) async fn replaced(&self, serial: u64) {
        self.useless(serial).await;
        let _ = self.link_after(Some(serial)).await;
    }

    /// The present link, as soon as there is one that is newer than that.
    pub(super) async fn link_after(&self, last: Option<u64>) -> Result<Linked, Ended> {
        self.until(|state| match (state.ended, state.present()) {
            (Some(ended), _) => Some(Err(ended)),
            (None, Some(linked)) if last.is_none_or(|last| linked.serial > last) => Some(Ok(linked.clone())),
            (None, _) => None,
        })
        .await
    }

    /// Waits until this link has ended.
    pub(super) async fn lost(&self, serial: u64) {
        self.until(|state| (!state.links.contains_key(&serial)).then_some(())).await;
    }

    /// Waits until the client has ended.
    pub(super) async fn ended(&self) -> Ended {
        self.until(|state| state.ended).await
    }

    /// Waits for something in the state.
    async fn until<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(seen) = look(&self.state.lock()) {
                return seen;
            }
            changed.await;
        }
    }

    /// Anything up to so long, drawn by lot.
    pub(super) fn draw(&self, within: Duration) -> Duration {
        within.mul_f64(self.state.lock().rng.random_range(0.0..1.0))
    }

    /// Something was said about the set, and is said again after `every`.
    pub(super) fn found(&self, found: Found, every: Option<Duration>) {
        let events: Vec<_> = {
            let mut state = self.state.lock();
            match found {
                Ok(set) => {
                    state.not_found = None;
                    state.news += 1;
                    let changes = state.health.update(&set, Instant::now());
                    self.reporter.well(None);
                    changes.gone.iter().for_each(|gateway| self.reporter.well(Some(gateway)));
                    let found = changes.found.into_iter().map(Event::Found);
                    found.chain(changes.gone.into_iter().map(Event::Gone)).collect()
                }
                Err(error) => {
                    state.not_found = Some(error.clone());
                    vec![Event::NotFound { error, retry_in: every }]
                }
            }
        };
        events.into_iter().for_each(|event| self.reporter.tell(event));
        self.changed.notify_waiters();
    }

    /// Nothing is said about the set any more.
    pub(super) fn set_is_final(&self) {
        let mut state = self.state.lock();
        state.set_is_final = true;
        state.news += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    /// The gateways to connect to side by side, as soon as there is one.
    pub(super) async fn next_gateways(&self) -> Result<Vec<GatewayAddr>, Ended> {
        loop {
            let (until, seen) = {
                let state = &mut *self.state.lock();
                match state.health.pick(Instant::now(), &mut state.rng) {
                    Pick::Try(gateways) => return Ok(gateways),
                    // One that drains may still serve.
                    Pick::Nobody if state.set_is_final && state.links.is_empty() => {
                        return Err(Ended::NoGateways);
                    }
                    Pick::Nobody => (None, state.news),
                    Pick::Wait(until) => (Some(until), state.news),
                }
            };
            let news = self.until(|state| (state.news != seen).then_some(()));
            match until {
                Some(until) => drop(timeout_at(until, news).await),
                None => news.await,
            }
        }
    }

    /// There was no link.
    pub(super) fn not_connected(&self, gateway: GatewayAddr, error: ConnectError) {
        let trouble = Trouble::from(error);
        let retry_in = {
            let state = &mut *self.state.lock();
            state.health.failed(&gateway, trouble.clone(), Instant::now(), &mut state.rng)
        };
        self.reporter.tell(Event::Trouble { gateway, trouble, retry_in });
    }

    /// There could have been one, after so long.
    pub(super) fn measured(&self, gateway: &GatewayAddr, took: Duration) {
        self.state.lock().health.measured(gateway, took);
    }

    /// There is one: from now on it is the one to dial over. `task` looks after it, and says when it has [`ended`](Self::unlinked).
    pub(super) fn connected(
        &self,
        gateway: GatewayAddr,
        endpoint: endpoint::Client,
        took: Duration,
        task: impl FnOnce(&Linked) -> AbortOnDropHandle<()>,
    ) -> Linked {
        self.reporter.tell(Event::Connected { gateway: gateway.clone(), took });
        let mut state = self.state.lock();
        state.last_serial += 1;
        let linked = Linked { serial: state.last_serial, gateway, endpoint };
        state.health.connected(&linked.gateway, linked.serial, took, Instant::now());
        let tended = Tended { linked: linked.clone(), is_useless: false, _task: task(&linked) };
        state.links.insert(linked.serial, tended);
        state.present = Some(linked.serial);
        drop(state);
        self.changed.notify_waiters();
        linked
    }

    /// The gateway said that it will soon end this link.
    pub(super) fn drains(&self, link: &Linked) {
        self.state.lock().health.drains(&link.gateway, link.serial);
        self.reporter.tell(Event::Draining(link.gateway.clone()));
    }

    /// A link has ended.
    pub(super) fn unlinked(&self, serial: u64, end: LinkError) {
        let state = &mut *self.state.lock();
        let Some(Tended { linked, _task, .. }) = state.links.remove(&serial) else { return };
        state.news += 1;
        if matches!(end, LinkError::ClosedHere) {
            state.health.left(&linked.gateway, serial);
        } else {
            let trouble = Trouble::Link(end);
            let now = Instant::now();
            let gateway = linked.gateway;
            let retry_in = state.health.lost(&gateway, serial, trouble.clone(), now, &mut state.rng);
            if state.health.is_first_failure(&gateway) {
                self.reporter.well(Some(&gateway));
            }
            self.reporter.tell(if state.health.is_in_set(&gateway) {
                Event::Trouble { gateway, trouble, retry_in }
            } else {
                Event::Left { gateway, trouble }
            });
        }
        self.changed.notify_waiters();
    }

    /// The user wants the end.
    pub(super) fn close(&self) {
        self.end(Ended::ClosedHere);
        self.closing.cancel();
    }

    /// From now on there is no link. The first reason counts. Whoever drives takes those that there were.
    pub(super) fn end(&self, ended: Ended) {
        self.state.lock().ended.get_or_insert(ended);
        self.changed.notify_waiters();
    }

    /// Whether it was [`close`](Self::close) that ended it.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().ended == Some(Ended::ClosedHere)
    }

    /// All links, which from now on are the caller's.
    pub(super) fn take_links(&self) -> Vec<Linked> {
        let links = std::mem::take(&mut self.state.lock().links);
        self.changed.notify_waiters();
        links.into_values().map(|tended| tended.linked).collect()
    }

    /// Through which gateway dials go.
    pub(super) fn gateway(&self) -> Option<GatewayAddr> {
        self.state.lock().present().map(|linked| linked.gateway.clone())
    }

    pub(super) fn status(&self) -> Vec<GatewayStatus> {
        self.state.lock().health.status(Instant::now())
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.reporter.subscribe()
    }

    /// Why there is no link after so long.
    pub(super) fn no_gateway(&self, after: Duration) -> NoGateway {
        let state = self.state.lock();
        let tried = state.health.status(Instant::now()).into_iter();
        let tried = tried.map(|status| Tried { gateway: status.gateway, trouble: status.last_trouble });
        NoGateway { after, tried: tried.collect(), not_found: state.not_found.clone() }
    }
}

impl State {
    fn present(&self) -> Option<&Linked> {
        Some(&self.links.get(&self.present?)?.linked)
    }
}
