//! What the gateway counts, against what its peers have really sent and received.

use std::time::Duration;

use fastway::id::Side;
use fastway::keepalive::KeepaliveConfig;
use fastway::net::{MemoryNetwork, Network};
use fastway_gateway::{Config, Ended, Refusal, SessionInfo, Traffic};
use tokio::time::{Instant, sleep};

use super::stopping::{LOOPBACK, Process};
use super::support::{TestGateway, config, config_with, connect, threads, wire};

const SECOND: Duration = Duration::from_secs(1);

/// What a peer counts for itself.
#[derive(Default)]
struct Wire(Traffic);

impl Wire {
    fn message(&mut self, frame: &[u8]) {
        self.command(frame);
        self.0.messages += 1;
    }

    fn command(&mut self, bytes: &[u8]) {
        self.0.bytes += bytes.len() as u64;
    }
}

fn session(sessions: &[SessionInfo], side: Side, id: u32) -> &SessionInfo {
    sessions.iter().find(|session| (session.side, session.id) == (side, id)).expect("it is there")
}

/// A client that echoes pings, sends messages whole and cut off, and to nobody; a server that answers.
#[tokio::test]
async fn a_session_counts_what_its_peer_sent_and_received() {
    let gateway = TestGateway::start(config_with(|config| config.threads = threads(2))).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let [mut sent, mut received, mut server_sent, mut server_received] = [(); 4].map(|()| Wire::default());
    // Of its registration.
    server_sent.command(&wire::ping());
    server_received.command(&wire::ping());

    let conn = client.open(7, &mut server).await;
    sent.command(&wire::dial(7));
    received.command(&wire::accept(conn, 7));
    server_received.command(&wire::connect(conn, 1));
    for length in [0, 1, 100, 70_000, 200_000] {
        let there = wire::data(conn, &vec![1; length]);
        client.send(&there).await;
        server.expect(&there).await;
        sent.message(&there);
        server_received.message(&there);
        let back = wire::data(conn, &vec![2; length / 2]);
        server.send([&back[..], &back[..]].concat()).await;
        for _ in 0..2 {
            client.expect(&back).await;
            server_sent.message(&back);
            received.message(&back);
        }
    }
    let to_nobody = wire::data(conn + 1, b"?");
    client.send(&to_nobody).await;
    client.expect(wire::close(conn + 1)).await;
    sent.message(&to_nobody);
    received.command(&wire::close(conn + 1));
    client.send(wire::dial(8)).await;
    client.expect(wire::refuse(8)).await;
    sent.command(&wire::dial(8));
    received.command(&wire::refuse(8));
    let cut_off = &wire::data(conn, &[3; 50])[..20];
    client.send(cut_off).await;
    sent.command(cut_off);
    gateway.until("it has come", |counts| counts.buffered_bytes == cut_off.len()).await;

    let sessions = gateway.handle.sessions();
    assert_eq!(sessions.len(), 2);
    let at_client = session(&sessions, Side::Client, 1);
    assert_eq!((at_client.received, at_client.sent), (sent.0, received.0));
    assert_eq!((at_client.conns, at_client.opened), (1, 1));
    assert_eq!((at_client.queued_messages, at_client.queued_bytes), (0, 0));
    assert_eq!((at_client.kept_bytes, at_client.blocked), (cut_off.len(), false));
    assert_eq!(at_client.peer, Some(client.stream.local_addr().unwrap()));
    let at_server = session(&sessions, Side::Server, 7);
    assert_eq!((at_server.received, at_server.sent), (server_sent.0, server_received.0));
    assert_eq!((at_server.conns, at_server.opened), (1, 1));
    assert_eq!(at_server.peer, Some(server.stream.local_addr().unwrap()));
    assert!(at_server.age < Duration::from_secs(20));

    let totals = gateway.handle.totals();
    assert_eq!((totals.client.received, totals.client.sent), (sent.0, received.0));
    assert_eq!((totals.server.received, totals.server.sent), (server_sent.0, server_received.0));
    assert_eq!((totals.client.opened, totals.server.opened), (1, 0));
    assert_eq!((totals.client.begun, totals.server.begun), (1, 1));
    assert_eq!(totals.refusals(Refusal::DialNobody), 1);

    // What has ended stays in the totals.
    let mut other = gateway.client().await;
    other.expect_nothing().await;
    drop(client);
    server.expect(wire::close(conn)).await;
    gateway.until("it is gone", |counts| counts.clients == 1).await;
    let sessions = gateway.handle.sessions();
    let (live, totals) = (session(&sessions, Side::Client, 2), gateway.handle.totals());
    assert_eq!(totals.client.received, sum(at_client.received, live.received));
    assert_eq!(totals.client.sent, sum(at_client.sent, live.sent));
    let at_server = session(&sessions, Side::Server, 7);
    assert_eq!((totals.server.received, totals.server.sent), (at_server.received, at_server.sent));
    assert_eq!((at_server.conns, at_server.opened), (0, 1));
    drop((other, server));
    gateway.stop().await;
}

fn sum(a: Traffic, b: Traffic) -> Traffic {
    Traffic { messages: a.messages + b.messages, bytes: a.bytes + b.bytes }
}

/// Waits until so many sessions of a side have ended for this reason, and nobody for another one.
async fn until_ended<N: Network>(gateway: &TestGateway<N>, side: Side, reason: Ended, count: u64) {
    let deadline = Instant::now() + SECOND * 120;
    while gateway.handle.totals().side(side).ended(reason) < count {
        assert!(Instant::now() < deadline, "{reason:?} never came");
        sleep(Duration::from_millis(10)).await;
    }
    let (totals, sessions) = (gateway.handle.totals(), gateway.handle.sessions());
    let mut lives = 0;
    for each in [Side::Client, Side::Server] {
        let ended = |reason| totals.side(each).ended(reason);
        let live = sessions.iter().filter(|session| session.side == each).count() as u64;
        let all: u64 = Ended::ALL.into_iter().map(ended).sum();
        assert_eq!(totals.side(each).begun, all + live, "{reason:?}: {each}s");
        assert_eq!(all, if each == side { count } else { 0 }, "{reason:?}: {each}s");
        lives += all;
    }
    assert_eq!(totals.side(side).ended(reason), count, "{reason:?}");
    assert_eq!(totals.session_life.count(), lives, "{reason:?}");
}

/// Nobody is pinged, and nobody is silent, unless the test wants it.
async fn patient(change: impl FnOnce(&mut Config)) -> TestGateway<MemoryNetwork> {
    let config = config_with(|config| {
        config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
        change(config);
    });
    TestGateway::start_in_memory(config).await
}

#[tokio::test(start_paused = true)]
async fn every_end_is_counted_by_its_reason() {
    for (reason, bytes) in [
        (Ended::Closed, vec![]),
        (Ended::ClosedMidFrame, vec![5, 0, 0]),
        (Ended::Frame, vec![0; 4]),
        (Ended::Command, wire::command(77, &[])),
        (Ended::CommandRate, wire::close(9).repeat(3)),
        (Ended::UnfinishedFrame, vec![5, 0, 0]),
        (Ended::Silent, vec![]),
    ] {
        let gateway = patient(|config| match reason {
            Ended::CommandRate => config.client.command_rate = 2,
            Ended::UnfinishedFrame => config.frame_timeout = SECOND * 7,
            Ended::Silent => config.client.keepalive = KeepaliveConfig::every(SECOND * 15),
            _ => {}
        })
        .await;
        let mut client = gateway.client().await;
        client.send(&bytes).await;
        let kept = (!matches!(reason, Ended::Closed | Ended::ClosedMidFrame)).then_some(client);
        until_ended(&gateway, Side::Client, reason, 1).await;
        drop(kept);
        let life = gateway.handle.totals().session_life.sum();
        let expected = match reason {
            Ended::UnfinishedFrame => 7,
            Ended::Silent => 30,
            _ => 0,
        };
        assert_eq!(life.as_secs(), expected, "{reason:?}: {life:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_by_others_is_counted_by_its_reason() {
    // A server that takes nothing.
    let gateway = patient(|_| ()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    client.send(wire::data(conn, &[1; 100_000])).await;
    sleep(SECOND).await;
    assert!(session(&gateway.handle.sessions(), Side::Server, 7).blocked);
    until_ended(&gateway, Side::Server, Ended::Stalled, 1).await;

    // A client that takes too little.
    let gateway = patient(|config| config.client.queue.messages = 10).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    server.send(wire::data(conn, &[1; 10_000]).repeat(30)).await;
    until_ended(&gateway, Side::Client, Ended::SlowClient, 1).await;
    assert_eq!(gateway.handle.totals().client.sent.messages, 6, "what fits into a pipe of 64 KiB");

    // One of ten who owe too much together.
    let gateway = patient(|config| {
        config.max_buffered_bytes = 4 << 20;
        config.server.queue.bytes = 2 << 20;
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(gateway.client().await);
    }
    for client in &mut clients {
        client.send([&500_000_u32.to_le_bytes()[..], &[1; 450_000]].concat()).await;
    }
    let refused = || gateway.handle.totals().refusals(Refusal::Debt);
    while refused() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    until_ended(&gateway, Side::Client, Ended::Debt, refused()).await;

    let gateway = patient(|_| ()).await;
    let (_older, _newer) = (gateway.server(7).await, gateway.server(7).await);
    until_ended(&gateway, Side::Server, Ended::TakenOver, 1).await;

    let gateway = patient(|_| ()).await;
    let _both = (gateway.client().await, gateway.client().await);
    sleep(SECOND).await;
    gateway.handle.stop();
    until_ended(&gateway, Side::Client, Ended::Shutdown, 2).await;
}

#[tokio::test]
async fn a_reset_is_counted_as_a_failure() {
    let gateway = TestGateway::start(config()).await;
    let mut client = gateway.client().await;
    client.expect_nothing().await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    until_ended(&gateway, Side::Client, Ended::Failed, 1).await;
}

#[test]
fn whoever_drops_a_gateway_abandons_its_sessions() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (handle, client) = runtime.block_on(async {
        let gateway = TestGateway::start_in_memory(config()).await;
        let mut client = gateway.client().await;
        client.expect_nothing().await;
        (gateway.handle.clone(), client)
    });
    drop(runtime);
    assert_eq!(handle.totals().client.ended(Ended::Abandoned), 1);
    drop(client);
}

/// What is queued for it still comes, then the end.
#[tokio::test(start_paused = true)]
async fn an_operator_can_close_a_session_of_either_side() {
    for side in [Side::Client, Side::Server] {
        let gateway = patient(|_| ()).await;
        let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
        let conn = client.open(7, &mut server).await;
        let large = wire::data(conn, &[1; 200_000]);
        assert!(!gateway.handle.close(side, 99) && !gateway.handle.close(Side::Client, 0));
        match side {
            Side::Client => {
                server.send(&large).await;
                server.expect_nothing().await;
                assert!(gateway.handle.close(side, 1));
                server.expect(wire::close(conn)).await;
                client.expect(&large).await;
                client.expect_end().await;
            }
            Side::Server => {
                client.send(&large).await;
                client.expect_nothing().await;
                assert!(gateway.handle.close(side, 7));
                client.expect(wire::close(conn)).await;
                server.expect(&large).await;
                server.expect_end().await;
            }
        }
        until_ended(&gateway, side, Ended::Operator, 1).await;
    }
}

/// Every so often one of them is timed, and time stands still in memory.
#[tokio::test(start_paused = true)]
async fn the_forwarding_delay_is_sampled() {
    let gateway = patient(|_| ()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    for _ in 0..200 {
        client.send(wire::data(conn, b"there")).await;
        server.expect(wire::data(conn, b"there")).await;
        server.send(wire::data(conn, b"back")).await;
        client.expect(wire::data(conn, b"back")).await;
    }
    let delay = gateway.handle.totals().forwarding_delay;
    assert!((4..=60).contains(&delay.count()), "{} of 400", delay.count());
    assert_eq!(delay.sum(), Duration::ZERO);
}

/// Through the binary: the line of a client that talks and leaves, and of one that breaks the rules.
#[tokio::test]
async fn the_access_log_has_a_line_for_each_session() {
    for format in ["text", "json"] {
        let flags = [&LOOPBACK[..], &["--access-log", "all", "--log-format", format]].concat();
        let mut process = Process::start(&flags);
        let [client_addr, server_addr] = match format {
            "json" => process.json_addrs(),
            _ => process.addrs(),
        };
        let (mut client, mut server) = (connect(client_addr).await, connect(server_addr).await);
        server.register_with(b"", 7).await;
        let conn = client.open(7, &mut server).await;
        client.send(wire::data(conn, b"there")).await;
        server.expect(wire::data(conn, b"there")).await;
        server.send(wire::data(conn, b"back").repeat(2)).await;
        client.expect(wire::data(conn, b"back")).await;
        client.expect(wire::data(conn, b"back")).await;
        let peer = client.stream.local_addr().unwrap();
        drop(client);
        server.expect(wire::close(conn)).await;
        let mut broken = connect(client_addr).await;
        broken.send([3, 0, 0, 0]).await;
        broken.expect_end().await;
        process.signal("TERM");
        let (code, log) = process.end();
        assert_eq!(code, Some(0));
        let lines: Vec<_> = log.lines().filter(|line| line.contains("session ended")).collect();
        assert_eq!(lines.len(), 3, "two clients and the server: {log}");
        if format == "json" {
            let lines: Vec<serde_json::Value> =
                lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let of = |end: &str| lines.iter().find(|line| line["end"] == end).expect("it is there");
            let left = of("closed");
            for (name, value) in [
                ("target", serde_json::json!("access")),
                ("level", "INFO".into()),
                ("side", "client".into()),
                ("id", 1.into()),
                ("peer", peer.to_string().into()),
                ("reason", "the peer closed the connection".into()),
                ("received_messages", 1.into()),
                ("received_bytes", (13 + 13).into()),
                ("sent_messages", 2.into()),
                ("sent_bytes", (17 + 12 + 12).into()),
                ("conns", 1.into()),
                ("left_out", 0.into()),
            ] {
                assert_eq!(left[name], value, "{name} of {left}");
            }
            assert!(left["duration_s"].as_f64().is_some_and(|seconds| seconds < 20.0), "{left}");
            let broken = of("frame");
            assert_eq!(
                (&broken["level"], &broken["received_bytes"]),
                (&"WARN".into(), &4.into()),
                "{broken}"
            );
            assert_eq!(of("shutdown")["side"], "server");
        } else {
            let left = lines.iter().find(|line| line.contains("end=\"closed\"")).expect("it is there");
            for part in [
                "INFO session ended side=client id=1 peer=127.0.0.1:",
                "reason=the peer closed the connection duration_s=0.",
                "received_messages=1 received_bytes=26 sent_messages=2 sent_bytes=41 conns=1 left_out=0",
            ] {
                assert!(left.contains(part), "{part:?} is not in {left:?}");
            }
            assert!(
                lines.iter().any(|line| line.contains("WARN") && line.contains("end=\"frame\"")),
                "{log}"
            );
        }
    }
}

/// As without the flag: a line for who breaks the rules, none for who leaves.
#[tokio::test]
async fn without_an_access_log_only_faults_and_servers_are_logged() {
    for (flags, expected) in [(&[][..], 1), (&["--access-log", "1/3"], 3)] {
        let mut process = Process::start(&[&LOOPBACK[..], flags].concat());
        let [client_addr, _] = process.addrs();
        for _ in 0..4 {
            let mut client = connect(client_addr).await;
            client.send(wire::ping()).await;
            client.expect(wire::ping()).await;
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
            client.expect_end().await;
        }
        let mut broken = connect(client_addr).await;
        broken.send([3, 0, 0, 0]).await;
        broken.expect_end().await;
        process.signal("TERM");
        let (code, log) = process.end();
        assert_eq!((code, log.matches("session ended").count()), (Some(0), expected), "{flags:?}: {log}");
    }
}
