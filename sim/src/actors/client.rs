//! Clients on their host: each has a link to one gateway at a time, dials, answers, leaves, comes back.

use std::sync::Arc;
use std::time::Duration;

use fastway::endpoint::{Client, DialError, EndpointConfig};
use fastway::id::ServerId;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::talk::{follow, lead, probe};
use super::{Stage, first, link_end, misfit};
use crate::failover;
use crate::history::{AppLink, DialEnd, LinkEnd, Phase, Side, What};
use crate::net::Host;
use crate::plan::{GROUP, GroupPlan};

/// Of a probe, with each step.
const PATIENCE: Duration = Duration::from_secs(20);

/// All clients of one host. Ends when all of them have left.
pub(crate) async fn clients(stage: Arc<Stage>, index: u32) -> turmoil::Result {
    let host = stage.client_host(index);
    tokio::spawn(stage.clone().jump(host));
    let topology = &stage.plan.topology;
    let share = |all: u32| (0..all).filter(|number| number % topology.client_hosts == index).count();
    let mut everybody = JoinSet::new();
    for place in 0..share(topology.clients) {
        let stage = stage.clone();
        match stage.plan.fleet.clone() {
            Some(fleet) => {
                let number = place as u32 * topology.client_hosts + index;
                everybody.spawn(failover::client(stage, fleet, host, number))
            }
            None => everybody.spawn(client(stage, host)),
        };
    }
    for _ in 0..share(topology.misfits) {
        everybody.spawn(misfit::misfit(stage.clone(), host));
    }
    everybody.spawn(prober(stage.clone(), host));
    if index == 0 {
        everybody.spawn(super::operate(stage.clone(), host));
    }
    while let Some(done) = everybody.join_next().await {
        done?;
    }
    // Links that were just dropped still have to say goodbye; nothing runs on a host whose software has ended.
    sleep(goodbye(&stage)).await;
    Ok(())
}

/// So long may a link take that nobody holds any more.
pub(crate) fn goodbye(stage: &Stage) -> Duration {
    stage.plan.endpoint_config().close_timeout + fastway::net::LINGER_TIMEOUT + Duration::from_millis(100)
}

async fn client(stage: Arc<Stage>, host: Host) {
    let mut rng = stage.rng("client");
    sleep(Duration::from_millis(rng.random_range(0..2000))).await;
    while stage.phase() < Phase::Draining {
        let gateway = rng.random_range(0..stage.plan.topology.gateways);
        let Some((client, link)) = connect(&stage, host, gateway, stage.plan.endpoint_config()).await else {
            let _ = first(sleep(backoff(&mut rng)), stage.until(Phase::Draining)).await;
            continue;
        };
        let longest = Duration::from_millis(rng.random_range(50..=stage.plan.workload.link_ms).into());
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(stage.clone(), client.clone(), link));
        for _ in 0..rng.random_range(1..=stage.plan.workload.conversations) {
            tasks.spawn(converse(stage.clone(), client.clone(), link));
        }
        let over = first(sleep(longest), stage.until(Phase::Draining));
        match first(client.ended(), over).await {
            Ok(error) => stage.history.note(What::AppDown(link, link_end(&error))),
            Err(_) if rng.random_bool(0.5) => {
                client.close();
                let error = client.ended().await;
                stage.history.note(What::AppDown(link, link_end(&error)));
            }
            // Everything is dropped: the link closes by itself.
            Err(_) => stage.history.note(What::AppDown(link, LinkEnd::Here)),
        }
    }
}

pub(super) fn backoff(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(100..1000))
}

async fn connect(
    stage: &Arc<Stage>,
    host: Host,
    gateway: u32,
    config: EndpointConfig,
) -> Option<(Client, AppLink)> {
    let addr = stage.public_addr(gateway);
    let to = stage.gateway_host(gateway);
    match Client::connect(&stage.network(host), &addr, config).await {
        Ok(client) => {
            let link = stage.history.next_app_link();
            stage.history.note(What::AppUp(link, host, Side::Client, to));
            Some((client, link))
        }
        Err(_) => {
            stage.history.note(What::AppFailed(host, Side::Client, to));
            None
        }
    }
}

/// Answers whoever dials this client.
async fn answer(stage: Arc<Stage>, client: Client, link: AppLink) {
    let mut conversations = JoinSet::new();
    while let Ok(conn) = client.accept().await {
        let stage = stage.clone();
        conversations.spawn(async move { follow(&stage, link, conn).await });
    }
    while conversations.join_next().await.is_some() {}
}

/// One conversation after the other, with whichever server.
async fn converse(stage: Arc<Stage>, client: Client, link: AppLink) {
    let mut rng = stage.rng("converse");
    while stage.phase() < Phase::Draining {
        // Now and then somebody who is not there.
        let server = rng.random_range(0..=stage.plan.topology.servers);
        let is_for_any = stage.plan.group != GroupPlan::None && rng.random_bool(0.5);
        let dialled = if is_for_any { GROUP } else { stage.server_id(server) };
        match dial(&stage, &client, link, dialled).await {
            Ok(conn) => lead(&stage, link, conn).await,
            Err(DialEnd::Link) => return,
            Err(_) => {}
        }
        sleep(backoff(&mut rng)).await;
    }
}

async fn dial(
    stage: &Stage,
    client: &Client,
    link: AppLink,
    server: u32,
) -> Result<fastway::endpoint::VirtualConn, DialEnd> {
    stage.history.note(What::AppDials(link, server));
    let dialled = client.dial(ServerId::new(server)).await;
    dialled.map_err(|error| note_dial_end(stage, link, server, &error))
}

pub(super) fn note_dial_end(stage: &Stage, link: AppLink, remote: u32, error: &DialError) -> DialEnd {
    let end = match error {
        DialError::Refused { .. } => DialEnd::Refused,
        DialError::Timeout { .. } => DialEnd::Timeout,
        DialError::Link(_) => DialEnd::Link,
    };
    stage.history.note(What::AppDialEnds(link, remote, end));
    end
}

/// After all faults: through every gateway to every server. Tries again until it works or everybody leaves.
async fn prober(stage: Arc<Stage>, host: Host) {
    stage.until(Phase::Probing).await;
    if stage.plan.gateway.client_max_conn == 0 {
        return;
    }
    let mut probes = JoinSet::new();
    for gateway in 0..stage.plan.topology.gateways {
        for server in 0..stage.plan.topology.servers {
            let stage = stage.clone();
            probes.spawn(async move {
                while stage.phase() < Phase::Leaving && !probe_once(&stage, host, gateway, server).await {
                    sleep(Duration::from_millis(300)).await;
                }
            });
        }
    }
    while probes.join_next().await.is_some() {}
}

async fn probe_once(stage: &Arc<Stage>, host: Host, gateway: u32, server: u32) -> bool {
    if stage.plan.fleet.is_some() {
        return failover::probe(stage, host, gateway, server).await;
    }
    // The deadlines of this world may be shorter than a way through it.
    let config =
        EndpointConfig { connect_timeout: PATIENCE, dial_timeout: PATIENCE, ..stage.plan.endpoint_config() };
    let Some((client, link)) = connect(stage, host, gateway, config).await else { return false };
    let id = stage.server_id(server);
    // Servers may dial it back; with `LinkWaits`, what nobody receives would stop everything else.
    let mut tasks = JoinSet::new();
    tasks.spawn(answer(stage.clone(), client.clone(), link));
    let probing = async {
        match dial(stage, &client, link, id).await {
            Ok(conn) => probe(conn, stage, link).await,
            Err(_) => false,
        }
    };
    let answered = first(probing, stage.until(Phase::Leaving)).await == Ok(true);
    if answered {
        stage.history.note(What::Probed(host, stage.gateway_host(gateway), id));
        *stage.probes_left.lock() -= 1;
    }
    client.close();
    let error = client.ended().await;
    stage.history.note(What::AppDown(link, link_end(&error)));
    answered
}
