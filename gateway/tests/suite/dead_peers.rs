//! Peers whose machine is gone, for real: in network namespaces of this test's own, with a cable between them that is pulled out.
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

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use fastway::endpoint::{Client, EndpointConfig, LinkError, SendError};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use fastway_gateway::Config;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::support::{Raw, TestGateway, config_with, connect, wire};

/// What is tested: with this, an idle peer is asked after 1, 2 and 3 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// Beyond it: the grain of alarms, one more repetition, and a busy machine.
const LATEST: Duration = Duration::from_secs(9);

/// Two hosts with a cable between them.
struct Hosts {
    names: [String; 2],
    namespaces: [File; 2],
    home: File,
}

/// The host of the gateway, and the other one.
const NEAR: usize = 0;
const FAR: usize = 1;

impl Hosts {
    /// `None` where it is not allowed.
    fn new(test: &str) -> Option<Self> {
        let names = ["near", "far"].map(|host| format!("fastway-{}-{test}-{host}", std::process::id()));
        let [near, far] = &names;
        for arguments in [
            format!("netns add {near}"),
            format!("netns add {far}"),
            format!("link add cable netns {near} type veth peer name cable netns {far}"),
            format!("-n {near} address add 10.99.0.1/24 dev cable"),
            format!("-n {far} address add 10.99.0.2/24 dev cable"),
            format!("-n {near} link set lo up"),
            format!("-n {near} link set cable up"),
            format!("-n {far} link set cable up"),
        ] {
            if let Err(reason) = ip(&arguments) {
                eprintln!("skipped: this test needs network namespaces, and `ip {arguments}` says {reason}");
                names.iter().for_each(|name| drop(ip(&format!("netns delete {name}"))));
                return None;
            }
        }
        let namespaces = [near, far].map(|name| File::open(format!("/run/netns/{name}")).unwrap());
        Some(Self { names, namespaces, home: File::open("/proc/thread-self/ns/net").unwrap() })
    }

    /// Sockets that are made in it are of this host. The runtime of a test is one thread, and so is what is moved.
    async fn on<T>(&self, host: usize, work: impl Future<Output = T>) -> T {
        let enter = |namespace: &File| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        };
        enter(&self.namespaces[host]);
        let done = work.await;
        enter(&self.home);
        done
    }

    async fn gateway(&self, change: impl FnOnce(&mut Config)) -> TestGateway {
        let config = config_with(|config| {
            config.client.addr = "10.99.0.1:0".parse().unwrap();
            config.server.addr = "10.99.0.1:0".parse().unwrap();
            config.server.dead_peer_timeout = PATIENCE;
            change(config);
        });
        self.on(NEAR, TestGateway::start(config)).await
    }

    async fn server(&self, host: usize, gateway: &TestGateway) -> Raw<TcpStream> {
        let mut server = self.on(host, connect(gateway.server_addr)).await;
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
        let mut server = Raw::new(self.on(FAR, connecting).await);
        server.register(7).await;
        server
    }

    /// Nothing gets through any more, and nobody is told. Since when that is so.
    fn pull_the_cable(&self) -> Instant {
        ip(&format!("-n {} link set cable down", self.names[FAR])).unwrap();
        Instant::now()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| ip(&format!("netns delete {name}")).unwrap());
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// So long it has taken, and that is neither before the time nor long after it.
fn assert_in_time(since: Instant, earliest: Duration) {
    let taken = since.elapsed();
    println!("found out after {taken:.1?}");
    assert!((earliest..LATEST).contains(&taken), "it took {taken:?}");
}

#[tokio::test]
async fn an_idle_server_whose_machine_is_gone_is_closed() {
    let Some(hosts) = Hosts::new("idle") else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = hosts.on(NEAR, connect(gateway.client_addr)).await;
    let mut server = hosts.server(FAR, &gateway).await;
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
    let Some(hosts) = Hosts::new("unacknowledged") else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = hosts.on(NEAR, connect(gateway.client_addr)).await;
    let mut server = hosts.server(FAR, &gateway).await;
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
    let Some(hosts) = Hosts::new("talking") else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut client = hosts.on(NEAR, connect(gateway.client_addr)).await;
    let mut server = hosts.server(FAR, &gateway).await;
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

/// Its window is closed for three times as long, but its kernel answers each question. Whether the gateway waits for room to write,
/// or has written everything and only its kernel waits.
#[tokio::test]
async fn a_server_that_is_alive_and_takes_nothing_is_given_its_time() {
    let Some(hosts) = Hosts::new("stalled") else { return };
    for (count, is_blocked) in [(10, false), (20_000, true)] {
        let gateway = hosts.gateway(|_| ()).await;
        let mut client = hosts.on(NEAR, connect(gateway.client_addr)).await;
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
    let Some(hosts) = Hosts::new("gone") else { return };
    let gateway = hosts.gateway(|config| config.server.stall_timeout = Duration::from_secs(600)).await;
    let mut client = hosts.on(NEAR, connect(gateway.client_addr)).await;
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
    let Some(hosts) = Hosts::new("client") else { return };
    let asking = hosts.gateway(|config| config.client.dead_peer_timeout = PATIENCE).await;
    let patient = hosts.gateway(|_| ()).await;
    let mut clients = Vec::new();
    for gateway in [&asking, &patient] {
        let mut client = hosts.on(FAR, connect(gateway.client_addr)).await;
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
    let Some(hosts) = Hosts::new("endpoint") else { return };
    let gateway = hosts.gateway(|_| ()).await;
    let mut server = hosts.server(NEAR, &gateway).await;
    let public = gateway.client_addr.to_string();
    let config = EndpointConfig { dead_peer_timeout: PATIENCE, ..EndpointConfig::default() };
    let network = TcpNetwork::new();
    let connecting = async {
        let connect = || Client::connect(&network, &public, config.clone());
        (connect().await.unwrap(), connect().await.unwrap())
    };
    let (idle, talking) = hosts.on(FAR, connecting).await;
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
    let Some(hosts) = Hosts::new("held-back") else { return };
    let gateway = hosts.gateway(|config| config.server.queue.messages = 10).await;
    let mut server = hosts.narrow_server(&gateway).await;
    let config = EndpointConfig { dead_peer_timeout: PATIENCE, ..EndpointConfig::default() };
    let public = gateway.client_addr.to_string();
    let network = TcpNetwork::new();
    let client = hosts.on(FAR, Client::connect(&network, &public, config)).await.unwrap();
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
