//! A gateway that gives notice before it drains, and gateways that do not know the question. The rules are those of
//! docs/protocol-extensions.md.

use super::support::*;

/// Close, connection 0, `FWX1`, the second extension.
const QUESTION: [u8; 21] = [17, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 2, 0, 0, 0];

/// The same with a window behind it: 10,000 ms.
const NOTICE: [u8; 25] =
    [21, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 2, 0, 0, 0, 0x10, 0x27, 0, 0];

fn asking() -> EndpointConfig {
    EndpointConfig { ask_draining: true, ..EndpointConfig::default() }
}

/// A client that asks, and its question is read.
async fn with_asking_client() -> (Script, Client) {
    let (mut script, client) = Script::with_client(asking()).await;
    script.expect(QUESTION).await;
    (script, client)
}

#[tokio::test(start_paused = true)]
async fn rule_e10_a_client_asks_before_anything_else() {
    let (mut script, client) = with_asking_client().await;
    let _conn = script.open(&client, 1).await;
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn rule_e10_a_server_asks_with_the_same_question_as_for_everything() {
    for (ask_client_addr, ask_draining, wishes) in
        [(false, false, None), (true, false, Some(1)), (false, true, Some(2)), (true, true, Some(3))]
    {
        let config = EndpointConfig { ask_client_addr, ask_draining, ..EndpointConfig::default() };
        let (mut script, server, mut hello) = with_server(config).await;
        let behind = hello.split_off(20);
        let question = wishes
            .map(|wishes| [17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'F', b'W', b'X', b'1', wishes, 0, 0, 0]);
        assert_eq!(behind, question.as_ref().map_or(&[][..], |question| question));
        script.connect(3, 42).await;
        // For the addresses of clients one has to wait, for a notice not.
        assert_eq!(timeout(SECOND, server.accept()).await.is_ok(), !ask_client_addr);
        drop(server);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_e10_who_waits_is_told_how_long_it_will_take() {
    let (mut script, client) = with_asking_client().await;
    let mut conn = script.open(&client, 1).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.draining().await }
    });
    assert!(timeout(SECOND * 20, client.draining()).await.is_err(), "nobody drains");
    script.send(NOTICE).await;
    assert_eq!(waiting.await.unwrap().unwrap(), SECOND * 10);
    sleep(SECOND * 4).await;
    assert_eq!(client.draining().await.unwrap(), SECOND * 6, "what is left of it");
    sleep(SECOND * 10).await;
    assert_eq!(client.draining().await.unwrap(), Duration::ZERO);
    // What is open goes on.
    script.send(data(1, b"as ever")).await;
    assert_eq!(conn.recv().await.unwrap(), "as ever");
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn rule_e10_a_server_is_told_too_and_needs_no_grant() {
    let (mut script, server, _) = with_server(asking()).await;
    script.refuse(0).await;
    script.send(NOTICE).await;
    assert_eq!(server.draining().await.unwrap(), SECOND * 10);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_without_notice_says_so() {
    let (script, client) = with_asking_client().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.draining().await }
    });
    sleep(SECOND).await;
    drop(script);
    assert!(matches!(waiting.await.unwrap(), Err(LinkError::ClosedByGateway)));
    assert!(matches!(client.draining().await, Err(LinkError::ClosedByGateway)));
}

/// Whoever looks late still learns why the gateway closed the link.
#[tokio::test(start_paused = true)]
async fn a_notice_outlives_its_link() {
    let (mut script, client) = with_asking_client().await;
    script.send(NOTICE).await;
    drop(script);
    client.ended().await;
    assert_eq!(client.draining().await.unwrap(), SECOND * 10);
}

/// Rule E8.
#[tokio::test(start_paused = true)]
async fn who_does_not_ask_says_what_the_original_says_and_believes_nothing() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    script.expect_nothing().await;
    script.send(NOTICE).await;
    assert!(timeout(SECOND * 20, client.draining()).await.is_err());
}

/// A notice is a whole one, and the one that was asked for.
#[tokio::test(start_paused = true)]
async fn what_is_no_notice_is_the_close_of_no_connection() {
    let (mut script, client) = with_asking_client().await;
    for len in 13..25 {
        script.send([&[len - 4], &NOTICE[1..len as usize]].concat()).await;
    }
    let mut of_something_else = NOTICE;
    of_something_else[17] = 1;
    script.send(of_something_else).await;
    let mut of_a_conn = NOTICE;
    of_a_conn[9] = 1;
    script.send(of_a_conn).await;
    script.expect_nothing().await;
    assert!(timeout(SECOND, client.draining()).await.is_err());
    // And one with more behind it, which a later extension may have.
    script.send([&[25], &NOTICE[1..], b"more"].concat()).await;
    assert!(client.draining().await.is_ok());
}

/// Where the question would be too long for the gateway, it would end the link.
#[tokio::test(start_paused = true)]
async fn nobody_asks_where_the_packets_are_too_small_for_it() {
    for (max_packet, asks) in [(MaxPacket::SMALLEST, false), (30, false), (31, true)] {
        let max_packet = MaxPacket::new(max_packet).unwrap();
        let (mut script, client) = Script::with_client(EndpointConfig { max_packet, ..asking() }).await;
        if asks {
            script.expect(QUESTION).await;
        }
        script.expect_nothing().await;
        drop(client);
    }
}

/// Rule 12: the question is no Ping, so whatever the gateway answers, no keepalive is disturbed by it. A Ping would be: an
/// endpoint that only answers would answer its echo, and so on for ever.
#[tokio::test(start_paused = true)]
async fn the_question_does_not_disturb_the_keepalive() {
    for keepalive in [KeepaliveConfig::default(), KeepaliveConfig::ANSWER_ONLY] {
        let (mut script, client) = Script::with_client(EndpointConfig { keepalive, ..asking() }).await;
        script.expect(QUESTION).await;
        // A gateway may ignore it, or answer it as any Close of what somebody does not have.
        script.say(ToEndpoint::Close { conn: None }).await;
        for _ in 0..3 {
            script.expect_nothing().await;
            script.send(NOTICE).await;
        }
        assert!(timeout(SECOND * 20, script.frame()).await.is_err(), "nothing more");
        drop(client);
    }
}

/// The question waits in the queue like anything else: somebody who connects is not held up by it.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_reads_nothing_holds_up_nobody_who_connects() {
    let network = MemoryNetwork::with_pipe_bytes(1);
    let _listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    timeout(SECOND, Client::connect(&network, ADDR, asking())).await.expect("at once").unwrap();
}
