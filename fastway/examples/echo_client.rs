//! A game client that dials the echo server, talks to it, and is then dialled back by it. See `echo_server.rs`.

#![expect(clippy::print_stdout, reason = "an example is to be watched")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastway::endpoint::{Client, EndpointConfig};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use tokio::time::{Instant, timeout};

/// The server calls back at once, if it is the echo server.
const CALL_BACK_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:7010".to_owned());
    let id = args.next().as_deref().unwrap_or("1").parse::<u32>().context("the server's ID is a number")?;

    let client = Client::connect(&TcpNetwork::new(), &addr, EndpointConfig::default()).await?;
    let mut conn = client.dial(ServerId::new(id)).await?;
    println!("dialled server {id} at the gateway {addr}: virtual connection {}", conn.id());
    for message in ["hello", "", "how are you?"] {
        let sent = Instant::now();
        conn.send(message).await?;
        let echo = conn.recv().await.context("the server closed the connection")?;
        ensure!(echo == message, "sent {message:?}, received {echo:?}");
        println!("{message:?} came back in {:?}", sent.elapsed());
    }
    conn.close();

    println!("closed it; waiting for the server to call back");
    let mut back =
        timeout(CALL_BACK_TIMEOUT, client.accept()).await.context("the server did not call back")??;
    let message = back.recv().await.context("the server closed the connection")?;
    println!("server {} called back: {:?}", back.remote(), String::from_utf8_lossy(&message));
    Ok(())
}
