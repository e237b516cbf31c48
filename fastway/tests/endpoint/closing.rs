//! How connections and links end.

use super::support::*;

/// Pitfall 28, second half.
#[tokio::test(start_paused = true)]
async fn pitfall_28_sending_on_a_closed_connection_is_an_error() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    script.send([data(1, b"last"), close(1)].concat()).await;
    assert_eq!(conn.recv().await.unwrap(), "last");
    assert!(conn.recv().await.is_none());
    let error = conn.send("too late").await.unwrap_err();
    assert!(matches!(error, SendError::Closed(CloseReason::ClosedByRemote)), "{error}");
    assert!(conn.flush().await.is_ok() || conn.flush().await.is_err(), "neither hangs nor panics");
    conn.close();
    drop(conn);
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_none_ends_the_link_with_a_reason() {
    for bytes in [&[1, 0, 0, 0][..], &[5, 0, 0, 0, 0, 0, 0, 0, 9], &[9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
        let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
        let mut conn = script.open(&client, 1).await;
        script.send(bytes).await;
        let end = client.ended().await;
        assert!(end.to_string().contains("not a gateway"), "{end}");
        assert!(conn.recv().await.is_none());
        assert!(conn.send("x").await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_close_of_either_half_waits_for_the_other() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let (mut sender, receiver) = script.open(&client, 1).await.split();
    drop(receiver);
    sender.send("still open").await.unwrap();
    script.expect(data(1, b"still open")).await;
    drop(sender);
    script.expect(close(1)).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_everything_sends_what_is_queued_and_ends_the_link() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    for _ in 0..5 {
        conn.send(vec![1; 50_000]).await.unwrap();
    }
    drop(client);
    script.expect(data(1, &vec![1; 50_000])).await;
    conn.send("the connection keeps the link").await.unwrap();
    drop(conn);
    for _ in 0..4 {
        script.expect(data(1, &vec![1; 50_000])).await;
    }
    script.expect(data(1, b"the connection keeps the link")).await;
    script.expect(close(1)).await;
    script.expect_end().await;
}

/// `ended` tells a program when it may exit.
#[tokio::test(start_paused = true)]
async fn a_closed_link_has_ended_when_everything_is_sent() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 300_000]).await.unwrap();
    client.close();
    assert!(timeout(SECOND, client.ended()).await.is_err(), "the gateway has not read it");
    script.expect(data(1, &vec![1; 300_000])).await;
    script.expect_end().await;
    drop(script);
    assert!(matches!(client.ended().await, LinkError::ClosedHere));
}

/// Two ends that both write and do not read: the one that closes reads on, or neither would ever get through.
#[tokio::test(start_paused = true)]
async fn a_closing_link_still_takes_what_the_gateway_sends() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 300_000]).await.unwrap();
    drop((conn, client));
    script.send(data(1, &vec![2; 500_000])).await;
    script.expect(data(1, &vec![1; 300_000])).await;
    script.expect(close(1)).await;
    script.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_everything_on_the_link() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send("last words").await.unwrap();
    let dialling = tokio::spawn({
        let client = client.clone();
        async move { client.dial(ServerId::new(8)).await }
    });
    script.expect(data(1, b"last words")).await;
    script.expect(dial(8)).await;
    client.close();
    let (end, ()) = tokio::join!(client.ended(), script.expect_end());
    assert!(matches!(end, LinkError::ClosedHere));
    assert!(matches!(dialling.await.unwrap(), Err(DialError::Link(LinkError::ClosedHere))));
    assert!(conn.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_here_is_closed_at_once() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.close();
    script.expect(close(1)).await;
    assert!(conn.recv().await.is_none());
    assert!(matches!(conn.close_reason(), Some(CloseReason::ClosedHere)));
}

#[tokio::test(start_paused = true)]
async fn a_dial_under_way_ends_with_its_link_and_not_with_its_deadline() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let dialling = tokio::spawn(async move { client.dial(ServerId::new(7)).await.map(drop) });
    script.expect(dial(7)).await;
    drop(script);
    let begun = Instant::now();
    let dialled = dialling.await.unwrap();
    assert!(matches!(dialled, Err(DialError::Link(_))), "{dialled:?}");
    assert!(begun.elapsed() < SECOND);
}
