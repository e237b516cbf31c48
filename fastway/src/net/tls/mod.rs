//! TLS on any network. Needs the feature `tls`.
//!
//! [`TlsNetwork`] is a [`Network`] on top of another one, for endpoints: what connects over TCP connects over TLS.
//!
//! ```no_run
//! use fastway::endpoint::{Client, EndpointConfig, Server};
//! use fastway::id::ServerId;
//! use fastway::net::TcpNetwork;
//! use fastway::net::tls::{Authorities, Identity, TlsConnector, TlsNetwork};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A game client trusts whom its platform trusts.
//! let connector = TlsConnector::new(Authorities::of_the_platform()?)?;
//! let network = TlsNetwork::new(TcpNetwork::new(), connector);
//! let client = Client::connect(&network, "game.example.com:7010", EndpointConfig::default()).await?;
//!
//! // A game server trusts the CA of its own network, and shows a certificate of it.
//! let ca = Authorities::from_pem(&std::fs::read("/etc/fastway/ca.pem")?)?;
//! let certificate = std::fs::read("/etc/fastway/server.pem")?;
//! let identity = Identity::from_pem(&certificate, &std::fs::read("/etc/fastway/server.key")?)?;
//! let connector = TlsConnector::new(ca)?.with_identity(identity).with_server_name("gateway.internal")?;
//! let network = TlsNetwork::new(TcpNetwork::new(), connector);
//! let config = EndpointConfig::default();
//! let server = Server::connect(&network, "10.0.0.5:7020", ServerId::new(1), b"the key", config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A gateway accepts TLS with a [`TlsAcceptor`] on each connection, since a proxy's header comes before TLS. On a whole
//! listener, [`TlsNetwork::accepting`] does it.
//!
//! | file | what it owns |
//! |---|---|
//! | `engine.rs` | TLS as bytes in, bytes out |
//! | `stream.rs` | a connection: when to read, when to send, what waits |
//! | `acceptor.rs`, `connector.rs` | the two ends, and how they are set up |
//! | `identity.rs` | certificates and keys |
//! | `error.rs` | what goes wrong, in words |

mod acceptor;
mod connector;
mod engine;
mod error;
mod identity;
mod stream;

use std::io;
use std::net::SocketAddr;

pub use self::acceptor::TlsAcceptor;
pub use self::connector::TlsConnector;
pub use self::error::TlsError;
pub use self::identity::{Authorities, Identity};
pub use self::stream::TlsStream;
use super::{BindOptions, Listener, Network};

/// A network whose connections are those of another one, over TLS.
#[derive(Clone, Debug)]
pub struct TlsNetwork<N> {
    inner: N,
    connector: TlsConnector,
    acceptor: Option<TlsAcceptor>,
}

impl<N> TlsNetwork<N> {
    /// Connects over `inner`, with TLS by `connector`.
    #[must_use]
    pub fn new(inner: N, connector: TlsConnector) -> Self {
        Self { inner, connector, acceptor: None }
    }

    /// The network below.
    #[must_use]
    pub fn inner(&self) -> &N {
        &self.inner
    }

    /// The same, which can be listened on too.
    #[must_use]
    pub fn accepting(self, acceptor: TlsAcceptor) -> Self {
        Self { acceptor: Some(acceptor), ..self }
    }
}

impl<N: Network> Network for TlsNetwork<N> {
    type Stream = TlsStream<N::Stream>;
    type Listener = TlsListener<N::Listener>;

    /// The handshake of what is accepted is done by its first read or write, so nobody waits for a slow peer but who serves it.
    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<Self::Listener> {
        let acceptor = self.acceptor.clone().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "to listen over TLS takes a certificate: `accepting`")
        })?;
        Ok(TlsListener { inner: self.inner.bind(addr, options).await?, acceptor })
    }

    /// Connects, and does the handshake.
    async fn connect(&self, addr: &str) -> io::Result<Self::Stream> {
        let mut stream = self.connector.connect(self.inner.connect(addr).await?, addr)?;
        stream.handshake().await?;
        Ok(stream)
    }
}

/// A bound address of a [`TlsNetwork`].
#[derive(Debug)]
pub struct TlsListener<L> {
    inner: L,
    acceptor: TlsAcceptor,
}

impl<L: Listener> Listener for TlsListener<L> {
    type Stream = TlsStream<L::Stream>;

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        self.acceptor.accept(self.inner.accept().await?)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn adopt(self) -> io::Result<Self> {
        Ok(Self { inner: self.inner.adopt()?, acceptor: self.acceptor })
    }
}
