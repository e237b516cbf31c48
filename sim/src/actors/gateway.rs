//! A gateway on its host: the one that runs in production, on the simulated network, with a tap in between.

use std::sync::Arc;

use fastway::net::Network;
use fastway_gateway::Gateway;
use tokio::time::Instant;

use super::{Running, Stage};
use crate::history::What;
use crate::net::{Host, SimNetwork};
use crate::plan::{KEY, SERVER_PORT};
use crate::seed::Seed;
use crate::tap::{Tap, Tapped};

/// What stands between a gateway and the network, besides the tap: nothing, as a rule. A canary puts something broken
/// there.
pub trait Wrap: Clone + 'static {
    /// The network that the gateway gets.
    type Network: Network;

    /// Wraps the network of one run of a gateway.
    fn wrap(&self, network: Tapped<SimNetwork>) -> Self::Network;
}

/// The gateway on the network as it is.
#[derive(Clone, Copy, Debug)]
pub struct AsItIs;

impl Wrap for AsItIs {
    type Network = Tapped<SimNetwork>;

    fn wrap(&self, network: Tapped<SimNetwork>) -> Self::Network {
        network
    }
}

pub(crate) async fn gateway(stage: Arc<Stage>, index: u32, wrap: impl Wrap) -> turmoil::Result {
    let run = stage.history.next_run();
    let host: Host = stage.gateway_host(index);
    let tap = Tap {
        history: stage.history.clone(),
        run,
        started: Instant::now(),
        max_packet: stage.plan.gateway.max_packet,
        key: KEY.to_vec(),
        server_port: SERVER_PORT,
        hosts: stage.addrs.clone(),
    };
    let network = wrap.wrap(Tapped::new(stage.network(host), tap));
    let seed = Seed(stage.plan.seed).bytes("challenges", run.0.into());
    let gateway = Gateway::bind(&network, stage.plan.gateway_config(), seed).await?;
    let running = Running { run, handle: gateway.handle(), runtime: tokio::runtime::Handle::current() };
    stage.gateways.lock()[index as usize] = Some(running);
    stage.history.note(What::GatewayUp(run, host));
    tokio::spawn(stage.clone().jump(host));
    gateway.run().await?;
    stage.history.note(What::GatewayDown(run));
    stage.gateways.lock()[index as usize] = None;
    Ok(())
}
