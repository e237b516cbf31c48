//! TCP by tokio: the network in production. The only file that names sockets.

#![expect(clippy::disallowed_types, reason = "this is the one implementation that reaches the real network")]

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{BindOptions, Listener, Network, Stream};

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
