//! The endpoint library and the gateway together, over real sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use fastway::endpoint::{
    Client, CloseReason, DialError, EndpointConfig, LinkError, Server, SlowReceiver, VirtualConn,
};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use tokio::time::timeout;

use super::support::{KEY, TestGateway, config, config_with, threads};

const DEADLINE: Duration = Duration::from_secs(60);

async fn client_with(gateway: &TestGateway, config: EndpointConfig) -> Client {
    Client::connect(&TcpNetwork::new(), &gateway.client_addr.to_string(), config).await.unwrap()
}

async fn client(gateway: &TestGateway) -> Client {
    client_with(gateway, EndpointConfig::default()).await
}

async fn server_with(gateway: &TestGateway, id: u32, config: EndpointConfig) -> Server {
    let addr = gateway.server_addr.to_string();
    let server = Server::connect(&TcpNetwork::new(), &addr, ServerId::new(id), KEY, config).await.unwrap();
    gateway.until("the server is registered", |counts| counts.servers > 0).await;
    server
}

async fn server(gateway: &TestGateway, id: u32) -> Server {
    server_with(gateway, id, EndpointConfig::default()).await
}

/// Both ends of a new virtual connection.
async fn open(client: &Client, server: &Server) -> (VirtualConn, VirtualConn) {
    let (dialled, accepted) = tokio::join!(client.dial(server.id()), server.accept());
    (dialled.unwrap(), accepted.unwrap())
}

#[tokio::test]
async fn both_sides_dial_talk_and_close() {
    let gateway = TestGateway::start(config()).await;
    let (client, server) = (client(&gateway).await, server(&gateway, 7).await);
    let (mut near, mut far) = open(&client, &server).await;
    assert_eq!((near.id(), near.remote()), (far.id(), ServerId::new(7).into()));
    near.send("to the server").await.unwrap();
    assert_eq!(far.recv().await.unwrap(), "to the server");
    far.send("to the client").await.unwrap();
    assert_eq!(near.recv().await.unwrap(), "to the client");

    let back = far.remote().client().unwrap();
    let (dialled, accepted) = tokio::join!(server.dial(back), client.accept());
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    dialled.send("back").await.unwrap();
    assert_eq!(accepted.recv().await.unwrap(), "back");

    drop(near);
    assert!(far.recv().await.is_none());
    assert!(matches!(far.close_reason(), Some(CloseReason::ClosedByRemote)));
    drop((far, accepted, dialled, client, server));
    gateway.nothing_is_left().await;
}

#[tokio::test]
async fn a_wrong_key_a_missing_server_and_a_takeover_are_explained() {
    let gateway = TestGateway::start(config()).await;
    let addr = gateway.server_addr.to_string();
    let turned_away =
        Server::connect(&TcpNetwork::new(), &addr, ServerId::new(7), b"wrong", EndpointConfig::default())
            .await
            .unwrap();
    let end = timeout(DEADLINE, turned_away.ended()).await.expect("it is told");
    assert!(matches!(end, LinkError::TurnedAway));

    let client = client(&gateway).await;
    let refused = client.dial(ServerId::new(7)).await;
    assert!(matches!(refused, Err(DialError::Refused { .. })));

    let older = server(&gateway, 7).await;
    let (mut conn, mut far) = open(&client, &older).await;
    conn.send("hello").await.unwrap();
    assert_eq!(far.recv().await.unwrap(), "hello");
    far.send("hello").await.unwrap();
    assert_eq!(conn.recv().await.unwrap(), "hello");
    let _newer = server(&gateway, 7).await;
    let end = timeout(DEADLINE, older.ended()).await.expect("the older one is told");
    assert!(matches!(end, LinkError::ClosedByGateway));
    assert!(conn.recv().await.is_none());
}

#[tokio::test]
async fn sixteen_connections_by_default_and_the_seventeenth_is_refused() {
    let gateway = TestGateway::start(config()).await;
    let (client, server) = (client(&gateway).await, server(&gateway, 7).await);
    let dials: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.dial(ServerId::new(7)).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for dial in dials {
        outcomes.push(dial.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 16);
    drop(outcomes);
    gateway.until("all are closed", |counts| counts.conns == 0).await;
    client.dial(ServerId::new(7)).await.expect("the places are free again");
    drop(server);
}

/// Echoes whatever comes on whatever connection.
async fn echo(server: Server) {
    while let Ok(mut conn) = server.accept().await {
        tokio::spawn(async move {
            while let Some(message) = conn.recv().await {
                if conn.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::test]
async fn a_thousand_virtual_connections_share_one_link() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| {
            config.threads = threads(shards);
            config.client.max_conn = 1000;
            config.client.queue.messages = 100_000;
        }))
        .await;
        let client = client(&gateway).await;
        tokio::spawn(echo(server(&gateway, 7).await));
        // All dials at once, each with its own answer.
        let talks: Vec<_> = (0..1000_u32)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let mut conn = client.dial(ServerId::new(7)).await.unwrap();
                    for round in 0..20_u32 {
                        let message = [number.to_le_bytes(), round.to_le_bytes()].concat();
                        conn.send(&message).await.unwrap();
                        assert_eq!(conn.recv().await.unwrap(), message);
                    }
                    conn
                })
            })
            .collect();
        let mut conns = BTreeMap::new();
        for talk in talks {
            let conn = timeout(DEADLINE, talk).await.expect("in time").unwrap();
            conns.insert(conn.id(), conn);
        }
        assert_eq!(conns.len(), 1000, "each has its own number");
        assert_eq!(gateway.handle.counts().conns, 1000);
        drop(conns);
        gateway.until("all are closed", |counts| counts.conns == 0).await;
    }
}

/// Message lengths as a game has them, from a fixed sequence: mostly short, some empty, some of the maximum.
struct Lengths(u64);

impl Lengths {
    fn next(&mut self, max: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let (choice, z) = (z % 10_000, (z >> 20) as usize);
        match choice {
            0 => max,
            1..=8 => z % (max + 1),
            9..=200 => z % 10_000,
            201..=400 => 0,
            _ => z % 200,
        }
    }
}

const MESSAGES: usize = 5_000;

/// The bytes of a message: a stretch of one long pseudo-random text, found by the message's number.
fn content(text: &[u8], number: usize, len: usize) -> &[u8] {
    let start = (number * 977) % 65_536;
    &text[start..start + len]
}

async fn talk(conn: VirtualConn, text: &'static [u8], send_seed: u64, recv_seed: u64) {
    let max = fastway::frame::MaxPacket::default().max_message_bytes();
    let (mut sender, mut receiver) = conn.split();
    let sending = async {
        let mut lengths = Lengths(send_seed);
        for number in 0..MESSAGES {
            sender.send(content(text, number, lengths.next(max))).await.unwrap();
        }
    };
    let receiving = async {
        let mut lengths = Lengths(recv_seed);
        for number in 0..MESSAGES {
            let message = receiver.recv().await.expect("none is missing");
            assert!(
                message == content(text, number, lengths.next(max)),
                "message {number} is not what was sent"
            );
        }
    };
    tokio::join!(sending, receiving);
    // Neither side closes before both are done.
    sender.send("done").await.unwrap();
    assert_eq!(receiver.recv().await.unwrap(), "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_messages_of_all_sizes_cross_both_ways_on_100_connections() {
    let gateway = TestGateway::start(config_with(|config| {
        config.threads = threads(2);
        // The servers talk as fast as they can, and nobody is to be cut off for that here.
        config.client.queue.messages = usize::MAX;
        config.client.queue.bytes = 2 << 30;
    }))
    .await;
    let mut lengths = Lengths(0);
    let text: Vec<u8> = (0..65_536 + 512 * 1024).map(|_| lengths.next(usize::MAX - 1) as u8).collect();
    let text: &'static [u8] = text.leak();
    let patient = EndpointConfig { slow_receiver: SlowReceiver::LinkWaits, ..EndpointConfig::default() };
    let servers =
        [server_with(&gateway, 0, patient.clone()).await, server_with(&gateway, 1, patient.clone()).await];
    gateway.until("both are registered", |counts| counts.servers == 2).await;
    let mut talks = Vec::new();
    for number in 0..10 {
        let client = client_with(&gateway, patient.clone()).await;
        for place in 0..10_u64 {
            let (near, far) = open(&client, &servers[number % 2]).await;
            let seed = (number as u64 * 10 + place) * 2;
            talks.push(tokio::spawn(talk(near, text, seed, seed + 1)));
            talks.push(tokio::spawn(talk(far, text, seed + 1, seed)));
        }
    }
    assert_eq!(talks.len() * MESSAGES, 1_000_000);
    for talk in talks {
        timeout(DEADLINE, talk).await.expect("in time").unwrap();
    }
    drop(servers);
    gateway.nothing_is_left().await;
}
