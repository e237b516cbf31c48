//! Peers whose process is killed in the middle of something: the other side of each of their virtual connections knows soon.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::command::ToGateway;
use fastway::id::{ConnId, RemoteId, Side};
use fastway_loadgen::Target;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustc_hash::FxHashSet;
use tokio::time::{Instant, timeout_at};

use crate::interrupt;
use crate::options::Options;
use crate::report::Report;
use crate::served::Served;
use crate::witness::{Event, Seen, Witnesses};

pub(crate) const NAME: &str = "killed peers";

/// Peers of each kind that are killed.
const KILLS: usize = 50;

/// Those at the other end of a killed peer's connections.
const WITNESSES: u32 = 4;

/// The ID of a server that is killed.
const SERVER: u32 = 1000;

/// So many ms a peer lives at most when its first connection is open.
const LIFE_MS: u64 = 40;

/// A witness that does not know after so long will not.
const PATIENCE: Duration = Duration::from_secs(10);

const WANTED_MS: f64 = 1000.0;

pub(crate) fn measure(options: &Options, report: &mut Report<'_>) -> anyhow::Result<()> {
    let kills = options.scaled(KILLS);
    let mut rng = StdRng::seed_from_u64(options.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for side in [Side::Client, Side::Server] {
        let gateway = Served::gateway(&options.gateway, &["--threads", "1"])?;
        let (mut longest, mut closed) = (Duration::ZERO, 0);
        runtime.block_on(async {
            let mut witnesses = Witnesses::connect(gateway.target(), side.other(), WITNESSES).await?;
            for number in 1..=kills {
                interrupt::check()?;
                report.doing(format!("{side} {number} of {kills}"));
                let kill = Killing::start(gateway.target(), side, &mut rng, &mut witnesses)?;
                let killed = kill.run().await.with_context(|| format!("{side} {number}"))?;
                (longest, closed) = (longest.max(killed.0), closed + killed.1);
            }
            anyhow::Ok(())
        })?;
        let name = format!("{NAME}: until the last other side knows, longest of {kills} {side}s");
        report.add(name, longest.as_secs_f64() * 1e3, "ms", WANTED_MS);
        report.note(&format!("{closed} virtual connections were open when they were killed"));
    }
    Ok(())
}

/// One peer's life and death, and what the witnesses see of it.
struct Killing<'a> {
    victim: Victim,
    life: Duration,
    witnesses: &'a mut Witnesses,
    /// The victim as the witnesses may dial it, once it is known.
    remote: Option<RemoteId>,
    /// By witness.
    views: Vec<View>,
    last_close: Option<Instant>,
}

/// What one witness knows.
#[derive(Debug, Default)]
struct View {
    open: FxHashSet<ConnId>,
    /// It was refused: the victim is gone, and no new connection can come.
    is_refused: bool,
    /// The connection that it dialled to find out.
    dialled: Option<ConnId>,
}

impl<'a> Killing<'a> {
    fn start(
        target: &Target,
        side: Side,
        rng: &mut StdRng,
        witnesses: &'a mut Witnesses,
    ) -> anyhow::Result<Self> {
        let victim = Victim::start(target, side, rng.random())?;
        let life = Duration::from_millis(rng.random_range(0..=LIFE_MS));
        let views = (0..WITNESSES).map(|_| View::default()).collect();
        Ok(Self { victim, life, witnesses, remote: None, views, last_close: None })
    }

    /// How long it took until the last witness knew, and how many connections were open.
    async fn run(mut self) -> anyhow::Result<(Duration, usize)> {
        let deadline = Instant::now() + PATIENCE;
        while self.open() == 0 {
            let seen = timeout_at(deadline, self.witnesses.next()).await.context("nothing was dialled")??;
            self.note(seen);
        }
        let end = Instant::now() + self.life;
        while let Ok(seen) = timeout_at(end, self.witnesses.next()).await {
            self.note(seen?);
        }
        let (open, killed_at) = (self.open(), Instant::now());
        self.victim.kill()?;
        self.witness_the_end(killed_at + PATIENCE).await?;
        let last_close = self.last_close.unwrap_or(killed_at);
        Ok((last_close.saturating_duration_since(killed_at), open))
    }

    /// Each witness dials the victim until it is refused. What it was told of before that is all there is.
    async fn witness_the_end(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let remote = self.remote.context("the victim has dialled")?;
        let dial = ToGateway::Dial { remote };
        for witness in 0..self.views.len() {
            self.witnesses.tell(witness, dial).await?;
        }
        while self.open() > 0 || self.views.iter().any(|view| !view.is_refused) {
            let seen = timeout_at(deadline, self.witnesses.next()).await;
            let seen = seen.with_context(|| {
                format!("after {PATIENCE:?}, {} connections of a killed peer are open", self.open())
            })??;
            let (witness, event) = (seen.witness, seen.event);
            let was_dialled = self.note(seen);
            if was_dialled && matches!(event, Event::Closed(_)) {
                self.witnesses.tell(witness, dial).await?;
            }
        }
        Ok(())
    }

    /// Whether it concerns a connection that the witness has dialled.
    fn note(&mut self, seen: Seen) -> bool {
        let view = &mut self.views[seen.witness];
        match seen.event {
            Event::Opened(conn, remote) => {
                view.open.insert(conn);
                self.remote = Some(remote);
                false
            }
            Event::Accepted(conn) => {
                view.open.insert(conn);
                view.dialled = Some(conn);
                true
            }
            Event::Refused => {
                view.is_refused = true;
                true
            }
            Event::Closed(conn) => {
                view.open.remove(&conn);
                self.last_close = Some(seen.at);
                view.dialled.take_if(|dialled| *dialled == conn).is_some()
            }
        }
    }

    fn open(&self) -> usize {
        self.views.iter().map(|view| view.open.len()).sum()
    }
}

/// The process of the peer. It ends when this is dropped.
struct Victim(Child);

impl Victim {
    fn start(target: &Target, side: Side, seed: u64) -> anyhow::Result<Self> {
        let Target { client_addr, server_addr } = target;
        let role = match side {
            Side::Client => format!("client,{seed},{client_addr},{WITNESSES}"),
            Side::Server => format!("server,{seed},{server_addr},{WITNESSES},{SERVER}"),
        };
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.args(["--restless", &role]).stdin(Stdio::null()).spawn()?))
    }

    /// Kills it: whatever it was doing, it does not finish.
    fn kill(&mut self) -> anyhow::Result<()> {
        let over = self.0.try_wait()?;
        ensure!(over.is_none(), "the peer ended before it was killed");
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
