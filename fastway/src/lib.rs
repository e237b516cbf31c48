//! What game servers and clients need to talk through a fastway gateway: the wire protocol, the network that it runs
//! on, and endpoints.
//!
//! A gateway stands between many clients and the servers behind it. Each client and each server has one physical
//! connection to it. Over that connection a client opens *virtual connections* to any server by ID, and a server to
//! any client; the gateway forwards messages between them.
//!
//! # An example
//!
//! A server that doubles numbers, and a client of it. Here the gateway's addresses are arguments; with a gateway
//! started without flags they are `127.0.0.1:7020` and `127.0.0.1:7010`.
//!
//! ```
//! use fastway::endpoint::{Client, EndpointConfig, Server};
//! use fastway::id::ServerId;
//! use fastway::net::Network;
//!
//! /// The network is a parameter: TCP in production, memory in a test, a simulation.
//! async fn serve<N: Network>(network: &N, internal_addr: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let config = EndpointConfig::default();
//!     let server = Server::connect(network, internal_addr, ServerId::new(1), b"the key", config).await?;
//!     loop {
//!         let mut conn = server.accept().await?;
//!         tokio::spawn(async move {
//!             while let Some(message) = conn.recv().await {
//!                 let number = u32::from_le_bytes(message[..].try_into()?);
//!                 conn.send((number * 2).to_le_bytes()).await?;
//!             }
//!             Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//!         });
//!     }
//! }
//!
//! async fn ask<N: Network>(network: &N, public_addr: &str) -> Result<u32, Box<dyn std::error::Error>> {
//!     let client = Client::connect(network, public_addr, EndpointConfig::default()).await?;
//!     let mut conn = client.dial(ServerId::new(1)).await?;
//!     conn.send(21_u32.to_le_bytes()).await?;
//!     let answer = conn.recv().await.ok_or("the server went away")?;
//!     Ok(u32::from_le_bytes(answer[..].try_into()?))
//! }
//! ```
//!
//! Runnable ones are in the folder `examples`: an echo server, and a client that is called back by it.
//!
//! # The protocol in one page
//!
//! It is the protocol of the original fastway, written in Go, byte for byte; its Go and C# endpoint libraries, of both
//! generations, are valid peers. All integers are unsigned, 32 bit, little endian.
//!
//! **Frames** ([`frame`]): Length, Conn ID, message. Length counts Conn ID and message, and must be at least 4 and at
//! most the maximal packet size (512 KiB unless agreed otherwise). With a Conn ID other than 0, the message belongs to
//! that virtual connection, may be empty, and is forwarded unchanged. With Conn ID 0 it is a command.
//!
//! **Commands** ([`command`]): a type byte, then arguments.
//!
//! | Type | Name | Arguments | Direction |
//! |---|---|---|---|
//! | 0 | Dial | RemoteID | endpoint → gateway |
//! | 1 | Accept | ConnID, RemoteID | gateway → who dialled |
//! | 2 | Connect | ConnID, RemoteID | gateway → who was dialled |
//! | 3 | Refuse | RemoteID | gateway → who dialled |
//! | 4 | Close | ConnID | both |
//! | 5 | Ping | – | both |
//!
//! **Handshake** ([`handshake`]), at the internal port only: the gateway sends 8 random bytes, the server answers with
//! `MD5(those ‖ key)` and its ID. Frames may follow at once; the gateway says nothing unless it closes.
//!
//! **Rules.** The numbers are used by tests and comments throughout.
//!
//! 1. A client reaches servers only, a server clients only; a dial to anything else is refused.
//! 2. On success the dialler gets Accept and the other side Connect, with the same Conn ID, before any data.
//! 3. A client holds a limited number of virtual connections that it dialled itself. A closed one frees its place at
//!    once, a refused dial leaves nothing behind.
//! 4. A server that registers an ID in use takes it over: the older link is closed.
//! 5. Messages of one virtual connection and direction arrive whole, once, in order.
//! 6. A message on a connection that the sender does not own is answered by Close, and nobody else notices.
//! 7. Close comes after the messages sent before it, to both sides, once each.
//! 8. Close of a connection that the sender does not own changes nothing.
//! 9. When a physical connection ends, for whatever reason, everything it had sent whole is delivered, then the other
//!    side of each of its virtual connections gets Close.
//! 10. A malformed or too large frame ends the physical connection that sent it, and no other.
//! 11. A peer from which nothing came for the ping interval gets one Ping; still silent at the idle timeout, it is
//!     closed.
//! 12. A Ping that comes while one of ours is unanswered is the answer; any other is echoed, once ([`keepalive`]).
//! 13. A peer that stops inside a frame is silent; one that the gateway itself has stopped reading is not.
//! 14. A client that does not read is cut off when its queue at the gateway is full. Nobody else waits for it.
//! 15. A server that does not read holds its clients back, and no message is lost; if it takes nothing at all for long,
//!     it is closed.
//!
//! # What is where
//!
//! - [`endpoint`]: clients, servers, virtual connections. Most programs need only this.
//! - [`fleet`]: the same over many gateways: a server that is linked to all of them, a client that moves from one to another.
//! - [`net`]: the trait [`Network`](net::Network), TCP, and a network in memory for tests.
//! - [`frame`], [`command`], [`handshake`], [`id`]: the protocol as values. No I/O, no clock, no randomness.
//! - [`extensions`]: what goes beyond the original, for those who ask for it: the addresses of clients, and a notice when a
//!   gateway drains.
//! - [`reader`], [`keepalive`]: what every end of a link needs, for those who write their own; [`run`] and [`buffers`] for
//!   those who forward.
//! - [`proxy_protocol`]: for those who accept connections behind a proxy.

pub mod buffers;
pub mod command;
pub mod endpoint;
pub mod extensions;
pub mod fleet;
pub mod frame;
pub mod handshake;
pub mod id;
pub mod keepalive;
pub mod net;
pub mod proxy_protocol;
pub mod reader;
pub mod run;
