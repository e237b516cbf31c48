//! What servers open to a client.

use super::client_support::*;

#[tokio::test(start_paused = true)]
async fn what_servers_open_is_accepted_over_whichever_link() {
    let net = Net::default();
    let (a, b) = (Gateway::start(&net, A).await, Gateway::start(&net, B).await);
    let (say, gateways) = changing();
    say.send(set(&[A])).unwrap();
    let client = Client::connect(net, gateways, seeded(1)).await.unwrap();
    a.say(&[connect(100, 8), data(100, b"from a")].concat()).await;
    let mut from_a = client.accept().await.unwrap();
    assert_eq!(ServerId::from(from_a.remote()), ServerId::new(8));
    assert_eq!(from_a.recv().await.unwrap(), "from a");
    say.send(set(&[A, B])).unwrap();
    settle().await;
    a.kill().await;
    assert!(from_a.recv().await.is_none(), "it ends with its link");
    // Who waits is not told of the loss, and gets the next one through the other gateway.
    let waiting = tokio::spawn(async move { (client.accept().await.unwrap(), client) });
    sleep(SECOND).await;
    b.say(&[connect(5, 9), data(5, b"from b")].concat()).await;
    let (mut from_b, _client) = waiting.await.unwrap();
    assert_eq!(from_b.recv().await.unwrap(), "from b");
}

/// As with a single link: nobody is there to accept, so it is not left open.
#[tokio::test(start_paused = true)]
async fn without_a_client_what_servers_open_is_closed() {
    let net = Net::default();
    let a = Gateway::start(&net, A).await;
    let client = Client::connect(net, list(&[A]), seeded(1)).await.unwrap();
    let mut conn = client.dial(SERVER).await.unwrap();
    a.say(&[connect(100, 8), connect(101, 8), connect(102, 8)].concat()).await;
    assert_eq!(a.closed(), []);
    drop(client);
    settle().await;
    assert_eq!(a.closed(), [100, 101, 102]);
    a.say(&connect(103, 8)).await;
    assert_eq!(a.closed(), [100, 101, 102, 103]);
    conn.send("still open").await.unwrap();
    assert_eq!(conn.recv().await, message("still open"));
}
