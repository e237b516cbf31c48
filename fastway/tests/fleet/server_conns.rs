//! Virtual connections over all gateways: accepted in turn, dialled by gateway and client.

use futures_util::FutureExt as _;

use super::scripted::*;

#[tokio::test(start_paused = true)]
async fn connections_come_from_all_gateways_and_say_which() {
    let network = MemoryNetwork::new();
    let (mut at_a, mut at_b) = (Port::bind(&network, A).await, Port::bind(&network, B).await);
    let server = start(&network, list([A, B]));
    let (mut a, mut b) = tokio::join!(at_a.let_in(), at_b.let_in());
    server.ready().await.unwrap();
    for (link, addr, hello) in [(&mut a, A, b"from a"), (&mut b, B, b"from b")] {
        // The same IDs at both: each gateway counts for itself.
        link.connect(1, 42).await;
        link.send(1, hello).await;
        let (mut conn, message) = accept_one(&server).await;
        assert_eq!((conn.gateway(), conn.remote().client()), (addr, Some(client(42))));
        assert_eq!(message, hello[..]);
        conn.send("back").await.unwrap();
        link.expect_message(1, b"back").await;
    }
    let (dialled, ()) = tokio::join!(server.dial(B, client(42)), async {
        b.expect_close(1).await;
        b.expect(ToGateway::Dial { remote: client(42).into() }).await;
        b.say(ToEndpoint::Accept { conn: ConnId::new(2).unwrap(), remote: client(42).into() }).await;
    });
    assert_eq!(dialled.unwrap().gateway(), B);
}

#[tokio::test(start_paused = true)]
async fn gateways_take_turns() {
    let network = MemoryNetwork::new();
    let mut ports =
        [Port::bind(&network, A).await, Port::bind(&network, B).await, Port::bind(&network, C).await];
    let server = start(&network, list([A, B, C]));
    let [at_a, at_b, at_c] = &mut ports;
    let (mut a, mut b, mut c) = tokio::join!(at_a.let_in(), at_b.let_in(), at_c.let_in());
    for number in 1..=4 {
        a.connect(number, number).await;
        c.connect(number, number).await;
    }
    b.connect(1, 1).await;
    sleep(SECOND).await;
    let mut order = Vec::new();
    for _ in 0..9 {
        order.push(server.accept().await.unwrap().gateway().to_owned());
    }
    assert_eq!(order, [A, B, C, A, C, A, C, A, C]);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_has_accepted_nothing() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A]));
    let mut a = at_a.let_in().await;
    assert!(timeout(SECOND, server.accept()).await.is_err());
    a.connect(1, 1).await;
    {
        let mut accepting = std::pin::pin!(server.accept());
        assert!(futures_util::poll!(&mut accepting).is_pending());
        sleep(SECOND).await;
    }
    assert_eq!(server.accept().now_or_never().expect("it waits").unwrap().gateway(), A);
}

/// Who waits is not forgotten when a gateway joins, and each of those who wait gets one.
#[tokio::test(start_paused = true)]
async fn who_waits_already_gets_connections_of_a_gateway_that_comes_later() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A]));
    let waiting = [server.clone(), server.clone()]
        .map(|server| tokio::spawn(async move { server.accept().await.unwrap().remote().client() }));
    let (mut a, ()) = tokio::join!(at_a.let_in(), sleep(SECOND));
    a.connect(1, 7).await;
    a.connect(2, 7).await;
    for waiting in waiting {
        assert_eq!(timeout(SECOND, waiting).await.unwrap().unwrap(), Some(client(7)));
    }
}

#[tokio::test(start_paused = true)]
async fn each_link_bounds_what_waits_to_be_accepted() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let mut config = config(1);
    config.endpoint.accept_queue = 2;
    let server = start_with(&network, list([A]), config);
    let mut a = at_a.let_in().await;
    for number in 1..=3 {
        a.connect(number, 7).await;
    }
    a.expect_close(3).await;
    assert_eq!(server.accept().await.unwrap().id(), ConnId::new(1).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dial_without_a_link_says_at_once_which_and_why() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A, B]));
    let _a = at_a.let_in().await;
    server.ready().await.unwrap();
    let dial = |gateway| server.dial(gateway, client(1)).now_or_never().expect("at once").unwrap_err();

    let unknown = dial(C);
    assert!(matches!(&unknown, ServerDialError::NoLink { gateway, why: NoLink::Unknown(_) } if gateway == C));
    assert_eq!(
        unknown.to_string(),
        format!(
            "cannot dial through gateway {C}: it is not one of the gateways of this server, which are: {A}, {B}"
        )
    );
    let away = dial(B);
    assert!(matches!(&away, ServerDialError::NoLink { why: NoLink::NotConnected(Some(_)), .. }));
    assert!(away.to_string().contains(B) && away.to_string().contains("refused"), "{away}");
    server.close();
    let closed = dial(A);
    assert!(matches!(&closed, ServerDialError::NoLink { why: NoLink::Closed, .. }), "{closed}");
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_says_to_a_dial_names_the_gateway() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A]));
    let mut a = at_a.let_in().await;
    server.ready().await.unwrap();
    let (refused, ()) = tokio::join!(server.dial(A, client(5)), async {
        a.expect(ToGateway::Dial { remote: client(5).into() }).await;
        a.say(ToEndpoint::Refuse { remote: client(5).into() }).await;
    });
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, ServerDialError::Dial { .. }));
    assert!(refused.to_string().contains(A), "{refused}");
}
