//! Pairs of streams.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use fastway::net::tls::{TlsAcceptor, TlsConnector, TlsNetwork, TlsStream};
use fastway::net::{BindOptions, Listener as _, MemoryNetwork, MemoryStream, Network as _};
use tokio::time::timeout;

use super::authority::Authority;

pub(crate) const ADDR: &str = "10.0.0.1:7010";

pub(crate) type Tls = TlsStream<MemoryStream>;

/// Whatever takes longer is a failure. Nothing waits for this to pass.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), work).await.expect("in time")
}

/// Until `work` is done, `other` goes on beside it.
pub(crate) async fn meanwhile<T>(work: impl Future<Output = T>, other: impl Future) -> T {
    let (mut work, mut other) = (pin!(work), pin!(other));
    let mut goes_on = true;
    poll_fn(|cx| {
        goes_on = goes_on && other.as_mut().poll(cx).is_pending();
        work.as_mut().poll(cx)
    })
    .await
}

/// Both ends of a connection without TLS, whose pipes hold so many bytes.
pub(crate) async fn pipe(bytes: usize) -> (MemoryStream, MemoryStream) {
    let network = MemoryNetwork::with_pipe_bytes(bytes);
    let mut listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    let (near, far) = tokio::join!(network.connect(ADDR), listener.accept());
    (near.unwrap(), far.unwrap())
}

/// Both ends after an attempt at a handshake.
pub(crate) async fn shake_hands(
    connector: &TlsConnector,
    acceptor: &TlsAcceptor,
    pipe_bytes: usize,
) -> (io::Result<Tls>, io::Result<Tls>) {
    let (near, far) = pipe(pipe_bytes).await;
    let (near, far) = (connector.connect(near, ADDR).unwrap(), acceptor.accept(far).unwrap());
    in_time(async { tokio::join!(shaken(near), shaken(far)) }).await
}

async fn shaken(mut stream: Tls) -> io::Result<Tls> {
    stream.handshake().await.map(|()| stream)
}

/// Both ends, with a pipe of so many bytes between them.
pub(crate) async fn pair(pipe_bytes: usize) -> (Tls, Tls) {
    let (connector, acceptor) = ends();
    let (near, far) = shake_hands(&connector, &acceptor, pipe_bytes).await;
    (near.unwrap(), far.unwrap())
}

pub(crate) fn ends() -> (TlsConnector, TlsAcceptor) {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::new(authority.issue("10.0.0.1").identity(), None).unwrap();
    (TlsConnector::new(authority.authorities()).unwrap(), acceptor)
}

pub(crate) fn network() -> TlsNetwork<MemoryNetwork> {
    let (connector, acceptor) = ends();
    TlsNetwork::new(MemoryNetwork::new(), connector).accepting(acceptor)
}
