//! A gateway drains, and its client moves, through the seam by which it learns that.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::command::{ToEndpoint, ToGateway};
use crate::endpoint;
use crate::fleet::event::GatewayState;
use crate::frame::encode;
use crate::id::{ConnId, RemoteId, ServerId};
use crate::net::{BindOptions, Listener as _, MemoryNetwork, MemoryStream, Network as _};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);
const A: &str = "10.0.0.1:7010";
const B: &str = "10.0.0.2:7010";
const SERVER: ServerId = ServerId::new(7);

/// A gateway whose servers echo. It is gone when this is dropped.
struct Gateway(JoinSet<()>);

impl Gateway {
    async fn start(network: &MemoryNetwork, addr: &str) -> Self {
        let mut listener = network.bind(addr.parse().unwrap(), BindOptions::default()).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                clients.spawn(serve(listener.accept().await.unwrap()));
            }
        });
        Self(tasks)
    }

    async fn kill(mut self) {
        self.0.shutdown().await;
    }
}

async fn serve(mut stream: MemoryStream) {
    // A server calls back at once.
    let mut conns = (1..).map(|number| ConnId::new(number).unwrap());
    let mut next_conn = || conns.next().unwrap();
    let call = |conn| ToEndpoint::Connect { conn, remote: RemoteId::new(8) }.encode();
    stream.write_all(call(next_conn()).as_ref()).await.unwrap();
    while let Ok(length) = stream.read_u32_le().await {
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let mut answer = Vec::new();
        match ConnId::new(u32::from_le_bytes(frame[..4].try_into().unwrap())) {
            Some(conn) => {
                encode(conn, &frame[4..], &mut answer);
                if &frame[4..] == b"call me" {
                    answer.extend_from_slice(call(next_conn()).as_ref());
                }
            }
            None => {
                if let ToGateway::Dial { remote } = ToGateway::decode(&frame[4..]).unwrap() {
                    answer.extend_from_slice(
                        ToEndpoint::Accept { conn: next_conn(), remote }.encode().as_ref(),
                    );
                }
            }
        }
        stream.write_all(&answer).await.unwrap();
    }
}

/// A client that is linked to `set[0]`, and what makes this first link drain.
async fn client(network: &MemoryNetwork, seed: u64, set: &[&str]) -> (Client, mpsc::Sender<()>) {
    let (drain, drains) = mpsc::channel(1);
    let drains = Arc::new(parking_lot::Mutex::new(Some(drains)));
    let draining = move |_: endpoint::Client| {
        let drains = drains.lock().take();
        async move {
            match drains {
                Some(mut drains) => {
                    drains.recv().await;
                    WINDOW
                }
                None => pending().await,
            }
        }
    };
    let config = FleetConfig { seed: Some(seed), detection: Duration::ZERO, ..FleetConfig::default() };
    let (say, mut said) = mpsc::unbounded_channel();
    let set: Vec<_> = set.iter().map(|addr| (*addr).to_owned()).collect();
    say.send(vec![set[0].clone()]).unwrap();
    let gateways = Gateways::stream(futures_util::stream::poll_fn(move |cx| said.poll_recv(cx)));
    let client = Client::start_with(network.clone(), gateways, config, draining);
    client.ready().await.unwrap();
    say.send(set).unwrap();
    sleep(MS).await;
    (client, drain)
}

fn gateway(client: &Client) -> String {
    client.gateway().expect("there is a link").to_string()
}

async fn echoes(conn: &mut Conn) {
    conn.send("echo").await.unwrap();
    assert_eq!(conn.recv().await, Some(Received::Message("echo".into())));
}

#[tokio::test(start_paused = true)]
async fn a_client_of_a_draining_gateway_has_another_before_it_ends() {
    let mut times = Vec::new();
    for seed in 0..50 {
        let network = MemoryNetwork::new();
        let (a, _b) = (Gateway::start(&network, A).await, Gateway::start(&network, B).await);
        let (client, drain) = client(&network, seed, &[A, B]).await;
        let mut events = client.events();
        let mut old = client.dial(SERVER).await.unwrap();
        let mut called = client.accept().await.unwrap();
        let begun = Instant::now();
        drain.send(()).await.unwrap();
        assert!(matches!(events.recv().await.unwrap(), Event::Draining(gateway) if gateway.as_str() == A));
        assert!(matches!(client.status()[0].state, GatewayState::Draining(_)));
        while gateway(&client) == A {
            // In between, what there is serves.
            assert_eq!(client.dial(SERVER).await.unwrap().gateway().unwrap().as_str(), A);
            sleep(MS).await;
        }
        times.push(begun.elapsed());
        assert_eq!(client.dial(SERVER).await.unwrap().gateway().unwrap().as_str(), B);
        // What is open through the old one goes on. Servers call through both.
        sleep(WINDOW - begun.elapsed()).await;
        echoes(&mut old).await;
        assert_eq!(old.gateway().unwrap().as_str(), A);
        called.send("echo").await.unwrap();
        assert_eq!(called.recv().await.unwrap(), "echo");
        assert_eq!(client.accept().await.unwrap().gateway(), B);
        old.send("call me").await.unwrap();
        assert_eq!(client.accept().await.unwrap().gateway(), A);
        assert_eq!(old.recv().await, Some(Received::Message("call me".into())));
        // The end: the next link is there already.
        let ended = Instant::now();
        a.kill().await;
        assert!(matches!(old.recv().await, Some(Received::Renewed { gateway }) if gateway.as_str() == B));
        assert_eq!(ended.elapsed(), Duration::ZERO);
        echoes(&mut old).await;
        sleep(60 * SECOND).await;
        assert_eq!(gateway(&client), B);
    }
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*least < SECOND && *most > 4 * SECOND && *most <= 5 * SECOND, "from {least:?} to {most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_ends_sooner_than_it_said_is_a_loss_like_any_other() {
    let mut times = Vec::new();
    for seed in 0..50 {
        let network = MemoryNetwork::new();
        let (a, _b) = (Gateway::start(&network, A).await, Gateway::start(&network, B).await);
        let (client, drain) = client(&network, seed, &[A, B]).await;
        let mut conn = client.dial(SERVER).await.unwrap();
        drain.send(()).await.unwrap();
        sleep(MS).await;
        let begun = Instant::now();
        a.kill().await;
        conn.recv().await.unwrap();
        assert_eq!(gateway(&client), B);
        times.push(begun.elapsed());
    }
    times.sort();
    assert!(times[49] <= 500 * MS && times[10] > Duration::ZERO, "{times:?}");
}

/// Other gateways do not answer: what there is serves until it ends, and then the search goes on.
#[tokio::test(start_paused = true)]
async fn without_another_gateway_the_draining_one_serves_until_its_end() {
    let network = MemoryNetwork::new();
    let a = Gateway::start(&network, A).await;
    let (client, drain) = client(&network, 1, &[A, B]).await;
    let mut conn = client.dial(SERVER).await.unwrap();
    drain.send(()).await.unwrap();
    sleep(WINDOW).await;
    assert_eq!(gateway(&client), A);
    client.dial(SERVER).await.unwrap();
    a.kill().await;
    assert!(timeout(SECOND, conn.recv()).await.is_err());
    assert!(client.gateway().is_none());
    let _b = Gateway::start(&network, B).await;
    assert!(matches!(conn.recv().await, Some(Received::Renewed { gateway }) if gateway.as_str() == B));
}

/// One address for many gateways, behind a load balancer that leads new connections to another one.
#[tokio::test(start_paused = true)]
async fn behind_the_only_address_there_may_be_another_gateway() {
    let network = MemoryNetwork::new();
    let _a = Gateway::start(&network, A).await;
    let (client, drain) = client(&network, 1, &[A]).await;
    let mut old = client.dial(SERVER).await.unwrap();
    client.accept().await.unwrap();
    drain.send(()).await.unwrap();
    let begun = Instant::now();
    // It is a new link: the server at its other end calls.
    client.accept().await.unwrap();
    assert!(begun.elapsed() > MS && begun.elapsed() <= WINDOW / 2);
    echoes(&mut old).await;
    assert!(matches!(client.status()[0].state, GatewayState::Connected(since) if since > begun));
}
