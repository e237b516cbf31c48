//! Peers that break the protocol in one way or another, and go.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::command::ToGateway;
use fastway::frame::MaxPacket;
use fastway::handshake::{Challenge, Hello};
use fastway::id::RemoteId;
use fastway_loadgen::Target;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// They come from so many addresses, since each has 28,000 ports only, and a port rests a minute after its use.
const SOURCES: u64 = 16;

/// At the same time, at most.
const AT_ONCE: usize = 64;

/// A gateway that has not closed the connection of a peer that broke the protocol after so long does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to misbehave.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Bytes that mean nothing.
    Random,
    /// A frame that announces more than is allowed.
    TooLong,
    /// A frame that announces less than its own header.
    TooShort,
    /// The beginning of a frame, then the end.
    HalfFrame,
    /// A part of a server's answer, then the end.
    HalfHandshake,
    /// A whole answer, and a wrong one.
    WrongHandshake,
    /// A reset at once, at the port for clients.
    Reset,
    /// The same at the port for servers.
    ServerReset,
    /// A dial, and a reset before the answer.
    DialAndReset,
}

const KINDS: [Kind; 9] = [
    Kind::Random,
    Kind::TooLong,
    Kind::TooShort,
    Kind::HalfFrame,
    Kind::HalfHandshake,
    Kind::WrongHandshake,
    Kind::Reset,
    Kind::ServerReset,
    Kind::DialAndReset,
];

/// Peers of all kinds, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Garbage {
    /// How many a second.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

impl Garbage {
    /// Goes on until it is told to stop, or until so many have come and gone, which `done` counts.
    pub(crate) async fn run(
        self,
        target: Target,
        count: u64,
        stop: CancellationToken,
        done: Arc<AtomicU64>,
    ) -> anyhow::Result<()> {
        let client: SocketAddr = target.client_addr.parse().context("the gateway's address is one")?;
        let server: SocketAddr = target.server_addr.parse().context("the gateway's address is one")?;
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let (start, mut peers) = (Instant::now(), JoinSet::new());
        for number in 0..count {
            let due = start + Duration::from_secs_f64(number as f64 / self.rate);
            if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
                break;
            }
            let place = room.clone().acquire_owned().await?;
            while let Some(ended) = peers.try_join_next() {
                ended??;
            }
            let kind = KINDS[(number % KINDS.len() as u64) as usize];
            let source = Ipv4Addr::new(127, 0, 0, 2 + (number % SOURCES) as u8);
            let (rng, done) = (StdRng::seed_from_u64(self.seed ^ number), done.clone());
            peers.spawn(async move {
                let gone = kind.play(source, client, server, rng).await;
                done.fetch_add(1, Ordering::Relaxed);
                drop(place);
                gone.with_context(|| format!("a peer that misbehaves ({kind:?})"))
            });
        }
        while let Some(ended) = peers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Kind {
    async fn play(
        self,
        source: Ipv4Addr,
        client: SocketAddr,
        server: SocketAddr,
        mut rng: StdRng,
    ) -> anyhow::Result<()> {
        let is_server = matches!(self, Self::HalfHandshake | Self::WrongHandshake | Self::ServerReset);
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        if matches!(self, Self::Reset | Self::ServerReset | Self::DialAndReset) {
            socket.set_zero_linger()?;
        }
        let mut stream = socket.connect(if is_server { server } else { client }).await?;
        let bytes = self.bytes(&mut rng);
        if is_server && !bytes.is_empty() {
            stream.read_exact(&mut [0; Challenge::BYTES]).await?;
        }
        stream.write_all(&bytes).await?;
        if matches!(self, Self::TooLong | Self::TooShort | Self::WrongHandshake) {
            // The end of file or a reset, as the gateway likes.
            let closed = timeout(PATIENCE, stream.read_u8()).await;
            let closed = closed.with_context(|| format!("it was not closed in {PATIENCE:?}"))?;
            ensure!(closed.is_err(), "it was answered, and not closed");
        }
        Ok(())
    }

    /// What it says.
    fn bytes(self, rng: &mut StdRng) -> Vec<u8> {
        let max = MaxPacket::default().bytes();
        let frame = |length: u32, more: usize| [length.to_le_bytes().to_vec(), vec![0; more]].concat();
        let mut random = |bytes: usize| {
            let mut out = vec![0; bytes];
            rng.fill_bytes(&mut out);
            out
        };
        match self {
            Self::Random => random(64),
            Self::TooLong => frame(max + 1, 4),
            Self::TooShort => frame(3, 4),
            Self::HalfFrame => frame(max, 1000),
            Self::HalfHandshake => random(Hello::BYTES / 2),
            Self::WrongHandshake => random(Hello::BYTES),
            Self::Reset | Self::ServerReset => Vec::new(),
            Self::DialAndReset => ToGateway::Dial { remote: RemoteId::new(1) }.encode().as_ref().to_vec(),
        }
    }
}
