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
