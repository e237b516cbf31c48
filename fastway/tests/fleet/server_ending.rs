//! How a server ends: closed in good order, or dropped.

use super::scripted::*;

#[tokio::test(start_paused = true)]
async fn closing_sends_what_is_queued_at_all_gateways_and_waits_for_it() {
    let network = MemoryNetwork::new();
    let (mut at_a, mut at_b) = (Port::bind(&network, A).await, Port::bind(&network, B).await);
    // One more gateway, which is not there: nobody waits for it.
    let server = start(&network, list([A, B, C]));
    let (mut a, mut b) = tokio::join!(at_a.let_in(), at_b.let_in());
    let mut conns = Vec::new();
    for link in [&mut a, &mut b] {
        link.connect(1, 1).await;
        link.send(1, b"hello").await;
        let (mut conn, _) = accept_one(&server).await;
        conn.send("farewell").await.unwrap();
        conns.push(conn);
    }
    server.close();
    assert_eq!(server.accept().await.unwrap_err(), Ended::ClosedHere);
    assert_eq!(server.ready().await, Err(Ended::ClosedHere));
    let begun = Instant::now();
    let gateways = async {
        for link in [&mut a, &mut b] {
            link.expect_message(1, b"farewell").await;
            link.expect_end().await;
        }
        // The gateways hang up a little later; they are waited for.
        sleep(MS * 500).await;
        drop((a, b));
    };
    let closed = async {
        server.closed().await;
        begun.elapsed()
    };
    let (took, ()) = tokio::join!(closed, gateways);
    assert_eq!(took, MS * 500);
    for conn in &mut conns {
        assert_eq!(conn.recv().await, None);
    }
    at_a.expect_nobody().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_of_the_end() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A, B]));
    let _a = at_a.let_in().await;
    let (accepted, ()) = tokio::join!(timeout(SECOND * 2, server.accept()), async {
        sleep(SECOND).await;
        server.close();
    });
    assert_eq!(accepted.unwrap().unwrap_err(), Ended::ClosedHere);
    let unlinked = start(&network, list([B]));
    let (ready, ()) = tokio::join!(timeout(SECOND * 2, unlinked.ready()), async {
        sleep(SECOND).await;
        unlinked.close();
    });
    assert_eq!(ready.unwrap(), Err(Ended::ClosedHere));
    timeout(SECOND * 2, unlinked.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_what_nobody_uses_and_nothing_else() {
    let network = MemoryNetwork::new();
    let (mut at_a, mut at_b) = (Port::bind(&network, A).await, Port::bind(&network, B).await);
    let server = start(&network, list([A, B, C]));
    let (mut a, mut b) = tokio::join!(at_a.let_in(), at_b.let_in());
    a.connect(1, 1).await;
    a.send(1, b"hello").await;
    let (mut conn, _) = accept_one(&server).await;
    // Nobody will ever accept this one.
    a.connect(2, 1).await;
    sleep(SECOND).await;
    drop(server.clone());
    assert!(timeout(SECOND, server.accept()).await.unwrap().is_ok());
    a.expect_close(2).await;
    a.connect(3, 1).await;
    sleep(SECOND).await;
    drop(server);
    b.expect_end().await;
    a.expect_close(3).await;
    sleep(HOUR).await;
    conn.send("still here").await.unwrap();
    a.expect_message(1, b"still here").await;
    drop(conn);
    a.expect_close(1).await;
    a.expect_end().await;
    drop((a, b));
    let mut at_c = Port::bind(&network, C).await;
    for port in [&mut at_a, &mut at_b, &mut at_c] {
        port.expect_nobody().await;
    }
}
