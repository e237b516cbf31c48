//! A gateway that does nothing that it need not: it looks up who a frame is for and passes it on. No limits, no checks, no
//! keepalive, no password. What is measured against it, is measured of the tool and the kernel.
//!
//! Not for use: whoever connects can bring it down.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::{Frame, MaxPacket};
use fastway::handshake::{Challenge, Hello};
use fastway::id::{ConnId, RemoteId, ServerId, Side};
use fastway::net::{BindOptions, Listener, Network, Stream};
use fastway::reader::{Flow, FrameReader, Progress, with_scratch};
use rustc_hash::FxHashMap;
use tokio::io::ReadBuf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::coop::unconstrained;

use crate::plan::Target;
use crate::wake::{Alert, Ready};

/// A gateway that does nothing, on a thread of its own, until the process ends.
#[derive(Debug)]
pub struct NullGateway {
    target: Target,
}

impl NullGateway {
    /// Starts one on free ports of the loopback address of this network.
    ///
    /// # Errors
    ///
    /// If there are no ports or no threads.
    #[expect(clippy::disallowed_methods, reason = "it has a thread of its own")]
    pub fn start<N: Network>(network: &N) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = async {
            let options = BindOptions::default();
            let clients = network.bind(any_port, options).await?;
            io::Result::Ok((clients, network.bind(any_port, options).await?))
        };
        let (clients, servers) = runtime.block_on(bound).context("cannot listen on the loopback address")?;
        let target = Target {
            client_addr: clients.local_addr()?.to_string(),
            server_addr: servers.local_addr()?.to_string(),
        };
        std::thread::Builder::new().name("null-gateway".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let (accepted, streams) = unbounded_channel();
                tokio::spawn(accept_all(clients, Side::Client, accepted.clone()));
                tokio::spawn(accept_all(servers, Side::Server, accepted));
                let mut gateway = Switchboard::new(streams);
                unconstrained(std::future::poll_fn(|cx| gateway.turn(cx))).await;
            });
        })?;
        Ok(Self { target })
    }

    /// Where it listens.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.clone()
    }
}

async fn accept_all<L: Listener>(mut listener: L, side: Side, accepted: UnboundedSender<(Side, L::Stream)>) {
    while let Ok(stream) = listener.accept().await {
        if accepted.send((side, stream)).is_err() {
            return;
        }
    }
}

struct Switchboard<S> {
    accepted: UnboundedReceiver<(Side, S)>,
    ends: Vec<End<S>>,
    wires: Wires,
    ready: Arc<Ready>,
    woken: Vec<u32>,
}

/// One physical connection, as it reads and writes.
struct End<S> {
    stream: S,
    reader: FrameReader,
    alert: Alert,
    side: Side,
    /// What a server still has to send before frames.
    hello: Option<(usize, [u8; Hello::BYTES])>,
    is_over: bool,
}

/// Who is joined with whom, and what waits to be written.
#[derive(Default)]
struct Wires {
    outs: Vec<Vec<u8>>,
    is_dirty: Vec<bool>,
    dirty: Vec<u32>,
    servers: FxHashMap<u32, u32>,
    /// By Conn ID: the client's place and the server's.
    conns: Vec<Option<(u32, u32)>>,
}

impl<S: Stream> Switchboard<S> {
    fn new(accepted: UnboundedReceiver<(Side, S)>) -> Self {
        let wires = Wires { conns: vec![None], ..Wires::default() };
        Self { accepted, ends: Vec::new(), wires, ready: Arc::default(), woken: Vec::new() }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(accepted) = self.accepted.poll_recv(cx) {
            let Some((side, stream)) = accepted else { return Poll::Ready(()) };
            self.add(side, stream);
        }
        let mut woken = std::mem::take(&mut self.woken);
        self.ready.take(&mut woken, cx.waker());
        for index in woken.drain(..) {
            let end = &mut self.ends[index as usize];
            end.alert.begin_turn();
            end.read(index, &mut self.wires);
            self.wires.mark_dirty(index);
        }
        self.woken = woken;
        while let Some(index) = self.wires.dirty.pop() {
            self.wires.is_dirty[index as usize] = false;
            self.ends[index as usize].write(&mut self.wires.outs[index as usize]);
        }
        Poll::Pending
    }

    fn add(&mut self, side: Side, stream: S) {
        let index = self.ends.len() as u32;
        let alert = self.ready.alert(index);
        let hello = (side == Side::Server).then_some((0, [0; Hello::BYTES]));
        let out = if side == Side::Server { vec![0; Challenge::BYTES] } else { Vec::new() };
        alert.wake();
        self.ends.push(End {
            stream,
            reader: FrameReader::new(MaxPacket::default()),
            alert,
            side,
            hello,
            is_over: false,
        });
        self.wires.outs.push(out);
        self.wires.is_dirty.push(false);
    }
}

impl<S: Stream> End<S> {
    fn read(&mut self, index: u32, wires: &mut Wires) {
        let alert = self.alert.clone();
        let mut cx = Context::from_waker(alert.waker());
        if self.hello.is_some() && !matches!(self.read_hello(&mut cx, index, wires), Poll::Ready(Ok(()))) {
            return;
        }
        while !self.is_over {
            let (side, stream, reader) = (self.side, &mut self.stream, &mut self.reader);
            let progress = with_scratch(|scratch| {
                reader.poll_frames(&mut cx, stream, scratch, |frame| {
                    wires.pass_on(side, index, frame).map(|()| Flow::Next)
                })
            });
            match progress {
                Poll::Pending => return,
                Poll::Ready(Ok(Progress::Read(_) | Progress::Held(_))) => {}
                Poll::Ready(Ok(Progress::Eof { .. }) | Err(_)) => self.is_over = true,
            }
        }
    }

    fn read_hello(&mut self, cx: &mut Context<'_>, index: u32, wires: &mut Wires) -> Poll<io::Result<()>> {
        let Some((got, bytes)) = &mut self.hello else { return Poll::Ready(Ok(())) };
        while *got < bytes.len() {
            let mut buffer = ReadBuf::new(&mut bytes[*got..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                self.is_over = true;
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            *got += buffer.filled().len();
        }
        // The ID is the last of it; whether the proof is right, nobody asks.
        let id = u32::from_le_bytes(*bytes.last_chunk().expect("a hello is longer than that"));
        wires.servers.insert(ServerId::new(id).get(), index);
        self.hello = None;
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let mut cx = Context::from_waker(self.alert.waker());
        let mut written = 0;
        while written < out.len() && !self.is_over {
            match Pin::new(&mut self.stream).poll_write(&mut cx, &out[written..]) {
                Poll::Ready(Ok(bytes)) => written += bytes,
                Poll::Ready(Err(_)) => self.is_over = true,
                Poll::Pending => break,
            }
        }
        if self.is_over {
            written = out.len();
        }
        out.drain(..written);
    }
}

impl Wires {
    fn pass_on(
        &mut self,
        side: Side,
        from: u32,
        frame: &Frame<'_>,
    ) -> Result<(), fastway::command::CommandError> {
        let Some(conn) = frame.conn() else {
            return ToGateway::decode(frame.message()).map(|command| self.obey(side, from, command));
        };
        if let Some(Some((client, server))) = self.conns.get(conn.get() as usize) {
            let to = if side == Side::Client { *server } else { *client };
            self.push(to, frame.as_bytes());
        }
        Ok(())
    }

    fn obey(&mut self, side: Side, from: u32, command: ToGateway) {
        match command {
            ToGateway::Ping => self.push(from, ToEndpoint::Ping.encode().as_ref()),
            ToGateway::Close { conn } => {
                let Some(conn) = conn else { return };
                let joined = self.conns.get_mut(conn.get() as usize).and_then(Option::take);
                for end in joined.map(|(client, server)| [client, server]).into_iter().flatten() {
                    self.push(end, ToEndpoint::Close { conn: Some(conn) }.encode().as_ref());
                }
            }
            ToGateway::Dial { remote } => self.dial(side, from, remote),
        }
    }

    /// Clients have their place as ID, from 1.
    fn dial(&mut self, side: Side, from: u32, remote: RemoteId) {
        let dialled = match side {
            Side::Client => self.servers.get(&remote.get()).copied(),
            Side::Server => remote.get().checked_sub(1).filter(|place| (*place as usize) < self.outs.len()),
        };
        let number = u32::try_from(self.conns.len()).ok().and_then(ConnId::new);
        let (Some(dialled), Some(conn)) = (dialled, number) else {
            return self.push(from, ToEndpoint::Refuse { remote }.encode().as_ref());
        };
        let (joined, dialler) = match side {
            Side::Client => ((from, dialled), RemoteId::new(from + 1)),
            Side::Server => ((dialled, from), RemoteId::new(from)),
        };
        self.conns.push(Some(joined));
        self.push(from, ToEndpoint::Accept { conn, remote }.encode().as_ref());
        self.push(dialled, ToEndpoint::Connect { conn, remote: dialler }.encode().as_ref());
    }

    fn push(&mut self, to: u32, bytes: &[u8]) {
        self.outs[to as usize].extend_from_slice(bytes);
        self.mark_dirty(to);
    }

    fn mark_dirty(&mut self, index: u32) {
        if !std::mem::replace(&mut self.is_dirty[index as usize], true) {
            self.dirty.push(index);
        }
    }
}
