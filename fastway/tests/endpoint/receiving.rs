//! Slow receivers: bounded queues, and who pays.

use super::support::*;

/// Pitfall 29, as it is by default.
#[tokio::test(start_paused = true)]
async fn pitfall_29_a_connection_that_is_not_received_from_closes_and_the_others_go_on() {
    let config = EndpointConfig { recv_queue_messages: 3, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let (mut slow, mut good) = (script.open(&client, 1).await, script.open(&client, 2).await);
    for number in 0..5_u8 {
        script.send(data(1, &[number])).await;
    }
    script.send(data(2, b"unharmed")).await;
    assert_eq!(good.recv().await.unwrap(), "unharmed");
    script.expect(close(1)).await;
    assert!(matches!(slow.close_reason(), Some(CloseReason::SlowReceiver)));
    for number in 0..3_u8 {
        assert_eq!(slow.recv().await.unwrap(), [number][..], "what waited is not lost");
    }
    assert!(slow.recv().await.is_none());
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn pitfall_29_the_queue_is_bounded_in_bytes_too_but_one_message_always_fits() {
    let config = EndpointConfig { recv_queue_bytes: 100, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let mut conn = script.open(&client, 1).await;
    script.send(data(1, &[1; 1000])).await;
    assert_eq!(conn.recv().await.unwrap().len(), 1000);
    script.send([data(1, &[1; 90]), data(1, &[2; 10]), data(1, &[3; 1])].concat()).await;
    script.expect(close(1)).await;
    assert_eq!(conn.recv().await.unwrap().len(), 90);
    assert_eq!(conn.recv().await.unwrap().len(), 10);
    assert!(conn.recv().await.is_none());
}

/// Pitfall 29, as it can be chosen: nothing is lost, everybody waits, and the gateway is told that we live.
#[tokio::test(start_paused = true)]
async fn pitfall_29_the_link_may_wait_instead() {
    let config = EndpointConfig {
        recv_queue_messages: 3,
        slow_receiver: SlowReceiver::LinkWaits,
        ..EndpointConfig::default()
    };
    let (mut script, client) = Script::with_client(config).await;
    let (mut slow, mut other) = (script.open(&client, 1).await, script.open(&client, 2).await);
    for number in 0..10_u8 {
        script.send(data(1, &[number])).await;
    }
    script.send(data(2, b"behind")).await;
    for _ in 0..20 {
        let begun = Instant::now();
        script.expect(ping()).await;
        assert_eq!(begun.elapsed().as_secs(), 30, "a sign of life");
    }
    assert!(timeout(SECOND, other.recv()).await.is_err(), "it waits as well");
    for number in 0..10_u8 {
        assert_eq!(slow.recv().await.unwrap(), [number][..]);
    }
    assert_eq!(other.recv().await.unwrap(), "behind");
}

/// The connection that the link waits for may also be given up.
#[tokio::test(start_paused = true)]
async fn a_link_that_waits_goes_on_when_the_connection_is_dropped() {
    let config = EndpointConfig {
        recv_queue_messages: 1,
        slow_receiver: SlowReceiver::LinkWaits,
        ..EndpointConfig::default()
    };
    let (mut script, client) = Script::with_client(config).await;
    let (slow, mut other) = (script.open(&client, 1).await, script.open(&client, 2).await);
    script.send([data(1, b"1"), data(1, b"2"), data(2, b"behind")].concat()).await;
    assert!(timeout(SECOND, other.recv()).await.is_err());
    drop(slow);
    assert_eq!(other.recv().await.unwrap(), "behind");
}

/// The gateway is gone, and writing shows it first. What it had sent before is received all the same.
#[tokio::test(start_paused = true)]
async fn what_came_before_a_failed_write_is_received() {
    let network = MemoryNetwork::with_pipe_bytes(4 * 1024 * 1024);
    let mut listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    let client = Client::connect(&network, ADDR, EndpointConfig::default()).await.unwrap();
    let mut script = Script { stream: listener.accept().await.unwrap() };
    let mut conn = script.open(&client, 1).await;
    for _ in 0..200 {
        script.send(data(1, &[7; 10_000])).await;
    }
    conn.send("nobody there").await.unwrap();
    drop(script);
    for _ in 0..200 {
        assert_eq!(conn.recv().await.unwrap(), [7; 10_000][..]);
    }
    assert!(conn.recv().await.is_none());
}

/// The link goes on when its receiver does, not at its next look at the clock.
#[tokio::test(start_paused = true)]
async fn a_link_that_waits_goes_on_at_once_when_there_is_room() {
    let config = EndpointConfig {
        recv_queue_messages: 1,
        slow_receiver: SlowReceiver::LinkWaits,
        ..EndpointConfig::default()
    };
    let (mut script, client) = Script::with_client(config).await;
    let mut conn = script.open(&client, 1).await;
    script.send([data(1, b"1"), data(1, b"2"), data(1, b"3")].concat()).await;
    let begun = Instant::now();
    for expected in ["1", "2", "3"] {
        assert_eq!(conn.recv().await.unwrap(), expected);
    }
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}
