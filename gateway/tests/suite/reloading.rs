//! Other settings for a gateway that runs: newcomers follow them, nobody is dropped for them, and mistakes change nothing.

use std::time::Duration;

use fastway::keepalive::KeepaliveConfig;
use fastway_gateway::{Counts, ServerKey};
use tokio::time::Instant;

use super::folder::Folder;
use super::stopping::{LOOPBACK, Process};
use super::support::{TestGateway, config, config_with, connect, threads, wire};

#[tokio::test]
async fn newcomers_meet_the_new_limits_on_every_shard_and_those_who_are_there_stay() {
    let gateway = TestGateway::start(config_with(|config| config.threads = threads(4))).await;
    let mut server = gateway.server(7).await;
    let mut old = gateway.client().await;
    old.open(7, &mut server).await;
    let change = config_with(|config| {
        config.threads = threads(4);
        config.client.max_conn = 0;
        config.client.max_clients = 9;
    });
    let reconfigured = gateway.handle.reconfigure(change.clone()).unwrap();
    assert_eq!(reconfigured.for_new_connections, ["--client-max-conn", "--max-clients"]);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.client().await;
        client.send(wire::dial(7)).await;
        client.expect(wire::refuse(7)).await;
        clients.push(client);
    }
    gateway.client().await.expect_end().await;
    old.open(7, &mut server).await;
    assert_eq!(gateway.handle.reconfigure(change).unwrap(), Default::default(), "nothing is new in it");

    // Fewer than are there: they stay, and nobody else comes.
    let fewer = config_with(|config| config.client.max_clients = 1);
    assert_eq!(gateway.handle.reconfigure(fewer).unwrap().at_restart, ["--threads"]);
    gateway.client().await.expect_end().await;
    old.expect_nothing().await;
    clients[0].expect_nothing().await;
}

#[tokio::test]
async fn servers_meet_the_new_password_and_networks() {
    let gateway = TestGateway::start(config()).await;
    let mut old = gateway.server(7).await;
    let new_key = config_with(|config| config.server.key = ServerKey::new("another"));
    gateway.handle.reconfigure(new_key.clone()).unwrap();
    gateway.stranger().await.register_with(b"another", 8).await;
    let mut late = gateway.stranger().await;
    let challenge: [u8; 8] = late.read_exact().await;
    late.send(super::support::hello(challenge, super::support::KEY, 9)).await;
    late.expect_end().await;
    let mut elsewhere = new_key;
    elsewhere.server.allow = vec!["10.0.0.0/8".parse().unwrap()];
    gateway.handle.reconfigure(elsewhere).unwrap();
    gateway.stranger().await.expect_end().await;
    old.expect_nothing().await;
}

#[tokio::test]
async fn one_address_has_as_many_places_as_it_has_now() {
    let limit = |most| config_with(|config| config.client.max_clients_per_ip = most);
    let gateway = TestGateway::start(limit(1)).await;
    let mut first = gateway.client().await;
    first.expect_nothing().await;
    gateway.client().await.expect_end().await;
    gateway.handle.reconfigure(limit(2)).unwrap();
    let mut second = gateway.client().await;
    second.expect_nothing().await;
    gateway.client().await.expect_end().await;
    gateway.handle.reconfigure(limit(0)).unwrap();
    let mut third = gateway.client().await;
    third.expect_nothing().await;
    // Those two are still counted.
    gateway.handle.reconfigure(limit(3)).unwrap();
    gateway.client().await.expect_nothing().await;
    first.expect_nothing().await;
}

/// Also when the new interval is much shorter than all that the old ones made alarms be rounded to.
#[tokio::test(start_paused = true)]
async fn each_session_keeps_the_interval_that_it_began_with() {
    let pings = |seconds| {
        config_with(|config| {
            config.client.keepalive = KeepaliveConfig::every(Duration::from_secs(seconds));
            config.client.stall_timeout = Duration::from_secs(3600);
        })
    };
    let gateway = TestGateway::start_in_memory(pings(600)).await;
    let mut old = gateway.client().await;
    old.expect_nothing().await;
    gateway.handle.reconfigure(pings(1)).unwrap();
    let mut new = gateway.client().await;
    new.expect_nothing().await;
    let begun = Instant::now();
    new.expect(wire::ping()).await;
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_secs(1) && elapsed < Duration::from_millis(1100), "{elapsed:?}");
    new.expect_end().await;
    old.deadline = Duration::from_secs(700);
    old.expect(wire::ping()).await;
    assert!(begun.elapsed() > Duration::from_secs(590), "{:?}", begun.elapsed());
}

/// Less than waits already: those who owe the most are cut off at once.
#[tokio::test(start_paused = true)]
async fn the_budget_follows_at_once() {
    let small = |bytes| {
        config_with(|config| {
            config.client.queue.bytes = 1 << 20;
            config.server.queue.bytes = 1 << 20;
            config.max_buffered_bytes = bytes;
        })
    };
    let gateway = TestGateway::start_in_memory(small(0)).await;
    let mut server = gateway.server(7).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.client().await;
        let conn = client.open(7, &mut server).await;
        server.send(wire::data(conn, &[1; 500_000])).await;
        server.send(wire::data(conn, &[1; 400_000])).await;
        clients.push(client);
    }
    server.expect_nothing().await;
    let counts = gateway.handle.counts();
    assert!(counts.clients == 3 && counts.buffered_bytes > 2 << 20, "{counts:?}");
    let reconfigured = gateway.handle.reconfigure(small(2 << 20)).unwrap();
    assert_eq!(reconfigured.at_once, ["--max-buffered-bytes"]);
    gateway.until("one is cut off", |counts| counts.clients == 2).await;
    gateway.handle.reconfigure(small(0)).unwrap();
    gateway.client().await.expect_nothing().await;
}

#[tokio::test]
async fn what_cannot_work_changes_nothing() {
    let gateway = TestGateway::start(config()).await;
    let wrong = config_with(|config| {
        config.client.max_clients = 1;
        config.frame_timeout = Duration::MAX;
    });
    let error = gateway.handle.reconfigure(wrong).unwrap_err().to_string();
    assert!(error.contains("--frame-timeout is"), "{error}");
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.client().await;
        client.expect_nothing().await;
        clients.push(client);
    }
    assert_eq!(gateway.handle.counts(), Counts { clients: 2, ..Counts::default() });
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let folder = Folder::new();
    let write = |text: &str| folder.write("gateway.toml", text);
    let path = write("client-max-conn = 1");
    let file = ["--config", &path];
    let mut process = Process::start(&[&LOOPBACK[..], &file].concat());
    let [client_addr, server_addr] = process.addrs();
    let mut server = connect(server_addr).await;
    server.register_with(b"", 7).await;
    let mut old = connect(client_addr).await;
    old.open(7, &mut server).await;

    write("client-max-conn = 0\nlog-level = 'debug'\nthreads = 9");
    process.signal("HUP");
    let line = process.line_with("settings read again");
    assert!(
        line.contains("in force at once: --log-level; for new connections: --client-max-conn; not before a restart: --threads"),
        "{line}"
    );
    let mut new = connect(client_addr).await;
    new.send(wire::dial(7)).await;
    new.expect(wire::refuse(7)).await;
    drop(new);
    // A line that only the new level lets through.
    process.line_with("the peer closed the connection");

    write("client-max-conn = 'many'");
    process.signal("HUP");
    let line = process.line_with("cannot be read again");
    assert!(line.contains(".toml:1: client-max-conn is many"), "{line}");
    old.expect_nothing().await;
    server.expect_nothing().await;
    process.signal("INT");
    assert_eq!(process.end().0, Some(0));
}
