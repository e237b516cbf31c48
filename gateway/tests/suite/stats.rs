//! What the gateway counts, against what its peers have really sent and received.

use std::time::Duration;

use fastway::id::Side;
use fastway_gateway::{SessionInfo, Traffic};

use crate::support::{TestGateway, config_with, threads, wire};

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
    gateway.stop().await;
}
