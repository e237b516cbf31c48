//! A gateway under test, and peers that know nothing but bytes.

#![expect(
    clippy::disallowed_types,
    reason = "scripted peers use sockets of their own, not the code under test"
)]

use std::net::SocketAddr;
use std::time::Duration;

use fastway::net::{MemoryNetwork, MemoryStream, Network, TcpNetwork};
use fastway_gateway::{Config, Counts, Gateway, Handle, ServerKey, Threads};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Whatever takes longer is a failure. Nothing waits for this to pass.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const KEY: &[u8] = b"the key";

/// Frames, byte by byte as the contract has them, without the library's help.
pub(crate) mod wire {
    pub(crate) fn data(conn: u32, message: &[u8]) -> Vec<u8> {
        let length = 4 + message.len() as u32;
        [&length.to_le_bytes(), &conn.to_le_bytes(), message].concat()
    }

    pub(crate) fn dial(remote: u32) -> Vec<u8> {
        command(0, &[remote])
    }

    pub(crate) fn accept(conn: u32, remote: u32) -> Vec<u8> {
        command(1, &[conn, remote])
    }

    pub(crate) fn connect(conn: u32, remote: u32) -> Vec<u8> {
        command(2, &[conn, remote])
    }

    pub(crate) fn refuse(remote: u32) -> Vec<u8> {
        command(3, &[remote])
    }

    pub(crate) fn close(conn: u32) -> Vec<u8> {
        command(4, &[conn])
    }

    pub(crate) fn ping() -> Vec<u8> {
        command(5, &[])
    }

    pub(crate) fn command(command_type: u8, arguments: &[u32]) -> Vec<u8> {
        let arguments = arguments.iter().flat_map(|argument| argument.to_le_bytes());
        let message: Vec<u8> = [command_type].into_iter().chain(arguments).collect();
        data(0, &message)
    }
}

/// A configuration for tests: free loopback ports, a key.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.client.addr = "127.0.0.1:0".parse().unwrap();
    config.server.addr = "127.0.0.1:0".parse().unwrap();
    config.server.key = ServerKey::new(KEY);
    config
}

pub(crate) fn config_with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config();
    change(&mut config);
    config
}

pub(crate) fn threads(count: usize) -> Threads {
    Threads::new(count).unwrap()
}

/// A running gateway.
pub(crate) struct TestGateway<N: Network = TcpNetwork> {
    pub(crate) network: N,
    pub(crate) client_addr: SocketAddr,
    pub(crate) server_addr: SocketAddr,
    pub(crate) handle: Handle,
    running: JoinHandle<std::io::Result<()>>,
}

impl TestGateway {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_on(TcpNetwork::new(), config).await
    }

    pub(crate) async fn client(&self) -> Raw<TcpStream> {
        connect(self.client_addr).await
    }

    /// Connected to the internal port; the challenge is not read yet.
    pub(crate) async fn stranger(&self) -> Raw<TcpStream> {
        connect(self.server_addr).await
    }

    /// Registered, for a fact.
    pub(crate) async fn server(&self, id: u32) -> Raw<TcpStream> {
        let mut server = self.stranger().await;
        server.register(id).await;
        server
    }

    /// A client and a server with one virtual connection between them.
    pub(crate) async fn pair(&self) -> (Raw<TcpStream>, Raw<TcpStream>, u32) {
        let (mut client, mut server) = (self.client().await, self.server(7).await);
        let conn = client.open(7, &mut server).await;
        (client, server, conn)
    }
}

impl TestGateway<MemoryNetwork> {
    /// In memory. Tests with paused time start it this way.
    pub(crate) async fn start_in_memory(config: Config) -> Self {
        Self::start_on(MemoryNetwork::new(), config).await
    }

    pub(crate) async fn client(&self) -> Raw<MemoryStream> {
        Raw::new(self.network.connect(&self.client_addr.to_string()).await.unwrap())
    }

    pub(crate) async fn stranger(&self) -> Raw<MemoryStream> {
        Raw::new(self.network.connect(&self.server_addr.to_string()).await.unwrap())
    }

    pub(crate) async fn server(&self, id: u32) -> Raw<MemoryStream> {
        let mut server = self.stranger().await;
        server.register(id).await;
        server
    }
}

impl<N: Network> TestGateway<N> {
    pub(crate) async fn start_on(network: N, config: Config) -> Self {
        Self::start_beside(network, config, async |_| ()).await.0
    }

    /// With something that has to be made from a gateway that does not run yet.
    pub(crate) async fn start_beside<T>(
        network: N,
        config: Config,
        beside: impl AsyncFnOnce(&Gateway<N>) -> T,
    ) -> (Self, T) {
        let gateway = Gateway::bind(&network, config, [7; 32]).await.unwrap();
        let (client_addr, server_addr) = (gateway.client_addr(), gateway.server_addr());
        let (handle, beside) = (gateway.handle(), beside(&gateway).await);
        let running = tokio::spawn(gateway.run());
        (Self { network, client_addr, server_addr, handle, running }, beside)
    }

    /// Waits until the counts are like this.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(Counts) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self.handle.counts()) {
            assert!(Instant::now() < deadline, "not in time: {what}; it is {:?}", self.handle.counts());
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// When everybody has gone, nothing may be left.
    pub(crate) async fn nothing_is_left(&self) {
        self.until("nothing is left", |counts| counts == Counts::default()).await;
    }

    /// It ends by itself within this time.
    pub(crate) async fn ended(self, time: Duration) {
        timeout(time, self.running).await.expect("it ends in time").unwrap().unwrap();
    }

    pub(crate) async fn stop(self) {
        self.handle.stop();
        timeout(DEADLINE, self.running).await.expect("it stops in time").unwrap().unwrap();
    }
}

impl<N: Network> TestGateway<N> {
    /// Drops what runs, in the middle of whatever it does.
    pub(crate) fn kill(&self) {
        self.running.abort();
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> Raw<TcpStream> {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Raw::new(stream)
}

/// A peer that does what the test says and nothing else: it answers no pings.
pub(crate) struct Raw<S> {
    pub(crate) stream: S,
    /// How long the next frame may take. Raised where virtual time passes.
    pub(crate) deadline: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, deadline: DEADLINE }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the gateway takes it");
        self.stream.flush().await.expect("the gateway takes it");
    }

    pub(crate) async fn read_exact<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        timeout(self.deadline, self.stream.read_exact(&mut bytes)).await.expect("in time").expect("whole");
        bytes
    }

    /// The next frame, header included.
    pub(crate) async fn frame(&mut self) -> Vec<u8> {
        let length: [u8; 4] = self.read_exact().await;
        let mut frame = length.to_vec();
        frame.resize(4 + u32::from_le_bytes(length) as usize, 0);
        timeout(self.deadline, self.stream.read_exact(&mut frame[4..]))
            .await
            .expect("in time")
            .expect("whole");
        frame
    }

    /// The next frame is this one, to the byte.
    #[track_caller]
    pub(crate) fn expect(&mut self, frame: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let (actual, expected) = (self.frame().await, frame.as_ref());
            assert!(actual == expected, "{caller}: expected {}, got {}", show(expected), show(&actual));
        }
    }

    /// The gateway has ended the connection. What it still sent must be nothing, or known.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well: the gateway may close with bytes of ours unread.
        let end = timeout(self.deadline, self.stream.read_to_end(&mut rest)).await.expect("it ends in time");
        assert!(rest.is_empty(), "before the end came {}; then {end:?}", show(&rest));
    }

    /// Nothing is on its way to this peer: what it causes itself comes next. The gateway must not have pinged it.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.send(wire::ping()).await;
            let actual = self.frame().await;
            assert!(actual == wire::ping(), "{caller}: expected nothing, got {}", show(&actual));
        }
    }

    /// The server's part of the handshake. An echo shows that the session has begun.
    pub(crate) async fn register(&mut self, id: u32) {
        self.register_with(KEY, id).await;
    }

    pub(crate) async fn register_with(&mut self, key: &[u8], id: u32) {
        let challenge: [u8; 8] = self.read_exact().await;
        self.send(hello(challenge, key, id)).await;
        self.expect_nothing().await;
    }

    /// Opens a virtual connection to `server`, which is number `remote`.
    pub(crate) async fn open<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        remote: u32,
        server: &mut Raw<T>,
    ) -> u32 {
        self.send(wire::dial(remote)).await;
        let accept = self.frame().await;
        let conn = u32::from_le_bytes(accept[9..13].try_into().unwrap());
        assert!(accept == wire::accept(conn, remote), "expected Accept, got {}", show(&accept));
        let connect = server.frame().await;
        let is_connect = connect.len() == 17 && connect[..13] == wire::connect(conn, 0)[..13];
        assert!(is_connect, "expected Connect, got {}", show(&connect));
        conn
    }
}

pub(crate) fn hello(challenge: [u8; 8], key: &[u8], id: u32) -> Vec<u8> {
    use fastway::handshake::Challenge;
    use fastway::id::ServerId;
    Challenge(challenge).answer(key, ServerId::new(id)).encode().to_vec()
}

fn show(bytes: &[u8]) -> String {
    let more = if bytes.len() > 40 { "…" } else { "" };
    format!("{} bytes {:?}{more}", bytes.len(), &bytes[..bytes.len().min(40)])
}
