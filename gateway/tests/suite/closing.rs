//! Rules 7 to 10: how virtual and physical connections end.

use std::time::Duration;

use fastway::keepalive::KeepaliveConfig;
use fastway::net::MemoryNetwork;

use super::support::{KEY, TestGateway, config, config_with, hello, wire};

#[tokio::test]
async fn rule_7_close_comes_after_the_messages_and_to_both_sides_once() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    for client_closes in [true, false] {
        let conn = client.open(7, &mut server).await;
        let (from, to) = if client_closes { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.send([wire::data(conn, b"one"), wire::data(conn, b"two"), wire::close(conn)].concat()).await;
        to.expect(wire::data(conn, b"one")).await;
        to.expect(wire::data(conn, b"two")).await;
        to.expect(wire::close(conn)).await;
        from.expect(wire::close(conn)).await;
        to.expect_nothing().await;
        from.expect_nothing().await;
    }
    gateway.until("the connections are gone", |counts| counts.conns == 0).await;
}

#[tokio::test]
async fn rule_7_both_sides_may_close_at_once() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    for _ in 0..200 {
        let conn = client.open(7, &mut server).await;
        tokio::join!(client.send(wire::close(conn)), server.send(wire::close(conn)));
        tokio::join!(client.expect(wire::close(conn)), server.expect(wire::close(conn)));
    }
    client.expect_nothing().await;
    server.expect_nothing().await;
}

/// In one segment, so that nothing can happen in between.
#[tokio::test]
async fn rule_7_nothing_follows_close() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    for client_closes in [true, false] {
        let conn = client.open(7, &mut server).await;
        let (from, to) = if client_closes { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.send([wire::close(conn), wire::data(conn, b"too late")].concat()).await;
        from.expect(wire::close(conn)).await;
        from.expect(wire::close(conn)).await;
        to.expect(wire::close(conn)).await;
        to.expect_nothing().await;
    }
}

#[tokio::test]
async fn rule_8_closing_what_is_not_ones_own_changes_nothing() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    let (mut stranger, mut other_server) = (gateway.client().await, gateway.server(8).await);
    for peer in [&mut stranger, &mut other_server] {
        for id in [conn, 0, 1000, u32::MAX] {
            peer.send(wire::close(id)).await;
        }
        peer.expect_nothing().await;
    }
    client.send([wire::close(conn + 1), wire::data(conn, b"open")].concat()).await;
    server.expect(wire::data(conn, b"open")).await;
    client.send(wire::close(conn).repeat(3)).await;
    client.expect(wire::close(conn)).await;
    client.expect_nothing().await;
    server.expect(wire::close(conn)).await;
    server.expect_nothing().await;
}

/// Pitfall 8: the other side of every virtual connection is told, after all that was sent.
#[tokio::test]
async fn rule_9_everything_sent_before_a_fin_is_delivered_then_close() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let (first, second) = (client.open(7, &mut server).await, client.open(7, &mut server).await);
    let messages: Vec<u8> = (0..1000).flat_map(|_| wire::data(first, &[7; 500])).collect();
    let sending = tokio::spawn(async move {
        client.send(messages).await;
        drop(client);
    });
    for _ in 0..1000 {
        server.expect(wire::data(first, &[7; 500])).await;
    }
    let mut closes = [server.frame().await, server.frame().await];
    closes.sort();
    assert_eq!(closes, [wire::close(first), wire::close(second)]);
    server.expect_nothing().await;
    sending.await.unwrap();
    drop(server);
    gateway.nothing_is_left().await;
}

#[tokio::test]
async fn rule_9_everything_sent_before_a_reset_is_delivered_then_close() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    // The server has sent something that the client does not read: closing resets the connection.
    server.send(wire::data(conn, b"never read")).await;
    server.expect_nothing().await;
    client.stream.readable().await.unwrap();
    client.send([wire::data(conn, b"last"), wire::data(conn, b"words")].concat()).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    server.expect(wire::data(conn, b"last")).await;
    server.expect(wire::data(conn, b"words")).await;
    server.expect(wire::close(conn)).await;
}

#[tokio::test]
async fn rule_9_a_server_that_goes_closes_the_connections_of_all_its_clients() {
    let gateway = TestGateway::start(config()).await;
    let (mut seven, mut eight) = (gateway.server(7).await, gateway.server(8).await);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = gateway.client().await;
        let to_seven = client.open(7, &mut seven).await;
        let to_eight = client.open(8, &mut eight).await;
        clients.push((client, to_seven, to_eight));
    }
    drop(seven);
    for (client, to_seven, to_eight) in &mut clients {
        client.expect(wire::close(*to_seven)).await;
        client.send(wire::data(*to_eight, b"still there")).await;
        eight.expect(wire::data(*to_eight, b"still there")).await;
        client.expect_nothing().await;
    }
}

/// The client's message is on its way when the client is cut off, the server's when it is taken over: the order in
/// which the gateway's tasks run is that of the sends, since nothing here waits in between.
#[tokio::test]
async fn rule_9_everything_sent_before_a_cut_or_a_takeover_is_delivered_then_close() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.client.queue.messages = 10)).await;
    let (mut slow, mut good) = (gateway.client().await, gateway.client().await);
    let mut server = gateway.server(7).await;
    let to_slow = slow.open(7, &mut server).await;
    let to_good = good.open(7, &mut server).await;
    // Six messages of this size fit into the pipe, ten into the queue.
    for _ in 0..16 {
        server.send(wire::data(to_slow, &[1; 10_000])).await;
        server.expect_nothing().await;
    }
    server.send(wire::data(to_slow, b"one too many")).await;
    slow.send([wire::data(to_slow, b"last"), wire::data(to_slow, b"words")].concat()).await;
    server.expect(wire::data(to_slow, b"last")).await;
    server.expect(wire::data(to_slow, b"words")).await;
    server.expect(wire::close(to_slow)).await;

    let mut newer = gateway.stranger().await;
    let challenge: [u8; 8] = newer.read_exact().await;
    newer.send(hello(challenge, KEY, 7)).await;
    server.send(wire::data(to_good, b"last words")).await;
    good.expect(wire::data(to_good, b"last words")).await;
    good.expect(wire::close(to_good)).await;
}

/// A server that does not read the answers to what it sends is held back by them; what it had sent behind that is
/// delivered when it is taken over, or closed because it took nothing for so long.
#[tokio::test(start_paused = true)]
async fn rule_9_everything_that_a_held_back_server_had_sent_is_delivered_then_close() {
    for is_taken_over in [true, false] {
        let gateway = TestGateway::start_in_memory(config_with(|config| {
            config.server.queue.messages = 5;
            config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
            config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
        }))
        .await;
        let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
        let conn = client.open(7, &mut server).await;
        let unread = wire::data(999, b"").repeat(10_000);
        let (_unread, mut writing) = tokio::io::split(server.stream);
        let last_words = [unread, wire::data(conn, b"last words")].concat();
        tokio::io::AsyncWriteExt::write_all(&mut writing, &last_words).await.unwrap();
        if is_taken_over {
            gateway.server(7).await;
        }
        client.deadline = Duration::from_secs(60);
        client.expect(wire::data(conn, b"last words")).await;
        client.expect(wire::close(conn)).await;
    }
}

/// What it is told is not written any more, so room for that will never come: it is to be dropped, or the server would wait
/// for itself until the gateway stops.
#[tokio::test]
async fn rule_9_a_server_that_is_taken_over_and_gone_while_it_is_held_back_leaves_nothing() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.server.queue.messages = 5)).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let mut newer = gateway.stranger().await;
    let challenge: [u8; 8] = newer.read_exact().await;
    // All in one turn, so that the gateway learns of the takeover first.
    newer.send(hello(challenge, KEY, 7)).await;
    server.send([wire::data(999, b"").repeat(100), wire::data(conn, b"last words")].concat()).await;
    drop(server);
    client.expect(wire::data(conn, b"last words")).await;
    client.expect(wire::close(conn)).await;
    drop((client, newer));
    gateway.nothing_is_left().await;
}

/// More than any one read takes, and as much as kernels keep for one connection: the client was held back while it sent.
#[tokio::test(start_paused = true)]
async fn rule_9_megabytes_that_a_held_back_client_had_sent_are_delivered_when_it_is_cut_off() {
    let config = config_with(|config| {
        config.client.queue.bytes = 600_000;
        config.server.queue.bytes = 600_000;
    });
    let gateway = TestGateway::start_on(MemoryNetwork::with_pipe_bytes(3_000_000), config).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let message = |number: u8| wire::data(conn, &[number; 100_000]);
    for number in 0..60 {
        client.send(message(number)).await;
    }
    server.send(message(0).repeat(40)).await;
    gateway.until("the client is cut off", |counts| counts.clients == 0).await;
    for number in 0..60 {
        server.expect(message(number)).await;
    }
    server.expect(wire::close(conn)).await;
}

/// Pitfall 13. The client was cut off, and what it had sent is still held back by a full server: to everybody else it
/// is gone.
#[tokio::test(start_paused = true)]
async fn rule_9_a_client_that_is_about_to_end_cannot_be_dialled() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.queue.messages = 10;
        config.client.queue.messages = 10;
    }))
    .await;
    let mut client = gateway.client().await;
    let (mut full, mut other) = (gateway.server(7).await, gateway.server(8).await);
    let to_full = client.open(7, &mut full).await;
    let to_other = client.open(8, &mut other).await;
    let flood = wire::data(to_full, &[1; 10_000]).repeat(100);
    let held = tokio::time::timeout(
        Duration::from_secs(1),
        tokio::io::AsyncWriteExt::write_all(&mut client.stream, &flood),
    );
    assert!(held.await.is_err(), "the client is held back");
    other.send(wire::data(to_other, &[2; 10_000]).repeat(30)).await;
    other.expect_nothing().await;
    other.send(wire::dial(1)).await;
    other.expect(wire::refuse(1)).await;
}

/// How long it is held back is up to the server. The client learns at once that it was cut off: by the end of file, behind
/// what its socket had taken. What it had sent is delivered all the same.
#[tokio::test(start_paused = true)]
async fn rule_14_a_client_that_is_held_back_learns_at_once_that_it_is_cut_off() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.queue.messages = 10;
        config.client.queue.messages = 10;
        config.server.stall_timeout = Duration::from_secs(3600);
    }))
    .await;
    let mut client = gateway.client().await;
    let (mut full, mut other) = (gateway.server(7).await, gateway.server(8).await);
    let to_full = client.open(7, &mut full).await;
    let to_other = client.open(8, &mut other).await;
    // The pipe of the server takes 6 of them and its queue 10; the pipe of the client takes the rest.
    client.send(wire::data(to_full, &[1; 10_000]).repeat(20)).await;
    other.send(wire::data(to_other, &[2; 10_000]).repeat(30)).await;
    other.expect_nothing().await;
    let mut rest = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest);
    let ended = tokio::time::timeout(Duration::from_secs(1), reading).await;
    assert!(matches!(ended, Ok(Ok(_))), "{ended:?}");
    for _ in 0..20 {
        full.expect(wire::data(to_full, &[1; 10_000])).await;
    }
    full.expect(wire::close(to_full)).await;
    other.expect(wire::close(to_other)).await;
}

/// A dial and the end in one segment: the connection is opened, and over before its dialler could learn of it.
#[tokio::test]
async fn rule_9_a_connection_that_was_just_dialled_is_closed_as_well() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut client = gateway.client().await;
    client.expect_nothing().await;
    let mut server = gateway.server(7).await;
    server.send(wire::dial(1)).await;
    drop(server);
    client.expect(wire::connect(1, 7)).await;
    client.expect(wire::close(1)).await;

    let mut server = gateway.server(8).await;
    client.send(wire::dial(8)).await;
    drop(client);
    server.expect(wire::connect(2, 1)).await;
    server.expect(wire::close(2)).await;
    drop(server);
    gateway.nothing_is_left().await;
}

/// The client is held back by one server when it goes away, and a second one makes the gateway notice, by a write
/// that fails. What the client had sent to the first is delivered all the same.
#[tokio::test(start_paused = true)]
async fn rule_9_a_failed_write_loses_nothing_that_was_sent_before() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.server.queue.messages = 5)).await;
    let mut client = gateway.client().await;
    let (mut full, mut other) = (gateway.server(7).await, gateway.server(8).await);
    let (to_full, to_other) = (client.open(7, &mut full).await, client.open(8, &mut other).await);
    for _ in 0..15 {
        client.send(wire::data(to_full, &[1; 10_000])).await;
    }
    drop(client);
    other.send(wire::data(to_other, b"nobody there")).await;
    other.expect_nothing().await;
    for _ in 0..15 {
        full.expect(wire::data(to_full, &[1; 10_000])).await;
    }
    full.expect(wire::close(to_full)).await;
    other.expect(wire::close(to_other)).await;
}

/// What is queued for a peer that has closed its own sending half still reaches it (pitfall 17).
#[tokio::test]
async fn rule_9_a_half_closed_peer_gets_what_was_queued_for_it() {
    let gateway = TestGateway::start(config_with(|config| config.client.queue.bytes = 8 << 20)).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    let message = wire::data(conn, &[1; 100_000]);
    for _ in 0..40 {
        server.send(&message).await;
    }
    server.expect_nothing().await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.unwrap();
    server.expect(wire::close(conn)).await;
    for _ in 0..40 {
        client.expect(&message).await;
    }
    client.expect_end().await;
}

/// Pitfalls 1 and 2, and the unfinished business of everybody else.
#[tokio::test]
async fn rule_10_a_malformed_frame_ends_its_sender_and_no_other() {
    let malformed = [
        vec![0, 0, 0, 0],
        vec![1, 0, 0, 0, 9],
        vec![2, 0, 0, 0, 9, 9],
        vec![3, 0, 0, 0, 9, 9, 9],
        wire::data(0, b""),
        wire::command(6, &[1]),
        wire::command(255, &[1]),
        wire::command(1, &[1, 1]),
        wire::command(2, &[1, 1]),
        wire::command(3, &[1]),
        wire::data(0, &[0]),
        wire::data(0, &[0, 1, 2, 3]),
        wire::data(0, &[4, 1, 2, 3]),
        (512 * 1024 + 1_u32).to_le_bytes().to_vec(),
        u32::MAX.to_le_bytes().to_vec(),
    ];
    let gateway = TestGateway::start(config()).await;
    let (mut good_client, mut good_server, good) = gateway.pair().await;
    for bytes in &malformed {
        let (mut client, mut server) = (gateway.client().await, gateway.server(8).await);
        let conn = client.open(8, &mut server).await;
        client.send([&wire::data(conn, b"whole"), &bytes[..]].concat()).await;
        server.expect(wire::data(conn, b"whole")).await;
        server.expect(wire::close(conn)).await;
        client.expect_end().await;

        let mut client = gateway.client().await;
        let conn = client.open(8, &mut server).await;
        server.send([&wire::data(conn, b"whole"), &bytes[..]].concat()).await;
        client.expect(wire::data(conn, b"whole")).await;
        client.expect(wire::close(conn)).await;
        server.expect_end().await;
        client.expect_nothing().await;
    }
    good_client.send(wire::data(good, b"unharmed")).await;
    good_server.expect(wire::data(good, b"unharmed")).await;
    good_server.expect_nothing().await;
    good_client.expect_nothing().await;
}

/// A length that is too large is answered from its four bytes: nobody has to send the body first.
#[tokio::test]
async fn rule_10_a_smaller_limit_counts_from_the_first_four_bytes() {
    let gateway = TestGateway::start(config_with(|config| {
        config.max_packet = fastway::frame::MaxPacket::new(100).unwrap();
    }))
    .await;
    let (mut client, mut server, conn) = gateway.pair().await;
    client.send(wire::data(conn, &[5; 96])).await;
    server.expect(wire::data(conn, &[5; 96])).await;
    client.send([101, 0, 0, 0]).await;
    client.expect_end().await;
    server.expect(wire::close(conn)).await;
}

/// Extra bytes behind a command's arguments are not an error.
#[tokio::test]
async fn rule_10_longer_commands_are_not_malformed() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    client.send(wire::command(0, &[7, 99, 99])).await;
    client.expect(wire::accept(1, 7)).await;
    server.expect(wire::connect(1, 1)).await;
    client.send([wire::command(5, &[1, 2, 3]), wire::command(4, &[1, 1, 1])].concat()).await;
    client.expect(wire::ping()).await;
    client.expect(wire::close(1)).await;
}

/// A peer that dies in the middle of a frame: the half frame is nobody's.
#[tokio::test]
async fn rule_9_half_a_frame_is_not_delivered() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    let frame = wire::data(conn, &[1; 1000]);
    client.send([&frame[..], &frame[..500]].concat()).await;
    drop(client);
    server.expect(&frame).await;
    server.expect(wire::close(conn)).await;
    server.expect_nothing().await;
    drop(server);
    gateway.nothing_is_left().await;
    tokio::time::timeout(Duration::from_secs(20), gateway.stop()).await.unwrap();
}
