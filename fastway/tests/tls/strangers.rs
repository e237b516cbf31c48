//! Those who speak no TLS, and those who break it.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{ADDR, ends, in_time, meanwhile, pair, pipe};

/// An alert, as plaintext (RFC 8446, section 6): fatal.
const FATAL: [u8; 6] = [21, 3, 3, 0, 2, 2];

#[tokio::test(start_paused = true)]
async fn whoever_speaks_no_tls_is_told_so_in_tls() {
    let (_, acceptor) = ends();
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[0xff; 100_000]]
    {
        let (mut near, far) = pipe(65_536).await;
        let _ = near.write(garbage).await.unwrap();
        let error = in_time(acceptor.accept(far).unwrap().handshake()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("is not TLS"), "{error}");
        let mut told = Vec::new();
        in_time(near.read_to_end(&mut told)).await.unwrap();
        assert_eq!(told[..6], FATAL, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_tls_is_recognised() {
    let (connector, _) = ends();
    // The internal port begins with a challenge, the public one closes since the hello is no frame.
    for (says, words) in [(&b"12345678"[..], "is not TLS"), (&b""[..], "its port is one without TLS")] {
        let (near, mut far) = pipe(65_536).await;
        let gateway = async {
            far.read_u8().await.unwrap();
            far.write_all(says).await.unwrap();
            drop(far);
        };
        let mut client = connector.connect(near, ADDR).unwrap();
        let (shaken, ()) = in_time(async { tokio::join!(client.handshake(), gateway) }).await;
        let error = shaken.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Whatever was received before stays received.
#[tokio::test(start_paused = true)]
async fn a_changed_byte_ends_the_connection() {
    for position in [0, 3, 30] {
        let (connector, acceptor) = ends();
        let ((near, mut tapped_near), (mut tapped_far, far)) = (pipe(65_536).await, pipe(65_536).await);
        let (mut near, mut far) = (connector.connect(near, ADDR).unwrap(), acceptor.accept(far).unwrap());
        let shake = async { tokio::join!(near.handshake(), far.handshake()) };
        let tap = tokio::io::copy_bidirectional(&mut tapped_near, &mut tapped_far);
        let (one, other) = in_time(meanwhile(shake, tap)).await;
        one.and(other).unwrap();
        near.write_all(b"a first message").await.unwrap();
        let mut first = vec![0; 1000];
        let len = tapped_near.read(&mut first).await.unwrap();
        near.write_all(b"a second message, which is a bit longer").await.unwrap();
        let mut second = vec![0; 1000];
        let second_len = tapped_near.read(&mut second).await.unwrap();
        second[position] ^= 0x80;
        tapped_far.write_all(&[&first[..len], &second[..second_len]].concat()).await.unwrap();
        let mut received = Vec::new();
        let error = in_time(far.read_to_end(&mut received)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert_eq!(received, b"a first message");
        let error = far.write_all(b"no more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    }
}

/// A record that is not there as a whole waits, and costs nobody anything but its own memory.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_bounded() {
    let (_, acceptor) = ends();
    let (mut near, far) = pipe(65_536).await;
    let mut stream = acceptor.accept(far).unwrap();
    // A ClientHello that announces 16 MiB, in records that are full.
    let flood = async {
        let mut record = vec![22, 3, 1, 0x40, 0];
        record.extend([1, 0xff, 0xff, 0xff]);
        record.resize(5 + 0x4000, 0);
        loop {
            if near.write_all(&record).await.is_err() {
                return;
            }
            record[5..9].fill(0);
        }
    };
    let shaken = in_time(meanwhile(stream.handshake(), flood)).await;
    assert_eq!(shaken.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[tokio::test(start_paused = true)]
async fn it_says_what_was_agreed_on() {
    let (near, far) = pair(65_536).await;
    let agreed = near.agreed().unwrap();
    assert!(agreed.starts_with("TLSv1_3 TLS13_"), "{agreed}");
    assert_eq!(far.agreed(), Some(agreed));
}
