//! Clients that behave: they dial servers, verify every echo, and are called back. On a healthy connection nothing may be lost.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::endpoint::{Client, EndpointConfig, VirtualConn};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use fastway_loadgen::Target;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::hosts::CALL_ME;
use crate::tally::{Tally, count};

/// Messages under way at the same time, at most.
const INFLIGHT: usize = 8;

/// Bytes of a message: most are short, and one in so many is long.
const SHORT_BYTES: usize = 2000;
const LONG_BYTES: usize = 200_000;
const ONE_IN: u32 = 50;

/// Rounds of messages on a virtual connection, at most.
const ROUNDS: usize = 5;

/// Between two of them, and between two visits, ms at most.
const REST_MS: u64 = 100;

/// A message that has not come after so long is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// They come from so many addresses, since each has 28,000 ports only, and a port rests a minute after its use.
const SOURCES: u64 = 16;

/// One client, or many one after the other.
pub(crate) struct Visitor {
    network: TcpNetwork,
    addr: String,
    servers: u32,
    rng: StdRng,
    stop: CancellationToken,
    tally: Tally,
}

impl Visitor {
    pub(crate) fn new(
        target: &Target,
        number: u64,
        servers: u32,
        rng: StdRng,
        stop: CancellationToken,
        tally: Tally,
    ) -> Self {
        let source = Ipv4Addr::new(127, 0, 1, 1 + (number % SOURCES) as u8);
        let network = TcpNetwork::new().from_source(IpAddr::V4(source));
        Self { network, addr: target.client_addr.clone(), servers, rng, stop, tally }
    }

    /// Connects, talks and goes, again and again.
    pub(crate) async fn come_and_go(mut self) -> anyhow::Result<()> {
        while !self.stop.is_cancelled() {
            let client = self.connect().await?;
            self.visit(&client).await.context("a client that comes and goes")?;
            client.close();
            client.ended().await;
            count(&self.tally.visits);
            self.rest().await;
        }
        Ok(())
    }

    /// Stays connected, and only its virtual connections come and go.
    pub(crate) async fn stay(mut self) -> anyhow::Result<()> {
        let client = self.connect().await?;
        while !self.stop.is_cancelled() {
            self.visit(&client).await.context("a client that stays")?;
            self.rest().await;
        }
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.network, &self.addr, EndpointConfig::default()).await?)
    }

    /// One virtual connection, from its dial to its end.
    async fn visit(&mut self, client: &Client) -> anyhow::Result<()> {
        let server = ServerId::new(self.rng.random_range(1..=self.servers));
        let mut conn = client.dial(server).await?;
        for _ in 0..self.rng.random_range(1..=ROUNDS) {
            let messages: Vec<_> = (0..self.rng.random_range(1..=INFLIGHT)).map(|_| self.message()).collect();
            for message in &messages {
                conn.send(message).await?;
            }
            for message in &messages {
                expect(&mut conn, message).await?;
                count(&self.tally.echoes);
            }
            self.rest().await;
        }
        if self.rng.random_ratio(1, 4) {
            self.be_called(client, &mut conn).await.context("being called")?;
        }
        conn.close();
        Ok(())
    }

    /// Asks to be called, echoes what the server says then, and is told that it was right.
    async fn be_called(&mut self, client: &Client, conn: &mut VirtualConn) -> anyhow::Result<()> {
        let message = [CALL_ME, &self.message()].concat();
        conn.send(&message).await?;
        let mut call = client.accept().await?;
        expect(&mut call, &message).await?;
        call.send(&message).await?;
        expect(conn, &message).await?;
        ensure!(call.recv().await.is_none(), "more came than was sent");
        Ok(())
    }

    fn message(&mut self) -> Vec<u8> {
        let longest = if self.rng.random_ratio(1, ONE_IN) { LONG_BYTES } else { SHORT_BYTES };
        let mut message = vec![0; self.rng.random_range(0..=longest)];
        self.rng.fill_bytes(&mut message);
        message
    }

    async fn rest(&mut self) {
        sleep(Duration::from_millis(self.rng.random_range(0..=REST_MS))).await;
    }
}

/// Receives exactly this.
async fn expect(conn: &mut VirtualConn, message: &[u8]) -> anyhow::Result<()> {
    let came = timeout(PATIENCE, conn.recv()).await;
    let came = came.with_context(|| format!("a message did not come in {PATIENCE:?}"))?;
    let came = came.with_context(|| match conn.close_reason() {
        Some(reason) => format!("a message did not come: {reason}"),
        None => "a message did not come".to_owned(),
    })?;
    ensure!(came == message, "{} other bytes came instead of {}", came.len(), message.len());
    Ok(())
}
