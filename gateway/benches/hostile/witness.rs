//! Those at the other end of a killed peer's connections: what they see, in the order of time.

use anyhow::{Context as _, bail, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::id::{ConnId, RemoteId, Side};
use fastway_loadgen::Target;
use rustc_hash::FxHashMap;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::wire::{self, Ear, Heard};

/// What a witness sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) witness: usize,
    pub(crate) event: Event,
    pub(crate) at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// By the remote one.
    Opened(ConnId, RemoteId),
    /// As the witness asked.
    Accepted(ConnId),
    Refused,
    Closed(ConnId),
}

/// Some physical connections of one side.
pub(crate) struct Witnesses {
    writing: Vec<OwnedWriteHalf>,
    seen: mpsc::UnboundedReceiver<Seen>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Witnesses {
    /// Connects so many, numbered from 1: servers by the ID that they choose, clients since they are the gateway's first.
    pub(crate) async fn connect(target: &Target, side: Side, count: u32) -> anyhow::Result<Self> {
        let (sender, seen) = mpsc::unbounded_channel();
        let (mut writing, mut tasks) = (Vec::new(), JoinSet::new());
        for number in 1..=count {
            let stream = match side {
                Side::Client => wire::client(&target.client_addr).await?,
                Side::Server => wire::server(&target.server_addr, number).await?,
            };
            let (read_half, write_half) = stream.into_split();
            tasks.spawn(watch(writing.len(), read_half, sender.clone()));
            writing.push(write_half);
        }
        Ok(Self { writing, seen, tasks })
    }

    /// What is seen next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Seen> {
        if let Some(failed) = self.tasks.try_join_next() {
            failed?.context("a witness")?;
        }
        // Tells of an end soon enough: there are others who see something, or a deadline.
        self.seen.recv().await.context("no witness is left")
    }

    /// One of them says this.
    pub(crate) async fn tell(&mut self, witness: usize, command: ToGateway) -> anyhow::Result<()> {
        self.writing[witness].write_all(command.encode().as_ref()).await.context("a witness cannot write")
    }
}

/// Also verifies that the messages of each connection come whole, once and in order (rule 5).
async fn watch(
    witness: usize,
    mut stream: OwnedReadHalf,
    sender: mpsc::UnboundedSender<Seen>,
) -> anyhow::Result<()> {
    let mut ear = Ear::new();
    let mut expected = FxHashMap::<ConnId, u32>::default();
    loop {
        let more = ear.hear(&mut stream, |heard| {
            let at = Instant::now();
            let event = match heard {
                Heard::Message(conn, message) => {
                    let next =
                        expected.get_mut(&conn).context("a message came on a connection that is not open")?;
                    let number = message.first_chunk().map(|number| u32::from_le_bytes(*number));
                    ensure!(number == Some(*next), "message {number:?} came instead of {next}");
                    *next += 1;
                    return Ok(());
                }
                Heard::Command(ToEndpoint::Connect { conn, remote }) => {
                    expected.insert(conn, 0);
                    Event::Opened(conn, remote)
                }
                Heard::Command(ToEndpoint::Accept { conn, .. }) => {
                    expected.insert(conn, 0);
                    Event::Accepted(conn)
                }
                Heard::Command(ToEndpoint::Refuse { .. }) => Event::Refused,
                Heard::Command(ToEndpoint::Close { conn: Some(conn) }) => {
                    ensure!(expected.remove(&conn).is_some(), "connection {conn} was closed twice");
                    Event::Closed(conn)
                }
                Heard::Command(ToEndpoint::Ping) => return Ok(()),
                Heard::Command(other) => bail!("{other:?} came"),
            };
            let _ = sender.send(Seen { witness, event, at });
            Ok(())
        });
        ensure!(more.await?, "the gateway closed a witness");
    }
}
