//! A whole gateway with hostile peers on both sides at once, on a network in memory and in virtual time: one input is one
//! run, the same every time.

use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::extensions::{Extensions, ask, ask_as_client};
use fastway::frame::{self, Frame, LENGTH_BYTES, MaxPacket, Split, split};
use fastway::handshake::Challenge;
use fastway::id::{ConnId, RemoteId, ServerId};
use fastway::net::{MemoryNetwork, MemoryStream, Network};
use fastway_fuzz::Bytes;
use fastway_gateway::{Config, Counts, Gateway, Handle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep, timeout};

use crate::judge::judge;
use crate::peer::Peer;
use crate::script::{KEY, Script, Step, millis, square};

/// The most peers of one run.
const MOST_PEERS: usize = 8;

/// The most bytes that one step gives a peer to send: a script of many such steps should still be quick.
const MOST_BYTES: usize = 64 * 1024;

/// After so many rounds in which something moved, the play goes on as it is.
const MOST_ROUNDS: usize = 64;

/// Bytes on the wire.
const LONGEST_COMMAND: usize = 35;
const CLOSE: usize = 13;
const PING: usize = 9;

/// Well beyond all timeouts of the gateway, and no more than virtual time.
const DEADLINE: Duration = Duration::from_secs(60);

/// Flushing, lingering, and whoever is late: `STOP_TIMEOUT` of the gateway, and what the peers' pace adds.
const STOP_DEADLINE: Duration = Duration::from_secs(13);

/// Whatever the peers do, what the gateway says to each is true to the protocol. Afterwards it serves a good client and
/// a good server, and when it is stopped nothing is left of anybody.
///
/// With `SHOW` in the environment the script is printed first.
#[expect(clippy::print_stderr, reason = "whoever has one input run wants to read it")]
pub fn session(data: &[u8]) {
    let Ok(script) = Script::arbitrary(&mut Unstructured::new(data)) else { return };
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{script:#?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // Nobody's task is interrupted for having done much: what a step does depends on the script alone.
    runtime.block_on(unconstrained(play(&script)));
    assert_eq!(runtime.metrics().num_alive_tasks(), 0, "tasks are left");
}

async fn play(script: &Script<'_>) {
    let config = script.limits.config();
    config.check().expect("the limits are valid");
    let network = MemoryNetwork::with_pipe_bytes(script.limits.pipe_bytes());
    let gateway = Gateway::bind(&network, config.clone(), [7; 32]).await.expect("the addresses are free");
    let handle = gateway.handle();
    let running = tokio::spawn(gateway.run());

    let mut stage = Stage { network, config, handle: handle.clone(), peers: Vec::new() };
    stage.add_server(0, true).await;
    stage.add_client().await;
    for step in &script.steps {
        stage.play(step).await;
    }
    if !script.limits.stops_at_once {
        stage.settle().await;
        timeout(DEADLINE, stage.good_peers_are_served()).await.expect("good peers are served in time");
    }
    handle.stop();
    let begun = Instant::now();
    while !running.is_finished() {
        stage.pump();
        sleep(Duration::from_millis(250)).await;
        assert!(begun.elapsed() < STOP_DEADLINE, "the gateway does not stop");
    }
    running.await.expect("no panic").expect("it ran");
    assert_eq!(handle.counts(), Counts::default(), "something is left");
    stage.pump();
    judge(&stage.peers, stage.config.max_packet.bytes());
    // Those who wait for the last session have their turn.
    drop(stage);
    sleep(Duration::from_millis(1)).await;
}

/// Everybody who takes part.
struct Stage {
    network: MemoryNetwork,
    config: Config,
    handle: Handle,
    peers: Vec<Peer>,
}

impl Stage {
    async fn add_client(&mut self) {
        if self.peers.len() < MOST_PEERS {
            let addr = self.config.client.addr.to_string();
            self.peers.push(Peer::client(&self.network, &addr).await);
        }
    }

    async fn add_server(&mut self, id: u8, knows_key: bool) {
        if self.peers.len() < MOST_PEERS {
            let addr = self.config.server.addr.to_string();
            self.peers.push(Peer::server(&self.network, &addr, id, knows_key).await);
        }
    }

    fn peer(&mut self, number: u8) -> &mut Peer {
        let count = self.peers.len();
        &mut self.peers[usize::from(number) % count]
    }

    async fn play(&mut self, step: &Step<'_>) {
        match *step {
            Step::Client => self.add_client().await,
            Step::Server { id, proves } => self.add_server(id % 4, proves).await,
            Step::Bytes { peer, bytes: Bytes(bytes) } => self.peer(peer).unsent.extend_from_slice(bytes),
            Step::Frame { peer, conn, message: Bytes(message) } => {
                push_frame(&mut self.peer(peer).unsent, conn, message);
            }
            Step::Frames { peer, conn, count, message } => {
                let message = vec![message; square(message)];
                let most = MOST_BYTES / (8 + message.len());
                (0..usize::from(count).min(most))
                    .for_each(|_| push_frame(&mut self.peer(peer).unsent, conn, &message));
            }
            Step::Length { peer, length } => {
                self.peer(peer).unsent.extend_from_slice(&length.to_le_bytes());
            }
            Step::Ask { peer } => {
                self.peer(peer).unsent.extend_from_slice(ask(Extensions::KNOWN).as_ref());
                self.peer(peer).unsent.extend_from_slice(ask_as_client(Extensions::KNOWN).as_ref());
            }
            Step::Dial { peer, remote } => {
                let dial = ToGateway::Dial { remote: RemoteId::new(remote.into()) };
                self.peer(peer).unsent.extend_from_slice(dial.encode().as_ref());
            }
            Step::Close { peer, conn } => {
                let close = ToGateway::Close { conn: ConnId::new(conn.into()) };
                self.peer(peer).unsent.extend_from_slice(close.encode().as_ref());
            }
            Step::Ping { peer } => {
                self.peer(peer).unsent.extend_from_slice(ToGateway::Ping.encode().as_ref());
            }
            Step::Send { peer, bytes } => {
                self.peer(peer).send(bytes.into());
                tokio::task::yield_now().await;
            }
            Step::Turn => {
                self.pump();
                tokio::task::yield_now().await;
            }
            Step::Settle => self.settle().await,
            Step::Wait { millis: number } => {
                self.pump();
                sleep(millis(number)).await;
            }
            Step::Deafen { peer } => {
                let peer = self.peer(peer);
                peer.is_deaf = !peer.is_deaf;
            }
            Step::ShutDown { peer } => self.peer(peer).shut_down(),
            Step::Vanish { peer } => self.peer(peer).vanish(),
        }
    }

    /// Everybody sends and hears what is possible without waiting.
    fn pump(&mut self) {
        for peer in &mut self.peers {
            peer.send(usize::MAX);
            if !peer.is_deaf {
                peer.hear(usize::MAX);
            }
        }
    }

    /// Everybody sends and hears until nothing moves, within bounds: the pipes may be small.
    async fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let before = self.moved();
            self.pump();
            // Time passes when nobody has anything more to do.
            sleep(Duration::from_millis(1)).await;
            if self.moved() == before {
                break;
            }
        }
        self.queues_are_bounded();
    }

    /// Bytes that went either way so far.
    fn moved(&self) -> usize {
        self.peers.iter().map(|peer| peer.heard.len() + peer.sent.len()).sum()
    }

    /// Beyond the limits there is room for commands: the last one that had room, one for each virtual connection that
    /// ends, and a ping.
    fn queues_are_bounded(&self) {
        let (counts, dials) = (self.handle.counts(), self.peers.iter().map(Peer::dials).sum::<usize>());
        let most =
            |sessions: usize, limit: usize| sessions * (limit + LONGEST_COMMAND + dials * CLOSE + PING);
        let most = most(counts.clients, self.config.client.queue.bytes)
            + most(counts.servers, self.config.server.queue.bytes)
            // What a server learns when it asks is as long as a packet at most.
            + counts.servers * self.config.max_packet.max_frame_bytes();
        assert!(counts.queued_bytes <= most, "{counts:?}, but queues may have {most} bytes");
    }

    /// A dial, an echo, a close.
    async fn good_peers_are_served(&self) {
        let id = ServerId::new(1_000_000);
        let mut server = GoodPeer::connect(&self.network, &self.config, &self.config.server.addr).await;
        let mut challenge = [0; Challenge::BYTES];
        server.stream.read_exact(&mut challenge).await.expect("a challenge");
        server.write(&Challenge(challenge).answer(KEY, id).encode()).await;
        // The echo shows that it is registered.
        server.write(ToGateway::Ping.encode().as_ref()).await;
        server.until(|frame| is(frame, ToEndpoint::Ping)).await;

        let mut client = GoodPeer::connect(&self.network, &self.config, &self.config.client.addr).await;
        client.write(ToGateway::Dial { remote: id.into() }.encode().as_ref()).await;
        let accepted = |frame: &Frame<'_>| match command(frame) {
            Some(ToEndpoint::Accept { conn, remote }) if remote == id.into() => Some(conn),
            _ => None,
        };
        let conn = client.until(accepted).await;
        let connected = |frame: &Frame<'_>| match command(frame) {
            Some(ToEndpoint::Connect { conn: connected, .. }) if connected == conn => Some(()),
            _ => None,
        };
        server.until(connected).await;

        let message = &b"good morning"[..self.config.max_packet.max_message_bytes().min(12)];
        let is_message =
            |frame: &Frame<'_>| (frame.conn() == Some(conn)).then(|| assert_eq!(frame.message(), message));
        let mut wire = Vec::new();
        frame::encode(conn, message, &mut wire);
        client.write(&wire).await;
        server.until(is_message).await;
        server.write(&wire).await;
        client.until(is_message).await;

        client.write(ToGateway::Close { conn: Some(conn) }.encode().as_ref()).await;
        client.until(|frame| is(frame, ToEndpoint::Close { conn: Some(conn) })).await;
        server.until(|frame| is(frame, ToEndpoint::Close { conn: Some(conn) })).await;
    }
}

/// A peer that keeps to the protocol.
struct GoodPeer {
    stream: MemoryStream,
    max_packet: MaxPacket,
}

impl GoodPeer {
    async fn connect(network: &MemoryNetwork, config: &Config, addr: &SocketAddr) -> Self {
        let stream = network.connect(&addr.to_string()).await.expect("the gateway listens");
        Self { stream, max_packet: config.max_packet }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gateway takes it");
    }

    /// The next frame in which `find` finds something. Others are the doing of hostile peers, who may dial this one.
    async fn until<T>(&mut self, find: impl Fn(&Frame<'_>) -> Option<T>) -> T {
        loop {
            let mut bytes = vec![0; LENGTH_BYTES];
            self.stream.read_exact(&mut bytes).await.expect("the gateway stays");
            let length = u32::from_le_bytes(bytes[..].try_into().expect("four bytes"));
            bytes.resize(LENGTH_BYTES + length as usize, 0);
            self.stream.read_exact(&mut bytes[LENGTH_BYTES..]).await.expect("the gateway stays");
            let Ok(Split::Frame(frame, [])) = split(&bytes, self.max_packet) else {
                panic!("no frame: {bytes:?}")
            };
            if let Some(found) = find(&frame) {
                return found;
            }
        }
    }
}

fn command(frame: &Frame<'_>) -> Option<ToEndpoint> {
    frame.conn().is_none().then(|| ToEndpoint::decode(frame.message()).expect("a gateway says what is right"))
}

fn is(frame: &Frame<'_>, expected: ToEndpoint) -> Option<()> {
    (command(frame)? == expected).then_some(())
}

/// A frame without the library's help. With connection 0 it is a command, or none.
fn push_frame(wire: &mut Vec<u8>, conn: u8, message: &[u8]) {
    wire.extend_from_slice(&(message.len() as u32 + 4).to_le_bytes());
    wire.extend_from_slice(&u32::from(conn).to_le_bytes());
    wire.extend_from_slice(message);
}
