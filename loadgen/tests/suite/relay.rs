//! A relay in front of one port of the gateway, which knows frames and may spoil one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fastway::frame::{MaxPacket, Split, split};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Which port of the gateway is behind it, and so who connects to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Public,
    Internal,
}

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flow {
    /// From the tool to the gateway.
    Up,
    /// From the gateway to the tool.
    Down,
}

/// What is done to a data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    Nothing,
    /// One bit of this byte of the message.
    Flip(usize),
    Drop,
    Repeat,
    /// With the next one of its connection.
    Swap,
    /// Onto another virtual connection of the same link.
    Reroute,
    /// Once more after the gateway's Close.
    AfterClose,
}

/// A data frame, as it was before it was spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) conn: u32,
    pub(crate) seq: u32,
}

/// The messages of one virtual connection: number and length.
pub(crate) type Messages = Vec<(u32, usize)>;

pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

struct State {
    flow: Flow,
    spoil: Spoil,
    /// Data frames that pass before it happens.
    wait: usize,
    victim: Option<Victim>,
    /// What the tool has sent, by physical and virtual connection.
    seen: BTreeMap<(usize, u32), Messages>,
}

impl Relay {
    /// In front of `gateway`, which is its public port or its internal one.
    pub(crate) fn start(gateway: SocketAddr, port: Port, flow: Flow, spoil: Spoil, wait: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let state = State { flow, spoil, wait, victim: None, seen: BTreeMap::new() };
        let state = Arc::new(Mutex::new(state));
        runtime.spawn(accept_all(listener, gateway, port, state.clone()));
        Self { addr, state, _runtime: runtime }
    }

    /// What was spoilt.
    pub(crate) fn victim(&self) -> Option<Victim> {
        self.state.lock().unwrap().victim
    }

    /// What the tool has sent, connection by connection, in an order that does not depend on chance.
    pub(crate) fn seen(&self) -> Vec<Messages> {
        let mut all: Vec<Messages> = self.state.lock().unwrap().seen.values().cloned().collect();
        all.sort();
        all
    }
}

async fn accept_all(listener: TcpListener, gateway: SocketAddr, port: Port, state: Arc<Mutex<State>>) {
    for number in 0.. {
        let Ok((tool, _)) = listener.accept().await else { return };
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(gateway) = TcpStream::connect(gateway).await else { return };
            tool.set_nodelay(true).unwrap();
            gateway.set_nodelay(true).unwrap();
            let ((from_tool, to_tool), (from_gateway, to_gateway)) =
                (tool.into_split(), gateway.into_split());
            // The handshake of servers: a challenge, and its answer with the server's ID.
            let raw = |bytes| if port == Port::Internal { bytes } else { 0 };
            let up = Pipe::new(Flow::Up, number, state.clone());
            let down = Pipe::new(Flow::Down, number, state);
            tokio::spawn(up.run(from_tool, to_gateway, raw(20)));
            tokio::spawn(down.run(from_gateway, to_tool, raw(8)));
        });
    }
}

/// One way of one physical connection.
struct Pipe {
    flow: Flow,
    number: usize,
    state: Arc<Mutex<State>>,
    conns: BTreeSet<u32>,
    /// The last data frame of each virtual connection.
    last: BTreeMap<u32, Vec<u8>>,
    held: Option<(u32, Vec<u8>)>,
}

impl Pipe {
    fn new(flow: Flow, number: usize, state: Arc<Mutex<State>>) -> Self {
        Self { flow, number, state, conns: BTreeSet::new(), last: BTreeMap::new(), held: None }
    }

    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut raw: usize) {
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        while matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
            let unframed = raw.min(bytes.len());
            out.extend(bytes.drain(..unframed));
            raw -= unframed;
            let mut taken = 0;
            while let Split::Frame(frame, _) = split(&bytes[taken..], MaxPacket::default()).unwrap() {
                self.frame(frame.as_bytes().to_vec(), frame.conn().map(|conn| conn.get()), &mut out);
                taken += frame.as_bytes().len();
            }
            bytes.drain(..taken);
            if to.write_all(&out).await.is_err() {
                break;
            }
            out.clear();
        }
        // What one side ends, is ended for the other.
        let _ = to.shutdown().await;
    }

    fn frame(&mut self, mut frame: Vec<u8>, conn: Option<u32>, out: &mut Vec<u8>) {
        let state = self.state.clone();
        let mut state = state.lock().unwrap();
        let Some(conn) = conn else {
            out.extend_from_slice(&frame);
            return self.command(&frame, &mut state, out);
        };
        let seq = u32_at(&frame, 16);
        if self.flow == Flow::Up {
            state.seen.entry((self.number, conn)).or_default().push((seq, frame.len() - 8));
        }
        self.conns.insert(conn);
        if self.flow == state.flow && state.spoil == Spoil::AfterClose {
            self.last.insert(conn, frame.clone());
        }
        if let Some((of, held)) = self.held.take() {
            out.extend_from_slice(&frame);
            if of == conn {
                out.extend_from_slice(&held);
            } else {
                self.held = Some((of, held));
            }
            return;
        }
        let other = self.conns.iter().find(|other| **other != conn).copied();
        let is_next = self.flow == state.flow
            && state.victim.is_none()
            && !matches!(state.spoil, Spoil::Nothing | Spoil::AfterClose)
            && (state.spoil != Spoil::Reroute || other.is_some());
        if is_next && state.wait > 0 {
            state.wait -= 1;
        } else if is_next {
            state.victim = Some(Victim { conn, seq });
            match state.spoil {
                Spoil::Nothing | Spoil::AfterClose => {}
                Spoil::Flip(byte) => frame[8 + byte] ^= 0x10,
                Spoil::Drop => return,
                Spoil::Repeat => out.extend_from_slice(&frame),
                Spoil::Swap => {
                    self.held = Some((conn, frame));
                    return;
                }
                Spoil::Reroute => frame[4..8].copy_from_slice(&other.unwrap().to_le_bytes()),
            }
        }
        out.extend_from_slice(&frame);
    }

    /// Behind a command.
    fn command(&mut self, frame: &[u8], state: &mut State, out: &mut Vec<u8>) {
        const CLOSE: u8 = 4;
        let is_close = frame.len() >= 13 && frame[8] == CLOSE;
        if self.flow == Flow::Down && is_close && state.spoil == Spoil::AfterClose && state.victim.is_none() {
            let conn = u32_at(frame, 9);
            if let Some(last) = self.last.get(&conn) {
                state.victim = Some(Victim { conn, seq: u32_at(last, 16) });
                out.extend_from_slice(last);
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
