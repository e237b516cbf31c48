//! Gateways with servers behind them that echo, and a network between them and clients that can be looked at and broken.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub(crate) use std::time::Duration;

use fastway::command::{ToEndpoint, ToGateway};
pub(crate) use fastway::fleet::{
    Backoff, Choice, Client, Conn, ConnEnd, Ended, Event, FleetConfig, GatewayState, Gateways, NoConn,
    Received, SendError,
};
use fastway::frame::encode;
pub(crate) use fastway::id::ServerId;
use fastway::id::{ConnId, RemoteId};
use fastway::net::{BindOptions, Listener as _, MemoryListener, MemoryNetwork, MemoryStream, Network};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
pub(crate) use tokio::time::{Instant, sleep, timeout};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const A: &str = "10.0.0.1:7010";
pub(crate) const B: &str = "10.0.0.2:7010";
pub(crate) const C: &str = "10.0.0.3:7010";

/// The server that every test dials.
pub(crate) const SERVER: ServerId = ServerId::new(7);

/// A configuration that draws the same each time.
pub(crate) fn seeded(seed: u64) -> FleetConfig {
    FleetConfig { seed: Some(seed), ..FleetConfig::default() }
}

/// The same, with gateways in the order of their addresses: the first of them is `last`'s successor.
pub(crate) fn in_order() -> FleetConfig {
    FleetConfig { choice: Choice::RoundRobin, ..seeded(1) }
}

/// What a network with faults knows.
#[derive(Debug, Default)]
struct Faults {
    tries: Vec<(Instant, String)>,
    delays: BTreeMap<String, Duration>,
    holes: BTreeSet<String>,
}

/// A network that notes who is connected to, and takes as long for it as it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    memory: MemoryNetwork,
    faults: Arc<Mutex<Faults>>,
}

impl Net {
    /// Connecting to this address takes so long.
    pub(crate) fn delay(&self, addr: &str, by: Duration) {
        self.faults.lock().delays.insert(addr.to_owned(), by);
    }

    /// Whoever connects to this address waits for ever.
    pub(crate) fn swallow(&self, addr: &str) {
        self.faults.lock().holes.insert(addr.to_owned());
    }

    /// Who was connected to, or tried, and when.
    pub(crate) fn tries(&self) -> Vec<(Instant, String)> {
        self.faults.lock().tries.clone()
    }

    /// The addresses of those.
    pub(crate) fn tried(&self) -> Vec<String> {
        self.tries().into_iter().map(|(_, addr)| addr).collect()
    }
}

impl Network for Net {
    type Stream = MemoryStream;
    type Listener = MemoryListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<MemoryListener> {
        self.memory.bind(addr, options).await
    }

    async fn connect(&self, addr: &str) -> io::Result<MemoryStream> {
        let (delay, is_hole) = {
            let mut faults = self.faults.lock();
            faults.tries.push((Instant::now(), addr.to_owned()));
            (faults.delays.get(addr).copied(), faults.holes.contains(addr))
        };
        if is_hole {
            pending::<()>().await;
        }
        if let Some(delay) = delay {
            sleep(delay).await;
        }
        self.memory.connect(addr).await
    }
}

/// A gateway, behind which server 7 echoes. It is gone when this is dropped.
pub(crate) struct Gateway {
    state: Arc<State>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// Servers that can be dialled.
    servers: Mutex<BTreeSet<u32>>,
    /// How long a dial takes.
    dial_takes: Mutex<Duration>,
    last_conn: AtomicU32,
    /// It hears nothing and says nothing.
    is_silent: AtomicBool,
    /// What each client is told.
    writers: Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>,
    /// Clients that are connected now, and that ever were.
    present: AtomicU32,
    ever: AtomicU32,
    dials: AtomicU32,
    /// What the servers heard, and the connections that clients closed.
    heard: Mutex<Vec<String>>,
    closed: Mutex<Vec<u32>>,
}

impl Gateway {
    pub(crate) async fn start(net: &Net, addr: &str) -> Self {
        let mut listener = net.bind(addr.parse().unwrap(), BindOptions::default()).await.unwrap();
        let state = Arc::new(State::default());
        state.servers.lock().insert(SERVER.get());
        let mut tasks = JoinSet::new();
        let serving = state.clone();
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let stream = listener.accept().await.unwrap();
                clients.spawn(serve(stream, serving.clone()));
            }
        });
        Self { state, tasks }
    }

    /// It ends, and everything on it, as if the machine had killed it.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    /// It lives on, but nothing comes from it any more.
    pub(crate) fn fall_silent(&self) {
        self.state.is_silent.store(true, Ordering::Relaxed);
    }

    /// Server 7 is not connected to it, or is again.
    pub(crate) fn has_server(&self, has: bool) {
        let mut servers = self.state.servers.lock();
        if has {
            servers.insert(SERVER.get())
        } else {
            servers.remove(&SERVER.get())
        };
    }

    /// A dial takes so long.
    pub(crate) fn answers_dials_after(&self, time: Duration) {
        *self.state.dial_takes.lock() = time;
    }

    /// Says this to every client.
    pub(crate) async fn say(&self, bytes: &[u8]) {
        for writer in &*self.state.writers.lock() {
            let _ = writer.send(bytes.to_vec());
        }
        settle().await;
    }

    pub(crate) fn clients(&self) -> u32 {
        self.state.present.load(Ordering::Relaxed)
    }

    pub(crate) fn clients_ever(&self) -> u32 {
        self.state.ever.load(Ordering::Relaxed)
    }

    /// What clients have said to servers.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.state.heard.lock().clone()
    }

    /// Virtual connections that clients have closed.
    pub(crate) fn closed(&self) -> Vec<u32> {
        self.state.closed.lock().clone()
    }

    pub(crate) fn dials(&self) -> u32 {
        self.state.dials.load(Ordering::Relaxed)
    }
}

/// Lets everything happen that can happen now.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Counts a client for as long as it lives.
struct Present(Arc<State>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(stream: MemoryStream, state: Arc<State>) {
    state.present.fetch_add(1, Ordering::Relaxed);
    state.ever.fetch_add(1, Ordering::Relaxed);
    let _present = Present(state.clone());
    let (mut reader, writer) = tokio::io::split(stream);
    let (tell, told) = mpsc::unbounded_channel();
    state.writers.lock().push(tell.clone());
    let mut writing = JoinSet::new();
    writing.spawn(write(writer, told));
    while let Some(frame) = frame(&mut reader).await {
        if state.is_silent.load(Ordering::Relaxed) {
            continue;
        }
        let conn = ConnId::new(u32::from_le_bytes(frame[..4].try_into().unwrap()));
        match conn {
            Some(conn) => {
                state.heard.lock().push(String::from_utf8_lossy(&frame[4..]).into_owned());
                let _ = tell.send(data(conn.get(), &frame[4..]));
            }
            None => match ToGateway::decode(&frame[4..]).unwrap() {
                ToGateway::Dial { remote } => {
                    state.dials.fetch_add(1, Ordering::Relaxed);
                    let (tell, state) = (tell.clone(), state.clone());
                    writing.spawn(async move {
                        let time = *state.dial_takes.lock();
                        if !time.is_zero() {
                            sleep(time).await;
                        }
                        let _ = tell.send(answer(&state, remote));
                    });
                }
                ToGateway::Ping => drop(tell.send(ToEndpoint::Ping.encode().as_ref().to_vec())),
                ToGateway::Close { conn: Some(conn) } => {
                    state.closed.lock().push(conn.get());
                    let _ = tell.send(close(conn.get()));
                }
                // It does not know the question that comes with it.
                ToGateway::Close { conn: None } => {}
            },
        }
    }
}

fn answer(state: &State, remote: RemoteId) -> Vec<u8> {
    let is_there = state.servers.lock().contains(&ServerId::from(remote).get());
    let answer = if is_there {
        let conn = state.last_conn.fetch_add(1, Ordering::Relaxed) + 1;
        ToEndpoint::Accept { conn: ConnId::new(conn).unwrap(), remote }
    } else {
        ToEndpoint::Refuse { remote }
    };
    answer.encode().as_ref().to_vec()
}

async fn write(mut writer: WriteHalf<MemoryStream>, mut told: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = told.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn frame(reader: &mut ReadHalf<MemoryStream>) -> Option<Vec<u8>> {
    let length = reader.read_u32_le().await.ok()?;
    let mut frame = vec![0; length as usize];
    reader.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

pub(crate) fn data(conn: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(ConnId::new(conn).unwrap(), message, &mut frame);
    frame
}

pub(crate) fn close(conn: u32) -> Vec<u8> {
    ToEndpoint::Close { conn: ConnId::new(conn) }.encode().as_ref().to_vec()
}

pub(crate) fn connect(conn: u32, server: u32) -> Vec<u8> {
    let conn = ConnId::new(conn).unwrap();
    ToEndpoint::Connect { conn, remote: RemoteId::new(server) }.encode().as_ref().to_vec()
}

/// These addresses, for ever.
pub(crate) fn list(addrs: &[&str]) -> Gateways {
    Gateways::list(addrs).unwrap()
}

/// A set that changes when the sender says so.
pub(crate) fn changing() -> (mpsc::UnboundedSender<Vec<String>>, Gateways) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, Gateways::stream(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))))
}

pub(crate) fn set(addrs: &[&str]) -> Vec<String> {
    addrs.iter().map(|addr| (*addr).to_owned()).collect()
}

pub(crate) fn gateway(client: &Client) -> Option<String> {
    client.gateway().map(|gateway| gateway.to_string())
}

/// The client's link is one to this gateway, when that can be.
pub(crate) async fn linked_to(client: &Client, addr: &str) {
    let linked = async {
        while gateway(client).as_deref() != Some(addr) {
            sleep(MS).await;
        }
    };
    timeout(SECOND * 60, linked).await.unwrap_or_else(|_| panic!("no link to {addr}: {:?}", client.status()));
}

pub(crate) fn renewed(addr: &str) -> Option<Received> {
    Some(Received::Renewed { gateway: fastway::fleet::GatewayAddr::new(addr).unwrap() })
}

pub(crate) fn message(text: &'static str) -> Option<Received> {
    Some(Received::Message(text.into()))
}
