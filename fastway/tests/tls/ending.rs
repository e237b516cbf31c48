//! How a connection ends, in order and otherwise.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{ends, in_time, meanwhile, pair, pipe};

#[tokio::test(start_paused = true)]
async fn one_end_may_be_done_while_the_other_goes_on() {
    let (mut near, mut far) = pair(1000).await;
    let near = async {
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let error = near.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert!(answer == [7; 50_000]);
    };
    let far = async {
        let mut question = Vec::new();
        far.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        far.write_all(&[7; 50_000]).await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0; 10]).await.unwrap(), 0, "it stays at its end");
    };
    in_time(async { tokio::join!(near, far) }).await;
}

/// Otherwise anybody on the way could shorten what was said, and nobody would know.
#[tokio::test(start_paused = true)]
async fn an_end_without_close_notify_is_a_failure() {
    let (mut near, mut far) = pair(1000).await;
    near.write_all(b"half of it").await.unwrap();
    near.flush().await.unwrap();
    drop(near);
    let mut received = Vec::new();
    let error = in_time(far.read_to_end(&mut received)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("close_notify"), "{error}");
    assert_eq!(received, b"half of it");
    let again = far.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_in_the_handshake_is_named_so() {
    let (connector, acceptor) = ends();
    for bytes in [0, 1, 100] {
        let (mut near, far) = pipe(65_536).await;
        let hello = {
            // What a real one begins with.
            let (near, mut far) = pipe(65_536).await;
            let mut client = connector.connect(near, super::support::ADDR).unwrap();
            let mut hello = vec![0; 200];
            in_time(meanwhile(far.read_exact(&mut hello), client.handshake())).await.unwrap();
            hello
        };
        near.write_all(&hello[..bytes]).await.unwrap();
        drop(near);
        let error = in_time(acceptor.accept(far).unwrap().handshake()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("without TLS"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_before_the_handshake_is_the_end_of_file() {
    let (connector, _) = ends();
    let (near, mut far) = pipe(65_536).await;
    let mut client = connector.connect(near, super::support::ADDR).unwrap();
    in_time(client.shutdown()).await.unwrap();
    let mut hello = Vec::new();
    in_time(far.read_to_end(&mut hello)).await.unwrap();
}
