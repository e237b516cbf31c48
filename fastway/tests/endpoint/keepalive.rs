//! Pings of both generations, and a gateway that falls silent.

use super::support::*;

/// Pitfall 24: pings that nobody asked for, late ones, and a lot of them.
#[tokio::test(start_paused = true)]
async fn pitfall_24_unsolicited_pings_are_answered_and_block_nothing() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    script.send(ping().repeat(1000)).await;
    script.send(data(1, b"behind them")).await;
    assert_eq!(conn.recv().await.unwrap(), "behind them");
    for _ in 0..1000 {
        script.expect(ping()).await;
    }
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_gateway_is_pinged_and_then_given_up() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    let begun = Instant::now();
    script.expect(ping()).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    let end = client.ended().await;
    assert!(matches!(end, LinkError::Silent(_)), "{end}");
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert!(conn.recv().await.is_none());
    assert!(matches!(conn.close_reason(), Some(CloseReason::Link(LinkError::Silent(_)))));
    assert!(matches!(client.accept().await, Err(LinkError::Silent(_))));
    assert!(matches!(client.dial(ServerId::new(1)).await, Err(DialError::Link(LinkError::Silent(_)))));
}

/// A laptop that was closed, a program in a debugger: what the gateway said meanwhile may not be read yet, and it was not asked.
#[tokio::test(start_paused = true)]
async fn who_has_stood_still_asks_before_it_gives_the_gateway_up() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    for _ in 0..3 {
        tokio::time::advance(SECOND * 600).await;
        script.expect(ping()).await;
        script.say(ToEndpoint::Ping).await;
        assert!(timeout(SECOND * 20, client.ended()).await.is_err());
    }
    tokio::time::advance(SECOND * 600).await;
    let begun = Instant::now();
    script.expect(ping()).await;
    let end = client.ended().await;
    assert!(
        matches!(end, LinkError::Silent(_)) && begun.elapsed().as_secs() == 60,
        "{end} {:?}",
        begun.elapsed()
    );
}

/// Second generation: the endpoint pings, the gateway echoes, and the echo is not answered.
#[tokio::test(start_paused = true)]
async fn the_echo_of_a_ping_is_not_answered() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    for _ in 0..20 {
        let begun = Instant::now();
        script.expect(ping()).await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        script.say(ToEndpoint::Ping).await;
    }
    assert!(timeout(SECOND * 20, script.frame()).await.is_err(), "nothing more");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn with_answer_only_the_endpoint_never_speaks_first() {
    let config = EndpointConfig { keepalive: KeepaliveConfig::ANSWER_ONLY, ..EndpointConfig::default() };
    let (mut script, _client) = Script::with_client(config).await;
    assert!(timeout(SECOND * 86_400, script.frame()).await.is_err());
    script.expect_nothing().await;
}
