//! A network that writes down what passes through it: put between a gateway and its network.
//!
//! It decodes frames for itself, from the protocol's description and not with the code under test, and holds no bytes:
//! of a message it keeps length and hash.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use fastway::handshake::{Challenge, Hello};
use fastway::net::{BindOptions, Listener, Network, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::history::{History, Link, Note, Run, Side, What};
use crate::net::Host;
use crate::seed::{FNV_START, fnv_byte};

/// What a tap must know of the gateway behind it.
#[derive(Clone, Debug)]
pub struct Tap {
    /// Where to write.
    pub history: History,
    /// The run of the gateway.
    pub run: Run,
    /// When the run began, on the clock of its host.
    pub started: Instant,
    /// The largest Length that the gateway accepts.
    pub max_packet: u32,
    /// The key of servers.
    pub key: Vec<u8>,
    /// The port of servers; any other is for clients.
    pub server_port: u16,
    /// The hosts' addresses.
    pub hosts: Vec<std::net::IpAddr>,
}

impl Tap {
    fn note(&self, what: What) {
        let local_ms = self.started.elapsed().as_millis();
        self.history.note_local(u32::try_from(local_ms).unwrap_or(u32::MAX), what);
    }
}

/// A network with a [`Tap`].
#[derive(Clone, Debug)]
pub struct Tapped<N> {
    inner: N,
    tap: Tap,
}

impl<N: Network> Tapped<N> {
    /// Writes down all that passes the connections which `inner` accepts.
    #[must_use]
    pub fn new(inner: N, tap: Tap) -> Self {
        Self { inner, tap }
    }
}

impl<N: Network> Network for Tapped<N> {
    type Stream = TappedStream<N::Stream>;
    type Listener = TappedListener<N::Listener>;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<Self::Listener> {
        let side = if addr.port() == self.tap.server_port { Side::Server } else { Side::Client };
        let inner = self.inner.bind(addr, options).await?;
        Ok(TappedListener { inner, tap: self.tap.clone(), side })
    }

    /// A gateway never connects: there is nothing to write down.
    async fn connect(&self, _: &str) -> io::Result<Self::Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What a tapped network listens with.
#[derive(Debug)]
pub struct TappedListener<L> {
    inner: L,
    tap: Tap,
    side: Side,
}

impl<L: Listener> Listener for TappedListener<L> {
    type Stream = TappedStream<L::Stream>;

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        let inner = self.inner.accept().await?;
        let link = self.tap.history.next_link();
        let addr = inner.peer_addr()?;
        let host = self.tap.hosts.iter().position(|host| *host == addr.ip()).map_or(Host(usize::MAX), Host);
        self.tap.note(What::Opened(link, self.tap.run, self.side, host, addr));
        let is_server = self.side == Side::Server;
        Ok(TappedStream {
            inner,
            link,
            tap: self.tap.clone(),
            from_peer: Decoder::new(if is_server { Expect::Hello(Vec::new()) } else { Expect::Frame }),
            to_peer: Decoder::new(if is_server { Expect::Challenge(Vec::new()) } else { Expect::Frame }),
            challenge: Challenge([0; Challenge::BYTES]),
            waiting: false,
            blocked: false,
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection of a tapped network.
#[derive(Debug)]
pub struct TappedStream<S> {
    inner: S,
    link: Link,
    tap: Tap,
    from_peer: Decoder,
    to_peer: Decoder,
    challenge: Challenge,
    waiting: bool,
    blocked: bool,
}

impl<S: Stream> Stream for TappedStream<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}

impl<S: Stream> TappedStream<S> {
    fn has_read(&mut self, bytes: &[u8]) {
        let Self { from_peer, tap, link, challenge, .. } = self;
        from_peer.feed(bytes, tap.max_packet, |note| {
            let note = match note {
                Decoded::Note(note) => note,
                Decoded::Hello(wire) => {
                    let hello = Hello::decode(&wire);
                    let id = u32::from_le_bytes(wire[16..].try_into().expect("20 bytes"));
                    Note::Hello { id, valid: hello.verify(*challenge, &tap.key).is_some() }
                }
                Decoded::Challenge(_) | Decoded::Command(_) => Note::Malformed,
            };
            tap.note(What::In(*link, note));
        });
    }

    fn has_written(&mut self, bytes: &[u8]) {
        let Self { to_peer, tap, link, challenge, .. } = self;
        to_peer.feed(bytes, u32::MAX, |note| {
            let note = match note {
                Decoded::Note(note) => note,
                Decoded::Challenge(bytes) => {
                    *challenge = Challenge(bytes);
                    Note::Challenge
                }
                Decoded::Hello(_) | Decoded::Command(_) => Note::Malformed,
            };
            tap.note(What::Out(*link, note));
        });
    }
}

impl<S: Stream> AsyncRead for TappedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let was_waiting = std::mem::replace(&mut this.waiting, read.is_pending());
        match &read {
            Poll::Pending if was_waiting => {}
            Poll::Pending => this.tap.note(What::InWaiting(this.link, this.from_peer.is_inside())),
            Poll::Ready(Err(_)) => this.tap.note(What::InFailed(this.link, this.from_peer.is_inside())),
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                this.tap.note(What::InEof(this.link, this.from_peer.is_inside()));
            }
            Poll::Ready(Ok(())) => this.has_read(&buffer.filled()[before..]),
        }
        read
    }
}

impl<S: Stream> AsyncWrite for TappedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        let was_blocked = std::mem::replace(&mut this.blocked, written.is_pending());
        match &written {
            Poll::Pending if was_blocked => {}
            Poll::Pending => this.tap.note(What::OutBlocked(this.link)),
            Poll::Ready(Err(_)) => this.tap.note(What::OutFailed(this.link)),
            Poll::Ready(Ok(count)) => {
                if was_blocked {
                    this.tap.note(What::OutFlowing(this.link));
                }
                this.has_written(&bytes[..*count]);
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        if shut.is_ready() {
            self.tap.note(What::OutEof(self.link));
        }
        shut
    }
}

impl<S> Drop for TappedStream<S> {
    fn drop(&mut self) {
        self.tap.note(What::Dropped(self.link, self.from_peer.is_inside()));
    }
}

/// Frames from bytes in any pieces.
#[derive(Debug)]
struct Decoder {
    expect: Expect,
    header: Vec<u8>,
}

#[derive(Debug)]
enum Expect {
    Challenge(Vec<u8>),
    Hello(Vec<u8>),
    Frame,
    Message {
        conn: u32,
        len: u32,
        left: u32,
        hash: u64,
    },
    Command {
        left: u32,
        start: Vec<u8>,
    },
    /// After bytes that cannot be a frame.
    Nothing,
}

enum Decoded {
    Note(Note),
    /// A command and what stands behind its arguments.
    Command(Vec<u8>),
    Challenge([u8; Challenge::BYTES]),
    Hello([u8; Hello::BYTES]),
}

/// A command and all its arguments.
const COMMAND_BYTES: usize = 9;

/// What is kept of a command: the longest list of addresses that is looked at.
const KEPT_BYTES: usize = 64 * 1024;

impl Decoder {
    fn new(expect: Expect) -> Self {
        Self { expect, header: Vec::new() }
    }

    fn is_inside(&self) -> bool {
        !self.header.is_empty() || !matches!(self.expect, Expect::Frame)
    }

    fn feed(&mut self, bytes: &[u8], max_packet: u32, mut found: impl FnMut(Decoded)) {
        let mut bytes = bytes;
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            match self.take(byte, max_packet) {
                Some(Decoded::Command(command)) => notes(&command, |note| found(Decoded::Note(note))),
                Some(decoded) => found(decoded),
                None => {}
            }
            if let Expect::Message { left, hash, .. } = &mut self.expect {
                // All but the last byte in one go: this is where most of the time goes.
                let bulk = bytes.len().min(*left as usize - 1);
                *hash = bytes[..bulk].iter().fold(*hash, |hash, byte| fnv_byte(hash, *byte));
                *left -= bulk as u32;
                bytes = &bytes[bulk..];
            }
        }
    }

    fn take(&mut self, byte: u8, max_packet: u32) -> Option<Decoded> {
        match &mut self.expect {
            Expect::Nothing => None,
            Expect::Challenge(bytes) => {
                bytes.push(byte);
                let whole = bytes.as_slice().try_into().ok()?;
                self.expect = Expect::Frame;
                Some(Decoded::Challenge(whole))
            }
            Expect::Hello(bytes) => {
                bytes.push(byte);
                let whole = bytes.as_slice().try_into().ok()?;
                self.expect = Expect::Frame;
                Some(Decoded::Hello(whole))
            }
            Expect::Frame => {
                self.header.push(byte);
                self.look_at_header(max_packet)
            }
            Expect::Message { conn, len, left, hash } => {
                *hash = fnv_byte(*hash, byte);
                *left -= 1;
                if *left > 0 {
                    return None;
                }
                let note = Note::Data { conn: *conn, len: *len, hash: *hash };
                self.expect = Expect::Frame;
                Some(Decoded::Note(note))
            }
            Expect::Command { left, start } => {
                if start.len() < KEPT_BYTES {
                    start.push(byte);
                }
                *left -= 1;
                if *left > 0 {
                    return None;
                }
                let start = std::mem::take(start);
                let is_malformed = command(&start) == Note::Malformed;
                self.expect = if is_malformed { Expect::Nothing } else { Expect::Frame };
                Some(Decoded::Command(start))
            }
        }
    }

    fn look_at_header(&mut self, max_packet: u32) -> Option<Decoded> {
        let length = u32::from_le_bytes(self.header.get(..4)?.try_into().ok()?);
        if length < 4 || length > max_packet {
            self.expect = Expect::Nothing;
            return Some(Decoded::Note(Note::Malformed));
        }
        let conn = u32::from_le_bytes(self.header.get(4..8)?.try_into().ok()?);
        self.header.clear();
        let left = length - 4;
        match (conn, left) {
            (0, 0) => {
                self.expect = Expect::Nothing;
                Some(Decoded::Note(Note::Malformed))
            }
            (0, _) => {
                self.expect = Expect::Command { left, start: Vec::with_capacity(COMMAND_BYTES) };
                None
            }
            (_, 0) => Some(Decoded::Note(Note::Data { conn, len: 0, hash: FNV_START })),
            _ => {
                self.expect = Expect::Message { conn, len: left, left, hash: FNV_START };
                None
            }
        }
    }
}

/// PROTOCOL: a type byte, then arguments. The direction is the reader's business: the oracle knows which it is.
fn command(bytes: &[u8]) -> Note {
    let argument = |index: usize| {
        let bytes = bytes.get(1 + 4 * index..5 + 4 * index)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    };
    let decoded = match bytes.first() {
        Some(0) => argument(0).map(|remote| Note::Dial { remote }),
        Some(1) => argument(0).zip(argument(1)).map(|(conn, remote)| Note::Accept { conn, remote }),
        Some(2) => argument(0).zip(argument(1)).map(|(conn, remote)| Note::Connect { conn, remote }),
        Some(3) => argument(0).map(|remote| Note::Refuse { remote }),
        Some(4) => argument(0).map(|conn| Note::Close { conn }),
        Some(5) => Some(Note::Ping),
        _ => None,
    };
    decoded.unwrap_or(Note::Malformed)
}

/// docs/protocol-extensions.md: what begins a question and an answer.
const MAGIC: &[u8] = b"FWX1";

/// An entry in the list of an answer: a Conn ID and an address.
const ENTRY_BYTES: usize = 4 + ADDR_BYTES;
const ADDR_BYTES: usize = 18;

/// A command, and what it says behind its arguments.
fn notes(bytes: &[u8], mut found: impl FnMut(Note)) {
    let note = command(bytes);
    found(note);
    let arguments = match note {
        Note::Dial { .. } | Note::Refuse { .. } | Note::Close { .. } => 1,
        Note::Accept { .. } | Note::Connect { .. } => 2,
        Note::Ping => 0,
        _ => return,
    };
    let behind = &bytes[1 + 4 * arguments..];
    let set = behind.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk());
    match (note, set) {
        (_, _) if behind.is_empty() => {}
        (Note::Dial { remote: 0 }, Some((set, _))) => found(Note::Asks { wishes: u32::from_le_bytes(*set) }),
        (Note::Refuse { remote: 0 }, Some((set, list))) => {
            let listed = (list.len() / ENTRY_BYTES) as u32;
            found(Note::Grants { granted: u32::from_le_bytes(*set), listed });
            for entry in list.chunks_exact(ENTRY_BYTES) {
                let conn = u32::from_le_bytes(entry[..4].try_into().expect("four bytes"));
                found(Note::Told { conn, addr: address(&entry[4..]) });
            }
            if !list.len().is_multiple_of(ENTRY_BYTES) {
                found(Note::Extra);
            }
        }
        (Note::Close { conn: 0 }, Some((set, rest))) => {
            let window_ms = rest.first_chunk().map(|window| u32::from_le_bytes(*window));
            found(Note::BehindClose { set: u32::from_le_bytes(*set), window_ms });
            if !matches!(rest.len(), 0 | 4) {
                found(Note::Extra);
            }
        }
        (Note::Accept { conn, .. } | Note::Connect { conn, .. }, _) if behind.len() == ADDR_BYTES => {
            found(Note::Told { conn, addr: address(behind) });
        }
        _ => found(Note::Extra),
    }
}

/// IPv6 or mapped IPv4, in network order; the port, little endian; only zeros for none.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port): (&[u8; 16], &[u8]) = bytes.split_first_chunk()?;
    let port = u16::from_le_bytes(port.try_into().ok()?);
    let ip = std::net::Ipv6Addr::from(*ip);
    (!ip.is_unspecified() || port != 0).then(|| SocketAddr::new(ip.to_canonical(), port))
}
