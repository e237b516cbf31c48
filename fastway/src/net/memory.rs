//! A network inside one process: every connection is a pair of bounded pipes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;

use super::{BindOptions, Listener, Network, Stream};

/// A network of pipes: no files, no ports, no kernel.
///
/// With tokio's paused time, minutes of silence pass in no time. Addresses are `IP:PORT`; there are no names, and
/// an unspecified IP (`0.0.0.0`) listens on all. Faults are not its business.
///
/// # Example
///
/// ```
/// use fastway::net::{BindOptions, Listener as _, MemoryNetwork, Network as _};
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let network = MemoryNetwork::new();
/// let mut listener = network.bind("10.0.0.1:0".parse().unwrap(), BindOptions::default()).await?;
/// let addr = listener.local_addr()?.to_string();
/// let (near, far) = tokio::join!(network.connect(&addr), listener.accept());
/// near?.write_all(b"ping").await?;
/// let mut heard = [0; 4];
/// far?.read_exact(&mut heard).await?;
/// assert_eq!(&heard, b"ping");
/// # std::io::Result::Ok(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    pipe_bytes: usize,
    bound: Arc<Mutex<Bound>>,
}

#[derive(Debug)]
struct Bound {
    listeners: BTreeMap<SocketAddr, mpsc::UnboundedSender<MemoryStream>>,
    /// The next port for whoever asks for any, or connects.
    next_port: u16,
}

impl MemoryNetwork {
    /// A network without listeners, whose pipes hold 64 KiB each way.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pipe_bytes(64 * 1024)
    }

    /// The same with pipes of `pipe_bytes` each way: what is written beyond that waits to be read.
    #[must_use]
    pub fn with_pipe_bytes(pipe_bytes: usize) -> Self {
        let bound = Bound { listeners: BTreeMap::new(), next_port: 49_152 };
        Self { pipe_bytes, bound: Arc::new(Mutex::new(bound)) }
    }
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl Bound {
    fn any_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(49_152);
        port
    }

    fn find(&self, addr: SocketAddr) -> Option<&mpsc::UnboundedSender<MemoryStream>> {
        self.listeners.iter().find_map(|(bound, accepting)| {
            let reached = *bound == addr || (bound.ip().is_unspecified() && bound.port() == addr.port());
            reached.then_some(accepting)
        })
    }
}

impl Network for MemoryNetwork {
    type Stream = MemoryStream;
    type Listener = MemoryListener;

    async fn bind(&self, mut addr: SocketAddr, _: BindOptions) -> io::Result<MemoryListener> {
        let mut bound = self.bound.lock();
        if addr.port() == 0 {
            addr.set_port(bound.any_port());
        }
        if bound.listeners.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (accepting, accepted) = mpsc::unbounded_channel();
        bound.listeners.insert(addr, accepting);
        Ok(MemoryListener { addr, accepted, bound: self.bound.clone() })
    }

    async fn connect(&self, addr: &str) -> io::Result<MemoryStream> {
        let addr: SocketAddr =
            addr.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut bound = self.bound.lock();
        let from = SocketAddr::new(addr.ip(), bound.any_port());
        let accepting = bound.find(addr).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = duplex(self.pipe_bytes);
        accepting
            .send(MemoryStream { pipe: far, peer: from })
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(MemoryStream { pipe: near, peer: addr })
    }
}

/// A bound address of a [`MemoryNetwork`]; free again when this is dropped.
#[derive(Debug)]
pub struct MemoryListener {
    addr: SocketAddr,
    accepted: mpsc::UnboundedReceiver<MemoryStream>,
    bound: Arc<Mutex<Bound>>,
}

impl Listener for MemoryListener {
    type Stream = MemoryStream;

    async fn accept(&mut self) -> io::Result<MemoryStream> {
        Ok(self.accepted.recv().await.expect("the network keeps the sender while the address is bound"))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.bound.lock().listeners.remove(&self.addr);
    }
}

/// One end of a pipe pair. Dropping it is the end of file for the other.
#[derive(Debug)]
pub struct MemoryStream {
    pipe: DuplexStream,
    peer: SocketAddr,
}

impl Stream for MemoryStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
