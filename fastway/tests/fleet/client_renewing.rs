//! Connections that outlive their gateway.

use super::client_support::*;

/// A client of A, which knows of B as soon as it is linked to A, and a connection.
async fn with_a_conn(config: FleetConfig) -> (Net, Gateway, Gateway, Client, Conn) {
    let net = Net::default();
    let (a, b) = (Gateway::start(&net, A).await, Gateway::start(&net, B).await);
    let (say, gateways) = changing();
    say.send(set(&[A])).unwrap();
    let client = Client::connect(net.clone(), gateways, config).await.unwrap();
    let conn = client.dial(SERVER).await.unwrap();
    say.send(set(&[A, B])).unwrap();
    settle().await;
    (net, a, b, client, conn)
}

#[tokio::test(start_paused = true)]
async fn renewed_comes_once_and_after_all_that_had_arrived() {
    let (_net, a, b, _client, mut conn) = with_a_conn(seeded(1)).await;
    a.say(&[data(1, b"one"), data(1, b"two"), data(1, b"")].concat()).await;
    a.kill().await;
    sleep(5 * SECOND).await;
    assert_eq!(conn.gateway(), None);
    assert!(matches!(conn.send("too early").await, Err(SendError::Interrupted)));
    for text in ["one", "two", ""] {
        assert_eq!(conn.recv().await, message(text));
        assert!(matches!(conn.send("too early").await, Err(SendError::Interrupted)));
    }
    assert_eq!(conn.recv().await, renewed(B));
    assert_eq!(conn.gateway().unwrap().as_str(), B);
    conn.send("in time").await.unwrap();
    assert_eq!(conn.recv().await, message("in time"));
    assert!(timeout(60 * SECOND, conn.recv()).await.is_err(), "and nothing else");
    assert_eq!(b.heard(), ["in time"]);
}

#[tokio::test(start_paused = true)]
async fn each_loss_is_renewed_on_its_own_also_before_anybody_looks() {
    let (net, a, b, client, mut conn) = with_a_conn(seeded(1)).await;
    a.kill().await;
    // The new connection is there, and lost again before the user hears of it.
    assert!(timeout(MS, conn.recv()).await.is_err());
    linked_to(&client, B).await;
    settle().await;
    assert_eq!(b.dials(), 1);
    b.say(&data(1, b"from the second")).await;
    b.kill().await;
    settle().await;
    let _a = Gateway::start(&net, A).await;
    assert_eq!(conn.recv().await, renewed(B));
    assert!(matches!(conn.send("x").await, Err(SendError::Interrupted)));
    assert_eq!(conn.recv().await, message("from the second"));
    assert_eq!(conn.recv().await, renewed(A));
    conn.send("x").await.unwrap();
    assert_eq!(conn.recv().await, message("x"));
}

/// Receiving is given up again and again, as in a loop that does other things as well.
#[tokio::test(start_paused = true)]
async fn a_renewal_goes_on_while_nobody_waits_for_it() {
    let (_net, a, b, _client, mut conn) = with_a_conn(seeded(1)).await;
    b.answers_dials_after(100 * MS);
    a.kill().await;
    let begun = Instant::now();
    loop {
        if let Ok(received) = timeout(MS, conn.recv()).await {
            assert_eq!(received, renewed(B));
            break;
        }
    }
    assert!(begun.elapsed() <= 600 * MS + MS, "{:?}", begun.elapsed());
    assert_eq!(b.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_connections_are_dialled_again_side_by_side() {
    let (_net, a, b, client, conn) = with_a_conn(seeded(1)).await;
    let mut conns = vec![conn];
    for _ in 1..150 {
        conns.push(client.dial(SERVER).await.unwrap());
    }
    b.answers_dials_after(100 * MS);
    a.kill().await;
    linked_to(&client, B).await;
    let begun = Instant::now();
    let all = conns.iter_mut().map(|conn| async { assert_eq!(conn.recv().await, renewed(B)) });
    futures_util::future::join_all(all).await;
    assert_eq!(b.dials(), 150);
    // 64 at once, and not one more.
    assert!(begun.elapsed() >= 300 * MS && begun.elapsed() < 310 * MS, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_close_on_a_link_that_lives_ends_the_connection() {
    let (_net, a, b, client, mut conn) = with_a_conn(seeded(1)).await;
    a.say(&[data(1, b"good bye"), close(1)].concat()).await;
    assert_eq!(conn.recv().await, message("good bye"));
    let begun = Instant::now();
    assert_eq!(conn.recv().await, None);
    assert_eq!(begun.elapsed(), 100 * MS, "the link might have ended");
    assert!(matches!(conn.close_reason(), Some(ConnEnd::ClosedByRemote)));
    assert!(matches!(conn.send("x").await, Err(SendError::Ended(ConnEnd::ClosedByRemote))));
    assert_eq!((gateway(&client).as_deref(), a.dials(), b.dials()), (Some(A), 1, 0));
    a.kill().await;
    assert_eq!(conn.recv().await, None, "for good");
}

/// A gateway that stops closes its servers' links and its clients' in one go.
#[tokio::test(start_paused = true)]
async fn a_close_right_before_the_end_of_the_link_is_a_loss() {
    let (_net, a, _b, _client, mut conn) = with_a_conn(seeded(1)).await;
    a.say(&close(1)).await;
    assert!(timeout(99 * MS, conn.recv()).await.is_err());
    assert!(matches!(conn.send("x").await, Err(SendError::Interrupted)));
    a.kill().await;
    assert_eq!(conn.recv().await, renewed(B));
}

#[tokio::test(start_paused = true)]
async fn a_dial_without_a_link_waits_for_the_next_one() {
    let (_net, a, _b, client, _conn) = with_a_conn(seeded(1)).await;
    a.kill().await;
    settle().await;
    assert_eq!(gateway(&client), None);
    let begun = Instant::now();
    let mut conn = client.dial(SERVER).await.unwrap();
    assert!(begun.elapsed() > Duration::ZERO && begun.elapsed() <= 500 * MS, "{:?}", begun.elapsed());
    conn.send("there").await.unwrap();
    assert_eq!(conn.recv().await, message("there"));
}

#[tokio::test(start_paused = true)]
async fn a_dial_whose_link_ends_goes_on_over_the_next_one() {
    let (_net, a, _b, client, _conn) = with_a_conn(seeded(1)).await;
    a.answers_dials_after(4 * SECOND);
    let dialling = tokio::spawn(async move { client.dial(SERVER).await });
    sleep(SECOND).await;
    a.kill().await;
    let begun = Instant::now();
    assert_eq!(dialling.await.unwrap().unwrap().gateway().unwrap().as_str(), B);
    assert!(begun.elapsed() <= 500 * MS);
}

/// The server is about to reconnect to that gateway.
#[tokio::test(start_paused = true)]
async fn a_refused_dial_is_made_again_until_the_server_is_there() {
    let (_net, a, b, client, mut conn) = with_a_conn(seeded(1)).await;
    b.has_server(false);
    a.kill().await;
    linked_to(&client, B).await;
    let mut dialling = std::pin::pin!(client.dial(SERVER));
    let mut renewing = std::pin::pin!(conn.recv());
    assert!(timeout(3 * SECOND, futures_util::future::select(&mut dialling, &mut renewing)).await.is_err());
    assert!((10..=20).contains(&b.dials()), "two that try 100 ms, 200 ms … 1 s later: {}", b.dials());
    b.has_server(true);
    let begun = Instant::now();
    let (dialled, received) = tokio::join!(dialling, renewing);
    assert!(dialled.is_ok() && received == renewed(B));
    assert!(begun.elapsed() <= SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn patience_ends_and_says_the_last_answer() {
    let config = FleetConfig { patience: 8 * SECOND, ..seeded(1) };
    let (_net, a, b, client, mut conn) = with_a_conn(config).await;
    b.has_server(false);
    a.kill().await;
    let begun = Instant::now();
    assert_eq!(conn.recv().await, None);
    assert_eq!(begun.elapsed(), 8 * SECOND);
    let reason = conn.close_reason().unwrap().to_string();
    for part in ["ended with its gateway", "server 7", "within 8s", "refused"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(matches!(conn.send("x").await, Err(SendError::Ended(ConnEnd::NotRenewed(_)))));
    let begun = Instant::now();
    let error = client.dial(SERVER).await.unwrap_err();
    assert_eq!(begun.elapsed(), 8 * SECOND);
    assert!(matches!(error, NoConn::Failed { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn patience_ends_without_a_link_as_well() {
    let (_net, a, b, client, mut conn) = with_a_conn(seeded(1)).await;
    a.kill().await;
    b.kill().await;
    let begun = Instant::now();
    let (received, dialled) = tokio::join!(conn.recv(), client.dial(SERVER));
    assert_eq!((received, begun.elapsed()), (None, 30 * SECOND));
    let error = dialled.unwrap_err();
    assert!(matches!(error, NoConn::NoLink { .. }) && error.to_string().contains("for 30s"), "{error}");
}

/// The dial goes over the link that is there when its turn comes, also if it was refused over an earlier one.
#[tokio::test(start_paused = true)]
async fn a_refused_dial_does_not_wait_where_there_is_another_gateway() {
    let config = FleetConfig { redial: Backoff { first: 20 * SECOND, max: 20 * SECOND }, ..seeded(1) };
    let (_net, a, _b, client, _conn) = with_a_conn(config).await;
    a.has_server(false);
    let dialling = tokio::spawn(async move { client.dial(SERVER).await });
    sleep(SECOND).await;
    a.kill().await;
    let begun = Instant::now();
    assert_eq!(dialling.await.unwrap().unwrap().gateway().unwrap().as_str(), B);
    assert!(begun.elapsed() <= 500 * MS, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_is_refused_and_changes_nothing() {
    let (_net, _a, _b, _client, mut conn) = with_a_conn(seeded(1)).await;
    let error = conn.send(vec![0; 600_000]).await.unwrap_err();
    assert!(matches!(error, SendError::TooLong { len: 600_000, .. }), "{error}");
    conn.send("short").await.unwrap();
    conn.flush().await.unwrap();
    assert_eq!(conn.recv().await, message("short"));
    assert_eq!((conn.remote(), conn.close_reason().is_none()), (SERVER, true));
}
