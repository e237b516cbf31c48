//! Sending, flushing, and the limits of both.

use super::support::*;

/// Pitfall 4: sender and receiver count the same bytes.
#[tokio::test(start_paused = true)]
async fn pitfall_4_the_longest_message_passes_and_one_byte_more_is_a_clear_error() {
    let max_packet = MaxPacket::new(100).unwrap();
    let (mut script, client) =
        Script::with_client(EndpointConfig { max_packet, ..EndpointConfig::default() }).await;
    let mut conn = script.open(&client, 1).await;
    conn.send([7; 96]).await.unwrap();
    script.expect(data(1, &[7; 96])).await;
    let error = conn.send([7; 97]).await.unwrap_err();
    assert!(matches!(error, SendError::TooLong { len: 97, max: 96 }), "{error}");
    assert!(error.to_string().contains("97") && error.to_string().contains("96"), "{error}");
    script.send(data(1, &[8; 96])).await;
    assert_eq!(conn.recv().await.unwrap(), [8; 96][..], "the connection is still open");
    script.send([101, 0, 0, 0]).await;
    let end = client.ended().await;
    assert!(matches!(end, LinkError::Frame(FrameError::TooLarge { length: 101, max: 100 })), "{end}");
}

#[tokio::test(start_paused = true)]
async fn sending_waits_while_the_link_is_full_and_stops_waiting_at_the_end() {
    let config = EndpointConfig { send_queue_bytes: 10_000, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let mut first = script.open(&client, 1).await;
    let mut second = script.open(&client, 2).await;
    let mut sent = 0;
    while timeout(SECOND, first.send([1; 1000])).await.is_ok() {
        sent += 1;
    }
    // 64 KiB in the pipe, and the queue.
    assert!((70..=90).contains(&sent), "{sent}");
    let waiting = tokio::spawn(async move { (second.send([2; 1000]).await, second) });
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    for _ in 0..sent {
        script.expect(data(1, &[1; 1000])).await;
    }
    script.expect(data(2, &[2; 1000])).await;
    let (outcome, mut second) = waiting.await.unwrap();
    outcome.unwrap();

    while timeout(SECOND, first.send([1; 1000])).await.is_ok() {}
    let waiting = tokio::spawn(async move { second.send([2; 1000]).await });
    sleep(SECOND).await;
    script.send(close(2)).await;
    let outcome = timeout(SECOND, waiting).await.expect("it is told at once").unwrap();
    assert!(matches!(outcome, Err(SendError::Closed(CloseReason::ClosedByRemote))));
    drop(script);
    assert!(matches!(first.send("x").await, Err(SendError::Closed(CloseReason::Link(_)))));
}

#[tokio::test(start_paused = true)]
async fn flush_waits_until_the_network_has_it() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 100_000]).await.unwrap();
    assert!(timeout(SECOND, conn.flush()).await.is_err(), "64 KiB fit into the pipe");
    let (flushed, ()) = tokio::join!(conn.flush(), script.expect(data(1, &vec![1; 100_000])));
    flushed.unwrap();
}

/// A flush that was given up does not speak for what is sent after it.
#[tokio::test(start_paused = true)]
async fn each_flush_waits_for_everything_before_it() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 100_000]).await.unwrap();
    assert!(timeout(SECOND, conn.flush()).await.is_err());
    conn.send(vec![2; 500_000]).await.unwrap();
    script.expect(data(1, &vec![1; 100_000])).await;
    assert!(timeout(SECOND, conn.flush()).await.is_err(), "there is more");
    let (flushed, ()) = tokio::join!(conn.flush(), script.expect(data(1, &vec![2; 500_000])));
    flushed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_a_stream_and_a_sink_and_can_be_split() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut whole = script.open(&client, 1).await;
    SinkExt::send(&mut whole, Bytes::from_static(b"sunk")).await.unwrap();
    script.expect(data(1, b"sunk")).await;
    script.send(data(1, b"streamed")).await;
    assert_eq!(whole.next().await.unwrap(), "streamed");

    let (mut sender, mut receiver) = whole.split();
    let receiving = tokio::spawn(async move {
        let mut messages = Vec::new();
        while let Some(message) = receiver.next().await {
            messages.push(message);
        }
        (messages, receiver.close_reason())
    });
    sender.send("half").await.unwrap();
    script.expect(data(1, b"half")).await;
    script.send([data(1, b"a"), data(1, b"b")].concat()).await;
    script.expect_nothing().await;
    // Closing the sink closes the connection, both ways.
    SinkExt::<Bytes>::close(&mut sender).await.unwrap();
    script.expect(close(1)).await;
    let (messages, reason) = receiving.await.unwrap();
    assert_eq!(messages, ["a", "b"]);
    assert!(matches!(reason, Some(CloseReason::ClosedHere)));
}

/// A link that waits for its receiver reads no end of file. Who sends, and does not receive, learns of the end all the
/// same, or it would wait for ever.
#[tokio::test(start_paused = true)]
async fn sending_on_a_dead_link_fails_also_while_the_link_waits_for_its_receiver() {
    let config = EndpointConfig {
        send_queue_bytes: 1000,
        recv_queue_messages: 1,
        slow_receiver: SlowReceiver::LinkWaits,
        ..EndpointConfig::default()
    };
    let (mut script, client) = Script::with_client(config).await;
    let mut conn = script.open(&client, 1).await;
    script.send([data(1, b"1"), data(1, b"2")].concat()).await;
    while timeout(SECOND, conn.send([1; 1000])).await.is_ok() {}
    let sending = tokio::spawn(async move { (conn.send("more").await, conn.flush().await, conn) });
    sleep(SECOND).await;
    drop(script);
    let (sent, flushed, mut conn) = timeout(SECOND, sending).await.expect("it ends").unwrap();
    let is_failed = |outcome: Result<(), SendError>| {
        matches!(outcome, Err(SendError::Closed(CloseReason::Link(LinkError::Failed(_)))))
    };
    assert!(is_failed(sent) && is_failed(flushed));
    assert!(matches!(client.dial(ServerId::new(7)).await, Err(DialError::Link(_))));
    assert_eq!(conn.recv().await.unwrap(), "1", "what came before is received");
}

/// Three connections of a client whose gateway reads nothing, until the first of them had to wait for room.
async fn three_on_a_full_link() -> (Script, Client, Vec<VirtualConn>) {
    let config = EndpointConfig { send_queue_bytes: 1000, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let mut conns = Vec::new();
    for number in 1..=3 {
        conns.push(script.open(&client, number).await);
    }
    while timeout(SECOND, conns[0].send([1; 1000])).await.is_ok() {}
    (script, client, conns)
}

/// Each waits for itself: nobody's place in the line is taken by another.
#[tokio::test(start_paused = true)]
async fn everybody_who_waits_for_room_gets_it() {
    let (mut script, _client, conns) = three_on_a_full_link().await;
    let send = |mut conn: VirtualConn| async move { (conn.send([2; 1000]).await, conn.flush().await) };
    let waiting: Vec<_> = conns.into_iter().map(|conn| tokio::spawn(send(conn))).collect();
    sleep(SECOND).await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    let reading = tokio::spawn(async move { while !script.frame().await.is_empty() {} });
    for waiting in waiting {
        let (sent, flushed) = timeout(SECOND, waiting).await.expect("it has room").unwrap();
        assert!(sent.is_ok() && flushed.is_ok());
    }
    reading.abort();
}

/// To the byte: 64 KiB in the pipe, and the queue.
#[tokio::test(start_paused = true)]
async fn sending_waits_when_the_queue_is_full_and_goes_on_when_half_of_it_is_free() {
    let config = EndpointConfig { send_queue_bytes: 8 * 1024, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let mut conn = script.open(&client, 1).await;
    let message = [1; 1024 - 8];
    let mut sent = 0;
    while timeout(SECOND, conn.send(message)).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 64 + 8);
    let waiting = tokio::spawn(async move { (conn.send(message).await, conn) });
    for read in 1..=4 {
        assert!(!waiting.is_finished(), "{read}");
        script.expect(data(1, &message)).await;
        sleep(SECOND).await;
    }
    assert!(waiting.is_finished());
}

/// At once, and not when the whole link is given up; and nobody else is told.
#[tokio::test(start_paused = true)]
async fn who_waits_for_room_stops_waiting_when_its_own_connection_ends() {
    let (mut script, _client, conns) = three_on_a_full_link().await;
    let send = |conn: VirtualConn| async move {
        let (mut sender, _receiver) = conn.split();
        (sender.send([2; 1000]).await, sender.close_reason())
    };
    let mut waiting: Vec<_> = conns.into_iter().map(|conn| tokio::spawn(send(conn))).collect();
    sleep(SECOND).await;
    for number in [3, 1, 2] {
        script.send(close_by_gateway(number)).await;
        let told = timeout(SECOND, &mut waiting[number as usize - 1]).await.expect("it is told");
        let (sent, reason) = told.unwrap();
        assert!(matches!(sent, Err(SendError::Closed(CloseReason::ClosedByRemote))), "{sent:?}");
        assert!(matches!(reason, Some(CloseReason::ClosedByRemote)), "{reason:?}");
        assert!(number != 3 || waiting[..2].iter().all(|waiting| !waiting.is_finished()));
    }
}

fn close_by_gateway(number: u32) -> Vec<u8> {
    ToEndpoint::Close { conn: Some(conn(number)) }.encode().as_ref().to_vec()
}

/// The whole connection and its sending half alike.
#[tokio::test(start_paused = true)]
async fn as_a_sink_it_waits_for_room_flushes_and_closes() {
    for split in [false, true] {
        let config = EndpointConfig { send_queue_bytes: 1000, ..EndpointConfig::default() };
        let (mut script, client) = Script::with_client(config).await;
        let conn = script.open(&client, 1).await;
        if split {
            let (sender, _receiver) = conn.split();
            use_as_sink(&mut script, sender).await;
        } else {
            use_as_sink(&mut script, conn).await;
        }
    }
}

async fn use_as_sink(script: &mut Script, mut sink: impl SinkExt<Bytes, Error = SendError> + Unpin) {
    let message = Bytes::from_static(&[1; 1000]);
    let mut sent = 0;
    while timeout(SECOND, sink.feed(message.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 1000, "it waits for room");
    }
    assert!(timeout(SECOND, sink.flush()).await.is_err(), "the gateway reads nothing");
    assert!(timeout(SECOND, sink.close()).await.is_err(), "what was sent goes first");
    let reading = async {
        for _ in 0..sent {
            script.expect(data(1, &message)).await;
        }
    };
    let (flushed, ()) = tokio::join!(sink.flush(), reading);
    flushed.unwrap();
    sink.close().await.unwrap();
    script.expect(close(1)).await;
}
