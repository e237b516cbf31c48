//! How a client ends.

use super::client_support::*;

#[tokio::test(start_paused = true)]
async fn close_ends_everything_and_what_was_sent_arrives() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let client = Client::connect(net.clone(), list(&[A]), seeded(1)).await.unwrap();
    let mut conn = client.dial(SERVER).await.unwrap();
    let accepting = tokio::spawn({
        let client = client.clone();
        async move { client.accept().await.map(drop) }
    });
    conn.send("the last word").await.unwrap();
    client.close();
    client.closed().await;
    settle().await;
    assert_eq!((a.heard(), a.clients()), (vec!["the last word".to_owned()], 0));
    assert_eq!(accepting.await.unwrap(), Err(Ended::ClosedHere));
    assert_eq!(conn.recv().await, None);
    assert!(matches!(conn.close_reason(), Some(ConnEnd::ClosedHere)));
    assert!(matches!(conn.send("x").await, Err(SendError::Ended(ConnEnd::ClosedHere))));
    assert!(matches!(client.dial(SERVER).await, Err(NoConn::Ended(Ended::ClosedHere))));
    sleep(60 * SECOND).await;
    assert_eq!((net.tries().len(), gateway(&client)), (1, None));
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_a_search_a_dial_and_a_renewal() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let client = Client::connect(net.clone(), list(&[A]), seeded(1)).await.unwrap();
    let mut conn = client.dial(SERVER).await.unwrap();
    a.kill().await;
    assert!(timeout(3 * SECOND, conn.recv()).await.is_err());
    let dialling = tokio::spawn({
        let client = client.clone();
        async move { client.dial(SERVER).await.map(drop) }
    });
    settle().await;
    let (tries, begun) = (net.tries().len(), Instant::now());
    client.close();
    client.closed().await;
    assert!(matches!(dialling.await.unwrap(), Err(NoConn::Ended(Ended::ClosedHere))));
    assert_eq!(conn.recv().await, None);
    assert!(matches!(conn.close_reason(), Some(ConnEnd::ClosedHere)));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    sleep(60 * SECOND).await;
    assert_eq!(net.tries().len(), tries);
}

#[tokio::test(start_paused = true)]
async fn the_link_lives_as_long_as_somebody_holds_on_to_it() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let client = Client::connect(net.clone(), list(&[A]), seeded(1)).await.unwrap();
    let clone = client.clone();
    let mut conn = client.dial(SERVER).await.unwrap();
    a.say(&connect(100, 8)).await;
    let accepted = client.accept().await.unwrap();
    drop(client);
    drop(clone);
    sleep(60 * SECOND).await;
    conn.send("a connection keeps the link").await.unwrap();
    assert_eq!(conn.recv().await, message("a connection keeps the link"));
    drop(conn);
    sleep(60 * SECOND).await;
    assert_eq!(a.clients(), 1, "so does one that was accepted");
    drop(accepted);
    settle().await;
    assert_eq!(a.clients(), 0);
    drop(a);
    sleep(60 * SECOND).await;
    assert_eq!(net.tries().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_connect_is_given_up_is_gone() {
    let net = Net::default();
    assert!(timeout(SECOND, Client::connect(net.clone(), list(&[A]), seeded(1))).await.is_err());
    let tries = net.tries().len();
    assert!(tries > 1);
    sleep(60 * SECOND).await;
    assert_eq!(net.tries().len(), tries);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_here_is_closed_at_the_gateway_and_not_dialled_again() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let client = Client::connect(net.clone(), list(&[A]), seeded(1)).await.unwrap();
    let [mut closed, mut lost] = [client.dial(SERVER).await.unwrap(), client.dial(SERVER).await.unwrap()];
    closed.close();
    settle().await;
    assert_eq!(a.closed(), [1]);
    assert_eq!(closed.recv().await, None);
    a.kill().await;
    assert!(timeout(SECOND, lost.recv()).await.is_err());
    let a = Gateway::start(&net, A).await;
    // Dropped while it is dialled again.
    a.answers_dials_after(SECOND);
    assert!(
        timeout(10 * SECOND, async {
            while a.dials() == 0 {
                timeout(MS, lost.recv()).await.ok();
            }
        })
        .await
        .is_ok()
    );
    drop(lost);
    sleep(60 * SECOND).await;
    assert_eq!((a.dials(), a.closed()), (1, vec![1]), "its late answer is closed");
}
