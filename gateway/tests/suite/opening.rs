//! Rules 1 to 4: who may open what, and taking over.

use super::support::{TestGateway, config, config_with, threads, wire};

#[tokio::test]
async fn rule_1_a_client_reaches_servers_only_and_a_server_clients_only() {
    let gateway = TestGateway::start(config()).await;
    let (mut first, mut second) = (gateway.client().await, gateway.client().await);
    first.expect_nothing().await;
    second.expect_nothing().await;
    let (mut seven, mut eight) = (gateway.server(7).await, gateway.server(8).await);

    // Clients 1 and 2 are there, but no servers by these numbers; and the other way round.
    for (peer, remotes) in [(&mut first, [1, 2]), (&mut seven, [7, 8])] {
        for remote in remotes {
            peer.send(wire::dial(remote)).await;
            peer.expect(wire::refuse(remote)).await;
        }
    }
    for peer in [&mut first, &mut second, &mut seven, &mut eight] {
        peer.expect_nothing().await;
    }
}

#[tokio::test]
async fn rule_1_a_dial_to_nobody_is_refused_and_leaves_nothing() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    for remote in [0, 1, 8, u32::MAX] {
        client.send(wire::dial(remote)).await;
        client.expect(wire::refuse(remote)).await;
    }
    for remote in [0, 2, u32::MAX] {
        server.send(wire::dial(remote)).await;
        server.expect(wire::refuse(remote)).await;
    }
    assert_eq!(gateway.handle.counts().conns, 0);
}

#[tokio::test]
async fn rule_2_both_sides_get_the_same_connection_and_the_others_id() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(0xdead_beef).await);
    client.send(wire::dial(0xdead_beef)).await;
    client.expect(wire::accept(1, 0xdead_beef)).await;
    server.expect(wire::connect(1, 1)).await;
    server.send(wire::dial(1)).await;
    server.expect(wire::accept(2, 1)).await;
    client.expect(wire::connect(2, 0xdead_beef)).await;
    client.send([wire::data(1, b"on the first"), wire::data(2, b"on the second")].concat()).await;
    server.expect(wire::data(1, b"on the first")).await;
    server.expect(wire::data(2, b"on the second")).await;
}

/// A server that answers `Connect` at once, and a client that would see its message first if it could.
#[tokio::test]
async fn rule_2_no_message_overtakes_accept_or_connect() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| {
            config.threads = threads(shards);
            config.client.max_conn = usize::MAX;
        }))
        .await;
        let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
        let answering = tokio::spawn(async move {
            for _ in 0..500 {
                let connect = server.frame().await;
                let conn = u32::from_le_bytes(connect[9..13].try_into().unwrap());
                assert_eq!(connect, wire::connect(conn, 1));
                server.send(wire::data(conn, b"early")).await;
            }
            server
        });
        client.send(wire::dial(7).repeat(500)).await;
        let mut accepted = Vec::new();
        for _ in 0..1000 {
            let frame = client.frame().await;
            let conn = u32::from_le_bytes(frame[4..8].try_into().unwrap());
            if conn == 0 {
                accepted.push(u32::from_le_bytes(frame[9..13].try_into().unwrap()));
            } else {
                assert!(accepted.contains(&conn), "a message came before Accept");
            }
        }
        answering.await.unwrap();
    }
}

#[tokio::test]
async fn rule_3_a_client_holds_so_many_connections_of_its_own() {
    let gateway = TestGateway::start(config_with(|config| config.client.max_conn = 2)).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let first = client.open(7, &mut server).await;
    let second = client.open(7, &mut server).await;
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;
    // What the server dials does not count.
    server.send(wire::dial(1).repeat(3)).await;
    for _ in 0..3 {
        let connect = client.frame().await;
        let conn = u32::from_le_bytes(connect[9..13].try_into().unwrap());
        assert_eq!(connect, wire::connect(conn, 7));
        server.expect(wire::accept(conn, 1)).await;
    }
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;
    assert_eq!(gateway.handle.counts().conns, 5, "the refused ones left nothing");

    // Freed at once: the very next frame may dial again, whoever closed.
    client.send([wire::close(first), wire::dial(7)].concat()).await;
    client.expect(wire::close(first)).await;
    let third = client.frame().await;
    server.expect(wire::close(first)).await;
    assert_eq!(server.frame().await[8], 2, "Connect");
    assert_eq!(third[8], 1, "Accept");
    server.send(wire::close(second)).await;
    client.expect(wire::close(second)).await;
    client.send(wire::dial(7)).await;
    assert_eq!(client.frame().await[8], 1, "Accept");
}

#[tokio::test]
async fn rule_3_without_a_place_every_dial_is_refused() {
    let gateway = TestGateway::start(config_with(|config| config.client.max_conn = 0)).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;
    server.expect_nothing().await;
}

/// Pitfall 11: dials to a server that is going away must not use up the places.
#[tokio::test]
async fn rule_3_a_server_that_comes_and_goes_uses_up_no_places() {
    let gateway = TestGateway::start(config_with(|config| config.client.max_conn = 1)).await;
    let mut client = gateway.client().await;
    for _ in 0..20 {
        let mut server = gateway.server(7).await;
        let conn = client.open(7, &mut server).await;
        drop(server);
        client.expect(wire::close(conn)).await;
        client.send(wire::dial(7)).await;
        client.expect(wire::refuse(7)).await;
    }
}

#[tokio::test]
async fn rule_4_the_newest_server_takes_an_id_over() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut older, conn) = gateway.pair().await;
    let mut newer = gateway.server(7).await;
    older.expect_end().await;
    client.expect(wire::close(conn)).await;
    drop(older);
    client.open(7, &mut newer).await;

    // Its number stays its own, although the older one has ended since.
    newer.expect_nothing().await;
    gateway.until("one server is left", |counts| counts.servers == 1 && counts.conns == 1).await;
}

#[tokio::test]
async fn rule_4_a_hundred_takeovers_leave_one_server() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| config.threads = threads(shards))).await;
        let mut client = gateway.client().await;
        let mut newest = gateway.server(7).await;
        for _ in 0..100 {
            let conn = client.open(7, &mut newest).await;
            let next = gateway.server(7).await;
            client.expect(wire::close(conn)).await;
            newest = next;
        }
        client.open(7, &mut newest).await;
        drop((client, newest));
        gateway.nothing_is_left().await;
    }
}
