//! Clients that send as fast as they can, to a server that does not read, or reads slowly: they are held back (rule 15), and
//! nothing is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame;
use fastway::id::ConnId;
use fastway_loadgen::Target;
use rustc_hash::FxHashMap;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::wire::{self, Ear, Heard};

/// Bytes of a message. It begins with its number.
const MESSAGE_BYTES: usize = 1024;

/// Messages that are handed to the kernel at once.
const BATCH: u64 = 16;

/// What was sent and what came, by virtual connection, until both are known and the same.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: Mutex<FxHashMap<ConnId, u64>>,
    /// Bytes that flooding clients could hand to the kernel.
    pub(crate) bytes_written: AtomicU64,
}

impl Ledger {
    /// One side is done with a connection, after so many messages.
    fn settle(&self, conn: ConnId, messages: u64) -> anyhow::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.remove(&conn) {
            None => drop(open.insert(conn, messages)),
            Some(others) => ensure!(
                messages == others,
                "of a flood on connection {conn}, one side counts {messages} messages and the other {others}"
            ),
        }
        Ok(())
    }

    /// Floods of which only one side has told.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A client that floods a server until it is told to stop, and closes the connection then. Returns when the gateway has
/// confirmed that: the server has to read for it.
pub(crate) async fn flood(
    addr: String,
    server: u32,
    stop: CancellationToken,
    ledger: Arc<Ledger>,
) -> anyhow::Result<()> {
    let mut stream = wire::client(&addr).await?;
    let conn = wire::dial(&mut stream, server).await?;
    let (mut sent, mut message, mut out) = (0, [0; MESSAGE_BYTES], Vec::new());
    while !stop.is_cancelled() {
        out.clear();
        for number in sent..sent + BATCH {
            message[..8].copy_from_slice(&number.to_le_bytes());
            frame::encode(conn, &message, &mut out);
        }
        stream.write_all(&out).await.context("the gateway takes nothing from a client that floods")?;
        sent += BATCH;
        ledger.bytes_written.fetch_add(out.len() as u64, Ordering::Relaxed);
    }
    stream.write_all(ToGateway::Close { conn: Some(conn) }.encode().as_ref()).await?;
    ledger.settle(conn, sent)?;
    let (mut ear, mut closed) = (Ear::new(), false);
    while !closed {
        let more = ear.hear(&mut stream, |heard| {
            closed |= matches!(heard, Heard::Command(ToEndpoint::Close { conn: Some(at) }) if at == conn);
            Ok(())
        });
        ensure!(more.await? || closed, "the gateway closed a client that floods");
    }
    Ok(())
}

/// A server that takes floods, and waits as long as `pace` says before each read. It verifies that nothing is missing and
/// everything is in its order.
pub(crate) async fn take<F: Future<Output = ()>>(
    target: Target,
    id: u32,
    mut pace: impl FnMut() -> F,
    ledger: Arc<Ledger>,
) -> anyhow::Result<()> {
    let mut stream = wire::server(&target.server_addr, id).await?;
    let (mut ear, mut came) = (Ear::new(), FxHashMap::<ConnId, u64>::default());
    loop {
        pace().await;
        let mut is_pinged = false;
        let more = ear.hear(&mut stream, |heard| match heard {
            Heard::Command(ToEndpoint::Connect { conn, .. }) => {
                came.insert(conn, 0);
                Ok(())
            }
            Heard::Command(ToEndpoint::Close { conn: Some(conn) }) => match came.remove(&conn) {
                Some(messages) => ledger.settle(conn, messages),
                None => bail!("connection {conn} was closed, but never opened"),
            },
            Heard::Command(command) => {
                is_pinged |= command == ToEndpoint::Ping;
                Ok(())
            }
            Heard::Message(conn, message) => {
                let next = came.get_mut(&conn).context("a message came on a connection that is not open")?;
                let number = message.first_chunk().map(|number| u64::from_le_bytes(*number));
                ensure!(
                    number == Some(*next) && message.len() == MESSAGE_BYTES,
                    "of a flood, message {number:?} came instead of {next}"
                );
                *next += 1;
                Ok(())
            }
        });
        ensure!(more.await?, "the gateway closed the server that is flooded");
        if is_pinged {
            stream.write_all(ToGateway::Ping.encode().as_ref()).await?;
        }
    }
}
