//! The software on the hosts: gateways, servers, clients, and those who do not keep to the rules.

mod client;
mod gateway;
mod misfit;
mod operator;
mod server;
mod talk;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use fastway_gateway::Handle;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc};

pub(crate) use client::{clients, goodbye};
pub(crate) use gateway::gateway;
pub use gateway::{AsItIs, Wrap};
pub(crate) use operator::{Order, operate};
pub(crate) use server::server;

use crate::failover::{Backstage, Sabotage};
use crate::history::{History, LinkEnd, Phase, Run, What};
use crate::net::{Host, Net, SimNetwork};
use crate::plan::{CLIENT_PORT, FIRST_SERVER, Plan, SERVER_PORT};
use crate::seed::Seed;

/// What all actors of a world share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(crate) net: Arc<Mutex<Net>>,
    pub(crate) history: History,
    pub(crate) addrs: Vec<IpAddr>,
    phase: Mutex<Phase>,
    phase_changed: Notify,
    /// The gateways that run, by their place.
    pub(crate) gateways: Mutex<Vec<Option<Running>>>,
    /// Lives of hosts: a restarted one draws other random numbers.
    lives: Mutex<u64>,
    /// Pauses that are to end with a jump of the host's clock.
    pub(crate) jumps: Mutex<Vec<(Host, u32)>>,
    pub(crate) jump: Notify,
    /// Probes that have not come through yet.
    pub(crate) probes_left: Mutex<usize>,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) ordered: Mutex<Option<mpsc::UnboundedReceiver<Order>>>,
    pub(crate) backstage: Backstage,
}

/// A gateway that runs.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) run: Run,
    pub(crate) handle: Handle,
    /// Tasks of its runtime, when it was just bound and served nobody.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Stage {
    pub(crate) fn new(plan: Plan, net: Net, addrs: Vec<IpAddr>, sabotage: Sabotage) -> Arc<Self> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let topology = &plan.topology;
        let gateways = vec![None; topology.gateways as usize];
        let probes = if plan.gateway.client_max_conn == 0 {
            0
        } else {
            topology.client_hosts * topology.gateways * topology.servers
        };
        let probes = probes as usize;
        Arc::new(Self {
            plan,
            net: Arc::new(Mutex::new(net)),
            history: History::default(),
            addrs,
            phase: Mutex::new(Phase::Faults),
            phase_changed: Notify::new(),
            gateways: Mutex::new(gateways),
            lives: Mutex::new(0),
            jumps: Mutex::default(),
            probes_left: Mutex::new(probes),
            jump: Notify::new(),
            orders,
            ordered: Mutex::new(Some(ordered)),
            backstage: Backstage::new(sabotage),
        })
    }

    pub(crate) fn network(&self, host: Host) -> SimNetwork {
        SimNetwork::new(self.net.clone(), host)
    }

    /// Random numbers for one life of one actor.
    pub(crate) fn rng(&self, label: &str) -> StdRng {
        let mut lives = self.lives.lock();
        *lives += 1;
        Seed(self.plan.seed).rng(label, *lives)
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock()
    }

    /// Tells everybody. Not by a `watch` channel: tokio wakes its receivers in random order.
    pub(crate) fn begin(&self, phase: Phase) {
        self.history.note(What::Phase(phase));
        *self.phase.lock() = phase;
        self.phase_changed.notify_waiters();
    }

    /// Sets the clock of `host` forward whenever a pause of it ends. To be spawned on each host.
    pub(crate) async fn jump(self: Arc<Self>, host: Host) {
        loop {
            self.jump.notified().await;
            let jumps: Vec<u32> = {
                let mut jumps = self.jumps.lock();
                let of_host = jumps.extract_if(.., |(paused, _)| *paused == host);
                of_host.map(|(_, jump_ms)| jump_ms).collect()
            };
            for jump_ms in jumps {
                tokio::time::advance(std::time::Duration::from_millis(jump_ms.into())).await;
            }
        }
    }

    /// Waits for a stage of the world.
    pub(crate) async fn until(&self, phase: Phase) {
        loop {
            let changed = self.phase_changed.notified();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn gateway_host(&self, index: u32) -> Host {
        Host(index as usize)
    }

    pub(crate) fn server_host(&self, index: u32) -> Host {
        Host((self.plan.topology.gateways + index) as usize)
    }

    pub(crate) fn client_host(&self, index: u32) -> Host {
        Host((self.plan.topology.gateways + self.plan.topology.servers + index) as usize)
    }

    pub(crate) fn public_addr(&self, gateway: u32) -> String {
        format!("{}:{CLIENT_PORT}", self.addrs[self.gateway_host(gateway).0])
    }

    pub(crate) fn internal_addr(&self, gateway: u32) -> String {
        format!("{}:{SERVER_PORT}", self.addrs[self.gateway_host(gateway).0])
    }

    /// The ID of a server, by its place.
    pub(crate) fn server_id(&self, index: u32) -> u32 {
        FIRST_SERVER + index
    }
}

pub(crate) fn link_end(error: &fastway::endpoint::LinkError) -> LinkEnd {
    use fastway::endpoint::LinkError;
    match error {
        LinkError::ClosedHere => LinkEnd::Here,
        LinkError::ClosedByGateway => LinkEnd::ByGateway,
        LinkError::TurnedAway => LinkEnd::TurnedAway,
        LinkError::Failed(_) => LinkEnd::Failed,
        LinkError::Silent(_) => LinkEnd::Silent,
        LinkError::Frame(_) | LinkError::Command(_) => LinkEnd::Nonsense,
    }
}

/// Runs until the first of the two is done; the first one named is asked first.
pub(crate) async fn first<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Result<A, B> {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(done) = a.as_mut().poll(cx) {
            return std::task::Poll::Ready(Ok(done));
        }
        b.as_mut().poll(cx).map(Err)
    })
    .await
}
