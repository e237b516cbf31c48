//! Clients that a server floods. Those that never read are cut off by the gateway (rule 14), and come again; those that do read
//! show what the flood alone costs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame;
use fastway::id::ConnId;
use fastway_loadgen::Target;
use rustc_hash::FxHashMap;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::wire::{self, Ear, Heard};

/// Bytes of a message of the flood.
const MESSAGE_BYTES: usize = 100;

/// What a client is sent at once; then it is another one's turn.
const BURST: usize = 20;

/// The flood comes in portions so small that nobody waits for one.
const TICK: Duration = Duration::from_millis(1);

/// The segments of a client on the internet, and a buffer to fit: with those of the loopback device, the kernel would take
/// megabytes before the gateway notices that nobody reads.
const SEGMENT_BYTES: u32 = 1460;
const RECEIVE_BYTES: u32 = 4096;

/// How many there are, and what they get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    /// The ID of the server that floods.
    pub(crate) server: u32,
    pub(crate) clients: usize,
    /// Messages that each of them is sent a second.
    pub(crate) rate: f64,
    /// They do read, and are not slow at all.
    pub(crate) read: bool,
}

impl Slow {
    /// Goes on until it is told to stop. `cut_offs` counts the clients that were.
    pub(crate) async fn run(
        self,
        target: Target,
        stop: CancellationToken,
        cut_offs: Arc<AtomicU64>,
    ) -> anyhow::Result<()> {
        let (reading, writing) = wire::server(&target.server_addr, self.server).await?.into_split();
        let flooded = Arc::new(Flooded::default());
        let (pongs, pings) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(reading, flooded.clone(), pongs));
        tasks.spawn(flood(writing, flooded.clone(), self.rate, pings));
        let addr: SocketAddr = target.client_addr.parse().context("the gateway's address is one")?;
        for _ in 0..self.clients {
            if self.read {
                tasks.spawn(read(addr, self.server));
            } else {
                tasks.spawn(never_read(addr, self.server, flooded.clone(), cut_offs.clone()));
            }
        }
        // None of them ends by itself, unless something is wrong.
        match stop.run_until_cancelled(tasks.join_next()).await.flatten() {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }
}

/// The virtual connections of the server that floods.
#[derive(Debug, Default)]
struct Flooded(Mutex<Conns>);

#[derive(Debug, Default)]
struct Conns {
    open: Vec<ConnId>,
    /// Who waits for the end of a connection; `None` if it has ended and nobody has asked yet.
    ends: FxHashMap<ConnId, Option<oneshot::Sender<()>>>,
    /// Whose turn it is.
    next: usize,
}

impl Flooded {
    fn with<R>(&self, change: impl FnOnce(&mut Conns) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the server was told that the connection is closed.
    async fn ended(&self, conn: ConnId) {
        let end = self.with(|conns| match conns.ends.remove(&conn) {
            Some(_) => None,
            None => {
                let (sender, end) = oneshot::channel();
                conns.ends.insert(conn, Some(sender));
                Some(end)
            }
        });
        if let Some(end) = end {
            let _ = end.await;
        }
    }

    fn handle(&self, command: ToEndpoint) {
        self.with(|conns| match command {
            ToEndpoint::Connect { conn, .. } => conns.open.push(conn),
            ToEndpoint::Close { conn: Some(conn) } => {
                conns.open.retain(|open| *open != conn);
                match conns.ends.remove(&conn).flatten() {
                    Some(waiting) => drop(waiting.send(())),
                    None => drop(conns.ends.insert(conn, None)),
                }
            }
            _ => {}
        });
    }

    /// So many bursts, one for each connection in turn.
    fn portion(&self, bursts: usize) -> Vec<u8> {
        self.with(|conns| {
            let mut out = Vec::new();
            for _ in 0..bursts {
                let Some(conn) = conns.open.get(conns.next % conns.open.len().max(1)) else { break };
                (0..BURST).for_each(|_| frame::encode(*conn, &[7; MESSAGE_BYTES], &mut out));
                conns.next = conns.next.wrapping_add(1);
            }
            out
        })
    }

    fn open(&self) -> usize {
        self.with(|conns| conns.open.len())
    }
}

async fn listen(
    mut stream: OwnedReadHalf,
    flooded: Arc<Flooded>,
    pongs: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let mut ear = Ear::new();
    loop {
        let go_on = ear.hear(&mut stream, |heard| {
            match heard {
                // One that is not answered yet answers for this one too.
                Heard::Command(ToEndpoint::Ping) => drop(pongs.try_send(())),
                Heard::Command(command) => flooded.handle(command),
                Heard::Message(..) => {}
            }
            Ok(())
        });
        ensure!(go_on.await?, "the gateway closed the server that floods");
    }
}

async fn flood(
    mut stream: OwnedWriteHalf,
    flooded: Arc<Flooded>,
    rate: f64,
    mut pings: mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut due) = (Instant::now(), 0.0);
    loop {
        let now = ticks.tick().await;
        // After a long wait, this is not the time to make up for it.
        let elapsed = (now - last).min(10 * TICK);
        due += rate / BURST as f64 * flooded.open() as f64 * elapsed.as_secs_f64();
        let mut out = flooded.portion(due as usize);
        (last, due) = (now, due.fract());
        if pings.try_recv().is_ok() {
            out.extend_from_slice(ToGateway::Ping.encode().as_ref());
        }
        stream.write_all(&out).await.context("the gateway takes nothing from the server that floods")?;
    }
}

/// Dials, reads the answer, and nothing after it, until it is cut off; again and again.
async fn never_read(
    addr: SocketAddr,
    server: u32,
    flooded: Arc<Flooded>,
    cut_offs: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    loop {
        let mut stream = connect(addr).await.context("a client that never reads cannot connect")?;
        let conn = wire::dial(&mut stream, server).await?;
        flooded.ended(conn).await;
        cut_offs.fetch_add(1, Ordering::Relaxed);
    }
}

/// Dials, and reads whatever comes.
async fn read(addr: SocketAddr, server: u32) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(addr).await.context("a client that reads cannot connect")?;
    wire::dial(&mut stream, server).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    bail!("the gateway closed a client that reads what it is flooded with")
}

async fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    // What it has not read would be sent to it for minutes after it has gone.
    socket.set_zero_linger()?;
    socket.connect(addr).await
}
