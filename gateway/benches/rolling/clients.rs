//! Clients: each is connected to one gateway, says something every few milliseconds, and turns to another gateway when it is told
//! to go.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::encode;
use fastway::id::ConnId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Ledger, Spoken};
use crate::options::Options;
use crate::wire::{self, Ear, Heard};

/// How often a client says something.
const TICK: Duration = Duration::from_millis(20);

/// Before another attempt to connect, when every gateway was tried.
const REST: Duration = Duration::from_millis(1);

/// What all clients have in common.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Where gateways are.
    pub(crate) addrs: Vec<String>,
    pub(crate) ledger: Arc<Ledger>,
    /// Nobody says anything more; who has heard all echoes leaves.
    pub(crate) stop: CancellationToken,
    pub(crate) options: Options,
}

/// One session under way.
struct Session<'a> {
    crowd: &'a Crowd,
    id: u64,
    conn: ConnId,
    spoken: Spoken,
    /// The end of the session before.
    since: Option<Instant>,
}

/// One client, from gateway to gateway.
pub(crate) async fn run(crowd: Arc<Crowd>, number: u32) -> anyhow::Result<()> {
    let server = 1 + number % crowd.options.servers;
    let mut rng = StdRng::seed_from_u64(number.into());
    let (mut first, mut since) = (number as usize, None);
    loop {
        let (gateway, stream, conn) = connect(&crowd, first, server).await?;
        let session = Session::begin(&crowd, gateway, conn, since);
        match session.talk(stream).await? {
            Some(end) => since = Some(end),
            None => return Ok(()),
        }
        // Any of the others; that one may be the next to go, or not be there.
        first = gateway + rng.random_range(1..crowd.addrs.len());
    }
}

/// To a gateway that takes it, and to the server.
async fn connect(crowd: &Crowd, first: usize, server: u32) -> anyhow::Result<(usize, TcpStream, ConnId)> {
    for attempt in 0.. {
        let gateway = (first + attempt) % crowd.addrs.len();
        match wire::client(&crowd.addrs[gateway]).await {
            Ok(mut stream) => match wire::dial(&mut stream, server).await {
                Ok(conn) => return Ok((gateway, stream, conn)),
                Err(_) => crowd.ledger.turned_away(true),
            },
            Err(_) => crowd.ledger.turned_away(false),
        }
        if (attempt + 1).is_multiple_of(crowd.addrs.len()) {
            sleep(REST).await;
        }
    }
    unreachable!("attempts do not end")
}

impl<'a> Session<'a> {
    fn begin(crowd: &'a Crowd, gateway: usize, conn: ConnId, since: Option<Instant>) -> Self {
        let id = crowd.ledger.begin(gateway);
        let spoken = Spoken { gateway, sent: 0, heard: 0, told_to_go: None, handover: None };
        Self { crowd, id, conn, spoken, since }
    }

    /// Talks until the gateway ends it, and when that was; or until everybody stops.
    async fn talk(mut self, mut stream: TcpStream) -> anyhow::Result<Option<Instant>> {
        let (mut from, mut to) = stream.split();
        let (mut ear, mut out) = (Ear::new(), Vec::new());
        let tick = TICK.as_nanos() as u64;
        // At an instant of its own, so that not all of them speak at the same time.
        let offset = Duration::from_nanos(self.id.wrapping_mul(0x9E37_79B9_7F4A_7C15) % tick);
        let begun = Instant::now() + offset;
        let mut ticks = interval_at(begun, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let stop = self.crowd.stop.clone();
        let rate = f64::from(self.crowd.options.rate) / f64::from(self.crowd.options.clients);
        let end = loop {
            tokio::select! {
                // Whether it has ended is always seen before more is said.
                biased;
                heard = ear.hear(&mut from, |heard| self.hear(&heard, &mut out)) => {
                    if !heard.context("a client's connection failed")? {
                        break Some(Instant::now());
                    }
                }
                () = stop.cancelled(), if self.spoken.sent == self.spoken.heard => break None,
                _ = ticks.tick(), if !stop.is_cancelled() => {
                    let due = ((begun.elapsed() + TICK).as_secs_f64() * rate) as u64;
                    for number in self.spoken.sent..due {
                        encode(self.conn, &ledger::write(self.id, number), &mut out);
                    }
                    // If the gateway is gone, it did not wait for the client to see the end: what was said counts.
                    let said = to.write_all(&out).await;
                    self.spoken.sent = self.spoken.sent.max(due);
                    out.clear();
                    if said.is_err() {
                        break Some(Instant::now());
                    }
                }
            }
        };
        self.spoken.told_to_go = end;
        self.crowd.ledger.end(self.id, self.spoken);
        Ok(end)
    }

    fn hear(&mut self, heard: &Heard<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        match heard {
            Heard::Message(_, message) => {
                let (session, number) = ledger::read(message)?;
                ensure!(session == self.id, "a client heard an echo of another session");
                ensure!(number == self.spoken.heard, "echo {number} came instead of {}", self.spoken.heard);
                self.spoken.heard += 1;
                if let Some(since) = self.since.take() {
                    self.spoken.handover = Some(since.elapsed());
                }
            }
            Heard::Command(ToEndpoint::Ping) => out.extend_from_slice(ToGateway::Ping.encode().as_ref()),
            Heard::Command(command) => ensure!(
                !matches!(command, ToEndpoint::Close { .. }),
                "a virtual connection was closed, and its client was not told to go"
            ),
        }
        Ok(())
    }
}
