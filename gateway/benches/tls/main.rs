//! What TLS on the public port costs the gateway, against plain TCP: memory of an idle client, CPU of a connection that is made,
//! CPU of a round trip. Both kinds take turns, and medians are compared.
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench tls
//! ```
//!
//! CPU is that of the gateway's thread alone, with one shard; the clients and the echoing server have another one.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench has threads, prints what it finds, and fails by panicking"
)]

#[path = "../../../fastway/tests/tls/authority.rs"]
mod authority;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use fastway::endpoint::{Client, EndpointConfig, Server, VirtualConn};
use fastway::id::ServerId;
use fastway::net::tls::{TlsAcceptor, TlsConnector, TlsNetwork};
use fastway::net::{BindOptions, Listener as _, MemoryNetwork, Network, TcpNetwork};
use fastway_gateway::{Config, Gateway, Handle};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::{Builder, Runtime};

use authority::Authority;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Odd, for the medians.
const ROUNDS: usize = 7;
const CLIENTS: usize = 50;
const ROUND_TRIPS: usize = 10_000;
const CONNECTIONS: usize = 300;
const IDLE: usize = 1000;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A gateway on a thread of its own.
struct Served {
    handle: Handle,
    client_addr: SocketAddr,
    server_addr: SocketAddr,
    clock: tokio::sync::mpsc::UnboundedSender<mpsc::Sender<Duration>>,
}

impl Served {
    fn start(tls: Option<TlsAcceptor>) -> Self {
        let (started, when_started) = mpsc::channel();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let mut config = Config::default();
                config.client.addr = "127.0.0.1:0".parse().unwrap();
                config.server.addr = "127.0.0.1:0".parse().unwrap();
                config.client.tls = tls;
                let gateway = Gateway::bind(&TcpNetwork::new(), config, [7; 32]).await.unwrap();
                let (clock, mut asked) = tokio::sync::mpsc::unbounded_channel::<mpsc::Sender<Duration>>();
                let (client_addr, server_addr) = (gateway.client_addr(), gateway.server_addr());
                started.send(Self { handle: gateway.handle(), client_addr, server_addr, clock }).unwrap();
                tokio::spawn(async move {
                    while let Some(answer) = asked.recv().await {
                        let now = clock_gettime(ClockId::ThreadCPUTime);
                        answer.send(now.try_into().unwrap()).unwrap();
                    }
                });
                gateway.run().await.unwrap();
            });
        });
        when_started.recv().unwrap()
    }

    /// What the gateway has worked so far.
    fn cpu(&self) -> Duration {
        let (answer, answered) = mpsc::channel();
        self.clock.send(answer).unwrap();
        answered.recv().unwrap()
    }

    /// So much CPU for each of `count` in `work`.
    fn micros(&self, count: usize, work: impl FnOnce()) -> f64 {
        let before = self.cpu();
        work();
        (self.cpu() - before).as_secs_f64() * 1e6 / count as f64
    }
}

/// What two gateways take, in turn: medians of both, and of their ratio.
fn compare(name: &str, mut plain: impl FnMut() -> f64, mut tls: impl FnMut() -> f64) {
    let pairs: Vec<_> = (0..ROUNDS).map(|_| (plain(), tls())).collect();
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<_> = pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[ROUNDS / 2], values[0], values[ROUNDS - 1])
    };
    let (ratio, least, most) = median(|pair| pair.1 / pair.0);
    println!(
        "{name:<34} {:>9.2} µs {:>9.2} µs   {ratio:>5.2}  {least:.2}–{most:.2}",
        median(|pair| pair.0).0,
        median(|pair| pair.1).0,
    );
}

/// Clients that hold a virtual connection to an echoing server.
struct Talk {
    conns: Vec<VirtualConn>,
    _endpoints: (Vec<Client>, Server),
}

impl Talk {
    async fn begin<N: Network>(network: N, gateway: &Served) -> Self {
        let (internal, addr) = (TcpNetwork::new(), gateway.server_addr.to_string());
        let server = Server::connect(&internal, &addr, ServerId::new(1), b"", EndpointConfig::default());
        let server = server.await.unwrap();
        while gateway.handle.counts().servers == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok(mut conn) = accepting.accept().await {
                tokio::spawn(async move {
                    while let Some(message) = conn.recv().await {
                        conn.send(message).await.unwrap();
                    }
                });
            }
        });
        let (mut conns, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            let addr = gateway.client_addr.to_string();
            let client = Client::connect(&network, &addr, EndpointConfig::default()).await.unwrap();
            conns.push(client.dial(ServerId::new(1)).await.unwrap());
            clients.push(client);
        }
        Self { conns, _endpoints: (clients, server) }
    }

    async fn round_trips(&mut self, message_bytes: usize, count: usize) {
        let message = vec![7_u8; message_bytes];
        let talk = self.conns.iter_mut().map(|conn| async {
            for _ in 0..count / CLIENTS {
                conn.send(message.clone()).await.unwrap();
                assert_eq!(conn.recv().await.unwrap().len(), message_bytes);
            }
        });
        futures_util::future::join_all(talk).await;
    }
}

/// Connections that are made, and closed in order, one after the other.
async fn connections<N: Network>(network: &N, gateway: &Served) {
    for _ in 0..CONNECTIONS {
        let addr = gateway.client_addr.to_string();
        let client = Client::connect(network, &addr, EndpointConfig::default()).await.unwrap();
        client.close();
        client.ended().await;
    }
}

/// Heap bytes of the accepting end of an idle connection, beyond those of the plain one inside of it.
async fn idle_bytes(connector: &TlsConnector, acceptor: &TlsAcceptor) -> usize {
    let network = MemoryNetwork::new();
    let mut listener = network.bind("10.0.0.1:1".parse().unwrap(), BindOptions::default()).await.unwrap();
    let mut held = Vec::with_capacity(IDLE);
    let mut bytes = [0; 2];
    for (tls, bytes) in [false, true].into_iter().zip(&mut bytes) {
        let region = Region::new(ALLOCATOR);
        for _ in 0..IDLE {
            let (near, far) = tokio::join!(network.connect("10.0.0.1:1"), listener.accept());
            let (near, far) = (near.unwrap(), far.unwrap());
            if tls {
                let mut near = connector.connect(near, "").unwrap();
                let mut far = acceptor.accept(far).unwrap();
                let (near_shaken, far_shaken) = tokio::join!(near.handshake(), far.handshake());
                near_shaken.and(far_shaken).unwrap();
                held.push((None, Some(far)));
            } else {
                drop(near);
                held.push((Some(far), None));
            }
        }
        let change = region.change();
        *bytes = change.bytes_allocated - change.bytes_deallocated;
        held.clear();
    }
    (bytes[1] - bytes[0]) / IDLE
}

fn main() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::new(authority.issue("gateway.internal").identity(), None).unwrap();
    let connector = TlsConnector::new(authority.authorities()).unwrap();
    let connector = connector.with_server_name("gateway.internal").unwrap();
    let bytes = runtime().block_on(idle_bytes(&connector, &acceptor));
    println!("memory of an idle client: {bytes} bytes more than over TCP\n");

    println!("{:<34} {:>12} {:>12}   {:>5}  spread", "CPU of the gateway", "TCP", "TLS", "ratio");
    let (plain, tls) = (Served::start(None), Served::start(Some(acceptor)));
    let encrypted = TlsNetwork::new(TcpNetwork::new(), connector);
    let runtime = runtime();
    let connect = "a connection, made and closed";
    compare(
        connect,
        || plain.micros(CONNECTIONS, || runtime.block_on(connections(&TcpNetwork::new(), &plain))),
        || tls.micros(CONNECTIONS, || runtime.block_on(connections(&encrypted, &tls))),
    );
    let mut over_tcp = runtime.block_on(Talk::begin(TcpNetwork::new(), &plain));
    let mut over_tls = runtime.block_on(Talk::begin(encrypted.clone(), &tls));
    for (message_bytes, count) in [(64, ROUND_TRIPS), (1024, ROUND_TRIPS), (16 * 1024, ROUND_TRIPS / 5)] {
        compare(
            &format!("a round trip of {message_bytes} bytes"),
            || plain.micros(count, || runtime.block_on(over_tcp.round_trips(message_bytes, count))),
            || tls.micros(count, || runtime.block_on(over_tls.round_trips(message_bytes, count))),
        );
    }
}
