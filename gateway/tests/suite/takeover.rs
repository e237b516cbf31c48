//! Rule 4 at once: a server that has crashed and comes back waits for nothing of its old link, in whatever state that was left. Time is
//! virtual, so that a single deadline that is waited for is seen.

use std::time::Duration;

use fastway::keepalive::KeepaliveConfig;
use fastway::net::{MemoryNetwork, MemoryStream};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::time::{Instant, timeout};

use super::support::{Raw, TestGateway, config_with, threads, wire};

const SECOND: Duration = Duration::from_secs(1);

/// Journeys there and back take no time at all in memory. Whatever waits for a clock waits for longer.
const AT_ONCE: Duration = Duration::from_millis(5);

/// What one write is to fill.
const FLOOD: usize = 1_000_000;

async fn gateway() -> TestGateway<MemoryNetwork> {
    TestGateway::start_in_memory(config_with(|config| {
        (config.client.keepalive, config.server.keepalive) =
            (KeepaliveConfig::ANSWER_ONLY, KeepaliveConfig::ANSWER_ONLY);
        config.server.queue.messages = 10;
        config.server.stall_timeout = 1000 * SECOND;
    }))
    .await
}

/// The server comes back while its old link is there. Whoever talked to it is told, and reaches it anew, and so does somebody else.
async fn it_is_back_at_once(
    gateway: &TestGateway<MemoryNetwork>,
    client: &mut Raw<MemoryStream>,
    conn: u32,
) -> Raw<MemoryStream> {
    let mut other = gateway.client().await;
    other.expect_nothing().await;
    let begun = Instant::now();
    let mut newer = gateway.server(7).await;
    other.open(7, &mut newer).await;
    client.expect(wire::close(conn)).await;
    let again = client.open(7, &mut newer).await;
    client.send(wire::data(again, b"as ever")).await;
    newer.expect(wire::data(again, b"as ever")).await;
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
    newer
}

/// Its machine has lost its power, and nobody has told the gateway.
#[tokio::test(start_paused = true)]
async fn rule_4_a_server_does_not_wait_for_its_old_link_that_is_silent() {
    let gateway = gateway().await;
    let (mut client, mut older) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut older).await;
    let newer = it_is_back_at_once(&gateway, &mut client, conn).await;
    assert_eq!(gateway.handle.counts().servers, 1);
    drop((older, newer));
}

/// And its queue was full: clients are held back by it, with messages and with dials, and go on at once.
#[tokio::test(start_paused = true)]
async fn rule_4_a_server_does_not_wait_for_its_old_link_that_is_full() {
    let gateway = gateway().await;
    let (mut flooding, mut client) = (gateway.client().await, gateway.client().await);
    let (mut dialling, mut older) = (gateway.client().await, gateway.server(7).await);
    let flooded = flooding.open(7, &mut older).await;
    let conn = client.open(7, &mut older).await;
    let (mut reading, mut writing) = tokio::io::split(flooding.stream);
    assert!(
        timeout(SECOND, flood(&mut writing, &wire::data(flooded, &[7; 1000]))).await.is_err(),
        "it is held back"
    );
    dialling.send(wire::dial(7)).await;
    assert!(timeout(SECOND, dialling.frame()).await.is_err(), "it is held back");

    let begun = Instant::now();
    let mut newer = gateway.server(7).await;
    let accept = dialling.frame().await;
    assert_eq!(accept, wire::accept(u32::from_le_bytes(accept[9..13].try_into().unwrap()), 7));
    assert_eq!(newer.frame().await[8], 2, "Connect");
    let mut heard = vec![0; wire::close(flooded).len()];
    tokio::io::AsyncReadExt::read_exact(&mut reading, &mut heard).await.unwrap();
    assert_eq!(heard, wire::close(flooded));
    client.expect(wire::close(conn)).await;
    client.open(7, &mut newer).await;
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
    drop(older);
}

/// And it was held back itself: it had sent much that has to be answered, and read none of the answers.
#[tokio::test(start_paused = true)]
async fn rule_4_a_server_does_not_wait_for_its_old_link_that_is_held_back() {
    let gateway = gateway().await;
    let (mut client, mut older) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut older).await;
    let (_unread, mut writing) = tokio::io::split(older.stream);
    assert!(timeout(SECOND, flood(&mut writing, &wire::data(999, b""))).await.is_err(), "it is held back");
    it_is_back_at_once(&gateway, &mut client, conn).await;
}

/// Once more with threads, where the old link, the new one and the clients are on different ones: by the real clock, which has
/// to do with generous bounds.
#[tokio::test]
async fn rule_4_a_server_does_not_wait_for_its_old_link_on_another_thread() {
    let gateway = TestGateway::start(config_with(|config| {
        config.threads = threads(4);
        config.server.queue.messages = 10;
    }))
    .await;
    let (mut flooding, mut older) = (gateway.client().await, gateway.server(7).await);
    let flooded = flooding.open(7, &mut older).await;
    let mut client = gateway.client().await;
    let conn = client.open(7, &mut older).await;
    let (_reading, mut writing) = tokio::io::split(flooding.stream);
    // Sockets take more than pipes do.
    let flooding = async {
        loop {
            flood(&mut writing, &wire::data(flooded, &[7; 1000])).await;
        }
    };
    assert!(timeout(SECOND, flooding).await.is_err());
    let begun = Instant::now();
    let mut newer = gateway.server(7).await;
    client.expect(wire::close(conn)).await;
    client.open(7, &mut newer).await;
    // The first deadline that could be waited for is that of the last bytes, 10 s.
    assert!(begun.elapsed() < 5 * SECOND, "it took {:?}", begun.elapsed());
    drop(older);
}

async fn flood<S: tokio::io::AsyncWrite>(writing: &mut WriteHalf<S>, message: &[u8]) {
    writing.write_all(&message.repeat(FLOOD / message.len())).await.unwrap();
}
