//! A gateway that is well, and refuses a server that others know.

use super::client_support::*;

/// A client that is linked to A, which does not know the server, and has just heard of the others.
async fn misled(config: FleetConfig, set: &[&str]) -> (Net, Gateway, Client) {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let (say, gateways) = changing();
    say.send(self::set(&[A])).unwrap();
    let client = Client::connect(net.clone(), gateways, config).await.unwrap();
    a.has_server(false);
    say.send(self::set(set)).unwrap();
    settle().await;
    (net, a, client)
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_refused_for_too_long_goes_on_through_another_gateway() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let (net, a, client) = misled(seeded(seed), &[A, B]).await;
        let _b = Gateway::start(&net, B).await;
        let mut events = client.events();
        let begun = Instant::now();
        let mut conn = client.dial(SERVER).await.unwrap();
        assert_eq!(conn.gateway().unwrap().as_str(), B);
        times.push(begun.elapsed());
        conn.send("there").await.unwrap();
        assert_eq!(conn.recv().await, message("there"));
        let text = events.recv().await.unwrap().to_string();
        let expected = format!(
            "gateway {A}: it has refused server 7 for too long, and another gateway may know it; it is"
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(a.clients(), 0, "nothing is open through it");
        let states: Vec<_> = client.status().into_iter().map(|status| status.state).collect();
        assert!(
            !matches!(states[0], GatewayState::Connected(_))
                && matches!(states[1], GatewayState::Connected(_))
        );
        sleep(60 * SECOND).await;
        assert_eq!(gateway(&client).unwrap(), B, "it stays there");
    }
    // After 5 s, within as long again, at the next of the tries that come every second then.
    let (least, most) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    assert!(least > 5 * SECOND && least < 6 * SECOND, "{least:?}");
    assert!(most > 9 * SECOND && most < 11 * SECOND, "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_open_through_the_old_gateway_goes_on_until_nothing_is() {
    let (net, a, client) = misled(seeded(1), &[A, B]).await;
    let b = Gateway::start(&net, B).await;
    a.has_server(true);
    let mut old = client.dial(SERVER).await.unwrap();
    a.has_server(false);
    let new = client.dial(SERVER).await.unwrap();
    assert_eq!(new.gateway().unwrap().as_str(), B);
    for _ in 0..10 {
        sleep(10 * SECOND).await;
        old.send("still here").await.unwrap();
        assert_eq!(old.recv().await, message("still here"));
    }
    a.say(&connect(100, 8)).await;
    let called = client.accept().await.unwrap();
    assert_eq!(called.gateway(), A);
    drop(old);
    settle().await;
    assert_eq!((a.clients(), b.clients()), (1, 1), "a server's call is open");
    drop(called);
    settle().await;
    assert_eq!((a.clients(), b.clients()), (0, 1));
    assert_eq!(new.gateway().unwrap().as_str(), B, "and nothing else has happened");
}

/// Something is open through the old gateway for as long as it takes.
#[tokio::test(start_paused = true)]
async fn whoever_loses_the_new_gateway_turns_back_to_the_old_one() {
    let (net, a, client) = misled(seeded(1), &[A, B]).await;
    let b = Gateway::start(&net, B).await;
    a.has_server(true);
    let mut old = client.dial(SERVER).await.unwrap();
    a.has_server(false);
    let mut new = client.dial(SERVER).await.unwrap();
    a.has_server(true);
    b.kill().await;
    let begun = Instant::now();
    assert_eq!(new.recv().await, renewed(A));
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    old.send("still here").await.unwrap();
    assert_eq!(old.recv().await, message("still here"));
    drop(old);
    settle().await;
    assert_eq!((a.clients(), a.clients_ever()), (1, 2));
    new.send("here too").await.unwrap();
    assert_eq!(new.recv().await, message("here too"));
}

#[tokio::test(start_paused = true)]
async fn what_is_open_through_the_old_gateway_does_not_forbid_to_turn_back_to_it() {
    let (net, a, client) = misled(seeded(1), &[A, B]).await;
    let b = Gateway::start(&net, B).await;
    a.has_server(true);
    let _old = client.dial(SERVER).await.unwrap();
    a.has_server(false);
    client.dial(SERVER).await.unwrap();
    a.has_server(true);
    sleep(50 * SECOND).await;
    b.has_server(false);
    let conn = client.dial(SERVER).await.unwrap();
    assert_eq!(conn.gateway().unwrap().as_str(), A);
}

/// The server comes back before the other gateway does.
#[tokio::test(start_paused = true)]
async fn as_long_as_no_other_gateway_answers_the_old_one_is_dialled_through() {
    let (net, a, client) = misled(seeded(1), &[A, B]).await;
    net.swallow(B);
    let dialling = tokio::spawn({
        let client = client.clone();
        async move { client.dial(SERVER).await }
    });
    sleep(20 * SECOND).await;
    assert!(net.tried().iter().any(|addr| addr == B));
    assert_eq!(gateway(&client).unwrap(), A);
    a.has_server(true);
    let conn = dialling.await.unwrap().unwrap();
    assert_eq!(conn.gateway().unwrap().as_str(), A);
    sleep(60 * SECOND).await;
    assert_eq!((a.clients(), a.clients_ever()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_only_gateway_is_kept() {
    let (net, a, client) = misled(seeded(1), &[A]).await;
    client.dial(SERVER).await.unwrap_err();
    assert_eq!((net.tries().len(), a.clients()), (1, 1));
}

/// A server that is down would otherwise set all its clients in motion for as long as it is.
#[tokio::test(start_paused = true)]
async fn for_a_server_that_is_nowhere_each_gateway_is_turned_to_once_in_fifty_seconds() {
    let config = FleetConfig { patience: 600 * SECOND, ..seeded(1) };
    let (net, _a, client) = misled(config, &[A, B, C]).await;
    let (b, c) = (Gateway::start(&net, B).await, Gateway::start(&net, C).await);
    for gateway in [&b, &c] {
        gateway.has_server(false);
    }
    let begun = Instant::now();
    client.dial(SERVER).await.unwrap_err();
    assert_eq!(begun.elapsed(), 600 * SECOND);
    let tries = net.tries().len();
    assert!((20..=36).contains(&tries), "{tries} connects, of three gateways at most once in 50 s each");
}

#[tokio::test(start_paused = true)]
async fn with_zero_nobody_turns_away() {
    let config = FleetConfig { reroute: Duration::ZERO, ..seeded(1) };
    let (net, _a, client) = misled(config, &[A, B]).await;
    let _b = Gateway::start(&net, B).await;
    client.dial(SERVER).await.unwrap_err();
    assert_eq!(net.tried(), [A]);
}
