//! What goes wrong at gateways: who is told which, why, and what is next; and that the others serve.

use fastway::endpoint::{ConnectError, LinkError};

use super::scripted::*;

#[tokio::test(start_paused = true)]
async fn gateways_that_all_refuse_are_named_and_tried_until_one_is_there() {
    let network = MemoryNetwork::new();
    let server = start(&network, list([A, B, C]));
    let mut events = server.events();
    let begun = Instant::now();
    assert!(timeout(HOUR, server.ready()).await.is_err());
    for addr in [A, B, C] {
        assert!(matches!(next(&mut events.resubscribe()).await, Event::Trouble { .. }));
        let (trouble, retry_in, text) = next_trouble(&mut server.events(), addr).await;
        assert!(matches!(trouble, Trouble::Connect(_)));
        assert!(text.starts_with(&format!("gateway {addr}: cannot connect")), "{text}");
        assert!(
            text.contains("refused") && text.contains(&format!("it is tried again in {retry_in:.1?}, at")),
            "{text}"
        );
    }
    for status in server.status() {
        assert!(matches!(status.state, GatewayState::Waiting(_)) && status.failures > 700, "{status:?}");
    }
    assert!(begun.elapsed() < HOUR + SECOND * 60);
    let mut at_b = Port::bind(&network, B).await;
    let (_b, ready) = tokio::join!(at_b.let_in(), server.ready());
    ready.unwrap();
    events = server.events();
    next_trouble(&mut events, A).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_at_one_of_three_is_said_and_the_others_serve() {
    let network = MemoryNetwork::new();
    let mut ports =
        [Port::bind(&network, A).await, Port::bind(&network, B).await, Port::bind(&network, C).await];
    let server = start(&network, list([A, B, C]));
    let mut events = server.events();
    let [at_a, at_b, at_c] = &mut ports;
    let (mut a, turned_away, mut c) = tokio::join!(at_a.let_in(), at_b.accept(), at_c.let_in());
    drop(turned_away);
    let (trouble, retry_in, text) = next_trouble(&mut events, B).await;
    assert!(matches!(trouble, Trouble::Link(LinkError::TurnedAway)));
    assert!(text.contains(B) && text.contains("key") && text.contains("tried again in"), "{text}");
    // Somebody may be changing the password; asking often is of no use before.
    let longest = Backoff::default().max;
    assert!(retry_in >= longest / 2 && retry_in <= longest, "{retry_in:?}");
    // It was never said that there is a link.
    assert!(matches!(states(&server)[1], (_, GatewayState::Waiting(_))));
    for (link, addr) in [(&mut a, A), (&mut c, C)] {
        link.connect(1, 1).await;
        assert_eq!(timeout(SECOND, server.accept()).await.unwrap().unwrap().gateway(), addr);
    }
    // The password is the right one now.
    let lost = Instant::now();
    let _b = at_b.let_in().await;
    assert!(lost.elapsed() <= longest);
    loop {
        match next(&mut events).await {
            Event::Connected { gateway, .. } if gateway.as_str() == B => break,
            Event::Connected { .. } => panic!("the others are connected already"),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_wrong_password_at_its_only_gateway_a_server_is_not_ready() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A]));
    let turning_away = tokio::spawn(async move {
        loop {
            drop(at_a.accept().await);
        }
    });
    assert!(timeout(SECOND * 60, server.ready()).await.is_err());
    turning_away.abort();
}

/// A process listens there that never says anything, or only half of what a gateway says.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_given_up_in_time() {
    let network = MemoryNetwork::new();
    let (_silent, mut at_b) = (Port::bind(&network, A).await, Port::bind(&network, B).await);
    let server = start(&network, list([A, B]));
    let mut events = server.events();
    let begun = Instant::now();
    let _half = at_b.accept().await;
    for addr in [A, B] {
        let (trouble, _, text) = next_trouble(&mut events, addr).await;
        assert!(matches!(trouble, Trouble::Connect(error) if matches!(*error, ConnectError::Timeout { .. })));
        assert!(text.contains(addr) && text.contains("within 5s"), "{text}");
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_falls_silent_is_lost_after_the_time_of_detection() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let config = FleetConfig { detection: SECOND * 3, seed: Some(1), ..FleetConfig::default() };
    let server = start_with(&network, list([A]), config);
    let mut events = server.events();
    let _a = at_a.let_in().await;
    let begun = Instant::now();
    let (trouble, _, text) = next_trouble(&mut events, A).await;
    assert!(matches!(trouble, Trouble::Link(LinkError::Silent(_))), "{text}");
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert!(text.contains("it is gone, or the network is; it is tried again in"), "{text}");
    let _a = at_a.let_in().await;
    assert!(begun.elapsed() < SECOND * 4);
    assert!(matches!(next(&mut events).await, Event::Connected { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_status_has_all_gateways_in_order() {
    let network = MemoryNetwork::new();
    let (mut at_a, _at_c) = (Port::bind(&network, A).await, Port::bind(&network, C).await);
    let server = start(&network, list([C, B, A]));
    let _a = at_a.let_in().await;
    server.ready().await.unwrap();
    let [a, b, c] = &server.status()[..] else { panic!("three gateways") };
    assert_eq!([&a.gateway, &b.gateway, &c.gateway].map(|gateway| gateway.as_str()), [A, B, C]);
    assert!(matches!(a.state, GatewayState::Connected(_)) && a.connect_time.is_some() && a.failures == 0);
    assert!(matches!(b.state, GatewayState::Waiting(_)) && b.failures == 1 && b.last_trouble.is_some());
    assert!(matches!(c.state, GatewayState::Connecting) && c.connect_time.is_none());
    let debug = format!("{server:?}");
    assert!(debug.contains(A) && !debug.contains("key"), "{debug}");
}
