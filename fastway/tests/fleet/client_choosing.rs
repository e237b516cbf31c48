//! Which gateway it is.

use std::collections::BTreeMap;

use super::client_support::*;

/// Each is taken by some clients, and the same one each time by the same seed.
#[tokio::test(start_paused = true)]
async fn at_random_it_is_any_and_the_seed_decides() {
    let net = Net::default();
    let gateways =
        [Gateway::start(&net, A).await, Gateway::start(&net, B).await, Gateway::start(&net, C).await];
    let mut chosen: Vec<Vec<String>> = Vec::new();
    for _ in 0..2 {
        let mut round = Vec::new();
        for seed in 0..100 {
            let client = Client::connect(net.clone(), list(&[A, B, C]), seeded(seed)).await.unwrap();
            round.push(gateway(&client).unwrap());
        }
        chosen.push(round);
    }
    assert_eq!(chosen[0], chosen[1]);
    let mut counts = BTreeMap::new();
    for addr in &chosen[0] {
        *counts.entry(addr).or_insert(0) += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| (20..50).contains(count)), "{counts:?}");
    drop(gateways);
}

#[tokio::test(start_paused = true)]
async fn round_robin_goes_on_in_the_order_of_addresses() {
    let net = Net::default();
    let addrs = [A, B, C];
    let mut gateways = Vec::new();
    for addr in addrs {
        gateways.push(Gateway::start(&net, addr).await);
    }
    let client = Client::connect(net.clone(), list(&addrs), in_order()).await.unwrap();
    let first = addrs.iter().position(|addr| gateway(&client).as_deref() == Some(*addr)).unwrap();
    for step in 1..7 {
        let (old, new) = ((first + step - 1) % 3, (first + step) % 3);
        gateways.remove(old).kill().await;
        gateways.insert(old, Gateway::start(&net, addrs[old]).await);
        settle().await;
        assert_eq!(gateway(&client), None);
        sleep(SECOND).await;
        assert_eq!(gateway(&client).as_deref(), Some(addrs[new]), "step {step}");
        // What failed lately comes after all others, whoever's turn it is.
        sleep(60 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_nearest_is_the_one_that_was_connected_to_in_the_shortest_time() {
    let net = Net::default();
    let addrs = [A, B, C];
    let mut gateways = Vec::new();
    for (addr, delay) in addrs.iter().zip([30, 10, 20]) {
        net.delay(addr, delay * MS);
        gateways.push(Gateway::start(&net, addr).await);
    }
    let config = FleetConfig { choice: Choice::Nearest, ..seeded(1) };
    let client = Client::connect(net.clone(), list(&addrs), config).await.unwrap();
    // All three are measured, and left again but for the nearest.
    sleep(SECOND).await;
    let present: Vec<_> = gateways.iter().map(Gateway::clients).collect();
    assert_eq!((gateway(&client).as_deref(), present), (Some(B), vec![0, 1, 0]));
    let measured: Vec<_> =
        client.status().iter().map(|status| status.connect_time.unwrap().as_millis()).collect();
    assert_eq!(measured, [30, 10, 20]);
    // From then on each is one connect away.
    gateways.remove(1).kill().await;
    linked_to(&client, C).await;
    gateways.remove(1).kill().await;
    linked_to(&client, A).await;
    assert_eq!(net.tries().len(), 5, "{:?}", net.tries());
}

/// One that takes long, or is not there, keeps nobody waiting.
#[tokio::test(start_paused = true)]
async fn while_they_are_measured_the_first_to_answer_serves() {
    let net = Net::default();
    let (b, _c) = (Gateway::start(&net, B).await, Gateway::start(&net, C).await);
    net.swallow(A);
    net.delay(B, SECOND);
    net.delay(C, 2 * SECOND);
    let config = FleetConfig { choice: Choice::Nearest, ..seeded(1) };
    let client = Client::connect(net.clone(), list(&[A, B, C]), config).await.unwrap();
    assert_eq!(gateway(&client).as_deref(), Some(B));
    // It is lost before the others are measured, so that begins anew.
    b.kill().await;
    linked_to(&client, C).await;
    sleep(10 * SECOND).await;
    let times: Vec<_> = client.status().into_iter().map(|status| status.connect_time).collect();
    assert_eq!(times, [None, Some(SECOND), Some(2 * SECOND)]);
    let states: Vec<_> = client.status().into_iter().map(|status| status.state).collect();
    assert!(!states.contains(&GatewayState::Connecting), "{states:?}");
}

/// One that failed a moment ago would cost a client its connect timeout, so it is not even looked at.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_failed_lately_comes_after_all_others() {
    for seed in 0..30 {
        let net = Net::default();
        let mut gateways = BTreeMap::new();
        for addr in [A, B, C] {
            gateways.insert(addr.to_owned(), Gateway::start(&net, addr).await);
        }
        let client = Client::connect(net.clone(), list(&[A, B, C]), seeded(seed)).await.unwrap();
        let lost = gateway(&client).unwrap();
        gateways.remove(&lost).unwrap().kill().await;
        net.swallow(&lost);
        sleep(SECOND).await;
        let second = gateway(&client).expect("seed {seed}: there is a link within the spread");
        gateways.remove(&second).unwrap().kill().await;
        sleep(SECOND).await;
        assert_eq!(net.tried().iter().filter(|tried| **tried == lost).count(), 1, "seed {seed}");
        assert_eq!(gateway(&client).as_deref(), gateways.keys().next().map(String::as_str));
    }
}
