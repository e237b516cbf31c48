//! Dials and their answers; connections that others open.

use super::support::*;

/// Pitfall 26.
#[tokio::test(start_paused = true)]
async fn pitfall_26_a_dial_has_a_timeout() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let begun = Instant::now();
    let dialled = client.dial(ServerId::new(7)).await;
    assert!(matches!(dialled, Err(DialError::Timeout { .. })));
    assert_eq!(begun.elapsed().as_secs(), 5);
    // Its late answer opens a connection that nobody wants.
    script.expect(dial(7)).await;
    script.accept(1, 7).await;
    script.expect(close(1)).await;
    let mut conn = script.open(&client, 2).await;
    script.send(data(2, b"mine")).await;
    assert_eq!(conn.recv().await.unwrap(), "mine");
}

#[tokio::test(start_paused = true)]
async fn pitfall_26_an_answer_is_for_the_dial_to_that_remote() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let [to_7, to_8, again_to_7] = [7, 8, 7].map(|number| client.dial(ServerId::new(number)));
    let (to_7, to_8, again_to_7, ()) = tokio::join!(to_7, to_8, again_to_7, async {
        for number in [7, 8, 7] {
            script.expect(dial(number)).await;
        }
        script.refuse(1000).await;
        script.accept(1, 1000).await;
        script.expect(close(1)).await;
        script.accept(2, 8).await;
        script.accept(3, 7).await;
        script.refuse(7).await;
    });
    assert_eq!((to_8.as_ref().unwrap().id(), to_8.as_ref().unwrap().remote()), (conn(2), remote(8)));
    assert_eq!((to_7.as_ref().unwrap().id(), to_7.as_ref().unwrap().remote()), (conn(3), remote(7)));
    assert!(is_refused(&again_to_7, 7));
    assert!(again_to_7.unwrap_err().to_string().contains("nobody by that ID"));
}

/// Pitfall 27: the answer comes while nobody waits for it, and data right behind it.
#[tokio::test(start_paused = true)]
async fn pitfall_27_an_answer_that_nobody_waits_for_blocks_nothing() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    {
        let given_up = client.dial(ServerId::new(7));
        assert!(timeout(SECOND, given_up).await.is_err());
    }
    script.expect(dial(7)).await;
    script.accept(1, 7).await;
    script.send(data(1, b"too late")).await;
    script.expect(close(1)).await;

    let dialling = client.dial(ServerId::new(7));
    let (dialled, ()) = tokio::join!(dialling, async {
        script.expect(dial(7)).await;
        script
            .send(
                [
                    ToEndpoint::Accept { conn: conn(2), remote: remote(7) }.encode().as_ref(),
                    &data(2, b"early"),
                ]
                .concat(),
            )
            .await;
    });
    assert_eq!(dialled.unwrap().recv().await.unwrap(), "early");
}

/// The answer is there, but whoever dialled goes away before looking at it.
#[tokio::test(start_paused = true)]
async fn pitfall_27_an_answer_that_is_not_taken_is_closed() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    {
        let mut dialling = std::pin::pin!(client.dial(ServerId::new(7)));
        assert!(futures_util::poll!(&mut dialling).is_pending());
        script.expect(dial(7)).await;
        script.accept(1, 7).await;
        script.expect_nothing().await;
    }
    script.expect(close(1)).await;
}

/// Pitfall 28, first half.
#[tokio::test(start_paused = true)]
async fn pitfall_28_connections_that_are_not_accepted_are_closed_and_not_leaked() {
    let config = EndpointConfig { accept_queue: 2, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    for number in 1..=4 {
        script.connect(number, 7).await;
    }
    script.expect(close(3)).await;
    script.expect(close(4)).await;
    script.send(data(3, b"nobody's")).await;
    let first = client.accept().await.unwrap();
    let second = client.accept().await.unwrap();
    assert_eq!((first.id(), second.id()), (conn(1), conn(2)));
    // There is room again, and the numbers of the closed ones are free.
    script.connect(3, 8).await;
    assert_eq!(client.accept().await.unwrap().remote(), remote(8));
    drop(first);
    script.expect(close(3)).await;
    script.expect(close(1)).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_to_be_accepted_by_an_endpoint_that_is_gone() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut kept = script.open(&client, 1).await;
    script.connect(2, 7).await;
    script.expect_nothing().await;
    drop(client);
    script.expect(close(2)).await;
    script.connect(3, 7).await;
    script.expect(close(3)).await;
    kept.send("still here").await.unwrap();
    script.expect(data(1, b"still here")).await;
}
