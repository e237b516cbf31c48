//! TCP by tokio: the network in production. The only file that names sockets.

#![expect(clippy::disallowed_types, reason = "this is the one implementation that reaches the real network")]

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{BindOptions, Listener, Network, Silence, Stream};

/// The real network.
///
/// Every connection, accepted or made, sends small writes at once (`TCP_NODELAY`): whoever writes here has
/// gathered what there is to send already, and Nagle's algorithm would only add a delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork {
    source: Option<IpAddr>,
}

impl TcpNetwork {
    /// A network that connects from whatever address the kernel chooses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, connecting from `source`: one address reaches about 28,000 connections to one port, several
    /// reach more.
    #[must_use]
    pub fn from_source(self, source: IpAddr) -> Self {
        Self { source: Some(source) }
    }

    async fn connect_to(&self, addr: SocketAddr) -> io::Result<TcpNetStream> {
        let socket = socket_for(addr)?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(TcpNetStream(stream))
    }
}

impl Network for TcpNetwork {
    type Stream = TcpNetStream;
    type Listener = TcpNetListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<TcpNetListener> {
        let socket = socket_for(addr)?;
        #[cfg(unix)]
        {
            // On Unix this lets a restarted gateway bind while old connections are in TIME_WAIT; on Windows it
            // would let others steal the port.
            socket.set_reuseaddr(true)?;
            socket.set_reuseport(options.reuse_port)?;
        }
        socket.bind(addr)?;
        Ok(TcpNetListener(socket.listen(options.backlog)?))
    }

    /// Tries the addresses of a name one after the other; the last error counts.
    async fn connect(&self, addr: &str) -> io::Result<TcpNetStream> {
        let mut failure = None;
        for addr in tokio::net::lookup_host(addr).await? {
            match self.connect_to(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
}

/// Questions to an idle peer before it is given up.
const PROBES: u32 = 3;

fn socket_for(addr: SocketAddr) -> io::Result<TcpSocket> {
    if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpNetListener(TcpListener);

impl Listener for TcpNetListener {
    type Stream = TcpNetStream;

    async fn accept(&mut self) -> io::Result<TcpNetStream> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(TcpNetStream(stream))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn adopt(self) -> io::Result<Self> {
        TcpListener::from_std(self.0.into_std()?).map(Self)
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpNetStream(TcpStream);

impl Stream for TcpNetStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn adopt(self) -> io::Result<Self> {
        TcpStream::from_std(self.0.into_std()?).map(Self)
    }

    fn probe_idle_peer(&self, timeout: Duration) -> io::Result<()> {
        SockRef::from(&self.0).set_tcp_keepalive(&keepalive(timeout))
    }

    #[cfg(target_os = "linux")]
    fn silence(&self) -> Option<Silence> {
        super::tcp_info::silence(&self.0)
    }

    #[cfg(target_os = "linux")]
    fn is_abandoned(&self) -> bool {
        super::tcp_info::is_abandoned(&self.0)
    }
}

/// Three questions at the end of the timeout, which are all that an idle connection costs: for 5 s, after 2, 3 and 4 s.
fn keepalive(timeout: Duration) -> TcpKeepalive {
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    let interval = (seconds / 6).max(1);
    let idle = seconds.saturating_sub(u64::from(PROBES) * interval).max(1);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(idle));
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(Duration::from_secs(interval)).with_retries(PROBES);
    keepalive
}

impl AsyncRead for TcpNetStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TcpNetStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn listening(options: BindOptions) -> (TcpNetListener, String) {
        let listener = TcpNetwork::new().bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        (listener, addr)
    }

    #[tokio::test]
    async fn connections_come_from_the_source_and_wait_for_nothing() {
        let (mut listener, addr) = listening(BindOptions::default()).await;
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let network = TcpNetwork::new().from_source(source);
        let (near, far) = tokio::join!(network.connect(&addr), listener.accept());
        let (near, far) = (near.unwrap(), far.unwrap());
        assert_eq!(far.peer_addr().unwrap().ip(), source);
        assert_eq!(near.peer_addr().unwrap().to_string(), addr);
        assert!(near.0.nodelay().unwrap() && far.0.nodelay().unwrap());
    }

    /// Three questions, and the last second is for the answer to the last one.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_idle_peer_is_asked_three_times_within_the_timeout() {
        let (_listener, addr) = listening(BindOptions::default()).await;
        let stream = TcpNetwork::new().connect(&addr).await.unwrap();
        assert!(!SockRef::from(&stream.0).keepalive().unwrap(), "only where it is wanted");
        for (timeout_ms, idle, interval) in
            [(1, 1, 1), (4_000, 1, 1), (5_000, 2, 1), (4_001, 2, 1), (30_000, 15, 5), (3_600_000, 1800, 600)]
        {
            stream.probe_idle_peer(Duration::from_millis(timeout_ms)).unwrap();
            let socket = SockRef::from(&stream.0);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), idle, "{timeout_ms} ms");
            assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), interval, "{timeout_ms} ms");
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        }
    }

    /// What is acknowledged is not waited for.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_peer_that_owes_nothing_is_not_silent() {
        let (mut listener, addr) = listening(BindOptions::default()).await;
        let network = TcpNetwork::new();
        let (near, far) = tokio::join!(network.connect(&addr), listener.accept());
        let (mut near, _far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.silence(), None);
        tokio::io::AsyncWriteExt::write_all(&mut near, b"hello").await.unwrap();
        while near.silence().is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let (mut listener, addr) = listening(BindOptions::default()).await;
        let name = addr.replace("127.0.0.1", "localhost");
        let network = TcpNetwork::new();
        let (near, far) = tokio::join!(network.connect(&name), listener.accept());
        assert!(near.is_ok() && far.is_ok());
        assert!(network.connect("no port").await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn an_address_is_shared_by_those_only_who_all_ask_for_it() {
        let shared = BindOptions { reuse_port: true, ..BindOptions::default() };
        let network = TcpNetwork::new();
        let (_first, addr) = listening(shared).await;
        let addr: SocketAddr = addr.parse().unwrap();
        assert!(network.bind(addr, shared).await.is_ok());
        let alone = network.bind(addr, BindOptions::default()).await;
        assert_eq!(alone.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
