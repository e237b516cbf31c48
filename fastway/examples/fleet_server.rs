//! A game server that serves at every gateway of a set, and echoes what clients send it, whichever gateway they come through.
//! What becomes of the gateways, it prints. Start and stop gateways meanwhile.
//!
//! ```sh
//! cargo run --release --bin gateway
//! cargo run --release --bin gateway -- --client-addr 127.0.0.1:7110 --server-addr 127.0.0.1:7120
//! cargo run --release --example fleet_server -- 1 127.0.0.1:7020 127.0.0.1:7120
//! cargo run --release --example echo_client -- 127.0.0.1:7110 1
//! ```
//!
//! One name in DNS does as well, such as that of a headless Service in Kubernetes; it is looked up every ten seconds:
//!
//! ```sh
//! cargo run --release --example fleet_server -- 1 gateways.games.svc.cluster.local:7020
//! ```

#![expect(clippy::print_stdout, reason = "an example is to be watched")]

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastway::endpoint::VirtualConn;
use fastway::fleet::{FleetConfig, Gateways, Server};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use futures_util::future::select;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let id = args.next().as_deref().unwrap_or("1").parse::<u32>().context("the server's ID is a number")?;
    let addrs: Vec<_> = args.collect();
    let gateways = match &addrs[..] {
        [name] => Gateways::dns(name, Duration::from_secs(10))?,
        addrs => Gateways::list(addrs)?,
    };
    let key = std::env::var("FASTWAY_SERVER_AUTH_PASSWORD").unwrap_or_default();

    let server =
        Server::start(TcpNetwork::new(), gateways, ServerId::new(id), key.as_bytes(), FleetConfig::default());
    let mut events = server.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            println!("{event}");
        }
    });
    tokio::spawn(serve(server.clone()));
    until_stopped().await?;
    // What was sent goes out first.
    server.close();
    server.closed().await;
    Ok(())
}

/// Ctrl-C, or SIGTERM: what systemd and Kubernetes send.
#[cfg(unix)]
async fn until_stopped() -> Result<()> {
    let (interrupted, mut terminated) = (tokio::signal::ctrl_c(), signal(SignalKind::terminate())?);
    select(pin!(interrupted), pin!(terminated.recv())).await;
    Ok(())
}

#[cfg(not(unix))]
async fn until_stopped() -> Result<()> {
    Ok(tokio::signal::ctrl_c().await?)
}

async fn serve(server: Server) {
    while let Ok(conn) = server.accept().await {
        tokio::spawn(echo(conn));
    }
}

async fn echo(mut conn: VirtualConn) {
    println!("client {} of gateway {} is here", conn.remote(), conn.gateway());
    while let Some(message) = conn.recv().await {
        if conn.send(message).await.is_err() {
            break;
        }
    }
    println!("client {} of gateway {} is gone", conn.remote(), conn.gateway());
}
