//! What links are made of: connections of the network, over TLS where a gateway's port has it.
//!
//! The two ports of a gateway may differ in that, and servers and clients are in one list here. So a link's stream is one or the
//! other, and which it is costs a branch for each read and write.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use fastway::net::tls::{TlsConnector, TlsStream};
use fastway::net::{Network, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection of the network, as it is or over TLS.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    Plain(S),
    Tls(TlsStream<S>),
}

impl<S: Stream> Transport<S> {
    /// Connects to `addr`, and does the handshake if there is one.
    pub(crate) async fn connect<N: Network<Stream = S>>(
        network: &N,
        addr: &str,
        tls: Option<&TlsConnector>,
    ) -> io::Result<Self> {
        let stream = network.connect(addr).await?;
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let mut stream = tls.connect(stream, addr)?;
        stream.handshake().await?;
        Ok(Self::Tls(stream))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Does the same with either.
macro_rules! with {
    ($transport:expr, $stream:ident => $act:expr) => {
        match $transport {
            Transport::Plain($stream) => $act,
            Transport::Tls($stream) => $act,
        }
    };
}

impl<S: Stream> Stream for Transport<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        with!(self, stream => stream.peer_addr())
    }
}

impl<S: Stream> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl<S: Stream> AsyncWrite for Transport<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
