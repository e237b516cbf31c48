//! The network as one member sees it: like that of its host, and every attempt to connect is written down.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fastway::net::{BindOptions, Network};
use parking_lot::Mutex;

use super::names::{NOBODY, host_at};
use super::note::{FleetNote, Member};
use super::sabotage::Sabotage;
use crate::actors::Stage;
use crate::history::What;
use crate::net::{Host, SimListener, SimNetwork, SimStream};

#[derive(Clone, Debug)]
pub(super) struct MemberNetwork {
    inner: SimNetwork,
    stage: Arc<Stage>,
    member: Member,
    /// For one sabotage: whether it has connected to the first gateway.
    has_met: Arc<Mutex<bool>>,
}

impl MemberNetwork {
    pub(super) fn new(stage: &Arc<Stage>, host: Host, member: Member) -> Self {
        Self { inner: stage.network(host), stage: stage.clone(), member, has_met: Arc::default() }
    }

    fn note(&self, note: FleetNote) {
        self.stage.history.note(What::Fleet(self.member, note));
    }

    /// Whether this one is forgotten for the sake of a canary.
    fn forgets(&self, gateway: Option<Host>) -> bool {
        let is_forgotten = self.stage.backstage.sabotage == Sabotage::OneGatewayIsForgotten
            && matches!(self.member, Member::Server(_))
            && gateway == Some(Host(0));
        is_forgotten && std::mem::replace(&mut *self.has_met.lock(), true)
    }
}

impl Network for MemberNetwork {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<SimListener> {
        self.inner.bind(addr, options).await
    }

    async fn connect(&self, addr: &str) -> io::Result<SimStream> {
        let gateway = host_at(&self.stage, addr);
        if self.forgets(gateway) {
            pending::<()>().await;
        }
        self.note(FleetNote::Connects(gateway));
        let mut attempt = Attempt { network: self, gateway, end: FleetNote::ConnectFails(gateway) };
        if addr.starts_with(NOBODY) {
            pending::<()>().await;
        }
        let stream = self.inner.connect(addr).await?;
        attempt.end = FleetNote::HasConnected(attempt.gateway);
        Ok(stream)
    }
}

/// A connect under way. However it ends, that is written down: whoever gives up drops it.
struct Attempt<'a> {
    network: &'a MemberNetwork,
    gateway: Option<Host>,
    end: FleetNote,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.network.note(self.end);
    }
}
