//! The loss of a gateway: when it is known, and when there is a link again.

use super::client_support::*;

#[tokio::test(start_paused = true)]
async fn a_silent_gateway_is_given_up_when_detection_is_over() {
    for detection in [5 * SECOND, 3 * SECOND] {
        let net = Net::default();
        let a = Gateway::start(&net, A).await;
        let config = FleetConfig { detection, ..seeded(1) };
        let client = Client::connect(net, list(&[A]), config).await.unwrap();
        let mut conn = client.dial(SERVER).await.unwrap();
        // While it answers pings, it is there.
        sleep(60 * SECOND).await;
        assert_eq!(gateway(&client).as_deref(), Some(A));
        conn.send("the last word that is heard").await.unwrap();
        assert_eq!(conn.recv().await, message("the last word that is heard"));
        a.fall_silent();
        let (begun, mut events) = (Instant::now(), client.events());
        let lost = events.recv().await.unwrap();
        assert_eq!(begun.elapsed(), detection);
        assert!(
            lost.to_string()
                .starts_with(&format!("gateway {A}: nothing came from the gateway for {detection:?}")),
            "{lost}"
        );
        assert_eq!(gateway(&client), None);
    }
}

/// The bound that a client of a killed gateway relies on.
#[tokio::test(start_paused = true)]
async fn after_a_loss_there_is_service_again_within_spread_connect_and_dial() {
    let (connect, dial) = (40 * MS, 30 * MS);
    let mut times = Vec::new();
    for seed in 0..100 {
        let net = Net::default();
        let (a, b) = (Gateway::start(&net, A).await, Gateway::start(&net, B).await);
        net.delay(B, connect);
        b.answers_dials_after(dial);
        let (say, gateways) = changing();
        say.send(set(&[A])).unwrap();
        let client = Client::connect(net.clone(), gateways, seeded(seed)).await.unwrap();
        let mut conn = client.dial(SERVER).await.unwrap();
        say.send(set(&[A, B])).unwrap();
        settle().await;
        let begun = Instant::now();
        a.kill().await;
        assert_eq!(conn.recv().await, renewed(B));
        conn.send("again").await.unwrap();
        assert_eq!(conn.recv().await, message("again"));
        let least = connect + dial;
        let time = begun.elapsed();
        assert!(time >= least && time <= 500 * MS + least, "seed {seed}: {time:?}");
        times.push(time);
    }
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*most - *least > 450 * MS, "from {least:?} to {most:?}");
}

/// A thousand clients that lost one gateway do not reach the other as one wave.
#[tokio::test(start_paused = true)]
async fn a_herd_comes_spread_evenly_and_the_same_way_for_the_same_seeds() {
    let mut runs = Vec::new();
    for first_seed in [0, 0, 5000] {
        let net = Net::default();
        let (a, _b) = (Gateway::start(&net, A).await, Gateway::start(&net, B).await);
        let (mut clients, mut says) = (Vec::new(), Vec::new());
        for seed in first_seed..first_seed + 1000 {
            let (say, gateways) = changing();
            say.send(set(&[A])).unwrap();
            let config = FleetConfig { spread: SECOND, ..seeded(seed) };
            clients.push(Client::connect(net.clone(), gateways, config).await.unwrap());
            say.send(set(&[A, B])).unwrap();
            says.push(say);
        }
        settle().await;
        let begun = Instant::now();
        a.kill().await;
        sleep(2 * SECOND).await;
        assert!(clients.iter().all(|client| gateway(client).as_deref() == Some(B)));
        let tries = net.tries();
        let times: Vec<_> = tries[1000..].iter().map(|(at, _)| at.duration_since(begun)).collect();
        assert_eq!(times.len(), 1000);
        let mut tenths = [0; 10];
        for time in &times {
            // Timers go off at whole milliseconds.
            assert!(*time <= SECOND, "{time:?}");
            tenths[(time.as_micros() / 100_000).min(9) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
        runs.push(times);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_takes_everybody_and_keeps_nobody_is_tried_ever_more_rarely() {
    let net = Net::default();
    let mut a = Gateway::start(&net, A).await;
    let client = Client::connect(net.clone(), list(&[A]), seeded(1)).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 60 * SECOND {
        a.kill().await;
        a = Gateway::start(&net, A).await;
        linked_to(&client, A).await;
    }
    drop(a);
    let tries = net.tries().len();
    assert!((12..=25).contains(&tries), "200 ms, 400 ms … 5 s in between: {tries} times");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_changes_does_not_touch_the_link_and_counts_after_it() {
    let net = Net::default();
    let (a, _b, _c) =
        (Gateway::start(&net, A).await, Gateway::start(&net, B).await, Gateway::start(&net, C).await);
    let (say, gateways) = changing();
    say.send(set(&[A])).unwrap();
    let client = Client::connect(net.clone(), gateways, seeded(1)).await.unwrap();
    let mut conn = client.dial(SERVER).await.unwrap();
    let mut events = client.events();
    for round in [&[B, A][..], &[C], &[], &[A], &[C]] {
        say.send(set(round)).unwrap();
        settle().await;
    }
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(match event {
            Event::Found(gateway) => format!("+{gateway}"),
            Event::Gone(gateway) => format!("-{gateway}"),
            other => panic!("{other}"),
        });
    }
    let expected = [('+', B), ('+', C), ('-', A), ('-', B), ('-', C), ('+', A), ('+', C), ('-', A)];
    assert_eq!(told, expected.map(|(sign, addr)| format!("{sign}{addr}")));
    conn.send("still there").await.unwrap();
    assert_eq!(conn.recv().await, message("still there"));
    assert_eq!(net.tried(), [A]);
    let known: Vec<_> = client.status().iter().map(|status| status.gateway.to_string()).collect();
    assert_eq!(known, [A, C]);
    a.kill().await;
    assert_eq!(conn.recv().await, renewed(C));
    assert!(matches!(events.recv().await.unwrap(), Event::Left { .. }));
    assert_eq!(client.status().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_comes_while_all_others_wait_is_tried_at_once() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let (say, gateways) = changing();
    say.send(set(&[A])).unwrap();
    let client = Client::connect(net.clone(), gateways, seeded(1)).await.unwrap();
    a.kill().await;
    sleep(60 * SECOND).await;
    let _b = Gateway::start(&net, B).await;
    say.send(set(&[A, B])).unwrap();
    let begun = Instant::now();
    linked_to(&client, B).await;
    assert!(begun.elapsed() <= MS, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_can_never_have_a_link_again_ends() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let (say, gateways) = changing();
    say.send(set(&[A])).unwrap();
    let client = Client::connect(net, gateways, seeded(1)).await.unwrap();
    let mut conn = client.dial(SERVER).await.unwrap();
    say.send(vec![]).unwrap();
    drop(say);
    settle().await;
    conn.send("the link lives").await.unwrap();
    assert_eq!(conn.recv().await, message("the link lives"));
    a.kill().await;
    assert_eq!(conn.recv().await, None);
    assert!(matches!(conn.close_reason(), Some(ConnEnd::NotRenewed(NoConn::Ended(Ended::NoGateways)))));
    assert_eq!(client.accept().await.unwrap_err(), Ended::NoGateways);
    assert!(matches!(client.dial(SERVER).await, Err(NoConn::Ended(Ended::NoGateways))));
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn there_are_never_two_links() {
    let net = Net::default();
    let (mut a, b) = (Gateway::start(&net, A).await, Gateway::start(&net, B).await);
    let client = Client::connect(net.clone(), list(&[A, B]), seeded(3)).await.unwrap();
    for _ in 0..20 {
        a.kill().await;
        linked_to(&client, B).await;
        a = Gateway::start(&net, A).await;
        sleep(70 * SECOND).await;
        assert_eq!((a.clients(), b.clients()), (0, 1), "one that has come back is not turned to");
    }
    assert!(b.clients_ever() <= 2);
}
