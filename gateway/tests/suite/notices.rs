//! Notice for those who ask when the gateway begins to drain, by the rules of docs/protocol-extensions.md; and everybody else,
//! who is to see not one byte of it.

use std::time::Duration;

use fastway::endpoint::{Client, EndpointConfig, LinkError, Server};
use fastway::frame::MaxPacket;
use fastway::id::ServerId;
use fastway::keepalive::KeepaliveConfig;
use fastway::net::{MemoryNetwork, MemoryStream};
use fastway_gateway::Config;
use tokio::time::{Instant, sleep, timeout};

use super::addresses::{FIRST_GENERATION, SECOND_GENERATION, grant, question, replay, set, with};
use super::support::{KEY, Raw, TestGateway, config_with, threads, wire};

const SECOND: Duration = Duration::from_secs(1);

/// 60 s for clients to go by themselves, and 10 s to tell them.
fn draining() -> Config {
    config_with(|config| {
        config.drain_timeout = 60 * SECOND;
        config.drain_spread = 10 * SECOND;
    })
}

/// The same, and nobody has to answer pings.
fn quiet() -> Config {
    let mut config = draining();
    (config.client.keepalive, config.server.keepalive) =
        (KeepaliveConfig::ANSWER_ONLY, KeepaliveConfig::ANSWER_ONLY);
    config
}

async fn start(config: Config) -> TestGateway<MemoryNetwork> {
    TestGateway::start_in_memory(config).await
}

/// Wishes of a client, behind a Close of connection 0.
fn clients_question(bits: u32) -> Vec<u8> {
    with(wire::close(0), &set(bits))
}

fn notice(window_ms: u32) -> Vec<u8> {
    with(clients_question(2), &window_ms.to_le_bytes())
}

/// The window of a notice that comes now.
async fn told(peer: &mut Raw<MemoryStream>) -> Duration {
    let frame = peer.frame().await;
    let window_ms = u32::from_le_bytes(*frame.last_chunk().unwrap());
    assert_eq!(frame, notice(window_ms));
    Duration::from_millis(window_ms.into())
}

#[tokio::test(start_paused = true)]
async fn rule_e10_who_asked_is_told_when_the_drain_begins_and_nobody_else() {
    let gateway = start(quiet()).await;
    let (mut client, mut silent_client) = (gateway.client().await, gateway.client().await);
    let (mut server, mut silent_server) = (gateway.server(7).await, gateway.server(8).await);
    client.send(clients_question(2)).await;
    server.send(question(2)).await;
    server.expect(grant(2, &[])).await;
    // It is no answer to a question, it comes when it is due.
    client.expect_nothing().await;
    server.expect_nothing().await;
    gateway.handle.drain();
    assert_eq!(told(&mut client).await, 70 * SECOND);
    assert_eq!(told(&mut server).await, 70 * SECOND);
    for peer in [&mut client, &mut server, &mut silent_client, &mut silent_server] {
        peer.expect_nothing().await;
    }
    // Everything goes on, and who asks again is not told again.
    client.send(clients_question(2)).await;
    let conn = client.open(8, &mut silent_server).await;
    client.send(wire::data(conn, b"as ever")).await;
    silent_server.expect(wire::data(conn, b"as ever")).await;
    client.deadline = 80 * SECOND;
    let begun = Instant::now();
    client.expect_end().await;
    assert!(begun.elapsed() > 59 * SECOND);
}

#[tokio::test]
async fn sessions_on_other_threads_than_the_one_that_drains_are_told_too() {
    let gateway = TestGateway::start(config_with(|config| config.threads = threads(3))).await;
    let mut peers = Vec::new();
    for _ in 0..6 {
        let mut client = gateway.client().await;
        client.send(clients_question(2)).await;
        client.expect_nothing().await;
        peers.push(client);
    }
    gateway.handle.drain();
    for mut peer in peers {
        let frame = peer.frame().await;
        assert_eq!(frame[..21], notice(0)[..21]);
        peer.expect_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rule_e10_who_asks_while_it_drains_is_told_at_once_what_is_left() {
    let gateway = start(quiet()).await;
    let mut client = gateway.client().await;
    client.expect_nothing().await;
    gateway.handle.drain();
    let begun = Instant::now();
    sleep(20 * SECOND).await;
    client.send(clients_question(2)).await;
    let window = told(&mut client).await;
    assert!(window <= 50 * SECOND && window + begun.elapsed() + SECOND > 70 * SECOND, "{window:?}");
    // A server can still come, and is told behind the grant.
    let mut server = gateway.server(7).await;
    server.send(question(u32::MAX)).await;
    server.expect(grant(3, &[])).await;
    assert!(told(&mut server).await <= window);
    server.expect_nothing().await;
    // All have been told to go, and somebody is waited for.
    client.deadline = 80 * SECOND;
    client.expect_end().await;
    let mut late = gateway.server(8).await;
    late.send(question(2)).await;
    late.expect(grant(2, &[])).await;
    assert!(told(&mut late).await <= 10 * SECOND);
}

/// What is not drained is not told: the end comes as ever.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_stops_at_once_gives_no_notice() {
    let gateway = start(quiet()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    client.send(clients_question(2)).await;
    server.send(question(2)).await;
    server.expect(grant(2, &[])).await;
    client.expect_nothing().await;
    gateway.handle.stop();
    client.expect_end().await;
    server.expect_end().await;
}

/// Whatever is not the question of that side is the command that it always was.
#[tokio::test(start_paused = true)]
async fn only_the_question_of_its_own_side_is_one() {
    let gateway = start(quiet()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    for len in 13..21 {
        client.send(with(wire::close(0), &clients_question(2)[13..len])).await;
    }
    client.send(with(wire::close(0), b"fwx1\x02\0\0\0")).await;
    client.send(with(wire::close(5), &set(2))).await;
    client.send(with(wire::ping(), &set(2))).await;
    client.expect(wire::ping()).await;
    client.send(clients_question(!2)).await;
    client.send(question(2)).await;
    client.expect(wire::refuse(0)).await;
    server.send(clients_question(2)).await;
    server.send(question(!2)).await;
    server.expect(grant(1, &[])).await;
    client.expect_nothing().await;
    server.expect_nothing().await;
    gateway.handle.drain();
    sleep(SECOND).await;
    client.expect_nothing().await;
    server.expect_nothing().await;
    // And more bytes than are known change nothing either.
    client.send(with(clients_question(u32::MAX), b"more")).await;
    told(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn rule_e3_nobody_is_told_where_packets_are_too_small_for_extensions() {
    for (max, is_told) in [(21, false), (30, false), (31, true)] {
        let mut config = quiet();
        config.max_packet = MaxPacket::new(max).unwrap();
        let gateway = start(config).await;
        let mut client = gateway.client().await;
        client.send(clients_question(2)).await;
        client.expect_nothing().await;
        gateway.handle.drain();
        sleep(SECOND).await;
        if is_told {
            told(&mut client).await;
        }
        client.expect_nothing().await;
    }
}

/// A client whose queue is full is cut off by the next thing that it is sent, but not for the sake of a notice.
#[tokio::test(start_paused = true)]
async fn nobody_is_cut_off_for_a_notice() {
    let mut config = quiet();
    (config.client.queue.messages, config.client.stall_timeout) = (4, 1000 * SECOND);
    let gateway = start(config).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    client.send(clients_question(2)).await;
    let conn = client.open(7, &mut server).await;
    let message = wire::data(conn, &[7; 1000]);
    let mut sent = 0;
    while gateway.handle.sessions()[0].queued_messages < 4 {
        server.send(&message).await;
        server.expect_nothing().await;
        sent += 1;
    }
    gateway.handle.drain();
    sleep(SECOND).await;
    for _ in 0..sent {
        client.expect(&message).await;
    }
    assert_eq!(told(&mut client).await, 70 * SECOND);
    client.expect_nothing().await;
}

/// Rule E8. What peers of the original and gateways of the original have said to each other since 2016, while the gateway drains
/// and others are told so.
#[tokio::test(start_paused = true)]
async fn rule_e8_transcripts_of_old_peers_are_what_they_were_while_the_gateway_drains() {
    for (transcript, keepalive) in
        [(FIRST_GENERATION, KeepaliveConfig::default()), (SECOND_GENERATION, KeepaliveConfig::ANSWER_ONLY)]
    {
        let mut config = draining();
        (config.client.keepalive, config.server.keepalive) = (keepalive, keepalive);
        config.drain_timeout = 1000 * SECOND;
        let gateway = start(config).await;
        let (mut client, mut server) = (gateway.client().await, gateway.stranger().await);
        let mut asking = gateway.client().await;
        asking.send(clients_question(2)).await;
        asking.expect_nothing().await;
        gateway.handle.drain();
        assert_eq!(told(&mut asking).await, 1010 * SECOND);
        // It stays, answers what it is asked, and so the gateway goes on.
        let staying = tokio::spawn(async move {
            loop {
                asking.deadline = 100 * SECOND;
                let frame = asking.frame().await;
                asking.send(frame).await;
            }
        });
        replay(transcript, &mut client, &mut server).await;
        staying.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_librarys_endpoints_are_told_if_they_ask() {
    let gateway = start(draining()).await;
    let (public, internal) = (gateway.client_addr.to_string(), gateway.server_addr.to_string());
    let config = |ask_draining| EndpointConfig { ask_draining, ..EndpointConfig::default() };
    let server =
        |id, asks| Server::connect(&gateway.network, &internal, ServerId::new(id), KEY, config(asks));
    let client = |asks| Client::connect(&gateway.network, &public, config(asks));
    let (asking, silent) = (client(true).await.unwrap(), client(false).await.unwrap());
    let (asking_server, silent_server) = (server(1, true).await.unwrap(), server(2, false).await.unwrap());
    gateway.until("all are there", |counts| (counts.clients, counts.servers) == (2, 2)).await;
    assert!(timeout(10 * SECOND, asking.draining()).await.is_err());
    gateway.handle.drain();
    assert_eq!(asking.draining().await.unwrap(), 70 * SECOND);
    assert_eq!(asking_server.draining().await.unwrap(), 70 * SECOND);
    // Whoever did not ask learns it by the end.
    let end = silent.draining().await;
    assert!(matches!(end, Err(LinkError::ClosedByGateway)), "{end:?}");
    let end = silent_server.draining().await;
    assert!(matches!(end, Err(LinkError::ClosedByGateway)), "{end:?}");
    gateway.ended(20 * SECOND).await;
}
