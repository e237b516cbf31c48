//! TLS on either port: what comes through it is served as over TCP, and whoever brings none is turned away.

use std::io;
use std::time::Duration;

use fastway::endpoint::{Client, ConnectError, EndpointConfig, LinkError, Server, VirtualConn};
use fastway::id::ServerId;
use fastway::keepalive::KeepaliveConfig;
use fastway::net::tls::{TlsAcceptor, TlsConnector, TlsNetwork, TlsStream};
use fastway::net::{MemoryNetwork, MemoryStream, Network, TcpNetwork};
use fastway_gateway::{Config, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::authority::Authority;
use super::proxy::Log;
use super::support::{KEY, Raw, TestGateway, config_with, threads, wire};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// A CA, and how to come to a gateway that it vouches for.
struct Trust {
    authority: Authority,
    connector: TlsConnector,
}

impl Trust {
    fn new() -> Self {
        let authority = Authority::new();
        let connector = TlsConnector::new(authority.authorities()).unwrap();
        Self { connector: connector.with_server_name("gateway.internal").unwrap(), authority }
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::new(self.authority.issue("gateway.internal").identity(), None).unwrap()
    }

    fn over<N>(&self, network: N) -> TlsNetwork<N> {
        TlsNetwork::new(network, self.connector.clone())
    }

    /// Clients come over TLS, servers do not.
    fn for_clients(&self, change: impl FnOnce(&mut Config)) -> Config {
        config_with(|config| {
            config.client.tls = Some(self.acceptor());
            change(config);
        })
    }

    async fn client(&self, gateway: &TestGateway<MemoryNetwork>) -> Raw<TlsStream<MemoryStream>> {
        let addr = gateway.client_addr.to_string();
        Raw::new(self.over(gateway.network.clone()).connect(&addr).await.unwrap())
    }
}

async fn client<N: Network>(network: &N, gateway: &TestGateway<impl Network>) -> Client {
    let addr = gateway.client_addr.to_string();
    Client::connect(network, &addr, EndpointConfig::default()).await.unwrap()
}

async fn server<N: Network>(network: &N, gateway: &TestGateway<impl Network>) -> Server {
    let addr = gateway.server_addr.to_string();
    let server = Server::connect(network, &addr, ServerId::new(7), KEY, EndpointConfig::default());
    let server = server.await.unwrap();
    gateway.until("it is registered", |counts| counts.servers == 1).await;
    server
}

/// Its number, and bytes that go with it.
fn message(number: u32) -> Vec<u8> {
    let len = match number % 50 {
        0 => 200_000,
        1 => 16_384,
        rest => rest as usize,
    };
    let mut message = number.to_le_bytes().to_vec();
    message.resize(4 + len, number as u8);
    message
}

async fn exchange(conn: VirtualConn, messages: u32) {
    let (mut sending, mut receiving) = conn.split();
    let send = async {
        for number in 0..messages {
            sending.send(message(number)).await.unwrap();
        }
    };
    let receive = async {
        for number in 0..messages {
            assert!(receiving.recv().await.unwrap() == message(number), "message {number}");
        }
    };
    tokio::join!(send, receive);
}

/// With TLS on both ports, and on one of them.
#[tokio::test]
async fn thousands_of_messages_of_any_size_arrive_once_and_in_order() {
    async fn on<N: Network>(network: N, shards: usize, [for_clients, for_servers]: [bool; 2]) {
        let trust = Trust::new();
        let config = config_with(|config| {
            config.threads = threads(shards);
            config.client.tls = for_clients.then(|| trust.acceptor());
            config.server.tls = for_servers.then(|| trust.acceptor());
            // Bursts are not what this is about.
            config.client.queue.messages = 100_000;
            config.client.queue.bytes = 64 << 20;
        });
        let gateway = TestGateway::start_on(network.clone(), config).await;
        let encrypted = trust.over(network.clone());
        let server = match for_servers {
            true => server(&encrypted, &gateway).await,
            false => server(&network, &gateway).await,
        };
        let mut conns = tokio::task::JoinSet::new();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let client = match for_clients {
                true => client(&encrypted, &gateway).await,
                false => client(&network, &gateway).await,
            };
            let (near, far) = tokio::join!(client.dial(server.id()), server.accept());
            conns.spawn(exchange(near.unwrap(), 2000));
            conns.spawn(exchange(far.unwrap(), 2000));
            clients.push(client);
        }
        timeout(Duration::from_secs(120), conns.join_all()).await.expect("in time");
        for client in clients {
            client.close();
            assert!(matches!(client.ended().await, LinkError::ClosedHere));
        }
        drop(server);
        gateway.nothing_is_left().await;
        assert_eq!(gateway.handle.refusals(Refusal::Tls), 0);
        gateway.stop().await;
    }
    on(MemoryNetwork::new(), 1, [true, true]).await;
    on(MemoryNetwork::with_pipe_bytes(1000), 1, [true, false]).await;
    on(TcpNetwork::new(), 1, [false, true]).await;
    on(TcpNetwork::new(), 4, [true, true]).await;
}

/// All that a peer is sent reaches it although it is not sent anything more: the end of a record does not stay behind.
#[tokio::test(start_paused = true)]
async fn nothing_stays_behind_when_there_is_nothing_more_to_write() {
    let trust = Trust::new();
    let config = trust.for_clients(|config| config.client.keepalive.ping_interval = Duration::ZERO);
    let gateway = TestGateway::start_on(MemoryNetwork::with_pipe_bytes(500), config).await;
    let mut client = trust.client(&gateway).await;
    let mut server = gateway.server(7).await;
    let conn = client.open(7, &mut server).await;
    for len in [1, 400, 3000, 16_384, 100_000] {
        let message = wire::data(conn, &vec![9; len]);
        server.send(&message).await;
        // Its pipe is full by now.
        sleep(Duration::from_secs(1)).await;
        client.expect(&message).await;
    }
    drop((client, server));
    gateway.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_is_closed_although_only_a_record_waits() {
    let trust = Trust::new();
    let config = trust.for_clients(|config| {
        config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
    });
    let gateway = TestGateway::start_on(MemoryNetwork::with_pipe_bytes(500), config).await;
    let mut client = trust.client(&gateway).await;
    let mut server = gateway.server(7).await;
    let conn = client.open(7, &mut server).await;
    let start = Instant::now();
    server.send(wire::data(conn, &[9; 3000])).await;
    server.deadline = Duration::from_secs(300);
    server.expect(wire::close(conn)).await;
    assert_eq!(start.elapsed().as_secs(), 60, "the stall timeout");
    drop(client);
    gateway.until("it has gone", |counts| counts.clients == 0).await;
}

/// What was sent before comes first, then TLS' own end; and the same the other way round.
#[tokio::test(start_paused = true)]
async fn a_connection_ends_in_order_at_either_end() {
    let trust = Trust::new();
    let gateway = TestGateway::start_in_memory(trust.for_clients(|_| {})).await;
    let mut server = gateway.server(7).await;
    let mut client = trust.client(&gateway).await;
    let conn = client.open(7, &mut server).await;
    client.send(wire::data(conn, b"the last")).await;
    client.stream.shutdown().await.unwrap();
    server.expect(wire::data(conn, b"the last")).await;
    server.expect(wire::close(conn)).await;
    // Without close_notify this would be an error.
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());

    let mut client = trust.client(&gateway).await;
    let conn = client.open(7, &mut server).await;
    server.send(wire::data(conn, &[5; 300_000])).await;
    server.expect_nothing().await;
    let running = tokio::spawn(gateway.stop());
    client.expect(wire::data(conn, &[5; 300_000])).await;
    client.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    drop(client);
    running.await.unwrap();
}

/// None of them holds up the others, and each is gone when its time is over.
#[tokio::test(start_paused = true)]
async fn whoever_does_not_shake_hands_in_time_is_turned_away() {
    let trust = Trust::new();
    let config = trust.for_clients(|config| {
        config.server.tls = Some(trust.acceptor());
    });
    let gateway = TestGateway::start_in_memory(config).await;
    let hello = hello(&trust).await;
    let start = Instant::now();
    let mut waiting = Vec::new();
    for begun in [0, 1, 5, 100, hello.len() - 1, hello.len()] {
        let mut client = gateway.client().await;
        client.send(&hello[..begun]).await;
        let mut server = gateway.stranger().await;
        server.send(&hello[..begun]).await;
        waiting.push((client, server));
    }
    let mut served = trust.client(&gateway).await;
    served.expect_nothing().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(gateway.handle.counts().clients, 1);
    let mut ends = tokio::task::JoinSet::new();
    for (client, server) in waiting {
        ends.spawn(async move { (until_end(server).await, until_end(client).await) });
    }
    for (server, client) in ends.join_all().await {
        assert_eq!((server - start).as_secs(), 3, "--server-auth-timeout");
        assert_eq!((client - start).as_secs(), HANDSHAKE.as_secs(), "--client-tls-timeout");
    }
    assert_eq!(gateway.handle.refusals(Refusal::Tls), 12);
    drop(served);
    gateway.nothing_is_left().await;
    gateway.stop().await;
}

/// Byte by byte, in one with the rest, it lasts no longer.
#[tokio::test(start_paused = true)]
async fn a_slow_handshake_is_served_if_it_is_done_in_time() {
    let trust = Trust::new();
    let gateway = TestGateway::start_in_memory(trust.for_clients(|_| {})).await;
    for (pause, in_time) in [(Duration::from_millis(5), true), (Duration::from_millis(200), false)] {
        let wire = gateway.network.connect(&gateway.client_addr.to_string()).await.unwrap();
        let (end, slow) = tokio::io::duplex(1 << 20);
        tokio::spawn(trickle(slow, wire, pause));
        let mut client = trust.connector.connect(Pipe(end), "gateway").unwrap();
        let start = Instant::now();
        let shaken = timeout(Duration::from_secs(1000), client.handshake()).await.unwrap();
        // The client may be done with its own part before the other end gives up.
        let served = match shaken {
            Ok(()) => {
                client.write_all(&wire::ping()).await.unwrap();
                client.flush().await.unwrap();
                let mut pong = [0; 9];
                client.read_exact(&mut pong).await.is_ok()
            }
            Err(_) => false,
        };
        assert_eq!(served, in_time, "after {:?}", start.elapsed());
    }
    gateway.nothing_is_left().await;
}

async fn until_end(mut peer: Raw<MemoryStream>) -> Instant {
    let mut rest = Vec::new();
    let _ = peer.stream.read_to_end(&mut rest).await;
    Instant::now()
}

/// What a client begins with.
async fn hello(trust: &Trust) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut client = trust.connector.connect(Pipe(near), "gateway").unwrap();
    // It sends all of it, then waits for the answer.
    timeout(Duration::from_secs(1), client.handshake()).await.expect_err("nobody answers");
    drop(client);
    let mut hello = Vec::new();
    far.read_to_end(&mut hello).await.unwrap();
    hello
}

/// One byte, then a pause; the other way all at once.
async fn trickle(slow: tokio::io::DuplexStream, wire: MemoryStream, pause: Duration) {
    let ((mut slow_reading, mut slow_writing), (mut reading, mut writing)) =
        (tokio::io::split(slow), tokio::io::split(wire));
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut reading, &mut slow_writing).await;
        let _ = slow_writing.shutdown().await;
    });
    while let Ok(byte) = slow_reading.read_u8().await {
        if writing.write_u8(byte).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
    let _ = writing.shutdown().await;
}

/// A pipe as a stream.
struct Pipe(tokio::io::DuplexStream);

impl fastway::net::Stream for Pipe {
    fn peer_addr(&self) -> io::Result<std::net::SocketAddr> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

impl tokio::io::AsyncRead for Pipe {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl tokio::io::AsyncWrite for Pipe {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_speaks_no_tls_is_turned_away_at_once() {
    let trust = Trust::new();
    let config = trust.for_clients(|config| {
        config.server.tls = Some(trust.acceptor());
        config.client.max_clients_per_ip = 2;
    });
    let gateway = TestGateway::start_in_memory(config).await;
    let start = Instant::now();
    for (count, garbage) in
        [&wire::ping()[..], &wire::dial(7), b"GET / HTTP/1.1\r\n\r\n", &[0xff; 50_000]].iter().enumerate()
    {
        let (mut client, mut server) = (gateway.client().await, gateway.stranger().await);
        client.send(garbage).await;
        server.send(garbage).await;
        until_end(client).await;
        until_end(server).await;
        // Whoever was turned away has given its place back.
        assert_eq!(gateway.handle.refusals(Refusal::Tls), 2 * (count as u64 + 1));
    }
    // A load balancer that looks whether somebody listens.
    drop(gateway.client().await);
    // The endpoint library without TLS.
    let plain = client(&gateway.network, &gateway).await;
    assert!(plain.dial(ServerId::new(7)).await.is_err());
    assert_eq!(gateway.handle.refusals(Refusal::Tls), 9);
    assert_eq!(start.elapsed().as_secs(), 0);
    gateway.nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn the_log_says_who_had_no_tls_and_why() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let trust = Trust::new();
    let gateway = TestGateway::start_in_memory(trust.for_clients(|_| {})).await;
    drop(gateway.client().await);
    for _ in 0..20 {
        let mut client = gateway.client().await;
        client.send(wire::ping()).await;
        until_end(client).await;
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 5, "{lines:?}");
    for word in ["no TLS: turned away", "side=client", "peer=\"127.0.0.1:", "is not TLS"] {
        assert!(lines[0].contains(word), "{word:?} is not in {lines:?}");
    }
    assert_eq!(gateway.handle.refusals(Refusal::Tls), 20);
}

/// The sentence that the user of the library gets.
#[tokio::test(start_paused = true)]
async fn who_brings_tls_to_a_gateway_without_it_is_told_so() {
    let trust = Trust::new();
    let gateway = TestGateway::start_in_memory(config_with(|_| {})).await;
    let (encrypted, config) = (trust.over(gateway.network.clone()), EndpointConfig::default());
    // As a frame, its hello has a length that may be, so the gateway waits for the rest.
    let addr = gateway.client_addr.to_string();
    let error = Client::connect(&encrypted, &addr, config.clone()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }));
    assert!(error.to_string().contains("both ends use TLS, or neither"), "{error}");

    let addr = gateway.server_addr.to_string();
    let error = Server::connect(&encrypted, &addr, ServerId::new(7), KEY, config).await.unwrap_err();
    assert!(error.to_string().contains("is not TLS"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn servers_can_be_asked_for_a_certificate_and_still_need_the_password() {
    let (trust, servers) = (Trust::new(), Authority::new());
    let identity = trust.authority.issue("gateway.internal").identity();
    let config = config_with(|config| {
        config.server.tls = Some(TlsAcceptor::new(identity, Some(servers.authorities())).unwrap());
    });
    let gateway = TestGateway::start_in_memory(config).await;
    let known = trust.connector.clone().with_identity(servers.issue("server 1").identity());
    let known = TlsNetwork::new(gateway.network.clone(), known);
    let server = server(&known, &gateway).await;

    let addr = gateway.server_addr.to_string();
    let unknown = trust.over(gateway.network.clone());
    let refused = Server::connect(&unknown, &addr, ServerId::new(8), KEY, EndpointConfig::default()).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("asks for a certificate"), "{error}");
    assert_eq!(gateway.handle.refusals(Refusal::Tls), 1);

    let wrong = Server::connect(&known, &addr, ServerId::new(8), b"wrong", EndpointConfig::default());
    assert!(matches!(wrong.await.unwrap().ended().await, LinkError::TurnedAway));
    assert_eq!(gateway.handle.refusals(Refusal::Handshake), 1);
    drop(server);
    gateway.nothing_is_left().await;
}

/// The header is in front of TLS, and whose connection it is counts.
#[tokio::test(start_paused = true)]
async fn a_proxys_header_comes_before_tls() {
    let trust = Trust::new();
    let config = trust.for_clients(|config| {
        config.client.proxy_protocol = vec!["127.0.0.1/32".parse().unwrap()];
        config.client.max_clients_per_ip = 1;
    });
    let gateway = TestGateway::start_in_memory(config).await;
    let behind = async |addr: &str| {
        let addr = format!("PROXY TCP4 {addr} 10.0.0.1 5 7010\r\n");
        let mut stream = gateway.network.connect(&gateway.client_addr.to_string()).await.unwrap();
        stream.write_all(addr.as_bytes()).await.unwrap();
        let mut client = trust.connector.connect(stream, "gateway").unwrap();
        client.handshake().await.map(|()| Raw::new(client))
    };
    let mut first = behind("192.0.2.1").await.unwrap();
    first.expect_nothing().await;
    assert!(behind("192.0.2.1").await.is_err(), "it has a place already");
    behind("192.0.2.2").await.unwrap().expect_nothing().await;
    assert_eq!(gateway.handle.refusals(Refusal::ClientsOfAddress), 1);
    assert_eq!(gateway.handle.refusals(Refusal::Tls), 0);
}

/// A handshake is work: whoever has no place is turned away before it.
#[tokio::test(start_paused = true)]
async fn a_full_gateway_shakes_no_hands() {
    let trust = Trust::new();
    let gateway =
        TestGateway::start_in_memory(trust.for_clients(|config| config.client.max_clients = 1)).await;
    let mut first = trust.client(&gateway).await;
    first.expect_nothing().await;
    let mut second = gateway.client().await;
    second.expect_end().await;
    assert_eq!(gateway.handle.refusals(Refusal::Clients), 1);
    drop(first);
    gateway.nothing_is_left().await;
    trust.client(&gateway).await.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn certificates_are_renewed_without_dropping_anybody() {
    let (old, new) = (Trust::new(), Trust::new());
    let config = old.for_clients(|_| {});
    let gateway = TestGateway::start_in_memory(config).await;
    let mut connected = old.client(&gateway).await;

    let renewed = gateway.handle.reconfigure(new.for_clients(|_| {})).unwrap();
    assert_eq!(renewed.to_string(), "for new connections: --client-tls-cert");
    let addr = gateway.client_addr.to_string();
    assert!(old.over(gateway.network.clone()).connect(&addr).await.is_err());
    new.client(&gateway).await.expect_nothing().await;
    connected.expect_nothing().await;

    // It can be turned off, and on again.
    let without = config_with(|_| {});
    gateway.handle.reconfigure(without).unwrap();
    gateway.client().await.expect_nothing().await;
    let unchanged = new.for_clients(|_| {});
    gateway.handle.reconfigure(unchanged.clone()).unwrap();
    new.client(&gateway).await.expect_nothing().await;
    assert_eq!(gateway.handle.reconfigure(unchanged).unwrap().to_string(), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_does_not_delay_the_end_of_the_gateway() {
    let trust = Trust::new();
    let gateway = TestGateway::start_in_memory(trust.for_clients(|_| {})).await;
    let waiting = gateway.client().await;
    sleep(Duration::from_millis(1)).await;
    let start = Instant::now();
    gateway.stop().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    until_end(waiting).await;
}
