//! Peers that are nothing but a socket: they speak frames, or whatever else they like.

use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::{Frame, MaxPacket};
use fastway::handshake::Challenge;
use fastway::id::{ConnId, RemoteId, ServerId};
use fastway::reader::{Flow, FrameReader, Progress, with_scratch};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A server that dials are meant for may not be registered yet: the gateway says nothing when it is.
const REGISTERING: Duration = Duration::from_secs(5);

/// Bytes of `Accept` on the wire.
const ACCEPT_BYTES: usize = 17;

/// Connects a client.
pub(crate) async fn client(addr: &str) -> anyhow::Result<TcpStream> {
    let stream =
        TcpStream::connect(addr).await.with_context(|| format!("no client can connect to {addr}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects a server and registers it by this ID; the password is empty.
pub(crate) async fn server(addr: &str, id: u32) -> anyhow::Result<TcpStream> {
    let mut stream =
        TcpStream::connect(addr).await.with_context(|| format!("no server can connect to {addr}"))?;
    stream.set_nodelay(true)?;
    let mut challenge = [0; Challenge::BYTES];
    stream.read_exact(&mut challenge).await.context("the gateway sent no challenge")?;
    stream.write_all(&Challenge(challenge).answer(b"", ServerId::new(id)).encode()).await?;
    Ok(stream)
}

/// Dials a server from a client that has said nothing yet, and reads the answer: not a byte more.
pub(crate) async fn dial(stream: &mut TcpStream, server: u32) -> anyhow::Result<ConnId> {
    let deadline = Instant::now() + REGISTERING;
    loop {
        stream.write_all(ToGateway::Dial { remote: RemoteId::new(server) }.encode().as_ref()).await?;
        let mut answer = [0; ACCEPT_BYTES];
        // `Refuse` is shorter than `Accept`, by the length of a connection ID.
        let (refusal, more) = answer.split_at_mut(ACCEPT_BYTES - 4);
        stream.read_exact(refusal).await.context("the gateway did not answer a dial")?;
        if let Ok(ToEndpoint::Refuse { .. }) = ToEndpoint::decode(&refusal[8..]) {
            ensure!(Instant::now() < deadline, "server {server} did not become reachable in {REGISTERING:?}");
            sleep(Duration::from_millis(1)).await;
            continue;
        }
        stream.read_exact(more).await?;
        match ToEndpoint::decode(&answer[8..])? {
            ToEndpoint::Accept { conn, .. } => return Ok(conn),
            other => bail!("a dial was answered by {other:?}"),
        }
    }
}

/// What a peer hears.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    Command(ToEndpoint),
    Message(ConnId, &'a [u8]),
}

/// Whole frames from a stream.
#[derive(Debug)]
pub(crate) struct Ear(FrameReader);

impl Ear {
    pub(crate) fn new() -> Self {
        Self(FrameReader::new(MaxPacket::default()))
    }

    /// Reads once, and hands on what was whole. `false` at the end of the stream. Cancel-safe.
    pub(crate) async fn hear<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        mut handle: impl FnMut(Heard<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut handled = Ok(());
        let mut handle_frame = |frame: &mut Frame<'_>| {
            let heard = match frame.conn() {
                Some(conn) => Ok(Heard::Message(conn, frame.message())),
                None => ToEndpoint::decode(frame.message()).map(Heard::Command),
            };
            if handled.is_ok() {
                handled = heard.map_err(Into::into).and_then(&mut handle);
            }
            Ok::<_, Infallible>(Flow::Next)
        };
        let read =
            poll_fn(|cx| with_scratch(|scratch| self.0.poll_frames(cx, stream, scratch, &mut handle_frame)));
        let progress = read.await?;
        handled?;
        Ok(!matches!(progress, Progress::Eof { .. }))
    }
}
