//! Servers that echo, and call clients back that ask for it.

use anyhow::{Context as _, ensure};
use fastway::endpoint::{EndpointConfig, Server, VirtualConn};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use tokio::task::JoinSet;

use crate::tally::{Tally, count};

/// A message that begins so is echoed when the server has dialled the client, and that has echoed the message.
pub(crate) const CALL_ME: &[u8] = b"call me";

/// Serves until it is dropped.
pub(crate) async fn echo(server: Server, tally: Tally) -> anyhow::Result<()> {
    let id = server.id();
    let mut visits = JoinSet::<anyhow::Result<()>>::new();
    loop {
        let conn = tokio::select! {
            biased;
            Some(ended) = visits.join_next() => {
                ended?.with_context(|| format!("at server {id}"))?;
                continue;
            }
            conn = server.accept() => conn.with_context(|| format!("server {id}"))?,
        };
        visits.spawn(serve(server.clone(), conn, tally.clone()));
    }
}

/// Registers a server.
pub(crate) async fn connect(addr: &str, id: u32) -> anyhow::Result<Server> {
    let config = EndpointConfig::default();
    Ok(Server::connect(&TcpNetwork::new(), addr, ServerId::new(id), b"", config).await?)
}

async fn serve(server: Server, mut conn: VirtualConn, tally: Tally) -> anyhow::Result<()> {
    while let Some(message) = conn.recv().await {
        if message.starts_with(CALL_ME) {
            call(&server, &conn, &message).await.context("calling a client")?;
            count(&tally.calls);
        }
        // If the client has gone, nobody misses the echo: it verifies itself that it gets what it waits for.
        let _ = conn.send(&message).await;
    }
    Ok(())
}

async fn call(server: &Server, conn: &VirtualConn, message: &[u8]) -> anyhow::Result<()> {
    let client = conn.remote().client().context("clients have numbers")?;
    let mut call = server.dial(client).await?;
    call.send(message).await?;
    let echo = call.recv().await.with_context(|| format!("{:?}", call.close_reason()))?;
    ensure!(echo == message, "a client echoed {} other bytes instead of {}", echo.len(), message.len());
    Ok(())
}
