//! Rules 14 and 15: a slow client is cut off, a slow server holds its clients back.

use std::time::Duration;

use fastway::keepalive::KeepaliveConfig;
use fastway::net::MemoryNetwork;
use tokio::time::{Instant, sleep, timeout};

use super::support::{Raw, TestGateway, config, config_with, threads, wire};

const SECOND: Duration = Duration::from_secs(1);

/// Sends messages until the gateway closes the connection; says how many.
async fn flood_until_closed<S>(server: &mut Raw<S>, conn: u32, message: &[u8]) -> usize
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let frame = wire::data(conn, message);
    for sent in 0..100_000 {
        server.send(&frame).await;
        // An echo shows that the gateway has seen the message; what comes before it is the verdict.
        server.send(wire::ping()).await;
        let mut closed = false;
        loop {
            let answer = server.frame().await;
            if answer == wire::ping() {
                break;
            }
            assert_eq!(answer, wire::close(conn));
            closed = true;
        }
        if closed {
            return sent;
        }
    }
    panic!("the client was never cut off");
}

#[tokio::test]
async fn rule_14_a_client_that_does_not_read_is_cut_off_by_bytes() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let (mut slow, mut good) = (gateway.client().await, gateway.client().await);
    let mut server = gateway.server(7).await;
    let to_slow = slow.open(7, &mut server).await;
    let to_good = good.open(7, &mut server).await;
    let sent = flood_until_closed(&mut server, to_slow, &[1; 10_000]).await;
    // 1 MiB of queue, and the 64 KiB that are in the pipe.
    assert!((100..=115).contains(&sent), "{sent} messages of 10 kB were taken");
    server.send(wire::data(to_good, b"nobody waits")).await;
    good.expect(wire::data(to_good, b"nobody waits")).await;
    gateway.until("the slow client is gone", |counts| counts.clients == 1 && counts.conns == 1).await;
    assert_eq!(gateway.handle.counts().queued_bytes, 0);
}

#[tokio::test]
async fn rule_14_a_client_that_does_not_read_is_cut_off_by_messages() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.client.queue.messages = 50)).await;
    let mut slow = gateway.client().await;
    let mut server = gateway.server(7).await;
    let conn = slow.open(7, &mut server).await;
    let sent = flood_until_closed(&mut server, conn, &[1; 10_000]).await;
    // 50 in the queue, 6 in the pipe of 64 KiB; a message counts until its last byte is written.
    assert!((50..=58).contains(&sent), "{sent} messages were taken");
}

#[tokio::test]
async fn rule_14_a_client_on_a_real_socket_is_cut_off_as_well() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| config.threads = threads(shards))).await;
        let (mut slow, mut good) = (gateway.client().await, gateway.client().await);
        let mut server = gateway.server(7).await;
        let to_slow = slow.open(7, &mut server).await;
        let to_good = good.open(7, &mut server).await;
        flood_until_closed(&mut server, to_slow, &[1; 100_000]).await;
        server.send(wire::data(to_good, b"nobody waits")).await;
        good.expect(wire::data(to_good, b"nobody waits")).await;
    }
}

/// A burst that is longer than the queue, in one segment: the client reads, so it gets all of it.
#[tokio::test]
async fn rule_14_a_client_that_reads_is_not_cut_off_by_a_burst() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| config.threads = threads(shards))).await;
        let (mut client, mut server, conn) = gateway.pair().await;
        for _ in 0..20 {
            let burst: Vec<u8> = (0..5_000_u32).flat_map(|n| wire::data(conn, &n.to_le_bytes())).collect();
            let reading = async {
                for number in 0..5_000_u32 {
                    client.expect(wire::data(conn, &number.to_le_bytes())).await;
                }
            };
            tokio::join!(server.send(&burst), reading);
        }
        server.expect_nothing().await;
    }
}

/// The same burst to a client that does not read: its session's turn to write changes nothing, and it is cut off then.
/// The server does not wait for it.
#[tokio::test(start_paused = true)]
async fn rule_14_a_client_that_does_not_read_is_cut_off_by_a_burst() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.client.queue.messages = 10)).await;
    let (mut slow, mut good) = (gateway.client().await, gateway.client().await);
    let mut server = gateway.server(7).await;
    let to_slow = slow.open(7, &mut server).await;
    let to_good = good.open(7, &mut server).await;
    // This much the pipe takes: the client's socket has not refused anything yet.
    for _ in 0..6 {
        server.send(wire::data(to_slow, &[1; 10_000])).await;
        server.expect_nothing().await;
    }
    server.send([wire::data(to_slow, &[1; 1_500]).repeat(30), wire::data(to_good, b"next")].concat()).await;
    good.expect(wire::data(to_good, b"next")).await;
    server.expect(wire::close(to_slow)).await;
}

/// The same for the answers to what the client sends itself: the messages that were on their way when its virtual
/// connection was closed, each of them answered (rule 6).
#[tokio::test]
async fn rule_6_a_thousand_messages_that_come_too_late_are_answered_and_the_client_stays() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    server.send(wire::close(conn)).await;
    server.expect(wire::close(conn)).await;
    client.expect(wire::close(conn)).await;
    client.send(wire::data(conn, b"late").repeat(5_000)).await;
    for _ in 0..5_000 {
        client.expect(wire::close(conn)).await;
    }
    client.expect_nothing().await;
}

/// A client that asks for answers and does not take them is no better.
#[tokio::test(start_paused = true)]
async fn rule_14_a_client_is_cut_off_by_the_answers_to_itself_too() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut client = gateway.client().await;
    let flood = wire::data(99, b"").repeat(100_000);
    let ended = timeout(SECOND, tokio::io::AsyncWriteExt::write_all(&mut client.stream, &flood)).await;
    assert!(matches!(ended, Ok(Err(_))), "{ended:?}");
    gateway.nothing_is_left().await;
}

/// A server whose dials and bad messages are answered, and that does not read the answers, is itself stopped.
#[tokio::test(start_paused = true)]
async fn rule_15_a_server_is_held_back_by_the_answers_to_itself() {
    let gateway =
        TestGateway::start_in_memory(config_with(|config| config.server.queue.messages = 100)).await;
    let mut server = gateway.server(7).await;
    let frames: Vec<u8> = (0..50_000).flat_map(|id| wire::data(1 + id, b"")).collect();
    let (mut reading, mut writing) = tokio::io::split(server.stream);
    let sending = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writing, &frames).await.unwrap();
        writing
    });
    sleep(SECOND * 10).await;
    assert!(!sending.is_finished(), "the server is held back");
    let mut answers = vec![0; 13 * 50_000];
    tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answers).await.unwrap();
    let expected: Vec<u8> = (0..50_000).flat_map(|id| wire::close(1 + id)).collect();
    assert!(answers == expected, "every message has its answer, in order");
    server = Raw::new(reading.unsplit(sending.await.unwrap()));
    server.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_server_that_does_not_read_holds_its_clients_back_and_nothing_is_lost() {
    let limit = 1 << 20;
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.queue.bytes = limit;
        config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
    }))
    .await;
    let mut server = gateway.server(7).await;
    let mut sending = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = gateway.client().await;
        let conn = client.open(7, &mut server).await;
        clients.push((client, conn));
    }
    for (mut client, conn) in clients {
        sending.push(tokio::spawn(async move {
            for number in 0..200_u32 {
                client.send(wire::data(conn, &[&number.to_le_bytes()[..], &[7; 3_000]].concat())).await;
            }
            client
        }));
    }
    sleep(SECOND * 10).await;
    assert!(sending.iter().all(|client| !client.is_finished()), "everybody is held back");
    let queued = gateway.handle.counts().queued_bytes;
    assert!(queued <= limit && queued > limit - 10_000, "{queued} bytes are queued");

    let mut next = [0_u32; 10];
    for _ in 0..10 * 200 {
        let frame = server.frame().await;
        let conn = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
        let number = u32::from_le_bytes(frame[8..12].try_into().unwrap());
        assert_eq!((number, frame.len()), (next[conn - 1], 3_012));
        next[conn - 1] += 1;
        assert!(gateway.handle.counts().queued_bytes <= limit);
    }
    server.expect_nothing().await;
    for client in sending {
        client.await.unwrap().expect_nothing().await;
    }
}

#[tokio::test]
async fn rule_15_nothing_is_lost_on_real_sockets_and_four_shards() {
    let gateway = TestGateway::start(config_with(|config| {
        config.threads = threads(4);
        config.server.queue.bytes = 600_000;
    }))
    .await;
    let mut server = gateway.server(7).await;
    let mut sending = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.client().await;
        let conn = client.open(7, &mut server).await;
        clients.push((client, conn));
    }
    for (mut client, conn) in clients {
        sending.push(tokio::spawn(async move {
            for number in 0..2_000_u32 {
                let filler = vec![7; (number as usize * 37) % 9_000];
                client.send(wire::data(conn, &[&number.to_le_bytes()[..], &filler].concat())).await;
            }
            client
        }));
    }
    let mut next = [0_u32; 8];
    for received in 0..8 * 2_000 {
        if received % 2_000 == 0 {
            // A server that hesitates: now and then everybody has to wait for it. Held-back clients go on when
            // half of the queue is free, so it can rest anywhere above that.
            gateway
                .until("the queue is full", |counts| counts.queued_bytes > 290_000 || received > 8_000)
                .await;
        }
        let frame = server.frame().await;
        let conn = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
        let number = u32::from_le_bytes(frame[8..12].try_into().unwrap());
        assert_eq!((number, frame.len()), (next[conn - 1], 12 + (number as usize * 37) % 9_000));
        next[conn - 1] += 1;
    }
    server.expect_nothing().await;
    for client in sending {
        client.await.unwrap().expect_nothing().await;
    }
}

/// Pitfall 19. The flooded server is full; its neighbour and the clients of that one notice nothing, and what it
/// sends itself still goes through, to the very client that is held back.
#[tokio::test(start_paused = true)]
async fn rule_15_only_the_clients_that_send_to_the_full_server_wait() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.server.queue.messages = 10)).await;
    let (mut flooding, mut good) = (gateway.client().await, gateway.client().await);
    let (mut full, mut other) = (gateway.server(7).await, gateway.server(8).await);
    let to_full = flooding.open(7, &mut full).await;
    let from_other = flooding.open(8, &mut other).await;
    let to_other = good.open(8, &mut other).await;
    let flood = wire::data(to_full, &[1; 10_000]).repeat(100);
    let held = timeout(SECOND, tokio::io::AsyncWriteExt::write_all(&mut flooding.stream, &flood)).await;
    assert!(held.is_err(), "the flooding client is held back");

    good.send(wire::data(to_other, b"ping")).await;
    other.expect(wire::data(to_other, b"ping")).await;
    other.send([wire::data(to_other, b"pong"), wire::data(from_other, b"hello")].concat()).await;
    good.expect(wire::data(to_other, b"pong")).await;
    flooding.expect(wire::data(from_other, b"hello")).await;
    full.send(wire::data(to_full, b"I can still talk")).await;
    flooding.expect(wire::data(to_full, b"I can still talk")).await;
}

/// A dial needs room at the server as well, and waits for it.
#[tokio::test(start_paused = true)]
async fn rule_15_a_dial_to_a_full_server_waits_and_succeeds() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.server.queue.messages = 10)).await;
    let (mut flooding, mut dialling) = (gateway.client().await, gateway.client().await);
    let mut server = gateway.server(7).await;
    let conn = flooding.open(7, &mut server).await;
    flooding.send(wire::data(conn, &[1; 10_000]).repeat(16)).await;
    flooding.send(wire::ping()).await;
    dialling.send(wire::dial(7)).await;
    assert!(timeout(SECOND, dialling.frame()).await.is_err(), "no answer yet");
    for _ in 0..16 {
        server.expect(wire::data(conn, &[1; 10_000])).await;
    }
    server.expect(wire::connect(conn + 1, 2)).await;
    dialling.expect(wire::accept(conn + 1, 7)).await;
    flooding.expect(wire::ping()).await;
}

/// Also when that is long before its next ping is due.
#[tokio::test(start_paused = true)]
async fn rule_15_a_server_that_takes_nothing_at_all_is_closed() {
    for stall_timeout in [SECOND * 30, SECOND * 5] {
        let gateway = TestGateway::start_in_memory(config_with(|config| {
            config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
            config.server.stall_timeout = stall_timeout;
        }))
        .await;
        let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
        let conn = client.open(7, &mut server).await;
        let begun = Instant::now();
        client.deadline = SECOND * 60;
        client.send(wire::data(conn, &[1; 100_000])).await;
        client.expect(wire::close(conn)).await;
        let elapsed = begun.elapsed();
        assert!(elapsed >= stall_timeout && elapsed <= stall_timeout + SECOND, "{elapsed:?}");
        assert_eq!(gateway.handle.counts().servers, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_server_that_takes_a_little_now_and_then_is_not_stalled() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    client.send(wire::data(conn, &[1; 400_000])).await;
    for _ in 0..20 {
        sleep(SECOND * 20).await;
        let _: [u8; 1_000] = server.read_exact().await;
        client.send(wire::ping()).await;
        client.expect(wire::ping()).await;
        // The server is alive, and says so.
        server.send(wire::close(99)).await;
    }
    assert_eq!(gateway.handle.counts().servers, 1);
}

/// Whoever asks and does not take the answers is not read from any more: its queue is bounded too.
#[tokio::test(start_paused = true)]
async fn rule_15_a_server_that_pings_and_does_not_read_fills_its_queue_and_no_more() {
    let config = config_with(|config| {
        config.server.queue.messages = 10;
        config.server.stall_timeout = SECOND * 3600;
    });
    let gateway = TestGateway::start_on(MemoryNetwork::with_pipe_bytes(100), config).await;
    let mut server = gateway.server(7).await;
    let sending = tokio::spawn(async move {
        server.send(wire::ping().repeat(10_000)).await;
        server
    });
    sleep(SECOND).await;
    let queued = gateway.handle.counts().queued_bytes;
    assert!((9..=11 * 9).contains(&queued), "{queued} bytes are queued");
    assert!(!sending.is_finished());
}
