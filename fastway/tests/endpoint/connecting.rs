//! Connecting, the handshake of a server, and what goes wrong there.

use super::support::*;

#[tokio::test(start_paused = true)]
async fn a_server_answers_the_challenge_and_accepts_and_dials() {
    let (network, mut listener) = listening().await;
    let connecting = Server::connect(&network, ADDR, ServerId::new(9), b"key", EndpointConfig::default());
    let (server, mut script) = tokio::join!(connecting, async {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"12345678").await.unwrap();
        let mut hello = [0; 20];
        stream.read_exact(&mut hello).await.unwrap();
        // printf 12345678key | md5sum
        assert_eq!(hello[..4], [0xde, 0x9a, 0x53, 0x93], "{hello:x?}");
        assert_eq!(hello[16..], [9, 0, 0, 0]);
        Script { stream }
    });
    let server = server.unwrap();
    assert_eq!(server.id(), ServerId::new(9));
    script.connect(3, 42).await;
    let mut accepted = server.accept().await.unwrap();
    assert_eq!((accepted.id(), accepted.remote().client()), (conn(3), ClientId::new(42)));
    script.send(data(3, b"hello")).await;
    assert_eq!(accepted.recv().await.unwrap(), "hello");
    let (dialled, ()) = tokio::join!(server.dial(ClientId::new(42).unwrap()), async {
        script.expect(dial(42)).await;
        script.accept(4, 42).await;
    });
    dialled.unwrap().send("hi").await.unwrap();
    script.expect(data(4, b"hi")).await;
}

#[tokio::test(start_paused = true)]
async fn connecting_fails_with_what_to_do() {
    let network = MemoryNetwork::new();
    let refused = Client::connect(&network, ADDR, EndpointConfig::default()).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Network { .. }));
    assert!(refused.to_string().contains(ADDR) && refused.to_string().contains("check"), "{refused}");

    // A gateway that never sends its challenge, and one that hangs up.
    let mut listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    let begun = Instant::now();
    let connect = || Server::connect(&network, ADDR, ServerId::new(1), b"", EndpointConfig::default());
    let silent = connect().await.unwrap_err();
    assert!(matches!(silent, ConnectError::Timeout { .. }), "{silent}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    drop(listener.accept().await);
    let (broken, _) = tokio::join!(connect(), async { drop(listener.accept().await) });
    assert!(matches!(broken, Err(ConnectError::Handshake { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_turned_away_is_told_to_check_its_key() {
    let (network, mut listener) = listening().await;
    let connecting = Server::connect(&network, ADDR, ServerId::new(9), b"wrong", EndpointConfig::default());
    let (server, ()) = tokio::join!(connecting, async {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"12345678").await.unwrap();
        stream.read_exact(&mut [0; 20]).await.unwrap();
    });
    let end = server.unwrap().ended().await;
    assert!(matches!(end, LinkError::TurnedAway), "{end}");
    assert!(end.to_string().contains("key"), "{end}");
}

/// A gateway that says nothing for long and then goes has not turned the server away.
#[tokio::test(start_paused = true)]
async fn a_server_whose_silent_gateway_goes_later_is_not_told_to_check_its_key() {
    let config = EndpointConfig { keepalive: KeepaliveConfig::ANSWER_ONLY, ..EndpointConfig::default() };
    let (network, mut listener) = listening().await;
    let connecting = Server::connect(&network, ADDR, ServerId::new(9), b"key", config);
    let (server, ()) = tokio::join!(connecting, async {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"12345678").await.unwrap();
        stream.read_exact(&mut [0; 20]).await.unwrap();
        tokio::spawn(async move {
            sleep(SECOND * 11).await;
            drop(stream);
        });
    });
    let end = server.unwrap().ended().await;
    assert!(matches!(end, LinkError::ClosedByGateway), "{end}");
}
