//! Peers whose machine is gone, for real: on hosts that are network namespaces, with a cable that is pulled out.
//! Making those is for root; where it is not allowed, the tests say so and are skipped.

#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "scripted peers use sockets of their own, not the code under test; cables have no virtual time; what is skipped, and what \
              was measured, is said"
)]

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use fastway::endpoint::{Client, EndpointConfig, LinkError, SendError};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use fastway_gateway::Config;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::hosts::{Host, Switch};
use super::support::{Raw, TestGateway, config_with, connect, wire};

/// What is tested: with this, an idle peer is asked after 1, 2 and 3 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// Beyond it: the grain of alarms, one more repetition, and a busy machine.
const LATEST: Duration = Duration::from_secs(9);

/// A host for the gateway, and another one.
struct Hosts {
    near: Host,
    far: Host,
}

impl Hosts {
    /// `None` where there can be none.
    fn make() -> Option<Self> {
        let make = || {
            let mut switch = Switch::make()?;
            anyhow::Ok(Self { near: switch.host()?, far: switch.host()? })
        };
        make().inspect_err(|error| eprintln!("skipped: {error:#}")).ok()
    }

    async fn gateway(&self, change: impl FnOnce(&mut Config)) -> TestGateway {
        let config = config_with(|config| {
            config.client.addr = (self.near.addr(), 0).into();
            config.server.addr = (self.near.addr(), 0).into();
            config.server.dead_peer_timeout = PATIENCE;
            change(config);
        });
        on(&self.near, TestGateway::start(config)).await
    }

    async fn server(&self, host: &Host, gateway: &TestGateway) -> Raw<TcpStream> {
        let mut server = on(host, connect(gateway.server_addr)).await;
        server.register(7).await;
        server
    }

    /// Takes little before it is read.
    async fn narrow_server(&self, gateway: &TestGateway) -> Raw<TcpStream> {
        let connecting = async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(gateway.server_addr).await.unwrap()
        };
        let mut server = Raw::new(on(&self.far, connecting).await);
        server.register(7).await;
        server
    }

    /// Nothing gets through any more, and nobody is told. Since when that is so.
    fn pull_the_cable(&self) -> Instant {
        self.far.cut().unwrap();
        Instant::now()
    }
}

/// Sockets that `work` makes are of this host.
async fn on<T>(host: &Host, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| host.on(|| work.as_mut().poll(cx))).await
}

/// So long it has taken, and that is neither before the time nor long after it.
fn assert_in_time(since: Instant, earliest: Duration) {
    let taken = since.elapsed();
    println!("found out after {taken:.1?}");
    assert!((earliest..LATEST).contains(&taken), "it took {taken:?}");
}

#[tokio::test]
async fn an_idle_server_whose_machine_is_gone_is_closed() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = on(&hosts.near, connect(gateway.client_addr)).await;
    let mut server = hosts.server(&hosts.far, &gateway).await;
    let conn = client.open(7, &mut server).await;
    // Idle for longer than that is no fault.
    sleep(PATIENCE + PATIENCE / 2).await;
    assert_eq!(gateway.handle.counts().servers, 1);
    let since = hosts.pull_the_cable();
    client.expect(wire::close(conn)).await;
    // The last answer may have come up to two seconds before.
    assert_in_time(since, PATIENCE - Duration::from_secs(3));
}

#[tokio::test]
async fn a_server_that_acknowledges_nothing_is_closed() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = on(&hosts.near, connect(gateway.client_addr)).await;
    let mut server = hosts.server(&hosts.far, &gateway).await;
    let conn = client.open(7, &mut server).await;
    let message = wire::data(conn, b"who is there?");
    for _ in 0..10 {
        client.send(&message).await;
        server.expect(&message).await;
    }
    let since = hosts.pull_the_cable();
    client.send(&message).await;
    client.expect(wire::close(conn)).await;
    assert_in_time(since, PATIENCE - Duration::from_secs(1));
}

/// The same while clients go on talking: every message that the kernel takes is a write that succeeds.
#[tokio::test]
async fn a_server_that_acknowledges_nothing_is_closed_while_clients_talk() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = on(&hosts.near, connect(gateway.client_addr)).await;
    let mut server = hosts.server(&hosts.far, &gateway).await;
    let conn = client.open(7, &mut server).await;
    let message = wire::data(conn, b"who is there?");
    let since = hosts.pull_the_cable();
    client.deadline = Duration::from_millis(20);
    while gateway.handle.counts().servers > 0 {
        client.send(&message).await;
        sleep(Duration::from_millis(20)).await;
        assert!(since.elapsed() < LATEST, "it is still there");
    }
    assert_in_time(since, PATIENCE - Duration::from_secs(1));
}

/// It is away for half of that time, and what was lost meanwhile is sent again.
#[tokio::test]
async fn a_server_that_is_back_in_time_is_kept() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = on(&hosts.near, connect(gateway.client_addr)).await;
    let mut server = hosts.server(&hosts.far, &gateway).await;
    let conn = client.open(7, &mut server).await;
    let message = wire::data(conn, b"who is there?");
    hosts.pull_the_cable();
    client.send(&message).await;
    sleep(PATIENCE / 2).await;
    hosts.far.mend().unwrap();
    server.expect(&message).await;
    assert_eq!(gateway.handle.counts().servers, 1);
}

/// Its window is closed for three times as long, but its kernel answers each question. Whether the gateway waits for room to write,
/// or has written everything and only its kernel waits.
#[tokio::test]
async fn a_server_that_is_alive_and_takes_nothing_is_given_its_time() {
    let Some(hosts) = Hosts::make() else { return };
    for (count, is_blocked) in [(10, false), (20_000, true)] {
        let gateway = hosts.gateway(|_| ()).await;
        let mut client = on(&hosts.near, connect(gateway.client_addr)).await;
        let mut server = hosts.narrow_server(&gateway).await;
        let conn = client.open(7, &mut server).await;
        let message = wire::data(conn, &[7; 1000]);
        for _ in 0..count {
            client.send(&message).await;
        }
        sleep(Duration::from_millis(500)).await;
        let server_session = gateway.handle.sessions().pop().unwrap();
        assert_eq!(server_session.blocked, is_blocked, "{server_session:?}");
        sleep(PATIENCE * 3).await;
        assert_eq!(gateway.handle.counts().servers, 1, "blocked: {is_blocked}");
        for _ in 0..count {
            server.expect(&message).await;
        }
        server.expect_nothing().await;
    }
}

/// Both: what it does not take, it could not take any more.
#[tokio::test]
async fn a_server_that_takes_nothing_and_then_is_gone_is_closed_before_its_time() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|config| config.server.stall_timeout = Duration::from_secs(600)).await;
    let mut client = on(&hosts.near, connect(gateway.client_addr)).await;
    let mut server = hosts.narrow_server(&gateway).await;
    let conn = client.open(7, &mut server).await;
    let message = wire::data(conn, &[7; 1000]);
    for _ in 0..20_000 {
        client.send(&message).await;
    }
    sleep(Duration::from_millis(500)).await;
    let since = hosts.pull_the_cable();
    client.expect(wire::close(conn)).await;
    assert_in_time(since, PATIENCE - Duration::from_secs(1));
}

/// A client is asked only where that is wanted.
#[tokio::test]
async fn a_client_whose_machine_is_gone_is_closed_if_that_is_wanted() {
    let Some(hosts) = Hosts::make() else { return };
    let asking = hosts.gateway(|config| config.client.dead_peer_timeout = PATIENCE).await;
    let patient = hosts.gateway(|_| ()).await;
    let mut clients = Vec::new();
    for gateway in [&asking, &patient] {
        let mut client = on(&hosts.far, connect(gateway.client_addr)).await;
        client.expect_nothing().await;
        clients.push(client);
    }
    let since = hosts.pull_the_cable();
    asking.until("it is gone", |counts| counts.clients == 0).await;
    assert_in_time(since, PATIENCE - Duration::from_secs(3));
    assert_eq!(patient.handle.counts().clients, 1);
}

/// The library's endpoint, idle and with something on its way.
#[tokio::test]
async fn an_endpoint_finds_out_that_the_machine_of_its_gateway_is_gone() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut server = hosts.server(&hosts.near, &gateway).await;
    let public = gateway.client_addr.to_string();
    let config = EndpointConfig { dead_peer_timeout: PATIENCE, ..EndpointConfig::default() };
    let network = TcpNetwork::new();
    let connecting = async {
        let connect = || Client::connect(&network, &public, config.clone());
        (connect().await.unwrap(), connect().await.unwrap())
    };
    let (idle, talking) = on(&hosts.far, connecting).await;
    let (dialled, _) = tokio::join!(talking.dial(ServerId::new(7)), server.frame());
    let mut conn = dialled.unwrap();
    let since = hosts.pull_the_cable();
    conn.send("who is there?").await.unwrap();
    let end = timeout(LATEST, talking.ended()).await.expect("in time");
    assert!(matches!(end, LinkError::Silent(PATIENCE)), "{end}");
    assert_in_time(since, PATIENCE - Duration::from_secs(1));
    let end = timeout(LATEST, idle.ended()).await.expect("in time");
    assert!(matches!(end, LinkError::Failed(_)), "{end}");
    assert_in_time(since, PATIENCE - Duration::from_secs(3));
}

/// A gateway whose server is full reads nothing from the clients that send to it. It is alive all the while.
#[tokio::test]
async fn an_endpoint_that_is_held_back_waits() {
    let Some(hosts) = Hosts::make() else { return };
    let gateway = hosts.gateway(|config| config.server.queue.messages = 10).await;
    let mut server = hosts.narrow_server(&gateway).await;
    let config = EndpointConfig { dead_peer_timeout: PATIENCE, ..EndpointConfig::default() };
    let public = gateway.client_addr.to_string();
    let network = TcpNetwork::new();
    let client = on(&hosts.far, Client::connect(&network, &public, config)).await.unwrap();
    let (dialled, _) = tokio::join!(client.dial(ServerId::new(7)), server.frame());
    let mut conn = dialled.unwrap();
    let sending = tokio::spawn(async move {
        for _ in 0..20_000 {
            conn.send(vec![7; 1000]).await?;
        }
        conn.flush().await.map(|()| conn)
    });
    assert!(timeout(PATIENCE * 3, client.ended()).await.is_err(), "it was given up");
    assert!(!sending.is_finished(), "nobody was held back");
    let mut rest = vec![0; 20_000 * 1008];
    timeout(LATEST, server.stream.read_exact(&mut rest)).await.expect("in time").unwrap();
    let sent: Result<_, SendError> = sending.await.unwrap();
    sent.unwrap();
}
