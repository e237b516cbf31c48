//! Who is trusted, and what is said of those who are not.

use fastway::net::tls::{TlsAcceptor, TlsConnector};
use rcgen::date_time_ymd;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::rustls::version::TLS13;

use super::authority::Authority;
use super::carrying::their_server;
use super::support::{ADDR, in_time, pipe, shake_hands};

const PIPE: usize = 65_536;

#[tokio::test(start_paused = true)]
async fn only_whoever_is_vouched_for_by_name_is_trusted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = TlsAcceptor::new(authority.issue("gateway.internal").identity(), None).unwrap();
    let trusting = TlsConnector::new(authority.authorities()).unwrap();
    let named = trusting.clone().with_server_name("gateway.internal").unwrap();
    let (near, far) = shake_hands(&named, &acceptor, PIPE).await;
    assert!(near.is_ok() && far.is_ok());

    // By its address it is somebody else.
    let (near, far) = shake_hands(&trusting, &acceptor, PIPE).await;
    let error = near.unwrap_err().to_string();
    assert!(error.contains("not trusted") && error.contains("10.0.0.1"), "{error}");
    assert!(far.unwrap_err().to_string().contains("does not accept the certificate"));

    let other = TlsConnector::new(stranger.authorities()).unwrap().with_server_name("gateway.internal");
    let (near, far) = shake_hands(&other.unwrap(), &acceptor, PIPE).await;
    assert!(near.unwrap_err().to_string().contains("no CA that is trusted here vouches for it"));
    assert!(far.unwrap_err().to_string().contains("does not trust the CA"));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_can_ask_for_a_certificate() {
    let (authority, servers, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let acceptor =
        TlsAcceptor::new(authority.issue("10.0.0.1").identity(), Some(servers.authorities())).unwrap();
    let nobody = TlsConnector::new(authority.authorities()).unwrap();

    let known = nobody.clone().with_identity(servers.issue("game-server-1").identity());
    let (near, far) = shake_hands(&known, &acceptor, PIPE).await;
    assert!(near.is_ok() && far.is_ok());

    // In TLS 1.3 whoever connects learns it after its own handshake.
    let (near, far) = shake_hands(&nobody, &acceptor, PIPE).await;
    assert!(far.unwrap_err().to_string().contains("has shown no certificate"));
    let error = in_time(near.unwrap().read_u8()).await.unwrap_err().to_string();
    assert!(error.contains("asks for a certificate"), "{error}");

    let unknown = nobody.with_identity(stranger.issue("game-server-1").identity());
    let (near, far) = shake_hands(&unknown, &acceptor, PIPE).await;
    assert!(far.unwrap_err().to_string().contains("no CA that is trusted here"));
    let error = in_time(near.unwrap().read_u8()).await.unwrap_err().to_string();
    assert!(error.contains("does not trust the CA"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn certificates_can_be_changed_while_they_are_used() {
    let (old, new) = (Authority::new(), Authority::new());
    let [trusts_old, trusts_new] =
        [&old, &new].map(|authority| TlsConnector::new(authority.authorities()).unwrap());
    let acceptor = TlsAcceptor::new(old.issue("10.0.0.1").identity(), None).unwrap();
    let in_use = acceptor.clone();
    let (near, far) = shake_hands(&trusts_old, &in_use, PIPE).await;
    let connected = (near.unwrap(), far.unwrap());

    acceptor.become_like(&TlsAcceptor::new(new.issue("10.0.0.1").identity(), None).unwrap());
    assert!(shake_hands(&trusts_old, &in_use, PIPE).await.0.is_err());
    assert!(shake_hands(&trusts_new, &in_use, PIPE).await.0.is_ok());
    let (mut near, mut far) = connected;
    in_time(async { tokio::join!(send(&mut near), far.read_u8()).1.unwrap() }).await;
}

async fn send(stream: &mut super::support::Tls) {
    use tokio::io::AsyncWriteExt as _;
    stream.write_u8(1).await.unwrap();
    stream.flush().await.unwrap();
}

/// Whoever is given such an identity has a clock that goes wrong, or did not look.
#[tokio::test(start_paused = true)]
async fn what_is_not_valid_now_is_not_trusted() {
    let authority = Authority::new();
    for (from, to, words) in [(2000, 2001, "expired"), (3000, 3001, "not valid yet")] {
        let pem = authority.issue_with("10.0.0.1", |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        });
        let (near, far) = pipe(PIPE).await;
        // Ours would not take it.
        let acceptor = tokio_rustls::TlsAcceptor::from(their_server(&pem, &TLS13));
        let mut client = TlsConnector::new(authority.authorities()).unwrap().connect(near, ADDR).unwrap();
        let (near, _) = in_time(async { tokio::join!(client.handshake(), acceptor.accept(far)) }).await;
        let error = near.unwrap_err().to_string();
        assert!(error.contains("not trusted") && error.contains(words), "{error}");
    }
}
