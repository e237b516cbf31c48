//! Which gateways there are: lists, names, streams; who comes and who goes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use fastway::fleet::{FindError, Resolve};
use fastway::net::{BindOptions, MemoryListener, MemoryStream, Network};
use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::scripted::*;

/// A stream that the test feeds.
fn fed() -> (mpsc::UnboundedSender<Vec<&'static str>>, Gateways) {
    let (sender, receiver) = mpsc::unbounded_channel::<Vec<&str>>();
    let updates = stream::unfold(receiver, |mut receiver| async move {
        let addrs = receiver.recv().await?;
        Some((addrs.into_iter().map(str::to_owned).collect(), receiver))
    });
    (sender, Gateways::stream(updates))
}

/// A resolver that says one thing after the other, and stays with the last.
struct Script(Mutex<VecDeque<Result<Vec<&'static str>, &'static str>>>);

impl Script {
    fn says<const N: usize>(answers: [Result<Vec<&'static str>, &'static str>; N]) -> Gateways {
        Gateways::resolved(Self(Mutex::new(answers.into())), "gateways:7020", SECOND * 2)
    }
}

impl Resolve for Script {
    async fn resolve(&self, _: &str) -> io::Result<Vec<String>> {
        let mut answers = self.0.lock();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let addrs = answer.expect("there is a last one").map_err(io::Error::other)?;
        Ok(addrs.into_iter().map(str::to_owned).collect())
    }
}

#[test]
fn nobody_starts_with_an_empty_list() {
    let error = Gateways::list::<&str>([]).unwrap_err();
    assert_eq!(error.to_string(), "no gateway is given: at least one address is needed, as HOST:PORT");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_gateway_and_will_have_none_is_told_so() {
    let network = MemoryNetwork::new();
    for updates in [vec![], vec![vec![]], vec![vec!["not an address".to_owned()]]] {
        let server = start(&network, Gateways::stream(stream::iter(updates)));
        assert_eq!(timeout(SECOND, server.ready()).await.unwrap(), Err(Ended::NoGateways));
        assert_eq!(timeout(SECOND, server.accept()).await.unwrap().unwrap_err(), Ended::NoGateways);
        timeout(SECOND, server.closed()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_there_twice_is_connected_to_once() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A, "10.0.0.1:07020", A]));
    let _a = at_a.let_in().await;
    at_a.expect_nobody().await;
    assert_eq!(server.status().len(), 1);
}

/// A network in which gateways also have names.
#[derive(Clone)]
struct Named(MemoryNetwork);

impl Network for Named {
    type Stream = MemoryStream;
    type Listener = MemoryListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<MemoryListener> {
        self.0.bind(addr, options).await
    }

    async fn connect(&self, addr: &str) -> io::Result<MemoryStream> {
        self.0.connect(if addr == "a.example:7020" { A } else { addr }).await
    }
}

/// Otherwise each link would end the other, for ever.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_listed_by_two_names_is_linked_to_once() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let gateways = list(["a.example:7020", A]);
    let server = Server::start(Named(network), gateways, ServerId::new(9), b"key", config(1));
    let mut events = server.events();
    let link = at_a.let_in().await;
    let (_, _, text) = next_trouble(&mut events, "a.example:7020").await;
    let expected =
        format!("gateway a.example:7020: it is the same as gateway {A}: both lead to {A}; one name");
    assert!(text.starts_with(&expected), "{text}");
    // The other name is tried again and again, and nobody registers by it.
    at_a.expect_nobody_registers(20).await;
    assert!(
        states(&server).iter().any(|(addr, state)| addr == A && matches!(state, GatewayState::Connected(_)))
    );
    // When the link is lost, either name serves.
    drop(link);
    let _link = at_a.let_in().await;
    at_a.expect_nobody_registers(5).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_is_looked_up_again_and_the_last_set_stays() {
    let network = MemoryNetwork::new();
    let (mut at_a, mut at_b) = (Port::bind(&network, A).await, Port::bind(&network, B).await);
    let begun = Instant::now();
    let script =
        [Err("no such name"), Ok(vec![]), Ok(vec![A]), Err("no such name"), Ok(vec![]), Ok(vec![A, B])];
    let server = start(&network, Script::says(script));
    let mut events = server.events();
    assert!(timeout(SECOND, server.ready()).await.is_err());
    assert_eq!(
        next(&mut events).await.to_string(),
        "cannot find gateways by the name gateways:7020: no such name; it is looked again in 2s, and what was known \
         before stays"
    );
    assert_eq!(
        next(&mut events).await.to_string(),
        "there is no gateway by the name gateways:7020: it has no addresses; it is looked again in 2s, and what was known \
         before stays"
    );
    let mut a = at_a.let_in().await;
    assert_eq!(begun.elapsed(), SECOND * 4);
    assert!(matches!(next(&mut events).await, Event::Found(gateway) if gateway.as_str() == A));
    assert!(matches!(next(&mut events).await, Event::Connected { gateway, .. } if gateway.as_str() == A));

    // Two lookups fail. Nothing happens to the gateway that was found before, which can even be connected to again.
    assert!(matches!(next(&mut events).await, Event::NotFound { error: FindError::Resolve { .. }, .. }));
    drop(a);
    a = at_a.let_in().await;
    let event = loop {
        let event = next(&mut events).await;
        if !matches!(event, Event::Trouble { .. } | Event::Connected { .. }) {
            break event;
        }
    };
    assert!(matches!(event, Event::NotFound { error: FindError::NoAddresses { .. }, .. }), "{event}");
    let _b = at_b.let_in().await;
    assert_eq!(begun.elapsed(), SECOND * 10);
    a.connect(1, 1).await;
    assert_eq!(timeout(SECOND, server.accept()).await.unwrap().unwrap().gateway(), A);
}

#[tokio::test(start_paused = true)]
async fn gateways_come_and_go() {
    let network = MemoryNetwork::new();
    let mut ports = [Port::bind(&network, A).await, Port::bind(&network, B).await];
    let (feed, gateways) = fed();
    let server = start(&network, gateways);
    let mut events = server.events();
    let [at_a, at_b] = &mut ports;
    feed.send(vec![A]).unwrap();
    let mut a = at_a.let_in().await;
    server.ready().await.unwrap();
    feed.send(vec![B, A]).unwrap();
    let _b = at_b.let_in().await;
    // What has a mistake in it says nothing.
    feed.send(vec![B, "nonsense"]).unwrap();
    feed.send(vec![B]).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.push(next(&mut events).await.to_string());
    }
    let expected = [
        format!("gateway {A} is in the set"),
        format!("connected to gateway {A} in 0.0ns"),
        format!("gateway {B} is in the set"),
        format!("connected to gateway {B} in 0.0ns"),
        "\"nonsense\" is not the address of a gateway: it needs a host and a port, such as gateway.example:7020; what was \
         known before stays, until the stream says something else"
            .to_owned(),
        format!("gateway {A} is not in the set any more: it is not connected to again"),
    ];
    assert_eq!(seen, expected);

    // Its link lives, and so do its clients.
    a.connect(1, 7).await;
    a.send(1, b"hello").await;
    let (mut conn, _) = accept_one(&server).await;
    assert_eq!((conn.gateway(), states(&server).len()), (A, 2));
    sleep(HOUR).await;
    conn.send("still here").await.unwrap();
    a.expect_message(1, b"still here").await;
    drop(a);
    let left = next(&mut events).await;
    assert!(matches!(&left, Event::Left { gateway, .. } if gateway.as_str() == A), "{left}");
    assert_eq!(states(&server).iter().map(|(addr, _)| addr.as_str()).collect::<Vec<_>>(), [B]);
    at_a.expect_nobody().await;
    // It comes back.
    feed.send(vec![A, B]).unwrap();
    let _a = at_a.let_in().await;
    // The end of the stream changes nothing.
    drop(feed);
    at_b.expect_nobody().await;
    assert_eq!(states(&server).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_back_before_its_link_has_ended_keeps_it() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let (feed, gateways) = fed();
    let server = start(&network, gateways);
    feed.send(vec![A]).unwrap();
    let a = at_a.let_in().await;
    feed.send(vec![]).unwrap();
    sleep(SECOND).await;
    feed.send(vec![A]).unwrap();
    at_a.expect_nobody().await;
    // It is one of the set again: its end is no reason to forget it.
    drop(a);
    let _a = at_a.let_in().await;
    server.ready().await.unwrap();
}

/// It may have given clients to this server already, who are on their way.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_leaves_while_it_lets_the_server_in_keeps_it() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let (feed, gateways) = fed();
    let server = start(&network, gateways);
    feed.send(vec![A]).unwrap();
    let mut a = at_a.accept().await;
    feed.send(vec![]).unwrap();
    sleep(SECOND).await;
    a.connect(1, 7).await;
    a.send(1, b"hello").await;
    a.answer_question().await;
    let (mut conn, _) = accept_one(&server).await;
    conn.send("welcome").await.unwrap();
    a.expect_message(1, b"welcome").await;
    // When it has ended, the gateway is forgotten, as is one whose try fails.
    drop(a);
    at_a.expect_nobody().await;
    assert!(server.status().is_empty());
    feed.send(vec![A]).unwrap();
    let a = at_a.accept().await;
    feed.send(vec![]).unwrap();
    sleep(SECOND).await;
    assert_eq!(server.status().len(), 1);
    drop(a);
    at_a.expect_nobody().await;
    assert!(server.status().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_fails_and_then_leaves_is_not_tried_any_more() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let (feed, gateways) = fed();
    let server = start(&network, gateways);
    feed.send(vec![A]).unwrap();
    at_a.hang_up(3).await;
    feed.send(vec![]).unwrap();
    at_a.expect_nobody().await;
    assert!(server.status().is_empty());
    // Nobody is there now, but somebody may come.
    assert!(timeout(HOUR, server.ready()).await.is_err());
    feed.send(vec![A]).unwrap();
    let _a = at_a.let_in().await;
    timeout(SECOND, server.ready()).await.unwrap().unwrap();
}

/// What is looked up for a server that is gone would be looked up for ever.
#[tokio::test(start_paused = true)]
async fn nobody_looks_for_gateways_of_a_server_that_is_gone() {
    let network = MemoryNetwork::new();
    let (feed, gateways) = fed();
    let server = start(&network, gateways);
    feed.send(vec![A]).unwrap();
    sleep(SECOND).await;
    drop(server);
    timeout(SECOND, feed.closed()).await.unwrap();
}

#[tokio::test]
async fn a_stream_is_any_stream() {
    let updates = stream::iter([vec![A.to_owned()], vec![B.to_owned()]]).chain(stream::pending());
    let server = start(&MemoryNetwork::new(), Gateways::stream(updates));
    let mut events = server.events();
    assert!(matches!(next(&mut events).await, Event::Found(_)));
}
