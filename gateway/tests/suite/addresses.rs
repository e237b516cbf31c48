//! Servers that ask for the addresses of their clients, by the rules of docs/protocol-extensions.md; and everybody else, who
//! is to see not one byte of it.

#![expect(
    clippy::disallowed_types,
    reason = "scripted peers use sockets of their own, not the code under test"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fastway::endpoint::{EndpointConfig, Server};
use fastway::frame::MaxPacket;
use fastway::id::{ClientId, ServerId};
use fastway::net::TcpNetwork;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{KEY, Raw, TestGateway, config, config_with, hello, threads, wire};

/// Bytes behind the arguments of a command.
pub(super) fn with(mut frame: Vec<u8>, behind: &[u8]) -> Vec<u8> {
    frame.extend_from_slice(behind);
    let length = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

pub(super) fn set(bits: u32) -> Vec<u8> {
    [*b"FWX1", bits.to_le_bytes()].concat()
}

/// Wishes behind a dial of client 0.
pub(super) fn question(bits: u32) -> Vec<u8> {
    with(wire::dial(0), &set(bits))
}

/// What is granted, and the connections that were open before.
pub(super) fn grant(bits: u32, earlier: &[(u32, SocketAddr)]) -> Vec<u8> {
    let earlier: Vec<_> =
        earlier.iter().flat_map(|(conn, addr)| [&conn.to_le_bytes(), &bytes(*addr)[..]].concat()).collect();
    with(wire::refuse(0), &[set(bits), earlier].concat())
}

/// An address as it is told: IPv6, then the port.
fn bytes(addr: SocketAddr) -> Vec<u8> {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => [[0; 10].as_slice(), &[0xff; 2], &ip.octets()].concat(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    [&ip[..], &addr.port().to_le_bytes()].concat()
}

fn addr_of(client: &Raw<TcpStream>) -> SocketAddr {
    client.stream.local_addr().unwrap()
}

/// A server that asks in the write that ends the handshake, and has the answer.
async fn asking_server(gateway: &TestGateway, id: u32) -> Raw<TcpStream> {
    let mut server = gateway.stranger().await;
    let challenge: [u8; 8] = server.read_exact().await;
    server.send([hello(challenge, KEY, id), question(1)].concat()).await;
    server.expect(grant(1, &[])).await;
    server
}

#[tokio::test]
async fn rule_e5_a_server_that_asks_gets_the_address_with_every_connection_whoever_dials() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| config.threads = threads(shards))).await;
        let mut server = asking_server(&gateway, 7).await;
        for id in 1..5 {
            let mut client = gateway.client().await;
            let addr = bytes(addr_of(&client));
            client.send(wire::dial(7)).await;
            let (dialled, called_back) = (2 * id - 1, 2 * id);
            client.expect(wire::accept(dialled, 7)).await;
            server.expect(with(wire::connect(dialled, id), &addr)).await;
            server.send(wire::dial(id)).await;
            server.expect(with(wire::accept(called_back, id), &addr)).await;
            // The client sees what it always saw.
            client.expect(wire::connect(called_back, 7)).await;
            client.send(wire::data(dialled, b"hello")).await;
            server.expect(wire::data(dialled, b"hello")).await;
            client.send(wire::close(dialled)).await;
            server.expect(wire::close(dialled)).await;
            client.expect(wire::close(dialled)).await;
            drop(client);
            server.expect(wire::close(called_back)).await;
        }
        drop(server);
        gateway.nothing_is_left().await;
    }
}

/// The client was faster than the question, or the server asks late.
#[tokio::test]
async fn rule_e4_the_answer_lists_what_is_open_already() {
    let gateway = TestGateway::start(config()).await;
    let (mut first, mut second, mut server) =
        (gateway.client().await, gateway.client().await, gateway.server(7).await);
    let closed = first.open(7, &mut server).await;
    let one = first.open(7, &mut server).await;
    let two = second.open(7, &mut server).await;
    first.send(wire::close(closed)).await;
    server.expect(wire::close(closed)).await;
    server.send(question(1)).await;
    let answer = server.frame().await;
    let (one, two) = ((one, addr_of(&first)), (two, addr_of(&second)));
    assert!(answer == grant(1, &[one, two]) || answer == grant(1, &[two, one]), "{answer:?}");

    // Everything is told by now.
    server.send(question(1)).await;
    server.expect(grant(1, &[])).await;
    second.send(wire::dial(7)).await;
    server.expect(with(wire::connect(4, 2), &bytes(addr_of(&second)))).await;
}

/// A list that does not fit into a packet is as long as one.
#[tokio::test]
async fn rule_e4_a_list_is_no_longer_than_a_packet() {
    let max_packet = MaxPacket::new(17 + 3 * 22).unwrap();
    let gateway = TestGateway::start(config_with(|config| config.max_packet = max_packet)).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    for _ in 0..5 {
        client.open(7, &mut server).await;
    }
    server.send(question(1)).await;
    let answer = server.frame().await;
    assert_eq!(answer.len(), 21 + 3 * 22);
    server.expect_nothing().await;
}

/// Whatever the order, an address is in the list or behind Connect: with clients on other threads that dial all the time.
#[tokio::test]
async fn rule_e4_no_connection_falls_between_the_list_and_the_commands() {
    let gateway = TestGateway::start(config_with(|config| {
        config.threads = threads(4);
        config.client.max_conn = usize::MAX;
    }))
    .await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.client().await;
        client.expect_nothing().await;
        clients.push(client);
    }
    for round in 1..50 {
        let mut server = gateway.stranger().await;
        let challenge: [u8; 8] = server.read_exact().await;
        for client in &mut clients {
            client.send(wire::dial(round).repeat(20)).await;
        }
        server.send([hello(challenge, KEY, round), question(1)].concat()).await;
        for client in &mut clients {
            client.send(wire::dial(round).repeat(20)).await;
        }
        let mut accepted = 0;
        for client in &mut clients {
            let mut answers = 0;
            while answers < 40 {
                // Accept, Refuse, or Close of what the server before had.
                let command_type = client.frame().await[8];
                answers += u32::from(command_type != 4);
                accepted += u32::from(command_type == 1);
            }
        }
        let (mut untold, mut connected) = (Vec::new(), 0);
        let mut is_answered = false;
        while connected < accepted || !is_answered {
            let frame = server.frame().await;
            let conn = frame[9..13].to_vec();
            match (frame[8], frame.len()) {
                (2, 35) if is_answered => connected += 1,
                (2, 17) if !is_answered => {
                    connected += 1;
                    untold.push(conn);
                }
                (3, _) if !is_answered => {
                    is_answered = true;
                    untold.retain(|conn| !frame[21..].chunks(22).any(|entry| entry[..4] == conn[..]));
                }
                _ => panic!("round {round}: {frame:?}"),
            }
        }
        assert!(untold.is_empty(), "round {round}: {untold:?}");
    }
}

#[tokio::test]
async fn rule_e3_what_is_not_known_is_not_granted() {
    let gateway = TestGateway::start(config()).await;
    let mut server = gateway.server(7).await;
    for (wishes, granted) in [(0, 0), (4, 0), (u32::MAX, 3), (0, 0), (1, 1)] {
        server.send(question(wishes)).await;
        server.expect(grant(granted, &[])).await;
    }
    // Granted once, it stays, whatever the later questions were.
    let mut client = gateway.client().await;
    client.send(wire::dial(7)).await;
    server.expect(with(wire::connect(1, 1), &bytes(addr_of(&client)))).await;
}

#[tokio::test]
async fn rule_e3_nothing_is_granted_where_connect_would_not_get_through() {
    for (max, is_granted) in [(17, false), (30, false), (31, true)] {
        let max_packet = MaxPacket::new(max).unwrap();
        let gateway = TestGateway::start(config_with(|config| config.max_packet = max_packet)).await;
        let mut server = gateway.server(7).await;
        server.send(question(1)).await;
        server.expect(if is_granted { grant(1, &[]) } else { wire::refuse(0) }).await;
        let mut client = gateway.client().await;
        client.send(wire::dial(7)).await;
        let behind = if is_granted { bytes(addr_of(&client)) } else { Vec::new() };
        server.expect(with(wire::connect(1, 1), &behind)).await;
    }
}

/// What is no question is the dial that it was, with bytes that mean nothing.
#[tokio::test]
async fn only_a_whole_question_is_one() {
    let gateway = TestGateway::start(config()).await;
    let mut server = gateway.server(7).await;
    let mut client = gateway.client().await;
    client.expect_nothing().await;
    for len in 13..21 {
        server.send(with(wire::dial(0), &question(1)[13..len])).await;
        server.expect(wire::refuse(0)).await;
    }
    server.send(with(wire::dial(0), b"fwx1\x01\0\0\0")).await;
    server.expect(wire::refuse(0)).await;
    server.send(with(wire::dial(9), &set(1))).await;
    server.expect(wire::refuse(9)).await;
    server.send(with(wire::dial(1), &set(1))).await;
    server.expect(wire::accept(1, 1)).await;
    client.expect(wire::connect(1, 7)).await;
    client.send(wire::dial(7)).await;
    server.expect(wire::connect(2, 1)).await;
    // And more bytes than are known change nothing either.
    server.send(with(question(1), b"more")).await;
    let answer = server.frame().await;
    assert_eq!((&answer[8..21], answer.len()), (&grant(1, &[])[8..], 21 + 2 * 22));
}

#[tokio::test]
async fn rule_e2_a_client_cannot_ask() {
    let gateway = TestGateway::start(config()).await;
    let mut client = gateway.client().await;
    client.send(question(1)).await;
    client.expect(wire::refuse(0)).await;
    // There may be a server of that number.
    let mut server = gateway.server(0).await;
    client.send(question(1)).await;
    client.expect(wire::accept(1, 0)).await;
    server.expect(wire::connect(1, 1)).await;
    server.send(wire::dial(1)).await;
    server.expect(wire::accept(2, 1)).await;
    client.expect(wire::connect(2, 0)).await;
}

/// Rule E8, beside others who ask, and after one who asked by the same ID.
#[tokio::test]
async fn rule_e8_who_did_not_ask_gets_what_the_original_sends() {
    let gateway = TestGateway::start(config()).await;
    let mut asking = asking_server(&gateway, 7).await;
    let mut silent = gateway.server(8).await;
    let mut client = gateway.client().await;
    let addr = bytes(addr_of(&client));
    client.send([wire::dial(7), wire::dial(8)].concat()).await;
    asking.expect(with(wire::connect(1, 1), &addr)).await;
    silent.expect(wire::connect(2, 1)).await;
    let mut newer = gateway.server(7).await;
    asking.expect_end().await;
    client.send(wire::dial(7)).await;
    newer.expect(wire::connect(3, 1)).await;
    newer.send(wire::dial(1)).await;
    newer.expect(wire::accept(4, 1)).await;
}

/// Rule E6. Version 1 of the PROXY protocol, and a header that names nobody.
#[tokio::test]
async fn rule_e6_behind_a_proxy_it_is_the_clients_own_address() {
    let gateway = TestGateway::start(config_with(|config| {
        config.client.proxy_protocol = vec!["127.0.0.1/32".parse().unwrap()];
    }))
    .await;
    let mut server = asking_server(&gateway, 7).await;
    let headers = [
        ("PROXY TCP4 192.0.2.7 10.0.0.1 53764 7010\r\n", Some("192.0.2.7:53764")),
        ("PROXY TCP6 2001:db8::9 fd00::1 5 7010\r\n", Some("[2001:db8::9]:5")),
        ("PROXY TCP6 ::ffff:192.0.2.7 fd00::1 5 7010\r\n", Some("192.0.2.7:5")),
        ("PROXY UNKNOWN\r\n", None),
    ];
    for (id, (header, addr)) in (1..).zip(headers) {
        let mut client = gateway.client().await;
        let addr = addr.map_or_else(|| addr_of(&client), |addr| addr.parse().unwrap());
        client.send([header.as_bytes(), &wire::dial(7)].concat()).await;
        server.expect(with(wire::connect(id, id), &bytes(addr))).await;
        drop(client);
        server.expect(wire::close(id)).await;
    }
}

#[tokio::test]
async fn the_librarys_server_knows_where_its_clients_are() {
    let gateway = TestGateway::start(config()).await;
    let mut servers = Vec::new();
    for (id, ask_client_addr) in [(1, true), (2, false)] {
        let config = EndpointConfig { ask_client_addr, ..EndpointConfig::default() };
        let internal = gateway.server_addr.to_string();
        let server =
            Server::connect(&TcpNetwork::new(), &internal, ServerId::new(id), KEY, config).await.unwrap();
        gateway.until("it is there", |counts| counts.servers == id as usize).await;
        let mut client = gateway.client().await;
        let addr = ask_client_addr.then(|| addr_of(&client));
        client.send(wire::dial(id)).await;
        assert_eq!(server.accept().await.unwrap().client_addr(), addr);
        let dialled = server.dial(ClientId::new(id).unwrap()).await.unwrap();
        assert_eq!(dialled.client_addr(), addr);
        servers.push(server);
    }
}

/// Who says what, in hexadecimal digits: `server>` is what a server sends, `server<` what it gets.
///
/// These are peers of the first generation: the gateway pings, and endpoints answer.
pub(super) const FIRST_GENERATION: &str = "
    server< challenge
    server> hello
    server> 09000000 00000000 00 63000000
    server< 09000000 00000000 03 63000000
    client> 09000000 00000000 00 07000000
    client< 0d000000 00000000 01 01000000 07000000
    server< 0d000000 00000000 02 01000000 01000000
    client> 09000000 01000000 68656c6c6f
    server< 09000000 01000000 68656c6c6f
    server> 04000000 01000000
    client< 04000000 01000000
    server> 09000000 00000000 00 01000000
    server< 0d000000 00000000 01 02000000 01000000
    client< 0d000000 00000000 02 02000000 07000000
    client> 09000000 00000000 00 08000000
    client< 09000000 00000000 03 08000000
    client< 05000000 00000000 05
    client> 05000000 00000000 05
    server< 05000000 00000000 05
    server> 05000000 00000000 05
    server> 07000000 02000000 616263
    client< 07000000 02000000 616263
    client> 09000000 00000000 04 01000000
    client< 09000000 00000000 04 01000000
    server< 09000000 00000000 04 01000000
    client> 05000000 01000000 78
    client< 09000000 00000000 04 01000000
    client> end
    server< 09000000 00000000 04 02000000
    server> end
";

/// Of the second generation: endpoints ping, and the gateway answers.
pub(super) const SECOND_GENERATION: &str = "
    server< challenge
    server> hello
    server> 05000000 00000000 05
    server< 05000000 00000000 05
    client> 05000000 00000000 05
    client< 05000000 00000000 05
    client> 09000000 00000000 00 07000000
    client< 0d000000 00000000 01 01000000 07000000
    server< 0d000000 00000000 02 01000000 01000000
    server> 09000000 01000000 68656c6c6f
    client< 09000000 01000000 68656c6c6f
    client> 05000000 00000000 05
    client< 05000000 00000000 05
    server> 09000000 00000000 00 01000000
    server< 0d000000 00000000 01 02000000 01000000
    client< 0d000000 00000000 02 02000000 07000000
    server> 09000000 00000000 00 00000000
    server< 09000000 00000000 03 00000000
    server> 09000000 00000000 04 02000000
    server< 09000000 00000000 04 02000000
    client< 09000000 00000000 04 02000000
    server> end
    client< 09000000 00000000 04 01000000
    client> end
";

/// Rule E8. What peers of the original and gateways of the original have said to each other since 2016.
#[tokio::test(start_paused = true)]
async fn rule_e8_transcripts_of_old_peers_are_what_they_were() {
    for transcript in [FIRST_GENERATION, SECOND_GENERATION] {
        let gateway = TestGateway::start_in_memory(config()).await;
        let (mut client, mut server) = (gateway.client().await, gateway.stranger().await);
        replay(transcript, &mut client, &mut server).await;
        gateway.nothing_is_left().await;
    }
}

/// And beside a server that asks.
#[tokio::test(start_paused = true)]
async fn rule_e8_transcripts_of_old_peers_are_what_they_were_beside_a_server_that_asks() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.keepalive.ping_interval = Duration::ZERO;
        config.server.keepalive.idle_timeout = Duration::ZERO;
    }))
    .await;
    let (mut client, mut server) = (gateway.client().await, gateway.stranger().await);
    let mut asking = gateway.stranger().await;
    let challenge: [u8; 8] = asking.read_exact().await;
    asking.send([hello(challenge, KEY, 9), question(1)].concat()).await;
    asking.expect(grant(1, &[])).await;
    replay(SECOND_GENERATION, &mut client, &mut server).await;
    asking.expect_nothing().await;
}

pub(super) async fn replay<S: AsyncRead + AsyncWrite + Unpin>(
    transcript: &str,
    client: &mut Raw<S>,
    server: &mut Raw<S>,
) {
    client.deadline = Duration::from_secs(100);
    server.deadline = Duration::from_secs(100);
    let mut challenge = [0; 8];
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (who, bytes) = line.split_once(' ').unwrap();
        let peer = if who.starts_with("client") { &mut *client } else { &mut *server };
        match (who.ends_with('>'), bytes) {
            (_, "challenge") => challenge = peer.read_exact().await,
            (_, "hello") => peer.send(hello(challenge, KEY, 7)).await,
            (_, "end") => {
                tokio::io::AsyncWriteExt::shutdown(&mut peer.stream).await.unwrap();
                peer.expect_end().await;
            }
            (true, bytes) => peer.send(from_hex(bytes)).await,
            (false, bytes) => {
                let frame = timeout(Duration::from_secs(100), peer.frame()).await.expect(line);
                assert!(frame == from_hex(bytes), "{line}: got {frame:02x?}");
            }
        }
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
