//! Clients behind a proxy that says whose connection it is (PROXY protocol), and what is not believed.

#![expect(
    clippy::disallowed_types,
    reason = "scripted peers use sockets of their own, not the code under test"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastway::net::{MemoryNetwork, Network, TcpNetwork};
use fastway_gateway::{Config, Refusal};
use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use super::support::{Raw, TestGateway, config_with, threads, wire};

const DEADLINE: Duration = Duration::from_secs(3);

/// Version 1, as a proxy sends it that has this client.
fn line(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, own) = if client.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "fd00::1") };
    format!("PROXY {family} {} {own} {} 7010\r\n", client.ip(), client.port()).into_bytes()
}

/// The same in version 2.
fn binary(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, addresses) = match client.ip() {
        IpAddr::V4(ip) => (0x11, [ip.octets(), [10, 0, 0, 1]].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), [0xfd; 16]].concat()),
    };
    let ports = [client.port().to_be_bytes(), 7010_u16.to_be_bytes()].concat();
    binary_of(0x21, family, &[addresses, ports].concat())
}

fn binary_of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

/// Whoever comes from the machine itself is a proxy.
fn behind_a_proxy(change: impl FnOnce(&mut Config)) -> Config {
    config_with(|config| {
        config.client.proxy_protocol = vec!["127.0.0.1/32".parse().unwrap()];
        change(config);
    })
}

async fn connection<N: Network>(gateway: &TestGateway<N>) -> Raw<N::Stream> {
    Raw::new(gateway.network.connect(&gateway.client_addr.to_string()).await.unwrap())
}

/// This begins a connection, and the client is served; or not.
async fn client<N: Network>(gateway: &TestGateway<N>, header: &[u8]) -> Raw<N::Stream> {
    let mut client = connection(gateway).await;
    client.send(header).await;
    client.expect_nothing().await;
    client
}

async fn refused<N: Network>(gateway: &TestGateway<N>, header: &[u8], refusal: Refusal) {
    let before = gateway.handle.refusals(refusal);
    let mut client = connection(gateway).await;
    client.send(header).await;
    client.expect_end().await;
    assert_eq!(gateway.handle.refusals(refusal), before + 1, "{refusal}");
}

#[tokio::test]
async fn the_address_in_the_header_is_the_one_that_counts() {
    async fn on<N: Network>(network: N) {
        let config = behind_a_proxy(|config| config.client.max_clients_per_ip = 2);
        let gateway = TestGateway::start_on(network, config).await;
        for (clients, another) in [
            (
                [line("192.0.2.1:5"), binary("192.0.2.1:6"), binary("[::ffff:192.0.2.1]:7")],
                line("192.0.2.2:5"),
            ),
            (
                [line("[2001:db8::1]:5"), binary("[2001:db8::2]:6"), line("[2001:db8::3]:7")],
                binary("[2001:db9::1]:5"),
            ),
        ] {
            let [first, second, third] = &clients;
            let (first, second) = (client(&gateway, first).await, client(&gateway, second).await);
            refused(&gateway, third, Refusal::ClientsOfAddress).await;
            let other = client(&gateway, &another).await;
            drop(first);
            gateway.until("one has gone", |counts| counts.clients == 2).await;
            client(&gateway, third).await;
            drop((second, other));
            gateway.nothing_is_left().await;
        }
        gateway.stop().await;
    }
    on(MemoryNetwork::new()).await;
    on(TcpNetwork::new()).await;
}

/// In one segment and in the smallest pieces.
#[tokio::test]
async fn what_follows_the_header_reaches_the_server() {
    async fn on<N: Network>(network: N, shards: usize) {
        let gateway =
            TestGateway::start_on(network, behind_a_proxy(|config| config.threads = threads(shards))).await;
        let mut server = Raw::new(gateway.network.connect(&gateway.server_addr.to_string()).await.unwrap());
        server.register(7).await;
        let additions = [&[0xea, 0x0b, 0xb8][..], &[9; 3000]].concat();
        let mut long = binary("192.0.2.1:5");
        long.truncate(14);
        long.extend((12 + additions.len() as u16).to_be_bytes());
        long.extend_from_slice(&binary("192.0.2.1:5")[16..]);
        long.extend(additions);
        let mut id = 0;
        for header in
            [line("192.0.2.1:5"), line("[2001:db8::1]:5"), binary("192.0.2.1:5"), binary("[::1]:5"), long]
        {
            for piece in [usize::MAX, 1] {
                id += 1;
                let mut client = connection(&gateway).await;
                // What it dials has a number that it can guess.
                let frames = [wire::dial(7), wire::data(id, b"hello"), wire::ping()];
                for piece in [&header[..], &frames.concat()].concat().chunks(piece) {
                    client.send(piece).await;
                }
                client.expect(wire::accept(id, 7)).await;
                client.expect(wire::ping()).await;
                server.expect(wire::connect(id, id)).await;
                server.expect(wire::data(id, b"hello")).await;
                drop(client);
                server.expect(wire::close(id)).await;
            }
        }
        drop(server);
        gateway.nothing_is_left().await;
        gateway.stop().await;
    }
    on(MemoryNetwork::new(), 1).await;
    on(TcpNetwork::new(), 1).await;
    on(TcpNetwork::new(), 4).await;
}

/// Health checks, and clients whose address the proxy cannot tell.
#[tokio::test]
async fn a_header_without_a_client_stands_for_the_proxy_itself() {
    let config = behind_a_proxy(|config| config.client.max_clients_per_ip = 1);
    let gateway = TestGateway::start(config).await;
    let ipv4 = [192, 0, 2, 1, 10, 0, 0, 1, 0, 5, 0, 6];
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 5 6\r\n".to_vec(),
        binary_of(0x20, 0, &[]),
        binary_of(0x20, 0x11, &ipv4),
        binary_of(0x21, 0, &[]),
        binary_of(0x21, 0x31, &[7; 216]),
    ] {
        let held = client(&gateway, &header).await;
        refused(&gateway, &header, Refusal::ClientsOfAddress).await;
        client(&gateway, &line("192.0.2.1:5")).await;
        drop(held);
        gateway.nothing_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whose_header_is_not_there_in_time_is_turned_away_and_nothing_is_left() {
    let gateway = TestGateway::start_in_memory(behind_a_proxy(|_| {})).await;
    let (line, binary) = (line("192.0.2.1:5"), binary("192.0.2.1:5"));
    for begun in [&[][..], &line[..1], &line[..line.len() - 1], &binary[..1], &binary[..16], &binary[..27]] {
        let before = gateway.handle.refusals(Refusal::ProxyHeader);
        let start = Instant::now();
        let mut connection = gateway.client().await;
        connection.send(begun).await;
        connection.expect_end().await;
        assert_eq!(start.elapsed().as_secs(), DEADLINE.as_secs(), "{begun:?}");
        assert_eq!(gateway.handle.refusals(Refusal::ProxyHeader), before + 1);
    }
    // Byte by byte it takes longer than the deadline, however many bytes are still to come.
    let start = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(gateway.client().await.stream);
    let trickle = tokio::spawn(async move {
        for byte in line {
            if tokio::io::AsyncWriteExt::write_all(&mut writing, &[byte]).await.is_err() {
                break;
            }
            sleep(DEADLINE / 10).await;
        }
    });
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut rest).await.unwrap();
    assert_eq!((start.elapsed().as_secs(), rest), (DEADLINE.as_secs(), Vec::new()));
    trickle.await.unwrap();
    gateway.nothing_is_left().await;
    gateway.stop().await;
}

/// They have no place yet that others could need, and nobody waits for them.
#[tokio::test(start_paused = true)]
async fn who_is_waited_for_stands_in_nobodys_way() {
    let config = behind_a_proxy(|config| config.client.max_clients = 1);
    let gateway = TestGateway::start_in_memory(config).await;
    let start = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..500 {
        waiting.push(gateway.client().await);
    }
    let served = client(&gateway, &line("192.0.2.1:5")).await;
    refused(&gateway, &line("192.0.2.1:6"), Refusal::Clients).await;
    assert_eq!(gateway.handle.counts().clients, 1);
    drop(served);
    gateway.nothing_is_left().await;
    // Nor do they delay the end.
    gateway.stop().await;
    assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
    for mut connection in waiting {
        connection.expect_end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_header_is_turned_away_at_once() {
    let gateway = TestGateway::start_in_memory(behind_a_proxy(|_| {})).await;
    let mut good = client(&gateway, &line("192.0.2.1:5")).await;
    let start = Instant::now();
    for begun in [
        &wire::ping()[..],
        b"GET / HTTP/1.1\r\n",
        b"X",
        b"PROXY TCP4 192.0.2.256 10.0.0.1 5 6\r\n",
        b"PROXY TCP4\r\n",
        &[b'P'; 200],
        &[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
        &binary_of(0x22, 0x11, &[0; 12]),
        &binary_of(0x21, 0x11, &[0; 11]),
        &binary_of(0x21, 0x11, &[0; 5000]),
    ] {
        refused(&gateway, begun, Refusal::ProxyHeader).await;
    }
    good.expect_nothing().await;
    assert_eq!(start.elapsed().as_secs(), 0);
}

/// What is logged, line by line.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_names_the_client_and_no_health_check() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let config = behind_a_proxy(|config| config.client.max_clients_per_ip = 1);
    let gateway = TestGateway::start_in_memory(config).await;
    let mut good = client(&gateway, &line("192.0.2.1:5")).await;
    // A load balancer that looks whether somebody listens.
    drop(gateway.client().await);
    good.expect_nothing().await;
    assert_eq!(gateway.handle.refusals(Refusal::ProxyHeader), 0);
    assert_eq!(log.lines(), [""; 0]);

    refused(&gateway, &binary("192.0.2.1:6"), Refusal::ClientsOfAddress).await;
    refused(&gateway, b"PROXY TCP4 192.0.2.256 10.0.0.1 5 6\r\n", Refusal::ProxyHeader).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("peer=\"192.0.2.1:6\"") && lines[0].contains("--max-clients-per-ip"),
        "{lines:?}"
    );
    assert!(lines[1].contains("peer=\"127.0.0.1:") && lines[1].contains("192.0.2.256"), "{lines:?}");
}

#[tokio::test]
async fn a_header_from_elsewhere_is_a_malformed_frame() {
    let gateway = TestGateway::start(behind_a_proxy(|config| config.client.max_clients_per_ip = 1)).await;
    let elsewhere = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        Raw::new(socket.connect(gateway.client_addr).await.unwrap())
    };
    let mut proxied = client(&gateway, &line("192.0.2.1:5")).await;
    for header in [line("192.0.2.7:5"), binary("192.0.2.7:5"), b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut liar = elsewhere().await;
        liar.send(header).await;
        liar.expect_end().await;
    }
    // Clients from there are served without one, and counted by the address that they have.
    let mut direct = elsewhere().await;
    direct.expect_nothing().await;
    elsewhere().await.expect_end().await;
    assert_eq!(gateway.handle.refusals(Refusal::ClientsOfAddress), 1);
    assert_eq!(gateway.handle.refusals(Refusal::ProxyHeader), 0);
    proxied.expect_nothing().await;
}
