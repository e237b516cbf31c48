//! What goes in at one end comes out at the other.

use std::sync::Arc;

use fastway::endpoint::{Client, EndpointConfig};
use fastway::net::tls::{TlsAcceptor, TlsConnector};
use fastway::net::{BindOptions, Listener as _, Network as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::ring::default_provider,
};

use super::authority::{Authority, Pem};
use super::support::{ADDR, in_time, meanwhile, network, pair, pipe};

/// Not repeating within any size of buffer that there is.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(len)
    .collect()
}

/// Sends `sent` in pieces of `piece` bytes, while receiving as much as the other end sends.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, sent: &[u8], piece: usize, expected: &[u8]) {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let send = async {
        for piece in sent.chunks(piece) {
            writing.write_all(piece).await.unwrap();
        }
        writing.flush().await.unwrap();
    };
    let receive = async {
        let mut received = vec![0; expected.len()];
        for part in received.chunks_mut(piece) {
            reading.read_exact(part).await.unwrap();
        }
        assert!(received == expected);
    };
    tokio::join!(send, receive);
}

#[tokio::test(start_paused = true)]
async fn any_pieces_through_any_pipe_arrive_whole_and_in_order() {
    for (len, piece, pipe_bytes) in [
        (3_000, 1, 1),
        (3_000, 7, 5),
        (40_000, 100, 3),
        (300_000, 16_384, 100),
        (300_000, 16_385, 65_536),
        (1_000_000, 300_000, 65_536),
        (1_000_000, 70_000, 1_000_000),
    ] {
        let (near, far) = pair(pipe_bytes).await;
        let (there, back) = (bytes(len, 1), bytes(len, 2));
        in_time(async { tokio::join!(talk(near, &there, piece, &back), talk(far, &back, piece, &there)) })
            .await;
    }
}

/// One that was written by others, with a driver of its own.
#[tokio::test(start_paused = true)]
async fn another_implementation_understands_every_byte_at_either_end() {
    let authority = Authority::new();
    let pem = authority.issue("10.0.0.1");
    for version in [&TLS12, &TLS13] {
        for (pipe_bytes, len) in [(1, 20_000), (1000, 200_000), (65_536, 1_000_000)] {
            let (there, back) = (bytes(len, 1), bytes(len / 2, 2));
            let (near, far) = pipe(pipe_bytes).await;
            let connector = TlsConnector::new(authority.authorities()).unwrap().connect(near, ADDR).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(their_server(&pem, version));
            let ours = talk(connector, &there, 20_000, &back);
            let theirs = async { talk(acceptor.accept(far).await.unwrap(), &back, 3_000, &there).await };
            in_time(async { tokio::join!(ours, theirs) }).await;

            let (near, far) = pipe(pipe_bytes).await;
            let acceptor = TlsAcceptor::new(pem.identity(), None).unwrap().accept(far).unwrap();
            let connector = tokio_rustls::TlsConnector::from(their_client(&authority.pem(), version));
            let name = "10.0.0.1".try_into().unwrap();
            let theirs =
                async { talk(connector.connect(name, near).await.unwrap(), &there, 3_000, &back).await };
            in_time(async { tokio::join!(theirs, talk(acceptor, &back, 20_000, &there)) }).await;
        }
    }
}

pub(crate) fn their_server(pem: &Pem, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap());
    Arc::new(config.unwrap())
}

fn their_client(authority: &str, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The end of a record may not stay behind when the network takes less than was written.
#[tokio::test(start_paused = true)]
async fn what_was_flushed_is_on_its_way() {
    for len in [1, 100, 16_384, 100_000] {
        let (mut near, mut far) = pair(500).await;
        let sent = bytes(len, 3);
        let send = async {
            near.write_all(&sent).await.unwrap();
            near.flush().await.unwrap();
            std::future::pending::<()>().await;
        };
        let receive = async {
            let mut received = vec![0; len];
            far.read_exact(&mut received).await.unwrap();
            assert!(received == sent);
        };
        in_time(meanwhile(receive, send)).await;
    }
}

/// A listener does not shake hands: whoever says nothing holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_does_not_hold_up_a_listener() {
    let network = network();
    let mut listener = network.bind("0.0.0.0:7010".parse().unwrap(), BindOptions::default()).await.unwrap();
    let serve = async {
        let mut served = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let mut stream = listener.accept().await.unwrap();
            served.spawn(async move { stream.read_u8().await });
        }
        assert_eq!(served.join_next().await.unwrap().unwrap().unwrap(), 7);
    };
    let connect = async {
        let plain = network.inner().connect(ADDR).await.unwrap();
        let mut stream = network.connect(ADDR).await.unwrap();
        stream.write_u8(7).await.unwrap();
        stream.flush().await.unwrap();
        drop(plain);
    };
    in_time(async { tokio::join!(serve, connect) }).await;
}

/// The endpoint's task flushes too.
#[tokio::test(start_paused = true)]
async fn an_endpoint_leaves_nothing_behind() {
    let (connector, acceptor) = super::support::ends();
    let small = fastway::net::MemoryNetwork::with_pipe_bytes(20);
    let network = fastway::net::tls::TlsNetwork::new(small, connector).accepting(acceptor);
    let mut listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    let client = Client::connect(&network, ADDR, EndpointConfig::default());
    let (client, gateway) = tokio::join!(client, async {
        let mut gateway = listener.accept().await.unwrap();
        gateway.handshake().await.unwrap();
        gateway
    });
    let (client, mut gateway) = (client.unwrap(), gateway);
    let start = Instant::now();
    let dial = tokio::spawn(async move { client.dial(fastway::id::ServerId::new(1)).await.map(drop) });
    // Length, command, Dial, the server.
    let mut dialled = [0; 13];
    in_time(gateway.read_exact(&mut dialled)).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 0, "not only with the next ping");
    assert_eq!(dialled, [9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    dial.abort();
}
