//! A scripted gateway that writes raw bytes.

pub(crate) use std::time::Duration;

pub(crate) use bytes::Bytes;
pub(crate) use fastway::command::{ToEndpoint, ToGateway};
pub(crate) use fastway::endpoint::{
    Client, CloseReason, ConnectError, DialError, EndpointConfig, LinkError, SendError, Server, SlowReceiver,
    VirtualConn,
};
pub(crate) use fastway::frame::{FrameError, MaxPacket, encode};
pub(crate) use fastway::id::{ClientId, ConnId, RemoteId, ServerId};
pub(crate) use fastway::keepalive::KeepaliveConfig;
pub(crate) use fastway::net::{
    BindOptions, Listener as _, MemoryListener, MemoryNetwork, MemoryStream, Network as _,
};
pub(crate) use futures_util::{SinkExt, StreamExt as _};
pub(crate) use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
pub(crate) use tokio::time::{Instant, sleep, timeout};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const ADDR: &str = "10.0.0.1:7010";

pub(crate) fn conn(number: u32) -> ConnId {
    ConnId::new(number).unwrap()
}

pub(crate) fn remote(number: u32) -> RemoteId {
    RemoteId::new(number)
}

pub(crate) fn dial(number: u32) -> Vec<u8> {
    ToGateway::Dial { remote: remote(number) }.encode().as_ref().to_vec()
}

pub(crate) fn close(number: u32) -> Vec<u8> {
    ToGateway::Close { conn: Some(conn(number)) }.encode().as_ref().to_vec()
}

pub(crate) fn ping() -> Vec<u8> {
    ToGateway::Ping.encode().as_ref().to_vec()
}

pub(crate) fn data(number: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(conn(number), message, &mut frame);
    frame
}

/// A gateway that does what the test says.
pub(crate) struct Script {
    pub(crate) stream: MemoryStream,
}

impl Script {
    pub(crate) async fn with_client(config: EndpointConfig) -> (Self, Client) {
        let (network, mut listener) = listening().await;
        let client = Client::connect(&network, ADDR, config).await.unwrap();
        (Self { stream: listener.accept().await.unwrap() }, client)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn say(&mut self, command: ToEndpoint) {
        self.send(command.encode()).await;
    }

    pub(crate) async fn accept(&mut self, number: u32, from: u32) {
        self.say(ToEndpoint::Accept { conn: conn(number), remote: remote(from) }).await;
    }

    pub(crate) async fn connect(&mut self, number: u32, from: u32) {
        self.say(ToEndpoint::Connect { conn: conn(number), remote: remote(from) }).await;
    }

    pub(crate) async fn refuse(&mut self, from: u32) {
        self.say(ToEndpoint::Refuse { remote: remote(from) }).await;
    }

    pub(crate) async fn frame(&mut self) -> Vec<u8> {
        let length = self.stream.read_u32_le().await.unwrap();
        let mut frame = length.to_le_bytes().to_vec();
        frame.resize(4 + length as usize, 0);
        self.stream.read_exact(&mut frame[4..]).await.unwrap();
        frame
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, frame: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let actual = timeout(SECOND * 300, self.frame()).await.expect("a frame comes");
            assert_eq!(actual, frame.as_ref(), "{caller}");
        }
    }

    /// The endpoint says nothing of its own accord: the answer to this question comes first.
    pub(crate) async fn expect_nothing(&mut self) {
        self.say(ToEndpoint::Ping).await;
        self.expect(ping()).await;
    }

    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// A virtual connection that the client dialled.
    pub(crate) async fn open(&mut self, client: &Client, number: u32) -> VirtualConn {
        let (dialled, ()) = tokio::join!(client.dial(ServerId::new(7)), async {
            self.expect(dial(7)).await;
            self.accept(number, 7).await;
        });
        dialled.unwrap()
    }
}

pub(crate) async fn listening() -> (MemoryNetwork, MemoryListener) {
    let network = MemoryNetwork::new();
    let listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    (network, listener)
}

pub(crate) fn is_refused(dialled: &Result<VirtualConn, DialError>, by: u32) -> bool {
    matches!(dialled, Err(DialError::Refused { remote: from }) if *from == remote(by))
}

/// A server, and what it sends within the write that ends the handshake.
pub(crate) async fn with_server(config: EndpointConfig) -> (Script, Server, Vec<u8>) {
    let (network, mut listener) = listening().await;
    let connecting = Server::connect(&network, ADDR, ServerId::new(9), b"key", config);
    let (server, (stream, hello)) = tokio::join!(connecting, async {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"12345678").await.unwrap();
        let mut hello = vec![0; 100];
        let read = stream.read(&mut hello).await.unwrap();
        hello.truncate(read);
        (stream, hello)
    });
    (Script { stream }, server.unwrap(), hello)
}
