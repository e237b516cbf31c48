//! A server on its host: a link to every gateway, answers everybody, and dials its clients back now and then.

use std::sync::Arc;

use fastway::endpoint::Server;
use fastway::id::{ClientId, ServerId};
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{backoff, goodbye, note_dial_end};
use super::talk::{follow, lead};
use super::{Stage, first, link_end};
use crate::failover;
use crate::history::{AppLink, Phase, Side, What};
use crate::net::Host;
use crate::plan::KEY;

/// The software of one server host. Ends when it has left every gateway.
pub(crate) async fn server(stage: Arc<Stage>, index: u32) -> turmoil::Result {
    if let Some(fleet) = stage.plan.fleet.clone() {
        return failover::server(stage, fleet, index).await;
    }
    let host = stage.server_host(index);
    tokio::spawn(stage.clone().jump(host));
    let mut links = JoinSet::new();
    for gateway in 0..stage.plan.topology.gateways {
        let stage = stage.clone();
        links.spawn(async move {
            let mut rng = stage.rng("server");
            while stage.phase() < Phase::Leaving {
                serve(&stage, host, gateway, index, Phase::Leaving).await;
                let _ = first(sleep(backoff(&mut rng)), stage.until(Phase::Leaving)).await;
            }
        });
    }
    while let Some(done) = links.join_next().await {
        done?;
    }
    sleep(goodbye(&stage)).await;
    Ok(())
}

/// One link, from connecting to its end, or until `phase`.
pub(super) async fn serve(stage: &Arc<Stage>, host: Host, gateway: u32, index: u32, phase: Phase) {
    let to = stage.gateway_host(gateway);
    let (addr, id) = (stage.internal_addr(gateway), ServerId::new(stage.server_id(index)));
    let config = stage.plan.endpoint_config();
    let Ok(server) = Server::connect(&stage.network(host), &addr, id, KEY, config).await else {
        stage.history.note(What::AppFailed(host, Side::Server, to));
        return;
    };
    let link = stage.history.next_app_link();
    stage.history.note(What::AppUp(link, host, Side::Server, to));
    let mut tasks = JoinSet::new();
    tasks.spawn(answer(stage.clone(), server.clone(), link));
    if first(server.ended(), stage.until(phase)).await.is_err() {
        server.close();
    }
    let error = server.ended().await;
    stage.history.note(What::AppDown(link, link_end(&error)));
}

async fn answer(stage: Arc<Stage>, server: Server, link: AppLink) {
    let mut rng = stage.rng("answer");
    let mut conversations = JoinSet::new();
    while let Ok(conn) = server.accept().await {
        if rng.random_bool(stage.plan.workload.server_dials) {
            // Mostly a client that is there; sometimes one that is not, or no longer.
            let client = conn.remote().get() + u32::from(rng.random_bool(0.1)) * 1000;
            conversations.spawn(call_back(stage.clone(), server.clone(), link, client));
        }
        let stage = stage.clone();
        conversations.spawn(async move { follow(&stage, link, conn).await });
    }
    while conversations.join_next().await.is_some() {}
}

async fn call_back(stage: Arc<Stage>, server: Server, link: AppLink, client: u32) {
    let Some(id) = ClientId::new(client) else { return };
    stage.history.note(What::AppDials(link, client));
    match server.dial(id).await {
        Ok(conn) => lead(&stage, link, conn).await,
        Err(error) => drop(note_dial_end(&stage, link, client, &error)),
    }
}
