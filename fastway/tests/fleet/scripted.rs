//! Gateways that do what a test says, and what tests say often.

pub(crate) use std::time::Duration;

use bytes::Bytes;
pub(crate) use fastway::command::{ToEndpoint, ToGateway};
use fastway::endpoint::VirtualConn;
use fastway::extensions::{Extensions, ask};
pub(crate) use fastway::fleet::{
    Backoff, Ended, Event, FleetConfig, GatewayState, Gateways, NoLink, Server, ServerDialError, Trouble,
};
use fastway::frame::encode;
use fastway::handshake::Challenge;
pub(crate) use fastway::id::{ClientId, ConnId, RemoteId, ServerId};
pub(crate) use fastway::net::MemoryNetwork;
use fastway::net::{BindOptions, Listener as _, MemoryListener, MemoryStream, Network as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
pub(crate) use tokio::sync::broadcast;
pub(crate) use tokio::time::{Instant, sleep, timeout};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) const A: &str = "10.0.0.1:7020";
pub(crate) const B: &str = "10.0.0.2:7020";
pub(crate) const C: &str = "10.0.0.3:7020";

const KEY: &[u8] = b"key";
const CHALLENGE: [u8; 8] = *b"12345678";

pub(crate) fn client(number: u32) -> ClientId {
    ClientId::new(number).unwrap()
}

/// Lots are drawn in the same way each time, and gateways need not answer pings.
pub(crate) fn config(seed: u64) -> FleetConfig {
    let mut config = FleetConfig { detection: Duration::ZERO, seed: Some(seed), ..FleetConfig::default() };
    config.endpoint.keepalive = fastway::keepalive::KeepaliveConfig::ANSWER_ONLY;
    config
}

/// Server 9 at these gateways.
pub(crate) fn start(network: &MemoryNetwork, gateways: Gateways) -> Server {
    start_with(network, gateways, config(1))
}

pub(crate) fn start_with(network: &MemoryNetwork, gateways: Gateways, config: FleetConfig) -> Server {
    Server::start(network.clone(), gateways, ServerId::new(9), KEY, config)
}

pub(crate) fn list<const N: usize>(addrs: [&str; N]) -> Gateways {
    Gateways::list(addrs).unwrap()
}

/// The state of each gateway, by its address.
pub(crate) fn states(server: &Server) -> Vec<(String, GatewayState)> {
    server.status().into_iter().map(|status| (status.gateway.to_string(), status.state)).collect()
}

/// The next event, which comes within a minute.
pub(crate) async fn next(events: &mut broadcast::Receiver<Event>) -> Event {
    timeout(SECOND * 60, events.recv()).await.expect("something happens").unwrap()
}

/// The next trouble at this gateway, with how long is waited then.
pub(crate) async fn next_trouble(
    events: &mut broadcast::Receiver<Event>,
    addr: &str,
) -> (Trouble, Duration, String) {
    loop {
        let event = next(events).await;
        let text = event.to_string();
        if let Event::Trouble { gateway, trouble, retry_in } = event
            && gateway.as_str() == addr
        {
            return (trouble, retry_in, text);
        }
    }
}

/// An address at which servers connect.
pub(crate) struct Port {
    listener: MemoryListener,
}

impl Port {
    pub(crate) async fn bind(network: &MemoryNetwork, addr: &str) -> Self {
        Self { listener: network.bind(addr.parse().unwrap(), BindOptions::default()).await.unwrap() }
    }

    /// Accepts, sends the challenge, takes the answer and checks it.
    pub(crate) async fn accept(&mut self) -> Link {
        let mut stream = timeout(HOUR, self.listener.accept()).await.expect("the server connects").unwrap();
        stream.write_all(&CHALLENGE).await.unwrap();
        let mut hello = [0; 20];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello, Challenge(CHALLENGE).answer(KEY, ServerId::new(9)).encode());
        Link { stream }
    }

    /// The same, and then all that a gateway says to a server which it lets in.
    pub(crate) async fn let_in(&mut self) -> Link {
        let mut link = self.accept().await;
        link.answer_question().await;
        link
    }

    /// Nobody connects for an hour.
    pub(crate) async fn expect_nobody(&mut self) {
        assert!(timeout(HOUR, self.listener.accept()).await.is_err(), "nobody connects any more");
    }

    /// So many times, somebody connects and says nothing.
    pub(crate) async fn expect_nobody_registers(&mut self, times: usize) {
        for _ in 0..times {
            let mut stream = timeout(HOUR, self.listener.accept()).await.expect("somebody connects").unwrap();
            let _ = stream.write_all(&CHALLENGE).await;
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
    }

    /// From here on, everybody who connects is hung up on; says when that was.
    pub(crate) async fn hang_up(&mut self, times: usize) -> Vec<Instant> {
        let mut tries = Vec::new();
        while tries.len() < times {
            drop(timeout(HOUR, self.listener.accept()).await.expect("the server connects").unwrap());
            tries.push(Instant::now());
        }
        tries
    }
}

/// One link of a server, at the gateway's end.
pub(crate) struct Link {
    stream: MemoryStream,
}

impl Link {
    /// A server asks whether it is let in, and for a notice of draining: it dials client 0. This gateway grants nothing, as
    /// those of the original.
    pub(crate) async fn answer_question(&mut self) {
        self.expect_frame(ask(Extensions::DRAINING).as_ref()).await;
        self.say(ToEndpoint::Refuse { remote: RemoteId::new(0) }).await;
    }

    pub(crate) async fn say(&mut self, command: ToEndpoint) {
        self.stream.write_all(command.encode().as_ref()).await.unwrap();
    }

    /// A client opens a virtual connection.
    pub(crate) async fn connect(&mut self, number: u32, from: u32) {
        let (conn, remote) = (ConnId::new(number).unwrap(), RemoteId::new(from));
        self.say(ToEndpoint::Connect { conn, remote }).await;
    }

    pub(crate) async fn send(&mut self, number: u32, message: &[u8]) {
        let mut frame = Vec::new();
        encode(ConnId::new(number).unwrap(), message, &mut frame);
        self.stream.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn expect(&mut self, command: ToGateway) {
        self.expect_frame(command.encode().as_ref()).await;
    }

    pub(crate) async fn expect_message(&mut self, number: u32, message: &[u8]) {
        let mut frame = Vec::new();
        encode(ConnId::new(number).unwrap(), message, &mut frame);
        self.expect_frame(&frame).await;
    }

    pub(crate) async fn expect_close(&mut self, number: u32) {
        self.expect(ToGateway::Close { conn: ConnId::new(number) }).await;
    }

    async fn expect_frame(&mut self, frame: &[u8]) {
        let mut actual = vec![0; frame.len()];
        timeout(HOUR, self.stream.read_exact(&mut actual)).await.expect("a frame comes").unwrap();
        assert_eq!(actual, frame);
    }

    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        timeout(HOUR, self.stream.read_to_end(&mut rest)).await.expect("the end comes").unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// Accepts one virtual connection and one message of it.
pub(crate) async fn accept_one(server: &Server) -> (VirtualConn, Bytes) {
    let mut conn = timeout(SECOND, server.accept()).await.expect("there is one").unwrap();
    let message = conn.recv().await.unwrap();
    (conn, message)
}
