//! A game server that sends back what clients send it, and then dials each client itself.
//!
//! ```sh
//! cargo run --release --bin gateway
//! cargo run --release --example echo_server -- 127.0.0.1:7020 1
//! cargo run --release --example echo_client -- 127.0.0.1:7010 1
//! ```

#![expect(clippy::print_stdout, reason = "an example is to be watched")]

use anyhow::{Context as _, Result};
use fastway::endpoint::{EndpointConfig, Server, VirtualConn};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:7020".to_owned());
    let id = args.next().as_deref().unwrap_or("1").parse::<u32>().context("the server's ID is a number")?;
    let key = std::env::var("FASTWAY_SERVER_AUTH_PASSWORD").unwrap_or_default();

    // A gateway that cannot tell where clients come from does not mind being asked.
    let config = EndpointConfig { ask_client_addr: true, ..EndpointConfig::default() };
    let server =
        Server::connect(&TcpNetwork::new(), &addr, ServerId::new(id), key.as_bytes(), config).await?;
    println!("server {id} serves at the gateway {addr}; Ctrl-C ends it");
    loop {
        let conn = server.accept().await?;
        tokio::spawn(serve(server.clone(), conn));
    }
}

/// Echoes until the client closes, then calls it back.
async fn serve(server: Server, mut conn: VirtualConn) {
    let Some(client) = conn.remote().client() else { return };
    let from = conn.client_addr().map_or_else(|| "an unknown address".to_owned(), |addr| addr.to_string());
    println!("client {client} from {from}: opened virtual connection {}", conn.id());
    while let Some(message) = conn.recv().await {
        if let Err(error) = conn.send(&message).await {
            println!("client {client}: {error}");
        }
    }
    println!("client {client}: closed it; calling back");
    match call_back(&server, client).await {
        Ok(()) => println!("client {client}: called back"),
        Err(error) => println!("client {client}: {error}"),
    }
}

/// Servers open connections too.
async fn call_back(server: &Server, client: fastway::id::ClientId) -> Result<()> {
    let mut conn = server.dial(client).await?;
    conn.send("come again").await?;
    // The client closes when it has read it.
    while conn.recv().await.is_some() {}
    Ok(())
}
