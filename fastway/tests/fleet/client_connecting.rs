//! The first link, and what is said if there is none.

use std::io;

use fastway::fleet::{FindError, Resolve};

use super::client_support::*;

#[tokio::test(start_paused = true)]
async fn if_all_refuse_each_is_named_with_what_it_said_when_patience_is_over() {
    let net = Net::default();
    let begun = Instant::now();
    let config = FleetConfig { patience: 12 * SECOND, ..seeded(1) };
    let error = Client::connect(net.clone(), list(&[A, B, C]), config).await.unwrap_err();
    assert_eq!(begun.elapsed(), 12 * SECOND);
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "none of 3 gateways could be connected to in 12.0s");
    for (line, addr) in lines[1..].iter().zip([A, B, C]) {
        assert!(line.starts_with(&format!("  {addr}: cannot connect")) && line.contains("refused"), "{text}");
    }
    assert_eq!(lines.len(), 4, "{text}");
    for addr in [A, B, C] {
        let tries = net.tried().iter().filter(|tried| *tried == addr).count();
        assert!((5..=10).contains(&tries), "200 ms, 400 ms … 5 s in between: {tries} times");
    }
    let tries = net.tries().len();
    sleep(60 * SECOND).await;
    assert_eq!(net.tries().len(), tries, "nobody goes on trying");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_refuses_costs_no_time() {
    let net = Net::default();
    let _c = Gateway::start(&net, C).await;
    for seed in 0..20 {
        let begun = Instant::now();
        let client = Client::connect(net.clone(), list(&[A, B, C]), seeded(seed)).await.unwrap();
        assert_eq!((gateway(&client).unwrap().as_str(), begun.elapsed()), (C, Duration::ZERO));
        let states = client.status().into_iter().map(|status| status.state).collect::<Vec<_>>();
        assert_eq!(states[2], GatewayState::Connected(begun));
    }
    assert!(net.tried().contains(&A.to_owned()) && net.tried().contains(&B.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_costs_its_deadline() {
    let net = Net::default();
    let _b = Gateway::start(&net, B).await;
    net.swallow(A);
    let mut times: Vec<_> = Vec::new();
    for seed in 0..20 {
        let begun = Instant::now();
        let client = Client::connect(net.clone(), list(&[A, B]), seeded(seed)).await.unwrap();
        assert_eq!(gateway(&client).unwrap(), B);
        times.push(begun.elapsed().as_secs());
    }
    times.sort_unstable();
    times.dedup();
    assert_eq!(times, [0, 5], "by lot");
}

#[tokio::test(start_paused = true)]
async fn patience_also_ends_a_try_under_way() {
    let net = Net::default();
    net.swallow(A);
    let begun = Instant::now();
    let config = FleetConfig { patience: 2 * SECOND, ..seeded(1) };
    let error = Client::connect(net, list(&[A]), config).await.unwrap_err();
    assert_eq!(begun.elapsed(), 2 * SECOND);
    assert_eq!(
        error.to_string(),
        format!("none of 1 gateways could be connected to in 2.0s\n  {A}: no answer yet")
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_and_no_addresses_fail_at_once() {
    assert!(matches!(Gateways::list::<&str>([]), Err(FindError::Empty)));
    assert!(matches!(Gateways::list(["nonsense"]), Err(FindError::Address { .. })));
    let begun = Instant::now();
    for (said, expected) in
        [(vec![], "no gateway is given"), (vec!["nonsense".to_owned()], "\"nonsense\" is not")]
    {
        let gateways = Gateways::stream(futures_util::stream::iter([said]));
        let error = Client::connect(Net::default(), gateways, seeded(1)).await.unwrap_err();
        assert!(error.to_string().starts_with("there is no gateway to connect to\n"), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_empty_now_may_have_somebody_later() {
    let net = Net::default();
    let _a = Gateway::start(&net, A).await;
    let (say, gateways) = changing();
    say.send(vec![]).unwrap();
    tokio::spawn(async move {
        sleep(7 * SECOND).await;
        say.send(set(&[A])).unwrap();
        sleep(SECOND).await;
    });
    let begun = Instant::now();
    let client = Client::connect(net, gateways, seeded(1)).await.unwrap();
    assert_eq!((gateway(&client).unwrap().as_str(), begun.elapsed()), (A, 7 * SECOND));
}

struct NoSuchName;

impl Resolve for NoSuchName {
    async fn resolve(&self, _: &str) -> io::Result<Vec<String>> {
        Err(io::Error::other("no such name"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_resolved_is_said_when_patience_is_over() {
    let gateways = Gateways::resolved(NoSuchName, "gateways.example:7010", SECOND);
    let begun = Instant::now();
    let error = Client::connect(Net::default(), gateways, seeded(1)).await.unwrap_err();
    assert_eq!(begun.elapsed(), 30 * SECOND);
    let expected = "there is no gateway to connect to\n  cannot find gateways by the name gateways.example:7010: no such name";
    assert_eq!(error.to_string(), expected);
}
