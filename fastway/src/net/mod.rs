//! The network as everything in this project sees it: one trait, and what implements it.
//!
//! The gateway, the endpoints and the tools never name a socket. They are generic over [`Network`], so the very
//! code that serves in production also runs inside a deterministic simulation, over memory in a test, or through
//! a decorator that adds encryption. Dispatch is static; in production nothing of it is left.
//!
//! - [`TcpNetwork`]: tokio's TCP, for production.
//! - [`MemoryNetwork`]: pipes inside one process, for tests; works with tokio's paused time.
//! - `tls::TlsNetwork`: any other one, encrypted; with the feature `tls`.

mod memory;
mod silence;
mod tcp;
#[cfg(target_os = "linux")]
mod tcp_info;
#[cfg(feature = "tls")]
pub mod tls;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::reader::with_scratch;

pub use memory::{MemoryListener, MemoryNetwork, MemoryStream};
pub use silence::Silence;
pub use tcp::{TcpNetListener, TcpNetStream, TcpNetwork};

/// A place where addresses can be bound and reached.
///
/// A clone is another handle to the same network.
pub trait Network: Clone + Send + Sync + 'static {
    /// A connection, both ways.
    type Stream: Stream;
    /// A bound address that accepts connections.
    type Listener: Listener<Stream = Self::Stream>;

    /// Binds `addr` and listens. Port 0 means any free one; [`Listener::local_addr`] tells which.
    ///
    /// # Errors
    ///
    /// Whatever the network says: in use, not local, not allowed.
    fn bind(
        &self,
        addr: SocketAddr,
        options: BindOptions,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects to `addr`, written `HOST:PORT`. Names are resolved inside the network.
    ///
    /// There is no deadline here; callers set their own.
    ///
    /// # Errors
    ///
    /// Whatever the network says: unknown name, refused, unreachable.
    fn connect(&self, addr: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// Share the address with other listeners that also ask for this, in other processes too (`SO_REUSEPORT`):
    /// the kernel spreads connections over them. Networks without such a thing ignore it.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
}

impl Default for BindOptions {
    /// The address for oneself, and 4096 waiting connections (the kernel may allow fewer: `somaxconn`).
    fn default() -> Self {
        Self { reuse_port: false, backlog: 4096 }
    }
}

/// A bound address.
pub trait Listener: Send + Sized + 'static {
    /// What it accepts.
    type Stream: Stream;

    /// Waits for the next connection. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// For one connection (it went away) or for now (no more files): the listener itself stays usable.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The address that was bound.
    ///
    /// # Errors
    ///
    /// If the network cannot tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Moves this listener to the runtime that calls. A network whose listeners are not tied to one returns it
    /// as it is.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch it.
    fn adopt(self) -> io::Result<Self> {
        Ok(self)
    }
}

/// A connection: bytes both ways, in order.
///
/// The end of the peer's bytes is a read of 0. Shutting down the writing side ([`AsyncWrite::poll_shutdown`])
/// leaves the reading side open. What was written may wait inside of the stream: whoever has nothing more to write flushes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Who is at the other end.
    ///
    /// # Errors
    ///
    /// If the connection is gone already.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Moves this connection to the runtime that calls, before its first use. A network whose connections are
    /// not tied to one returns it as it is.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch it.
    fn adopt(self) -> io::Result<Self>
    where
        Self: Sized,
    {
        Ok(self)
    }

    /// From now on the network asks an idle peer whether it is there. If nothing comes from it for `timeout`, rounded up to whole
    /// seconds, the connection fails. Where something is on its way to the peer, [`silence`](Self::silence) tells.
    ///
    /// A network that cannot do so does nothing.
    ///
    /// # Errors
    ///
    /// If the connection is gone already.
    fn probe_idle_peer(&self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    /// How long nothing has come from the peer, not even an acknowledgement, if the network waits for one. `None`: it does not wait
    /// for anything, or cannot tell.
    fn silence(&self) -> Option<Silence> {
        None
    }

    /// Whether the peer has closed the connection, or its half of it, while bytes of it may still wait to be read. `false` also if the
    /// network cannot tell.
    fn is_abandoned(&self) -> bool {
        false
    }
}

/// How long [`close_in_order`] waits for the peer's end after its own.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads in one turn while a connection is being closed, before other tasks have theirs.
const READS_PER_TURN: usize = 4;

/// Ends a connection so that the peer receives everything: `poll_flush` writes what is left, for `flush_timeout` at
/// most; then comes the end of file; then the peer's end is awaited, for [`LINGER_TIMEOUT`] at most.
///
/// What comes from the peer meanwhile is read and forgotten. A peer that is itself busy writing may read nothing before
/// that is taken; and closing while bytes from it are unread would reset the connection, and the reset could overtake
/// what was just written.
pub async fn close_in_order<S: Stream>(
    stream: &mut S,
    flush_timeout: Duration,
    mut poll_flush: impl FnMut(&mut S, &mut Context<'_>) -> Poll<io::Result<()>>,
) {
    let flush = poll_fn(|cx| {
        let _ = poll_forget(stream, cx);
        ready!(poll_flush(stream, cx))?;
        Pin::new(&mut *stream).poll_shutdown(cx)
    });
    if matches!(timeout(flush_timeout, flush).await, Ok(Ok(()))) {
        let _ = timeout(LINGER_TIMEOUT, poll_fn(|cx| poll_forget(stream, cx))).await;
    }
}

/// Reads and forgets until the peer's end.
fn poll_forget<S: Stream>(stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..READS_PER_TURN {
        let more = with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
            read.map(|read| read.is_ok() && !buffer.filled().is_empty())
        });
        if !ready!(more) {
            return Poll::Ready(());
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
