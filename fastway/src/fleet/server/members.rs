//! What is known of each gateway, and the links.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::NoLink;
use crate::endpoint::{self, EndpointConfig, VirtualConn};
use crate::fleet::backoff::Backoff;
use crate::fleet::config::FleetConfig;
use crate::fleet::ended::Ended;
use crate::fleet::event::{GatewayState, GatewayStatus, Trouble};
use crate::fleet::gateways::GatewayAddr;
use crate::fleet::reporter::Reporter;
use crate::id::ServerId;

/// What the handles and the tasks of a server share.
pub(super) struct Shared {
    pub(super) id: ServerId,
    pub(super) key: Box<[u8]>,
    pub(super) of_a_link: EndpointConfig,
    pub(super) backoff: Backoff,
    pub(super) reporter: Reporter,
    /// All tasks. They end when [`stop`](Self::stop) is cancelled.
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    members: Mutex<Members>,
    /// Something changed that somebody may wait for.
    changes: watch::Sender<()>,
}

/// The gateways.
pub(super) struct Members {
    all: BTreeMap<GatewayAddr, Member>,
    /// Whose connection was accepted last.
    last: Option<GatewayAddr>,
    /// The set will not change any more.
    settled: bool,
    closed: bool,
    /// The longest wait between two tries.
    longest_wait: Duration,
}

/// One gateway.
pub(super) struct Member {
    /// Cancelled when its task has nothing more to do here: from then on the gateway may have another one.
    task: CancellationToken,
    /// It is in the set. If not, there is a link, or about to be one.
    listed: bool,
    /// Where its address has led to, as long as there is a link, or about to be one.
    reached: Option<SocketAddr>,
    link: Option<endpoint::Server>,
    state: GatewayState,
    failures: u32,
    last_trouble: Option<Trouble>,
    connect_time: Option<Duration>,
}

impl Shared {
    pub(super) fn new(id: ServerId, key: &[u8], config: FleetConfig) -> Arc<Self> {
        let members = Members {
            all: BTreeMap::new(),
            last: None,
            settled: false,
            closed: false,
            longest_wait: config.backoff.max,
        };
        Arc::new(Self {
            id,
            key: key.into(),
            of_a_link: config.of_a_link(),
            backoff: config.backoff,
            reporter: Reporter::new(format!("server {id}")),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            members: Mutex::new(members),
            changes: watch::Sender::new(()),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock()
    }

    /// Changes something that others may wait for.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Members) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changes.send_replace(());
        changed
    }

    /// Waits until `poll`, which is asked again after every change, has something.
    pub(super) async fn when_polled<T>(
        &self,
        mut poll: impl FnMut(&mut Members, &mut Context<'_>) -> Poll<T>,
    ) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            let mut changed = pin!(changes.changed());
            let found = poll_fn(|cx| {
                let found = poll(&mut self.lock(), cx);
                if found.is_pending() { changed.as_mut().poll(cx).map(|_| None) } else { found.map(Some) }
            });
            if let Some(found) = found.await {
                return found;
            }
        }
    }

    /// Waits until `look`, which looks again after every change, sees something.
    pub(super) async fn when<T>(&self, mut look: impl FnMut(&Members) -> Option<T>) -> T {
        self.when_polled(|members, _| look(members).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// The link to a gateway, with the gateway's name.
    pub(super) fn link(&self, gateway: &str) -> Result<(GatewayAddr, endpoint::Server), NoLink> {
        let members = self.lock();
        if members.closed {
            return Err(NoLink::Closed);
        }
        let Some((name, member)) = members.all.get_key_value(gateway) else {
            return Err(NoLink::Unknown(members.all.keys().cloned().collect()));
        };
        let no_link = || NoLink::NotConnected(member.last_trouble.clone());
        let link = member.link.clone().ok_or_else(no_link)?;
        Ok((name.clone(), link))
    }

    /// Ends all links in good order. The tasks wait for that.
    pub(super) fn close(&self) {
        self.change(|members| {
            members.closed = true;
            for member in members.all.values() {
                member.link.iter().for_each(endpoint::Server::close);
            }
            self.stop.cancel();
        });
    }

    /// Nobody is left to accept or to dial: links live for as long as their virtual connections.
    pub(super) fn abandon(&self) {
        self.stop.cancel();
        // Links are dropped outside of the lock: what waits to be accepted is closed with them.
        let all = std::mem::take(&mut self.lock().all);
        drop(all);
    }
}

impl Members {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether there is a link, or why there will be none.
    pub(super) fn ready(&self) -> Option<Result<(), Ended>> {
        if let Some(ended) = self.ended() {
            return Some(Err(ended));
        }
        self.all.values().any(|member| member.link.is_some()).then_some(Ok(()))
    }

    fn ended(&self) -> Option<Ended> {
        if self.closed {
            Some(Ended::ClosedHere)
        } else {
            (self.settled && self.all.is_empty()).then_some(Ended::NoGateways)
        }
    }

    /// The next connection of any link, beginning behind the one that had the last. All that have none wake the caller.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<VirtualConn, Ended>> {
        if let Some(ended) = self.ended() {
            return Poll::Ready(Err(ended));
        }
        let accepted = self.in_turn().find_map(|(gateway, link)| match link.poll_accept(cx) {
            Poll::Ready(Ok(conn)) => Some((gateway.clone(), conn)),
            // Its task is about to notice.
            Poll::Ready(Err(_)) | Poll::Pending => None,
        });
        let Some((gateway, conn)) = accepted else { return Poll::Pending };
        self.last = Some(gateway);
        Poll::Ready(Ok(conn))
    }

    fn in_turn(&self) -> impl Iterator<Item = (&GatewayAddr, &endpoint::Server)> {
        let (behind, up_to) = match &self.last {
            Some(last) => (Bound::Excluded(last), Some(last)),
            None => (Bound::Unbounded, None),
        };
        let first = self.all.range::<GatewayAddr, _>((behind, Bound::Unbounded));
        let then = up_to.into_iter().flat_map(move |last| self.all.range::<GatewayAddr, _>(..=last));
        first.chain(then).filter_map(|(gateway, member)| Some((gateway, member.link.as_ref()?)))
    }

    pub(super) fn status(&self) -> Vec<GatewayStatus> {
        self.all
            .iter()
            .map(|(gateway, member)| GatewayStatus {
                gateway: gateway.clone(),
                state: member.state,
                failures: if member.has_lasted(self.longest_wait) { 0 } else { member.failures },
                last_trouble: member.last_trouble.clone(),
                connect_time: member.connect_time,
            })
            .collect()
    }
}

impl Member {
    /// Or about to be.
    fn is_linked(&self) -> bool {
        self.link.is_some() || self.reached.is_some()
    }

    fn has_lasted(&self, so_long: Duration) -> bool {
        match self.state {
            GatewayState::Connected(since) | GatewayState::Draining(since) => since.elapsed() >= so_long,
            GatewayState::Idle | GatewayState::Connecting | GatewayState::Waiting(_) => false,
        }
    }
}

/// What becomes of the set.
impl Members {
    /// A gateway is in the set. `Some`: it needs a task, which is to stop when that token is cancelled.
    pub(super) fn join(&mut self, gateway: &GatewayAddr, stop: &CancellationToken) -> Joined {
        if let Some(member) = self.all.get_mut(gateway) {
            return if std::mem::replace(&mut member.listed, true) { Joined::Already } else { Joined::Again };
        }
        let task = stop.child_token();
        let member = Member {
            task: task.clone(),
            listed: true,
            reached: None,
            link: None,
            state: GatewayState::Connecting,
            failures: 0,
            last_trouble: None,
            connect_time: None,
        };
        self.all.insert(gateway.clone(), member);
        Joined::New(task)
    }

    /// Those that were in the set, except `staying`. Without a link there is nothing to keep of them, unless there is about to be
    /// one: the gateway may have registered this server, and have given it clients, who would be lost.
    pub(super) fn leave(&mut self, staying: impl Fn(&GatewayAddr) -> bool) -> Vec<GatewayAddr> {
        let mut gone = Vec::new();
        self.all.retain(|gateway, member| {
            if member.listed && !staying(gateway) {
                gone.push(gateway.clone());
                member.listed = false;
                if !member.is_linked() {
                    member.task.cancel();
                }
            }
            member.listed || member.is_linked()
        });
        gone
    }

    /// No more of these.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }
}

/// What [`Members::join`] did.
pub(super) enum Joined {
    /// It is new. Its task ends when this is cancelled.
    New(CancellationToken),
    /// It had left, and its link lives.
    Again,
    /// It was there.
    Already,
}

/// What the task of a gateway finds out. Nothing counts any more when its token was cancelled.
impl Members {
    fn of_task(&mut self, gateway: &GatewayAddr, task: &CancellationToken) -> Option<&mut Member> {
        self.all.get_mut(gateway).filter(|_| !task.is_cancelled())
    }

    pub(super) fn connecting(&mut self, gateway: &GatewayAddr, task: &CancellationToken) {
        if let Some(member) = self.of_task(gateway, task) {
            member.state = GatewayState::Connecting;
        }
    }

    /// Its address has led to this one, as another one's may have.
    pub(super) fn reach(
        &mut self,
        gateway: &GatewayAddr,
        task: &CancellationToken,
        reached: SocketAddr,
    ) -> Result<(), Trouble> {
        if let Some((other, _)) = self.all.iter().find(|(_, member)| member.reached == Some(reached)) {
            return Err(Trouble::SameAs { other: other.clone(), reached });
        }
        if let Some(member) = self.of_task(gateway, task) {
            member.reached = Some(reached);
        }
        Ok(())
    }

    /// `false`: the link is not wanted any more.
    pub(super) fn connected(
        &mut self,
        gateway: &GatewayAddr,
        task: &CancellationToken,
        link: endpoint::Server,
        took: Duration,
    ) -> bool {
        let Some(member) = self.of_task(gateway, task) else { return false };
        member.link = Some(link);
        member.connect_time = Some(took);
        member.state = GatewayState::Connected(Instant::now());
        true
    }

    /// The gateway gave notice.
    pub(super) fn drains(&mut self, gateway: &GatewayAddr, task: &CancellationToken) {
        if let Some(member) = self.of_task(gateway, task)
            && let GatewayState::Connected(since) = member.state
        {
            member.state = GatewayState::Draining(since);
        }
    }

    /// There is no link, or none any more; `wait` says how long to wait after so many failures in a row.
    pub(super) fn failed(
        &mut self,
        gateway: &GatewayAddr,
        task: &CancellationToken,
        trouble: &Trouble,
        wait: impl FnOnce(u32) -> Duration,
    ) -> Failed {
        let longest_wait = self.longest_wait;
        let Some(member) = self.of_task(gateway, task) else { return Failed::NobodysBusiness };
        let was_well = member.has_lasted(longest_wait);
        (member.link, member.reached) = (None, None);
        if !member.listed {
            self.all.remove(gateway);
            return Failed::HadLeft;
        }
        member.failures = if was_well { 1 } else { member.failures.saturating_add(1) };
        member.last_trouble = Some(trouble.clone());
        let retry_in = wait(member.failures);
        member.state = GatewayState::Waiting(Instant::now() + retry_in);
        Failed::Retry { retry_in, was_well }
    }
}

/// What is to be done after a failure.
pub(super) enum Failed {
    /// Try again.
    Retry {
        /// After so long.
        retry_in: Duration,
        /// The gateway was well until now.
        was_well: bool,
    },
    /// The gateway had left the set: it is forgotten.
    HadLeft,
    /// The task was to stop anyway.
    NobodysBusiness,
}
