//! The simulated network: turmoil behind the trait [`Network`], with the ways closed in which its TCP is kinder, or
//! crueller, than the real one.
//!
//! turmoil gives hosts with virtual time, names, latency, connecting and accepting, segments that arrive in order, and
//! hosts that crash. Its TCP is a queue of segments, though, not a stream of bytes. What this adapter adds:
//!
//! | turmoil alone | here |
//! |---|---|
//! | one write is one segment is one read | [`Chop`]: short reads and writes, spurious `Pending`, joined segments |
//! | capacity counts writes | a *socket buffer* of so many bytes in each direction; turmoil's own queue never fills |
//! | an end of file behind a full queue is lost | the same |
//! | a reset does not wake a blocked writer | whoever writes watches the reading side too |
//! | too many waiting connections panic | room for more of them than a world can make |
//! | a refused connect leaks its port, until a panic | an error when the ports are used up |
//! | lost segments are never sent again | faults hold bytes back, they lose none; what is given up is reset |
//! | held segments are stranded by a repair | holding happens here, at the reader, and release wakes it |
//! | a partitioned connect is refused at once | it waits until the partition heals, or the caller's deadline |
//! | a crash is a graceful close | that is the fault *kill*; for *power loss* the peers learn nothing ([`Net::lose`]) |
//! | only the first slice of a vectored write counts | all of them |
//! | a host that closes with bytes unread | resets, and what was on its way to the peer is lost |
//!
//! Each row has a test in `tests/gaps.rs`; that the adapter is a `Network` like TCP, in `tests/conformance.rs`.

mod chop;
mod stream;
mod wire;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fastway::net::{BindOptions, Listener, Network};
use parking_lot::Mutex;

pub use chop::Chop;
pub use stream::SimStream;
pub use wire::{Host, Net, WireId};

use wire::{End, PORTS_PER_HOST};

/// Segments that may wait in turmoil's own queues: never the bound that counts, since a socket buffer has fewer bytes.
pub const TURMOIL_CAPACITY: usize = 1 << 22;

/// The network as one host sees it.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    net: Arc<Mutex<Net>>,
    host: Host,
}

impl SimNetwork {
    /// The network of `net`, for software on `host`. To be used inside of that host's turmoil runtime only.
    #[must_use]
    pub fn new(net: Arc<Mutex<Net>>, host: Host) -> Self {
        Self { net, host }
    }

    /// The host that this is the view of.
    #[must_use]
    pub fn host(&self) -> Host {
        self.host
    }
}

impl Network for SimNetwork {
    type Stream = SimStream;
    type Listener = SimListener;

    /// Listens on all addresses of the host, or on loopback: turmoil's hosts have one address each.
    async fn bind(&self, addr: SocketAddr, _: BindOptions) -> io::Result<SimListener> {
        let ip = if addr.ip().is_loopback() { addr.ip() } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let listener = turmoil::net::TcpListener::bind(SocketAddr::new(ip, addr.port())).await?;
        Ok(SimListener { listener, net: self.net.clone(), host: self.host })
    }

    async fn connect(&self, addr: &str) -> io::Result<SimStream> {
        let (remote, addr) = self.net.lock().resolve(addr, self.host)?;
        self.until_reachable(remote).await;
        if self.net.lock().refuses(remote) {
            // turmoil delivers nothing to a host that does not run, not even the question.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.net.lock().take_port(self.host)?;
        // A task of its own: a connect that is given up while the other end accepts must still be closed in order.
        let network = self.clone();
        let connecting = tokio::spawn(async move {
            // Only a stream gives its port back: turmoil keeps that of a connect that failed, or was killed, for ever.
            let stream = turmoil::net::TcpStream::connect(addr).await?;
            network.attach(stream)
        });
        connecting.await.map_err(io::Error::other)?
    }
}

impl SimNetwork {
    /// A SYN into a partition is sent again and again, until it comes through or the caller gives up.
    async fn until_reachable(&self, remote: Host) {
        loop {
            let changed = {
                let net = self.net.lock();
                if net.can_connect(self.host, remote) {
                    return;
                }
                net.changed()
            };
            let _ = changed.await;
        }
    }

    fn attach(&self, stream: turmoil::net::TcpStream) -> io::Result<SimStream> {
        let port = PortTaken { net: self.net.clone(), host: self.host };
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        let wire = self.net.lock().attach(End::Connector, self.host, local, peer);
        Ok(SimStream::new(self.net.clone(), wire, End::Connector, stream, peer, Some(port)))
    }
}

/// A port of a host, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct PortTaken {
    net: Arc<Mutex<Net>>,
    host: Host,
}

impl Drop for PortTaken {
    fn drop(&mut self) {
        self.net.lock().give_port_back(self.host);
    }
}

/// A bound address of a [`SimNetwork`].
pub struct SimListener {
    listener: turmoil::net::TcpListener,
    net: Arc<Mutex<Net>>,
    host: Host,
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<SimStream> {
        let (stream, peer) = self.listener.accept().await?;
        let local = stream.local_addr()?;
        let wire = self.net.lock().attach(End::Acceptor, self.host, local, peer);
        Ok(SimStream::new(self.net.clone(), wire, End::Acceptor, stream, peer, None))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

const _: () = assert!(PORTS_PER_HOST < 16_384, "turmoil panics when its ephemeral ports are used up");
