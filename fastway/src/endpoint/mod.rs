//! Endpoints: what a game client and a game server hold.
//!
//! A [`Client`] or a [`Server`] is a link to one gateway. Both dial ([`Client::dial`], [`Server::dial`]) and accept
//! ([`Client::accept`], [`Server::accept`]) virtual connections; a [`VirtualConn`] sends and receives messages. A task
//! of the current tokio runtime drives the link; it answers the gateway's pings and sends its own.
//!
//! The link ends when [`close`](Client::close) is called, or when the endpoint and all its connections are dropped;
//! what was sent before still goes out. [`ended`](Client::ended) waits until it has: a program that exits sooner loses
//! what is still queued. A link that has ended does not come back by itself: connect again.
//!
//! ```
//! use fastway::endpoint::{Client, EndpointConfig};
//! use fastway::id::ServerId;
//! use fastway::net::TcpNetwork;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(&TcpNetwork::new(), "127.0.0.1:7010", EndpointConfig::default()).await?;
//! let mut conn = client.dial(ServerId::new(1)).await?;
//! conn.send("hello").await?;
//! while let Some(message) = conn.recv().await {
//!     println!("{} bytes", message.len());
//! }
//! println!("{:?}", conn.close_reason());
//! # Ok(())
//! # }
//! ```

mod config;
mod conn;
mod dials;
mod driver;
mod error;
mod link;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

pub use config::{EndpointConfig, SlowReceiver};
pub use conn::{ConnReceiver, ConnSender, VirtualConn};
pub use error::{CloseReason, ConnectError, DialError, LinkError, SendError};

use self::dials::Ticket;
use self::link::Link;
use crate::command::ToGateway;
use crate::extensions::{Extensions, ask, ask_as_client};
use crate::handshake::Challenge;
use crate::id::{ClientId, RemoteId, ServerId, Side};
use crate::net::{Network, Stream as _};

/// A game client's link to one gateway. A clone is another handle to the same link.
#[derive(Clone, Debug)]
pub struct Client {
    link: Arc<Endpoint>,
}

/// A game server's link to one gateway. A clone is another handle to the same link.
///
/// A server that is to be reached through several gateways holds one of these for each, or leaves that to
/// [`fleet::Server`](crate::fleet::Server).
#[derive(Clone, Debug)]
pub struct Server {
    link: Arc<Endpoint>,
    id: ServerId,
}

impl Client {
    /// Connects to a gateway's public port, at `addr` (`HOST:PORT`).
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if there is no connection within [`EndpointConfig::connect_timeout`].
    pub async fn connect<N: Network>(
        network: &N,
        addr: &str,
        config: EndpointConfig,
    ) -> Result<Self, ConnectError> {
        let after = config.connect_timeout;
        let stream = in_time(after, addr, connect(network, addr)).await?;
        let wishes = config.wishes(Side::Client);
        let link = Link::new(config, addr);
        if wishes != Extensions::NONE {
            link.lock().out.push(ask_as_client(wishes).as_ref());
        }
        driver::spawn(link.clone(), stream, Side::Client);
        Ok(Self { link: Endpoint::new(link) })
    }

    /// Opens a virtual connection to a server. Any number of dials may be under way, each gets its own answer.
    ///
    /// Dropping the future gives the dial up; if it succeeds after all, the connection is closed at once.
    ///
    /// # Errors
    ///
    /// [`DialError`]: refused, not answered within [`EndpointConfig::dial_timeout`], or the link has ended.
    pub async fn dial(&self, server: ServerId) -> Result<VirtualConn, DialError> {
        self.link.dial(server.into()).await
    }

    /// [`close`](Self::close) as soon as no virtual connection is open and none is being dialled.
    pub(crate) fn close_when_idle(&self) {
        self.link.close_when_idle();
    }
}

impl Server {
    /// Connects to a gateway's internal port, at `addr` (`HOST:PORT`), and registers as `id` with the shared `key`.
    ///
    /// A gateway that accepts the key says nothing, so success here means that the answer was sent. With a wrong key
    /// the link ends soon after, with [`LinkError::TurnedAway`]. A server that was registered by the same ID before
    /// loses its link: the newest wins.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if connection and handshake are not done within [`EndpointConfig::connect_timeout`].
    pub async fn connect<N: Network>(
        network: &N,
        addr: &str,
        id: ServerId,
        key: &[u8],
        config: EndpointConfig,
    ) -> Result<Self, ConnectError> {
        Self::connect_where(network, addr, id, key, config, |_| Ok(())).await
    }

    /// The same, where `allow` has nothing against the address that `addr` has led to. It is asked before the registration, which
    /// would end an earlier link to the same gateway.
    pub(crate) async fn connect_where<N: Network, E: From<ConnectError>>(
        network: &N,
        addr: &str,
        id: ServerId,
        key: &[u8],
        config: EndpointConfig,
        allow: impl FnOnce(SocketAddr) -> Result<(), E> + Send,
    ) -> Result<Self, E> {
        let wishes = config.wishes(Side::Server);
        let registered = async {
            let mut stream = connect(network, addr).await?;
            // A connection that is gone already has no address, and fails below.
            stream.peer_addr().map_or(Ok(()), allow)?;
            let answered = async {
                let mut challenge = [0; Challenge::BYTES];
                stream.read_exact(&mut challenge).await?;
                let mut hello = Challenge(challenge).answer(key, id).encode().to_vec();
                if wishes != Extensions::NONE {
                    hello.extend_from_slice(ask(wishes).as_ref());
                }
                // In one go: the gateway is to read the question before a client finds the server.
                stream.write_all(&hello).await?;
                stream.flush().await
            };
            answered.await.map_err(|error| ConnectError::Handshake { addr: addr.to_owned(), error })?;
            Ok::<_, E>(stream)
        };
        let stream = in_time(config.connect_timeout, addr, registered).await?;
        let link = Link::new(config, addr);
        link.lock().accept_waits = wishes.contains(Extensions::CLIENT_ADDR);
        driver::spawn(link.clone(), stream, Side::Server);
        Ok(Self { link: Endpoint::new(link), id })
    }

    /// Waits until the gateway has let this server in: until it has said anything.
    ///
    /// A gateway that accepts the key says nothing of its own accord, so it is asked something that every gateway answers,
    /// whatever its generation: a dial to client 0, which nobody is, is refused. Who asks for the addresses of clients has
    /// asked that already.
    pub(crate) async fn let_in(&self) -> Result<(), LinkError> {
        if self.link.config.wishes(Side::Server) == Extensions::NONE {
            self.link.command(ToGateway::Dial { remote: RemoteId::new(0) });
        }
        poll_fn(|cx| self.link.poll_let_in(cx)).await
    }

    /// [`accept`](Self::accept), for those who accept from several links at once.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<VirtualConn, LinkError>> {
        self.link.poll_accept(cx).map_ok(|conn| VirtualConn::new(conn, self.link.0.clone()))
    }

    /// The ID that this server registered.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Opens a virtual connection to a client of this gateway, by the ID that [`VirtualConn::remote`] named. Any
    /// number of dials may be under way, each gets its own answer.
    ///
    /// Dropping the future gives the dial up; if it succeeds after all, the connection is closed at once.
    ///
    /// # Errors
    ///
    /// [`DialError`]: refused, not answered within [`EndpointConfig::dial_timeout`], or the link has ended.
    pub async fn dial(&self, client: ClientId) -> Result<VirtualConn, DialError> {
        self.link.dial(client.into()).await
    }
}

macro_rules! accepts_and_ends {
    ($endpoint:ident) => {
        impl $endpoint {
            /// Waits for the next virtual connection that the other side opens. Cancel-safe.
            ///
            /// # Errors
            ///
            /// [`LinkError`] when the link has ended.
            pub async fn accept(&self) -> Result<VirtualConn, LinkError> {
                self.link.accept().await
            }

            /// Waits until the gateway gives notice that it drains: it lets no more clients in, and closes the links of those it
            /// has. Says how long it will take from now until the last of them is told to go, so that they can go to others one
            /// by one, each at an instant of its choice. What is open goes on until then.
            ///
            /// Gateways give notice only to those who asked for it ([`EndpointConfig::ask_draining`]), and not all know the
            /// question. Once given, it is there for whoever waits later. Cancel-safe.
            ///
            /// # Errors
            ///
            /// [`LinkError`] when the link has ended without notice.
            pub async fn draining(&self) -> Result<Duration, LinkError> {
                poll_fn(|cx| self.link.poll_draining(cx)).await
            }

            /// Closes the link and all its virtual connections; what is queued is still sent. Does not wait for that:
            /// [`ended`](Self::ended) does.
            pub fn close(&self) {
                self.link.close();
            }

            /// Waits until the link has ended and what was queued is sent, as far as it can be, and says why it ended.
            pub async fn ended(&self) -> LinkError {
                poll_fn(|cx| self.link.poll_ended(cx)).await
            }
        }
    };
}

accepts_and_ends!(Client);
accepts_and_ends!(Server);

/// What a [`Client`]'s or a [`Server`]'s clones share. When the last one goes, nobody is left to accept.
#[derive(Debug)]
struct Endpoint(Arc<Handle>);

impl Endpoint {
    fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Handle(link))))
    }
}

impl Deref for Endpoint {
    type Target = Arc<Handle>;

    fn deref(&self) -> &Arc<Handle> {
        &self.0
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.0.accept_no_more();
    }
}

/// The users' hold on a link: an endpoint's clones and its virtual connections share it. When the last one goes, the
/// link closes.
#[derive(Debug)]
struct Handle(Arc<Link>);

impl Deref for Handle {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Handle {
    async fn dial(self: &Arc<Self>, remote: RemoteId) -> Result<VirtualConn, DialError> {
        let after = self.config.dial_timeout;
        let dial = Dial { ticket: self.begin_dial(remote)?, remote, link: self };
        let answer = poll_fn(|cx| self.poll_dial(dial.ticket, remote, cx));
        let conn = timeout(after, answer).await.map_err(|_| DialError::Timeout { remote, after })??;
        Ok(VirtualConn::new(conn, self.clone()))
    }

    async fn accept(self: &Arc<Self>) -> Result<VirtualConn, LinkError> {
        let conn = poll_fn(|cx| self.poll_accept(cx)).await?;
        Ok(VirtualConn::new(conn, self.clone()))
    }
}

/// A dial under way. Dropped before its answer was taken, it is given up.
struct Dial<'a> {
    ticket: Ticket,
    remote: RemoteId,
    link: &'a Arc<Handle>,
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        let answer = self.link.lock().dials.abandon(self.ticket, self.remote);
        if let Some(Ok(unwanted)) = answer {
            drop(VirtualConn::new(unwanted, self.link.clone()));
        }
    }
}

async fn connect<N: Network>(network: &N, addr: &str) -> Result<N::Stream, ConnectError> {
    network.connect(addr).await.map_err(|error| ConnectError::Network { addr: addr.to_owned(), error })
}

async fn in_time<T, E: From<ConnectError>>(
    after: Duration,
    addr: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let too_late = || ConnectError::Timeout { addr: addr.to_owned(), after };
    timeout(after, work).await.unwrap_or_else(|_| Err(too_late().into()))
}
