//! Draining: nobody new, nobody dropped before the time, everybody told to go one by one, nothing lost.

#![expect(
    clippy::disallowed_types,
    reason = "scripted peers use sockets of their own, not the code under test"
)]

use std::io;
use std::time::Duration;

use fastway::net::{MemoryNetwork, MemoryStream, Network as _, TcpNetwork};
use fastway_gateway::{Config, Gateway};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::stopping::{LOOPBACK, Process};
use super::support::{Raw, TestGateway, config_with, connect, threads, wire};

const SECOND: Duration = Duration::from_secs(1);

fn draining(timeout: Duration, spread: Duration) -> Config {
    config_with(|config| {
        config.drain_timeout = timeout;
        config.drain_spread = spread;
        // Nobody answers pings here.
        config.client.keepalive = fastway::keepalive::KeepaliveConfig::ANSWER_ONLY;
        config.server.keepalive = fastway::keepalive::KeepaliveConfig::ANSWER_ONLY;
    })
}

async fn start(timeout: Duration, spread: Duration) -> TestGateway<MemoryNetwork> {
    TestGateway::start_in_memory(draining(timeout, spread)).await
}

/// The peer reads on until the end, and then ends too.
async fn leave(mut peer: Raw<MemoryStream>) -> Vec<u8> {
    let mut rest = Vec::new();
    peer.stream.read_to_end(&mut rest).await.unwrap();
    rest
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_one_by_one_after_the_timeout_the_oldest_first() {
    let (timeout, spread) = (60 * SECOND, 10 * SECOND);
    let gateway = start(timeout, spread).await;
    let mut server = gateway.server(7).await;
    assert!(gateway.handle.is_ready() && !gateway.handle.is_draining());
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = gateway.client().await;
        let conn = client.open(7, &mut server).await;
        clients.push((client, conn));
    }
    let begun = Instant::now();
    let talk = |(mut client, conn): (Raw<MemoryStream>, u32)| {
        tokio::spawn(async move {
            let message = wire::data(conn, b"still here");
            while begun.elapsed() < timeout - SECOND {
                client.send(&message).await;
                client.expect(&message).await;
                sleep(SECOND / 10).await;
            }
            client.deadline = 20 * SECOND;
            client.expect_end().await;
            begun.elapsed()
        })
    };
    let tasks: Vec<_> = clients.into_iter().map(talk).collect();
    let echoing = tokio::spawn(async move {
        let mut open = 40;
        while open > 0 {
            let frame = server.frame().await;
            if frame[4..8] == [0; 4] {
                open -= 1;
            } else {
                server.send(&frame).await;
            }
        }
        server
    });
    gateway.handle.drain();
    gateway.handle.drain();
    assert!(gateway.handle.is_draining() && !gateway.handle.is_ready() && !gateway.handle.is_stopping());
    sleep(SECOND).await;
    let refused = gateway.network.connect(&gateway.client_addr.to_string()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    // Clients may need them.
    let other = gateway.server(8).await;
    let handle = gateway.handle.clone();
    sleep(timeout - SECOND - SECOND / 10).await;
    assert_eq!(handle.counts().clients, 40);

    let mut ends = Vec::new();
    for task in tasks {
        ends.push(task.await.unwrap());
    }
    assert!(ends.is_sorted(), "the oldest first: {ends:?}");
    // Each is told in its own fortieth part of the time, and at an instant of its own in that.
    for (place, end) in ends.iter().enumerate() {
        let share = spread / 40;
        let from = timeout + share * place as u32;
        assert!((from..=from + share + SECOND / 1000).contains(end), "{place}: {end:?}, not {from:?}");
    }
    let server = echoing.await.unwrap();
    assert_eq!(leave(server).await, b"");
    assert_eq!(leave(other).await, b"");
    gateway.ended(2 * SECOND).await;
}

/// Both directions: what waits for the client is written before its end, and what the client says before it sees the end
/// is delivered before anybody learns that it has gone.
#[tokio::test(start_paused = true)]
async fn what_was_said_before_the_end_arrives() {
    let gateway = start(SECOND, Duration::ZERO).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    for number in 0..8 {
        server.send(wire::data(conn, &[number; 60_000])).await;
    }
    server.expect_nothing().await;
    gateway.handle.drain();
    sleep(2 * SECOND).await;
    // It reads slowly, and talks all the while.
    for number in 0..8 {
        client.send(wire::data(conn, &[number])).await;
        client.expect(wire::data(conn, &[number; 60_000])).await;
        sleep(SECOND / 2).await;
    }
    // By now the gateway has said all that it will ever say to it. What the server says now crosses that, and is dropped.
    client.send(wire::data(conn, &[8; 50_000])).await;
    server.send(wire::data(conn, b"too late")).await;
    sleep(SECOND / 10).await;
    assert_eq!(leave(client).await, b"");
    for number in 0..8 {
        server.expect(wire::data(conn, &[number])).await;
    }
    server.expect(wire::data(conn, &[8; 50_000])).await;
    server.expect(wire::close(conn)).await;
    assert_eq!(leave(server).await, b"");
    gateway.ended(SECOND).await;
}

/// A server that is slow holds back what the client said, also across the client's end.
#[tokio::test(start_paused = true)]
async fn what_is_held_back_arrives() {
    let mut config = draining(SECOND, Duration::ZERO);
    config.server.queue.messages = 1;
    let gateway = TestGateway::start_in_memory(config).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    client.send(wire::data(conn, &[1; 60_000])).await;
    client.send(wire::data(conn, &[2; 60_000])).await;
    client.send(wire::data(conn, &[3; 20_000])).await;
    gateway.handle.drain();
    // It is told after one second, and its end would be awaited for one more.
    sleep(4 * SECOND).await;
    for (message, len) in [(1, 60_000), (2, 60_000), (3, 20_000)] {
        server.expect(wire::data(conn, &vec![message; len])).await;
    }
    assert_eq!(leave(client).await, b"");
    server.expect(wire::close(conn)).await;
    assert_eq!(leave(server).await, b"");
    gateway.ended(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_by_itself_ends_it_early() {
    let gateway = start(60 * SECOND, 60 * SECOND).await;
    let (client, mut server) = (gateway.client().await, gateway.server(7).await);
    let begun = Instant::now();
    gateway.handle.drain();
    sleep(10 * SECOND).await;
    server.expect_nothing().await;
    drop(client);
    assert_eq!(leave(server).await, b"");
    gateway.ended(SECOND).await;
    assert!(begun.elapsed() < 11 * SECOND, "{:?}", begun.elapsed());

    // The same while they are told to go, one after the other.
    let gateway = start(Duration::ZERO, 1000 * SECOND).await;
    let (mut first, last) = (gateway.client().await, gateway.client().await);
    first.expect_nothing().await;
    let begun = Instant::now();
    gateway.handle.drain();
    first.deadline = 600 * SECOND;
    first.expect_end().await;
    drop((first, last));
    gateway.ended(SECOND).await;
    assert!(begun.elapsed() < 501 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_clients_there_is_nothing_to_wait_for() {
    for shards in [1, 4] {
        let mut config = draining(60 * SECOND, 60 * SECOND);
        config.threads = threads(shards);
        let gateway = Gateway::bind(&TcpNetwork::new(), config, [7; 32]).await.unwrap();
        let handle = gateway.handle();
        assert!(!handle.is_ready());
        handle.drain();
        tokio::time::timeout(9 * SECOND, gateway.run()).await.expect("at once").unwrap();
        assert!(handle.is_stopping());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_drain_and_a_drain_is_too_late_for_a_stop() {
    let gateway = start(60 * SECOND, 60 * SECOND).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    gateway.handle.drain();
    sleep(SECOND).await;
    client.send(wire::data(conn, b"the last word")).await;
    server.expect(wire::data(conn, b"the last word")).await;
    let begun = Instant::now();
    gateway.handle.stop();
    gateway.handle.drain();
    assert!(gateway.handle.is_stopping() && !gateway.handle.is_ready());
    leave(client).await;
    leave(server).await;
    gateway.ended(SECOND).await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

/// Neither who ignores the end, nor who takes nothing of what waits for it.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_go_delays_nobody_for_long() {
    let gateway = start(SECOND, Duration::ZERO).await;
    let (mut deaf, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = deaf.open(7, &mut server).await;
    gateway.handle.drain();
    let begun = Instant::now();
    server.expect(wire::close(conn)).await;
    let elapsed = begun.elapsed();
    assert!(elapsed >= 2 * SECOND && elapsed < 2 * SECOND + SECOND / 2, "{elapsed:?}");
    drop(server);
    gateway.ended(SECOND).await;

    let gateway = start(SECOND, Duration::ZERO).await;
    let (mut deaf, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = deaf.open(7, &mut server).await;
    server.send(wire::data(conn, &[1; 200_000])).await;
    gateway.handle.drain();
    let begun = Instant::now();
    server.expect(wire::close(conn)).await;
    let elapsed = begun.elapsed();
    assert!(elapsed >= 11 * SECOND && elapsed < 11 * SECOND + SECOND / 2, "{elapsed:?}");
    drop(server);
    gateway.ended(SECOND).await;
}

/// They were connected for all that they know, and a port that is closed resets them.
#[tokio::test]
async fn whom_the_kernel_has_accepted_is_served() {
    for shards in [1, 3] {
        let mut config = draining(60 * SECOND, Duration::ZERO);
        config.threads = threads(shards);
        let gateway = Gateway::bind(&TcpNetwork::new(), config, [7; 32]).await.unwrap();
        let (addr, handle) = (gateway.client_addr(), gateway.handle());
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(connect(addr).await);
        }
        handle.drain();
        let running = tokio::spawn(gateway.run());
        for client in &mut clients {
            client.expect_nothing().await;
        }
        // Not what waits: another thread counts it as written a moment after it has arrived here.
        assert_eq!(handle.counts().clients, 200);
        assert!(TcpStream::connect(addr).await.is_err(), "the port is closed");
        drop(clients);
        running.await.unwrap().unwrap();
    }
}

/// Neither is a rate of accepting a reason to keep them waiting, nor to keep the port open.
#[tokio::test(start_paused = true)]
async fn the_queue_is_emptied_at_once() {
    let mut config = draining(60 * SECOND, Duration::ZERO);
    config.client.accept_rate = 1;
    let gateway = TestGateway::start_in_memory(config).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(gateway.client().await);
    }
    sleep(SECOND).await;
    gateway.handle.drain();
    let begun = Instant::now();
    for client in &mut clients {
        client.expect_nothing().await;
    }
    assert!(begun.elapsed() < SECOND / 10, "{:?}", begun.elapsed());
    assert!(gateway.network.connect(&gateway.client_addr.to_string()).await.is_err());
}

/// Sockets of this machine that listen on this port.
fn listeners(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (address, listening) = (format!(":{port:04X}"), "0A");
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|local| local.ends_with(&address)) && columns.nth(1) == Some(listening)
    };
    table.lines().filter(is_one).count()
}

#[tokio::test]
async fn another_gateway_on_the_same_port_takes_over() {
    let mut config = draining(60 * SECOND, Duration::ZERO);
    config.reuse_port = true;
    let old = TestGateway::start(config.clone()).await;
    let (mut server, mut client) = (old.server(7).await, old.client().await);
    let conn = client.open(7, &mut server).await;
    config.client.addr = old.client_addr;
    let new = TestGateway::start(config).await;
    assert_eq!(listeners(old.client_addr.port()), 2);
    old.handle.drain();
    while listeners(old.client_addr.port()) > 1 {
        tokio::task::yield_now().await;
    }
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = new.client().await;
        client.expect_nothing().await;
        clients.push(client);
    }
    assert_eq!((old.handle.counts().clients, new.handle.counts().clients), (1, 50));
    client.send(wire::data(conn, b"still here")).await;
    server.expect(wire::data(conn, b"still here")).await;
    drop((client, clients));
    assert_eq!(server.frame().await, wire::close(conn));
    server.expect_end().await;
    drop(server);
    old.ended(20 * SECOND).await;
}

#[tokio::test]
async fn sigterm_drains_and_the_next_signal_stops_and_one_more_exits() {
    let timeouts = ["--drain-timeout", "1h", "--drain-spread", "1h"];
    let flags = [&LOOPBACK[..], &timeouts, &["--client-send-queue-bytes", "1G"]].concat();
    for (second, third, code) in
        [("TERM", None, 0), ("INT", None, 0), ("TERM", Some("TERM"), 143), ("INT", Some("INT"), 130)]
    {
        let mut process = Process::start(&flags);
        let [client_addr, server_addr] = process.addrs();
        let (mut client, mut server) = (connect(client_addr).await, connect(server_addr).await);
        server.register_with(b"", 7).await;
        let conn = client.open(7, &mut server).await;
        process.signal("TERM");
        process.line_with("draining: no more clients are let in clients=1");
        client.send(wire::data(conn, b"hello")).await;
        server.expect(wire::data(conn, b"hello")).await;
        let mut late = connect(server_addr).await;
        late.register_with(b"", 8).await;
        if third.is_some() {
            // With more to send than sockets take, a gateway in good order needs its ten seconds.
            server.send(wire::data(conn, &[1; 500_000]).repeat(60)).await;
            server.expect_nothing().await;
        }
        process.signal(second);
        process.line_with("stopping: sending what is queued");
        if let Some(third) = third {
            process.signal(third);
        } else {
            drop((client, server, late));
        }
        let (actual, log) = process.end();
        assert_eq!(actual, Some(code), "{second} {third:?}: {log}");
    }
    // Nobody is there, so nobody is waited for.
    let mut process = Process::start(&flags);
    process.addrs();
    process.signal("TERM");
    let (code, log) = process.end();
    assert!(code == Some(0) && log.contains("drained: stopping"), "{log}");
}
