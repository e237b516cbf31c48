//! All that waits in the gateway together, and peers that keep it waiting.

use std::time::Duration;

use fastway::keepalive::KeepaliveConfig;
use fastway_gateway::{Config, QueueLimits, Refusal};
use tokio::time::{Instant, sleep};

use super::support::{TestGateway, config_with, threads, wire};

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;

/// Nobody is pinged, and nobody is silent.
fn patient() -> Config {
    config_with(|config| {
        config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
    })
}

/// Ten clients that do not read owe up to a megabyte each, and four of them may: those who owe the most go, one after the
/// other, and nobody who owes little.
#[tokio::test]
async fn at_the_limit_those_who_owe_the_most_are_cut_off() {
    for shards in [1, 2] {
        let gateway = TestGateway::start(config_with(|config| {
            config.max_buffered_bytes = 4 * MIB;
            config.server.queue.bytes = 2 * MIB;
            config.client.queue = QueueLimits { messages: 100_000, bytes: 2 * MIB };
            config.threads = threads(shards);
        }))
        .await;
        let mut server = gateway.server(7).await;
        let (mut slow, mut modest) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let mut client = gateway.client().await;
            let conn = client.open(7, &mut server).await;
            slow.push((client, conn));
            let mut client = gateway.client().await;
            let conn = client.open(7, &mut server).await;
            modest.push((client, conn));
        }
        // Kernels take several megabytes before anything waits here.
        for round in 0..2000 {
            for (_, conn) in &slow {
                server.send(wire::data(*conn, &[1; 20_000])).await;
            }
            if gateway.handle.refusals(Refusal::Debt) >= 2 {
                break;
            }
            assert!(round < 1999, "nobody was cut off: {:?}", gateway.handle.counts());
        }
        assert!(gateway.handle.counts().buffered_bytes <= 5 * MIB);
        // Whoever was cut off, the server is told so.
        let mut closed = 0;
        while closed == 0 {
            closed += usize::from(server.frame().await[8] == 4);
        }
        for (client, conn) in &mut modest {
            server.send(wire::data(*conn, b"still there")).await;
            client.expect(wire::data(*conn, b"still there")).await;
        }
        drop((slow, modest, server));
        gateway.nothing_is_left().await;
    }
}

/// What has arrived of a frame that is not whole counts as well.
#[tokio::test]
async fn halves_of_frames_count_and_are_cut_off() {
    let gateway = TestGateway::start(config_with(|config| {
        config.max_buffered_bytes = 4 * MIB;
        config.server.queue.bytes = 2 * MIB;
    }))
    .await;
    let half = [&(500_000_u32).to_le_bytes()[..], &[1; 450_000]].concat();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.client().await;
        client.send(&half).await;
        clients.push(client);
    }
    gateway.until("8 halves wait", |counts| counts.buffered_bytes == 8 * half.len()).await;
    // Nine tenths: those who are there stay, but nobody else gets in.
    let mut one_more = gateway.client().await;
    one_more.expect_nothing().await;
    one_more.send(&half[..400_000]).await;
    gateway.until("it is tight", |counts| counts.buffered_bytes >= 8 * half.len() + 400_000).await;
    gateway.client().await.expect_end().await;
    assert_eq!(gateway.handle.refusals(Refusal::BuffersTight), 1);
    assert_eq!(gateway.handle.refusals(Refusal::Debt), 0);
    // Servers get in all the same: what waits for one can only go away by it.
    let mut server = gateway.server(7).await;
    // What goes over the limit comes in one piece: what came behind that would be added to what is left.
    server.send(&half[..190_000]).await;
    gateway
        .until("it is nearly full", |counts| counts.buffered_bytes == 8 * half.len() + 400_000 + 190_000)
        .await;
    server.send(&half[190_000..200_000]).await;
    gateway.until("the first ones went", |counts| counts.buffered_bytes <= 4 * MIB / 10 * 9).await;
    assert!(gateway.handle.refusals(Refusal::Debt) >= 1);
    drop((clients, one_more, server));
    gateway.nothing_is_left().await;
}

/// Pitfall 3, and the slow loris: memory follows what arrived, and a frame does not take for ever, even if its sender says
/// something all the time.
#[tokio::test(start_paused = true)]
async fn a_frame_that_does_not_become_whole_ends_its_sender() {
    let gateway = TestGateway::start_in_memory(patient()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let start = Instant::now();
    // Whole frames, however slowly they come, are no matter.
    let frame = wire::data(conn, &[1; 40]);
    for _ in 0..4 {
        for byte in &frame {
            client.send([*byte]).await;
            sleep(SECOND).await;
        }
        server.expect(&frame).await;
    }
    assert_eq!(gateway.handle.counts().buffered_bytes, 0);
    // Nor is a stream of frames in which there is always one that is not whole yet.
    client.send(&frame[..1]).await;
    for _ in 0..100 {
        client.send([&frame[1..], &frame[..1]].concat()).await;
        server.expect(&frame).await;
        sleep(SECOND).await;
    }
    client.send(&frame[1..]).await;
    server.expect(&frame).await;
    client.send((512 * 1024_u32).to_le_bytes()).await;
    for seconds in 0..59 {
        client.send([1]).await;
        sleep(SECOND).await;
        gateway.until("what has arrived is kept", |counts| counts.buffered_bytes == 5 + seconds).await;
    }
    sleep(SECOND * 3).await;
    client.expect_end().await;
    server.expect(wire::close(conn)).await;
    assert!(start.elapsed() < SECOND * (4 * 48 + 100 + 63));
    gateway.until("nothing is kept", |counts| counts.buffered_bytes == 0).await;
}

/// A peer with a bad line is no attacker.
#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_slowly_but_surely_may_take_its_time() {
    let gateway = TestGateway::start_in_memory(patient()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    let frame = wire::data(conn, &[1; 300_000]);
    for part in frame.chunks(1024) {
        client.send(part).await;
        sleep(SECOND).await;
    }
    server.expect(&frame).await;
    client.send(&frame[..200_000]).await;
    // That has paid for 195 seconds and the first 60.
    sleep(SECOND * 250).await;
    server.expect_nothing().await;
    sleep(SECOND * 10).await;
    server.expect(wire::close(conn)).await;
}

/// Its queue is not full, and it is not silent either: it only takes nothing.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_at_all_is_closed() {
    let gateway = TestGateway::start_in_memory(patient()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    for _ in 0..20 {
        server.send(wire::data(conn, &[1; 10_000])).await;
    }
    for _ in 0..58 {
        sleep(SECOND).await;
        client.send(wire::data(conn, b"I am well")).await;
        server.expect(wire::data(conn, b"I am well")).await;
    }
    sleep(SECOND * 5).await;
    server.expect(wire::close(conn)).await;
    gateway.until("it is gone", |counts| counts.clients == 0 && counts.buffered_bytes == 0).await;
}
