//! The server handshake, on the internal port.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::support::{KEY, TestGateway, config, config_with, hello, wire};

#[tokio::test]
async fn a_server_that_knows_the_key_can_be_dialled() {
    let gateway = TestGateway::start(config()).await;
    let (client, server, _) = gateway.pair().await;
    drop((client, server));
    gateway.nothing_is_left().await;
}

#[tokio::test]
async fn a_server_with_a_wrong_key_is_closed_and_not_registered() {
    let gateway = TestGateway::start(config()).await;
    for key in [&b""[..], b"The key", b"the key "] {
        let mut server = gateway.stranger().await;
        let challenge: [u8; 8] = server.read_exact().await;
        server.send(hello(challenge, key, 7)).await;
        server.expect_end().await;
    }
    let mut client = gateway.client().await;
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;
}

#[tokio::test]
async fn an_empty_key_is_a_key() {
    let gateway = TestGateway::start(config_with(|config| config.server.key = Default::default())).await;
    let mut server = gateway.stranger().await;
    let challenge: [u8; 8] = server.read_exact().await;
    server.send(hello(challenge, b"", 7)).await;
    server.expect_nothing().await;
}

#[tokio::test]
async fn every_challenge_is_another_one() {
    let gateway = TestGateway::start(config()).await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        let challenge: [u8; 8] = gateway.stranger().await.read_exact().await;
        assert!(!seen.contains(&challenge));
        seen.push(challenge);
    }
    // An answer to one challenge is worth nothing for another.
    let mut server = gateway.stranger().await;
    let _: [u8; 8] = server.read_exact().await;
    server.send(hello(seen[0], KEY, 7)).await;
    server.expect_end().await;
}

#[tokio::test]
async fn frames_may_follow_the_answer_in_the_same_segment() {
    let gateway = TestGateway::start(config()).await;
    let mut client = gateway.client().await;
    client.expect_nothing().await;
    let mut server = gateway.stranger().await;
    let challenge: [u8; 8] = server.read_exact().await;
    server.send([hello(challenge, KEY, 7), wire::dial(1), wire::ping()].concat()).await;
    server.expect(wire::accept(1, 1)).await;
    server.expect(wire::ping()).await;
    client.expect(wire::connect(1, 7)).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_for_the_whole_handshake_and_a_trickle_does_not_extend_it() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let auth_timeout = Duration::from_secs(3);
    for is_trickling in [false, true] {
        let begun = Instant::now();
        let mut stranger = gateway.stranger().await;
        let _: [u8; 8] = stranger.read_exact().await;
        let (mut reading, mut writing) = tokio::io::split(stranger.stream);
        let trickle = tokio::spawn(async move {
            while is_trickling && writing.write_all(&[0]).await.is_ok() {
                sleep(auth_timeout / 3).await;
            }
            writing
        });
        let mut rest = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut rest);
        timeout(Duration::from_secs(60), end).await.expect("it is closed").unwrap();
        assert_eq!((begun.elapsed().as_secs(), rest), (3, Vec::new()));
        trickle.abort();
    }
}
