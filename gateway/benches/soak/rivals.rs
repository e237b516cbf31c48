//! Two servers that want the same ID: the newest has it, and the other is told. And a client that visits whoever has it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::endpoint::{Client, DialError, EndpointConfig, LinkError, Server, VirtualConn};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use fastway_loadgen::Target;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::hosts;
use crate::tally::{Tally, count};

/// The ID that both want.
const SERVER: u32 = 1002;

/// So many ms one of them has it.
const REIGN_MS: std::ops::RangeInclusive<u64> = 20..=500;

/// So long the gateway has to end the link of the older one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both of them: each time, the newer one takes the ID over.
pub(crate) async fn take_turns(
    target: Target,
    mut rng: StdRng,
    stop: CancellationToken,
    tally: Tally,
) -> anyhow::Result<()> {
    let mut older: Option<(Server, JoinSet<()>)> = None;
    while !stop.is_cancelled() {
        let server = hosts::connect(&target.server_addr, SERVER).await?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(server.clone()));
        if let Some((older, _serving)) = older.replace((server, serving)) {
            let ended = timeout(PATIENCE, older.ended()).await;
            let ended = ended
                .with_context(|| format!("a server whose ID was taken over is there after {PATIENCE:?}"))?;
            ensure!(matches!(ended, LinkError::ClosedByGateway | LinkError::TurnedAway), "{ended}");
            count(&tally.takeovers);
        }
        stop.run_until_cancelled(sleep(Duration::from_millis(rng.random_range(REIGN_MS)))).await;
    }
    Ok(())
}

/// Echoes until the link ends.
async fn serve(server: Server) {
    let mut visits = JoinSet::new();
    while let Ok(mut conn) = server.accept().await {
        visits.spawn(async move {
            while let Some(message) = conn.recv().await {
                let _ = conn.send(&message).await;
            }
        });
    }
}

/// A client that is closed and refused in the middle of everything, and only never gets a wrong echo.
pub(crate) async fn visit_them(target: Target, stop: CancellationToken, tally: Tally) -> anyhow::Result<()> {
    let config = EndpointConfig::default();
    let client = Client::connect(&TcpNetwork::new(), &target.client_addr, config).await?;
    while !stop.is_cancelled() {
        match client.dial(ServerId::new(SERVER)).await {
            Ok(conn) => talk(conn, &stop, &tally).await?,
            Err(DialError::Refused { .. }) => {}
            Err(error) => return Err(error).context("dialling one of two rivals"),
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Until the one that is talked to has lost its ID.
async fn talk(mut conn: VirtualConn, stop: &CancellationToken, tally: &Tally) -> anyhow::Result<()> {
    for number in 0_u64.. {
        let message = number.to_le_bytes();
        if stop.is_cancelled() || conn.send(&message).await.is_err() {
            break;
        }
        let Some(echo) = conn.recv().await else { break };
        ensure!(echo == message[..], "one of two rivals echoed {echo:?} instead of {message:?}");
        count(&tally.echoes);
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
