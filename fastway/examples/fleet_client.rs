//! A game client of many gateways, that counts aloud to an echo server and goes on where it was when its gateway is lost. See
//! `fleet_server.rs`; then stop the gateway that it names. One name in DNS does as well as a list.
//!
//! ```sh
//! cargo run --release --example fleet_client -- 1 127.0.0.1:7010 127.0.0.1:7110
//! ```

#![expect(clippy::print_stdout, reason = "an example is to be watched")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use fastway::fleet::{Client, Conn, FleetConfig, Gateways, Received};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let id = args.next().as_deref().unwrap_or("1").parse::<u32>().context("the server's ID is a number")?;
    let addrs: Vec<_> = args.collect();
    let gateways = match &addrs[..] {
        [name] => Gateways::dns(name, Duration::from_secs(10))?,
        addrs => Gateways::list(addrs)?,
    };
    let client = Client::start(TcpNetwork::new(), gateways, FleetConfig::default());
    let mut events = client.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            println!("{event}");
        }
    });
    client.ready().await?;

    // A connection outlives its gateway, but not its server: whoever wants to go on dials again, which waits for it.
    let mut next = 1_u32;
    loop {
        let mut conn = client.dial(ServerId::new(id)).await?;
        if let Some(gateway) = conn.gateway() {
            println!("dialled server {id} through {gateway}");
        }
        count(&mut conn, &mut next).await;
        println!("{}", conn.close_reason().context("it has ended")?);
    }
}

/// Until the connection ends for good.
async fn count(conn: &mut Conn, next: &mut u32) {
    // If the connection was lost just now, the next thing to come is `Renewed`.
    let _ = conn.send(next.to_string()).await;
    while let Some(received) = conn.recv().await {
        match received {
            Received::Message(message) => {
                println!("{}", String::from_utf8_lossy(&message));
                *next += 1;
                sleep(Duration::from_secs(1)).await;
            }
            // Whether the number before has reached the server is not known: it was not echoed, so it is said again.
            Received::Renewed { gateway } => println!("going on with {next} through {gateway}"),
        }
        let _ = conn.send(next.to_string()).await;
    }
}
