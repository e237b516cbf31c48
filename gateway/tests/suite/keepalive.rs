//! Rules 11 to 13, with peers of both generations, over minutes of virtual time.

use std::time::Duration;

use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use fastway_gateway::Config;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::support::{Raw, TestGateway, config, config_with, wire};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The gateway may be late by 1/64 of the interval, for the sake of fewer wakes.
#[track_caller]
fn assert_about(elapsed: Duration, expected: Duration) {
    assert!(elapsed >= expected && elapsed <= expected + expected / 32, "{elapsed:?}, expected {expected:?}");
}

/// The next frame, and how long it took.
async fn frame_after<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Raw<S>) -> (Vec<u8>, Duration) {
    peer.deadline = HOUR;
    let begun = Instant::now();
    (peer.frame().await, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn rule_11_a_silent_peer_is_pinged_once_and_then_closed() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut server = gateway.server(7).await;
    // The client falls silent for good after it has dialled; the server answers its pings.
    let mut client = gateway.client().await;
    let conn = client.open(7, &mut server).await;
    let answering = tokio::spawn(async move {
        loop {
            let (frame, _) = frame_after(&mut server).await;
            if frame != wire::ping() {
                break (frame, server);
            }
            server.send(wire::ping()).await;
        }
    });
    let begun = Instant::now();
    let (frame, elapsed) = frame_after(&mut client).await;
    assert_eq!(frame, wire::ping());
    assert_about(elapsed, SECOND * 30);
    client.expect_end().await;
    assert_about(begun.elapsed(), SECOND * 60);
    assert_eq!(answering.await.unwrap().0, wire::close(conn));
}

#[tokio::test(start_paused = true)]
async fn rule_11_the_same_for_a_silent_server() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut server = gateway.server(7).await;
    let (frame, elapsed) = frame_after(&mut server).await;
    assert_eq!(frame, wire::ping());
    assert_about(elapsed, SECOND * 30);
    let begun = Instant::now();
    server.expect_end().await;
    assert_about(begun.elapsed(), SECOND * 30);
    gateway.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn rule_11_whatever_comes_counts_as_life() {
    let gateway = TestGateway::start_in_memory(config_with(|config| config.frame_timeout = HOUR)).await;
    let mut client = gateway.client().await;
    // Single bytes of a frame, a message on nobody's connection, a command: 20 s apart, ten minutes long.
    let half = wire::data(9, &[0; 100]);
    for byte in &half[..20] {
        client.send([*byte]).await;
        sleep(SECOND * 20).await;
    }
    client.send(&half[20..]).await;
    client.expect(wire::close(9)).await;
    for _ in 0..10 {
        client.send(wire::dial(8)).await;
        client.expect(wire::refuse(8)).await;
        sleep(SECOND * 29).await;
    }
    let (frame, elapsed) = frame_after(&mut client).await;
    assert_eq!(frame, wire::ping(), "only now it was silent");
    assert!(elapsed <= SECOND * 2, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn rule_11_each_silence_has_its_own_ping() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut client = gateway.client().await;
    for _ in 0..10 {
        let (frame, elapsed) = frame_after(&mut client).await;
        assert_eq!(frame, wire::ping());
        assert_about(elapsed, SECOND * 30);
        // Life, but not the answer.
        client.send(wire::close(99)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rule_11_without_a_ping_interval_the_idle_timeout_alone_counts() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.client.keepalive =
            KeepaliveConfig { ping_interval: Duration::ZERO, idle_timeout: SECOND * 90 };
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
    }))
    .await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let begun = Instant::now();
    client.deadline = HOUR;
    client.expect_end().await;
    assert_about(begun.elapsed(), SECOND * 90);
    server.expect(wire::close(conn)).await;
    // The server may be silent for ever.
    sleep(HOUR * 24).await;
    server.expect_nothing().await;
}

/// A first-generation endpoint answers every ping with a ping, and never pings by itself.
#[tokio::test(start_paused = true)]
async fn rule_12_a_first_generation_endpoint_is_not_echoed_its_answers() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let begun = Instant::now();
    let mut pings = [0, 0];
    while begun.elapsed() < SECOND * 600 {
        for (peer, pings) in [&mut client, &mut server].into_iter().zip(&mut pings) {
            let (frame, elapsed) = frame_after(peer).await;
            assert_eq!(frame, wire::ping());
            assert!(elapsed <= SECOND * 31, "{elapsed:?}");
            peer.send(wire::ping()).await;
            *pings += 1;
        }
    }
    assert!(pings.iter().all(|count| (19..=21).contains(count)), "{pings:?} pings in 600 s");
    client.send(wire::data(conn, b"still connected")).await;
    server.expect(wire::data(conn, b"still connected")).await;
}

/// Were data taken for the answer, the answer behind it would be echoed, the echo answered, and so on for ever.
#[tokio::test(start_paused = true)]
async fn rule_12_an_answer_that_comes_after_data_is_still_an_answer() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        let (frame, _) = frame_after(&mut client).await;
        assert_eq!(frame, wire::ping());
        client.send(wire::dial(8)).await;
        client.expect(wire::refuse(8)).await;
    }
    // Three questions are open: three answers are swallowed, and the fourth ping is a question.
    client.send(wire::ping().repeat(3)).await;
    client.expect_nothing().await;
}

/// A second-generation endpoint pings, expects the echo, and takes any ping for it.
#[tokio::test(start_paused = true)]
async fn rule_12_a_second_generation_endpoint_gets_its_echo() {
    let silent_gateway = KeepaliveConfig { ping_interval: Duration::ZERO, idle_timeout: SECOND * 60 };
    // With a gateway of its own generation, and with one that would ping by itself.
    for keepalive in [silent_gateway, KeepaliveConfig::every(SECOND * 30)] {
        let gateway = TestGateway::start_in_memory(config_with(|config| {
            config.client.keepalive = keepalive;
            config.server.keepalive = keepalive;
        }))
        .await;
        let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
        let conn = client.open(7, &mut server).await;
        for _ in 0..40 {
            for peer in [&mut client, &mut server] {
                sleep(SECOND * 10).await;
                peer.send(wire::ping()).await;
                peer.expect(wire::ping()).await;
            }
        }
        server.send(wire::data(conn, b"still connected")).await;
        client.expect(wire::data(conn, b"still connected")).await;
    }
}

/// A second-generation endpoint that pings more slowly than the gateway: what it gets may be the gateway's own ping,
/// which it does not answer, but it never waits for one longer than the idle timeout.
#[tokio::test(start_paused = true)]
async fn rule_12_a_slow_second_generation_endpoint_gets_a_ping_for_each_of_its_own() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut client = gateway.client().await;
    client.deadline = SECOND * 60;
    for _ in 0..5 {
        // Silent for more than the gateway's interval, five times, and never an answer.
        sleep(SECOND * 40).await;
        client.expect(wire::ping()).await;
        client.send(wire::close(99)).await;
    }
    for _ in 0..20 {
        // Now it talks all the time, and asks now and then.
        for _ in 0..7 {
            sleep(SECOND * 10).await;
            client.send(wire::close(99)).await;
        }
        client.send(wire::ping()).await;
        client.expect(wire::ping()).await;
    }
}

/// Both ping at the same instant: each takes the other's for the answer, and there is peace.
#[tokio::test(start_paused = true)]
async fn rule_12_crossing_pings_are_each_others_answers() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let mut client = gateway.client().await;
    for _ in 0..10 {
        sleep(SECOND * 30 + SECOND / 2).await;
        client.send(wire::ping()).await;
        client.expect(wire::ping()).await;
        let more = timeout(SECOND * 15, client.frame()).await;
        assert!(more.is_err(), "{more:?}");
        client.send(wire::close(99)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rule_13_a_peer_that_stops_inside_a_frame_is_silent() {
    let gateway = TestGateway::start_in_memory(config()).await;
    for bytes in [&[100, 0][..], &[100, 0, 0, 0, 1], &[0; 0]] {
        let mut client = gateway.client().await;
        client.send(bytes).await;
        let (frame, elapsed) = frame_after(&mut client).await;
        assert_eq!(frame, wire::ping());
        assert_about(elapsed, SECOND * 30);
        client.expect_end().await;
    }
    gateway.nothing_is_left().await;
}

/// Pitfall 25: the client has a lot to say, but the gateway does not listen, since its server does not read. Nor does it
/// read the client's own pings, so it says something itself, or the client would give the gateway up.
#[tokio::test(start_paused = true)]
async fn rule_13_a_peer_that_the_gateway_has_stopped_reading_is_not_silent() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.queue.messages = 10;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
        config.server.stall_timeout = HOUR * 2;
    }))
    .await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let message = wire::data(conn, &[1; 10_000]);
    let sending = tokio::spawn(async move {
        // Between two looks at the clock: the looks of a held session must not put its pings off.
        sleep(SECOND * 10).await;
        client.send(message.repeat(100)).await;
        client
    });
    sleep(HOUR).await;
    assert!(!sending.is_finished(), "the client is held back");
    for _ in 0..100 {
        server.expect(wire::data(conn, &[1; 10_000])).await;
    }
    let mut client = sending.await.unwrap();
    server.send(wire::data(conn, b"well?")).await;
    client.deadline = SECOND;
    let mut pings = 0;
    loop {
        let frame = client.frame().await;
        if frame != wire::ping() {
            assert_eq!(frame, wire::data(conn, b"well?"));
            break;
        }
        pings += 1;
    }
    assert!((115..=120).contains(&pings), "{pings} signs of life in an hour, one every 30 s");
}

/// A server that is held back by its own queue, since it does not read the answers: reminding it again and again would make
/// that queue longer and longer.
#[tokio::test(start_paused = true)]
async fn rule_13_a_peer_that_takes_nothing_has_one_ping_in_its_queue() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.queue.messages = 10;
        config.server.stall_timeout = HOUR * 2;
    }))
    .await;
    let mut server = gateway.server(7).await;
    // The answers are more than the network holds.
    let sending = tokio::spawn(async move {
        server.send(wire::data(99, b"").repeat(20_000)).await;
        server
    });
    sleep(SECOND * 20).await;
    let before = gateway.handle.counts().queued_bytes;
    assert!(before > 0 && !sending.is_finished(), "the server is held back");
    sleep(HOUR).await;
    assert_eq!(gateway.handle.counts().queued_bytes - before, wire::ping().len());
    sending.abort();
}

/// It has said a lot since it heard something, and its own ping is not read: an interval after the gateway has said something
/// it says something again, or a client that waits for two intervals would have given it up. A little that gets through
/// now and then changes nothing about that.
#[tokio::test(start_paused = true)]
async fn rule_13_a_client_that_is_held_back_hears_from_the_gateway_every_interval() {
    // From when on it is held back, whether it has just been told something, and when it is pinged for the first time.
    for (held_from, is_told, first) in [(25, false, 30), (25, true, 55), (40, false, 40)] {
        held_back(held_from, is_told, first, false).await;
        held_back(held_from, is_told, first, true).await;
    }
}

async fn held_back(held_from: u32, is_told: bool, first: u32, takes_a_little: bool) {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.server.queue.messages = 10;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
        config.server.stall_timeout = HOUR;
    }))
    .await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let begun = Instant::now();
    sleep(SECOND * 25).await;
    client.send(wire::data(conn, &[1; 10_000])).await;
    server.expect(wire::data(conn, &[1; 10_000])).await;
    sleep(SECOND * (held_from - 25)).await;
    if is_told {
        server.send(wire::data(conn, b"news")).await;
        client.expect(wire::data(conn, b"news")).await;
    }
    let (mut reading, mut writing) = tokio::io::split(client.stream);
    let many = wire::data(conn, &[1; 10_000]).repeat(100);
    let sending = tokio::spawn(async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writing, &many).await;
    });
    let taking = tokio::spawn(async move {
        loop {
            sleep(SECOND * 9).await;
            if takes_a_little {
                server.expect(wire::data(conn, &[1; 10_000])).await;
            }
        }
    });
    for interval in 0..5 {
        let mut ping = [0; 9];
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut ping).await.unwrap();
        assert_eq!(ping, wire::ping()[..]);
        assert_about(begun.elapsed(), SECOND * (first + 30 * interval));
    }
    sending.abort();
    taking.abort();
}

/// A frame that fits into no queue that is half full is offered again and again, while smaller ones of others go by. That
/// is no sign of life, neither the client's nor the gateway's.
#[tokio::test(start_paused = true)]
async fn rule_13_a_client_whose_frame_is_offered_in_vain_is_pinged() {
    let gateway = TestGateway::start_in_memory(config_with(|config| {
        config.max_packet = MaxPacket::new(15_004).unwrap();
        config.server.queue.bytes = 20_000;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
    }))
    .await;
    let (mut client, mut busy) = (gateway.client().await, gateway.client().await);
    let mut server = gateway.server(7).await;
    let (conn, busy_conn) = (client.open(7, &mut server).await, busy.open(7, &mut server).await);
    let small = wire::data(busy_conn, &[1; 1000]);
    let many = small.repeat(1000);
    let sending = tokio::spawn(async move { busy.send(many).await });
    sleep(SECOND).await;
    client.send(wire::data(conn, &[2; 15_000])).await;
    for _ in 0..30 {
        sleep(SECOND * 10).await;
        for _ in 0..12 {
            server.expect(&small).await;
        }
    }
    client.deadline = SECOND;
    for _ in 0..9 {
        client.expect(wire::ping()).await;
    }
    sending.abort();
}

/// The rules above once more over real sockets, where a silent client is the clock: no other is needed.
mod on_real_sockets {
    use super::*;

    /// Long enough for peers that answer at once, on a busy machine too.
    const INTERVAL: Duration = Duration::from_millis(500);

    async fn gateway_with(change: impl FnOnce(&mut Config)) -> TestGateway {
        TestGateway::start(config_with(|config| {
            config.client.keepalive = KeepaliveConfig::every(INTERVAL);
            config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
            change(config);
        }))
        .await
    }

    #[tokio::test]
    async fn rule_11_a_silent_client_is_pinged_once_and_then_closed() {
        let gateway = gateway_with(|_| {}).await;
        let begun = Instant::now();
        let (mut client, mut server, conn) = gateway.pair().await;
        client.expect(wire::ping()).await;
        assert!(begun.elapsed() >= INTERVAL);
        client.expect_end().await;
        assert!(begun.elapsed() >= INTERVAL * 2);
        server.expect(wire::close(conn)).await;
    }

    #[tokio::test]
    async fn rule_12_an_answer_is_not_echoed_and_a_question_is() {
        let gateway = gateway_with(|config| config.client.keepalive.idle_timeout = SECOND * 60).await;
        let mut client = gateway.client().await;
        for _ in 0..3 {
            client.expect(wire::ping()).await;
            client.send([wire::ping(), wire::dial(8)].concat()).await;
            client.expect(wire::refuse(8)).await;
            client.expect_nothing().await;
        }
    }

    #[tokio::test]
    async fn rule_13_a_client_that_stops_inside_a_frame_is_silent() {
        let gateway = gateway_with(|_| {}).await;
        let mut client = gateway.client().await;
        client.send([100, 0, 0, 0, 1]).await;
        client.expect(wire::ping()).await;
        client.expect_end().await;
    }

    #[tokio::test]
    async fn rule_13_a_client_that_the_gateway_has_stopped_reading_is_not_silent() {
        let gateway = gateway_with(|config| config.server.queue.bytes = 600_000).await;
        let (client, mut server, conn) = gateway.pair().await;
        let (mut reading, mut writing) = client.stream.into_split();
        let sending = tokio::spawn(async move {
            let message = wire::data(conn, &[1; 10_000]);
            for _ in 0..3_000 {
                tokio::io::AsyncWriteExt::write_all(&mut writing, &message).await.unwrap();
            }
            writing
        });
        gateway.until("the server's queue is full", |counts| counts.queued_bytes > 500_000).await;
        for _ in 0..2 {
            let mut clock = gateway.client().await;
            clock.expect(wire::ping()).await;
            clock.expect_end().await;
        }
        assert!(!sending.is_finished(), "the client is held back");
        for _ in 0..3_000 {
            server.expect(wire::data(conn, &[1; 10_000])).await;
        }
        server.send(wire::data(conn, b"well?")).await;
        // Signs of life come before the answer.
        let mut heard = Vec::new();
        while !heard.ends_with(&wire::data(conn, b"well?")) {
            let more = tokio::io::AsyncReadExt::read_buf(&mut reading, &mut heard);
            assert_ne!(timeout(SECOND * 20, more).await.unwrap().unwrap(), 0);
        }
        assert!(heard.starts_with(&wire::ping()), "{heard:?}");
        sending.await.unwrap();
    }
}
