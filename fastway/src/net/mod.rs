//! The network as everything in this project sees it: one trait, and what implements it.
//!
//! The gateway, the endpoints and the tools never name a socket. They are generic over [`Network`], so the very
//! code that serves in production also runs inside a deterministic simulation, over memory in a test, or through
//! a decorator that adds encryption. Dispatch is static; in production nothing of it is left.
//!
//! - [`TcpNetwork`]: tokio's TCP, for production.
//! - [`MemoryNetwork`]: pipes inside one process, for tests; works with tokio's paused time.

mod memory;
mod tcp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

pub use memory::{MemoryListener, MemoryNetwork, MemoryStream};
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
/// leaves the reading side open.
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
}
