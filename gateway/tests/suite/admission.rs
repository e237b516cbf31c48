//! Who is turned away, and that everybody else is served.

#![expect(
    clippy::disallowed_types,
    reason = "scripted peers use sockets of their own, not the code under test"
)]

use std::time::Duration;

use fastway_gateway::Refusal;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use super::support::{Raw, TestGateway, config_with, wire};

/// Connected to the public port, from this address of the machine.
async fn client_from(ip: &str, gateway: &TestGateway) -> Raw<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
    Raw::new(socket.connect(gateway.client_addr).await.unwrap())
}

#[tokio::test]
async fn one_client_more_than_may_be_is_turned_away_until_another_goes() {
    let gateway = TestGateway::start(config_with(|config| config.client.max_clients = 2)).await;
    let (mut first, mut second) = (gateway.client().await, gateway.client().await);
    first.expect_nothing().await;
    second.expect_nothing().await;
    for refused in 1..=3 {
        gateway.client().await.expect_end().await;
        assert_eq!(gateway.handle.refusals(Refusal::Clients), refused);
    }
    // Servers are no clients.
    gateway.server(7).await;
    drop(first);
    gateway.until("one has gone", |counts| counts.clients == 1).await;
    gateway.client().await.expect_nothing().await;
    second.expect_nothing().await;
}

#[tokio::test]
async fn one_address_may_not_take_all_places() {
    let gateway = TestGateway::start(config_with(|config| config.client.max_clients_per_ip = 2)).await;
    let mut held = Vec::new();
    for ip in ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"] {
        let mut client = client_from(ip, &gateway).await;
        client.expect_nothing().await;
        held.push(client);
    }
    client_from("127.0.0.2", &gateway).await.expect_end().await;
    client_from("127.0.0.4", &gateway).await.expect_nothing().await;
    assert_eq!(gateway.handle.refusals(Refusal::ClientsOfAddress), 1);
    held.remove(0);
    gateway.until("it has gone", |counts| counts.clients == 3).await;
    client_from("127.0.0.2", &gateway).await.expect_nothing().await;
}

/// Nobody is refused for coming too fast: they wait, and clients of the internal port do not.
#[tokio::test(start_paused = true)]
async fn clients_above_the_rate_wait() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.client.accept_rate = 10)).await;
    // After a quiet second.
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(gateway.client().await);
    }
    gateway.server(7).await;
    assert_eq!(start.elapsed().as_secs(), 0, "a server does not wait");
    let mut seconds = Vec::new();
    for client in &mut clients {
        client.expect_nothing().await;
        seconds.push(start.elapsed().as_secs());
    }
    assert_eq!(seconds.iter().filter(|second| **second == 0).count(), 19, "ten at once, nine one by one");
    assert_eq!(seconds.last(), Some(&3));
}

/// Otherwise clients that give up after some seconds, and come again, keep each other from ever being served.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn those_who_have_given_up_waiting_have_no_turn() {
    let gateway = TestGateway::start(config_with(|config| config.client.accept_rate = 2)).await;
    for _ in 0..60 {
        drop(TcpStream::connect(gateway.client_addr).await.unwrap());
    }
    let begun = Instant::now();
    let mut client = gateway.client().await;
    client.send(wire::ping()).await;
    client.expect(wire::ping()).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "30 s would be needed for all: {:?}", begun.elapsed());
}

#[tokio::test]
async fn servers_come_from_where_they_may() {
    let allow = |nets: &str| nets.split(',').map(|net| net.parse().unwrap()).collect();
    for (nets, is_allowed) in
        [("127.0.0.0/8", true), ("10.0.0.0/8,127.0.0.1/32", true), ("10.0.0.0/8,fd00::/8", false)]
    {
        let gateway = TestGateway::start(config_with(|config| config.server.allow = allow(nets))).await;
        if is_allowed {
            gateway.server(7).await;
        } else {
            // Not even a challenge.
            gateway.stranger().await.expect_end().await;
        }
        assert_eq!(gateway.handle.refusals(Refusal::ServerAddress), u64::from(!is_allowed), "{nets}");
        gateway.client().await.expect_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn dials_above_the_rate_are_refused() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.client.dial_rate = 3)).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    sleep(Duration::from_secs(1)).await;
    for _ in 0..3 {
        client.open(7, &mut server).await;
    }
    for _ in 0..5 {
        client.send(wire::dial(7)).await;
        client.expect(wire::refuse(7)).await;
    }
    assert_eq!(gateway.handle.refusals(Refusal::DialRate), 5);
    // Others have their own, and servers none.
    let mut other = gateway.client().await;
    for _ in 0..20 {
        server.send(wire::dial(1)).await;
        assert_eq!(server.frame().await[8], 1, "accepted");
        assert_eq!(client.frame().await[8], 2, "connected");
    }
    for _ in 0..3 {
        other.open(7, &mut server).await;
    }
    sleep(Duration::from_millis(334)).await;
    client.open(7, &mut server).await;
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;
}

#[tokio::test(start_paused = true)]
async fn who_sends_more_commands_than_it_may_is_cut_off() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.client.command_rate = 20)).await;
    let (mut greedy, mut client, mut server) =
        (gateway.client().await, gateway.client().await, gateway.server(7).await);
    sleep(Duration::from_secs(1)).await;
    let conn = client.open(7, &mut server).await;
    // Messages are no commands, and servers may send as many as they like.
    for _ in 0..100 {
        client.send(wire::data(conn, b"more")).await;
        server.expect(wire::data(conn, b"more")).await;
        server.expect_nothing().await;
    }
    for _ in 0..20 {
        greedy.expect_nothing().await;
    }
    greedy.send(wire::ping()).await;
    greedy.expect_end().await;
    assert_eq!(gateway.handle.refusals(Refusal::CommandRate), 1);
    client.expect_nothing().await;
}
