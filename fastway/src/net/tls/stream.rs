//! A connection that is encrypted: what a [`Stream`] carries, inside of another one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::engine::{Act, Engine, RECORD_BYTES, Sinks};
use super::error::{Broken, reason};
use crate::net::{Silence, Stream};
use crate::reader::SCRATCH_BYTES;

/// The most that the beginning of a record, or of the messages of a handshake, takes up: what is longer is no TLS.
const MOST_KEPT_BYTES: usize = 64 * 1024 + 18 * 1024;

/// Ciphertext that is read at least, however little plaintext is asked for.
const SMALLEST_READ: usize = 4 * 1024;

/// What is kept is copied in front of the next read, unless it is longer, and little came the last time: to copy it again for every
/// few bytes would cost more than to read less.
const JOINED_BYTES: usize = 4 * 1024;

/// Records without plaintext, or parts of one, that are read in one go before others have their turn.
const READS_PER_POLL: usize = 4;

thread_local! {
    /// What has just come. One buffer serves all connections of a thread: it is needed only for the length of a poll.
    static INCOMING: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; MOST_KEPT_BYTES + SCRATCH_BYTES].into_boxed_slice());
    /// What is just being encrypted.
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection over TLS.
///
/// The handshake is done by the first read or write, unless [`handshake`](Self::handshake) has done it; there is no deadline
/// here. One write takes 16 KiB at most, one record, and the part of it that the network does not take at once waits here:
/// whoever has nothing more to write has to flush. Shutting down sends `close_notify`; a peer that ends without one
/// is a read error ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)), since anybody could have cut off what it sent.
///
/// An idle connection holds no buffer.
#[derive(Debug)]
pub struct TlsStream<S> {
    io: S,
    /// In memory of its own: it is large, and what holds a stream is often moved.
    tls: Box<Tls>,
}

#[derive(Debug)]
struct Tls {
    engine: Engine,
    /// The beginning of a record that has not arrived as a whole.
    incoming: Vec<u8>,
    /// The last time, less came than was there.
    trickles: bool,
    /// Not a byte has come yet.
    unheard: bool,
    /// What was decrypted when less was asked for.
    plaintext: Unsent,
    /// What the network has not taken yet.
    outgoing: Unsent,
    /// Nothing can be read or written any more, for this reason.
    broken: Option<Broken>,
}

/// Bytes that go away from the front. There is no memory when there are none.
#[derive(Debug, Default)]
struct Unsent {
    bytes: Vec<u8>,
    gone: usize,
}

impl Unsent {
    fn left(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    fn advance(&mut self, bytes: usize) {
        self.gone += bytes;
        if self.gone == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl<S: Stream> TlsStream<S> {
    /// The engine may have something to say first.
    pub(super) fn new(io: S, engine: Engine) -> Self {
        let tls = Tls {
            engine,
            incoming: Vec::new(),
            trickles: false,
            unheard: true,
            plaintext: Unsent::default(),
            outgoing: Unsent::default(),
            broken: None,
        };
        let mut stream = Self { io, tls: Box::new(tls) };
        stream.tls.take_in(&mut [], &mut ReadBuf::new(&mut []));
        stream
    }

    /// Does the handshake, as far as it is not done. Afterwards it is known who the peer is, if that was asked for.
    ///
    /// # Errors
    ///
    /// If the connection fails, the peer speaks no TLS, or cannot be trusted. The message is a sentence that says so.
    pub async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_handshake(cx)).await?;
        poll_fn(|cx| self.poll_send(cx)).await?;
        poll_fn(|cx| Pin::new(&mut self.io).poll_flush(cx)).await
    }

    /// The version that was agreed on, such as `TLSv1_3`, and the cipher suite; nothing before the handshake.
    #[must_use]
    pub fn agreed(&self) -> Option<String> {
        let state = self.tls.engine.state();
        Some(format!("{:?} {:?}", state.protocol_version()?, state.negotiated_cipher_suite()?.suite()))
    }

    /// Whether not a byte has come from the peer: load balancers look in this way to see whether somebody listens.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        self.tls.unheard
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.engine.is_handshaking() {
            self.tls.check()?;
            // The peer may send much before it reads: neither may wait for the other.
            if let Poll::Ready(sent) = self.poll_send(cx) {
                sent?;
            }
            // Frames may follow at once: they wait until they are asked for.
            let nowhere = &mut ReadBuf::new(&mut []);
            ready!(self.poll_more(cx, nowhere))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what has been encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, tls } = self;
        while !tls.outgoing.left().is_empty() {
            let sent = ready!(Pin::new(&mut *io).poll_write(cx, tls.outgoing.left()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            tls.outgoing.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and decrypts what is whole. The plaintext goes to `buffer`, and what does not fit is kept. What breaks the
    /// connection counts from the next call on: before it, there may have been plaintext.
    fn poll_more(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.tls.check()?;
        let wanted = buffer.remaining().clamp(SMALLEST_READ, SCRATCH_BYTES);
        let Self { io, tls } = &mut *self;
        let kept = tls.incoming.len();
        let arrived = if tls.trickles && kept > JOINED_BYTES {
            ready!(tls.poll_read_in_place(io, cx, buffer))?
        } else {
            ready!(tls.poll_read_joined(io, cx, wanted, buffer))?
        };
        tls.trickles = arrived < kept;
        tls.unheard &= arrived == 0;
        if arrived == 0 {
            tls.broken = Some(Broken::cut_off(tls.engine.is_handshaking()));
        }
        if tls.broken.is_some() {
            // The peer should know why. If that cannot be sent at once, it never is.
            let _ = self.poll_send(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl Tls {
    fn check(&self) -> io::Result<()> {
        self.broken.as_ref().map_or(Ok(()), |broken| Err(broken.into()))
    }

    /// Reads behind a copy of what is kept, up to `wanted` bytes, and keeps what is not whole then.
    fn poll_read_joined(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        wanted: usize,
        plaintext: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        INCOMING.with_borrow_mut(|scratch| {
            let kept = self.incoming.len();
            let mut incoming = ReadBuf::new(&mut scratch[kept..kept + wanted]);
            ready!(Pin::new(io).poll_read(cx, &mut incoming))?;
            let arrived = incoming.filled().len();
            scratch[..kept].copy_from_slice(&self.incoming);
            let incoming = &mut scratch[..kept + arrived];
            let used = self.take_in(incoming, plaintext);
            self.incoming = incoming[used..].to_vec();
            Poll::Ready(Ok(arrived))
        })
    }

    /// Reads behind what is kept itself.
    fn poll_read_in_place(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        plaintext: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        self.incoming.reserve_exact(SMALLEST_READ);
        let room = (&mut self.incoming).limit(SMALLEST_READ);
        let arrived = ready!(poll_read_buf(Pin::new(io), cx, &mut { room }))?;
        let mut incoming = std::mem::take(&mut self.incoming);
        let used = self.take_in(&mut incoming, plaintext);
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        Poll::Ready(Ok(arrived))
    }

    /// Deals with what is whole in `incoming`; how many bytes of it are done with. The plaintext goes to `buffer`, and what does
    /// not fit is kept.
    fn take_in(&mut self, incoming: &mut [u8], buffer: &mut ReadBuf<'_>) -> usize {
        let Self { engine, plaintext, outgoing, .. } = self;
        let handshaking = engine.is_handshaking();
        let mut to_reader = |bytes: &[u8]| {
            let (fits, too_much) = bytes.split_at(bytes.len().min(buffer.remaining()));
            buffer.put_slice(fits);
            plaintext.bytes.extend_from_slice(too_much);
        };
        let mut sinks = Sinks { plaintext: &mut to_reader, outgoing: &mut outgoing.bytes };
        match engine.run(incoming, Act::Nothing, &mut sinks) {
            Ok((used, _)) if incoming.len() - used <= MOST_KEPT_BYTES => return used,
            Ok(_) => self.broken = Some(Broken::TooLong),
            Err(error) => self.broken = Some(reason(error, handshaking)),
        }
        incoming.len()
    }

    /// What has to be sent for `act`, behind `outgoing`.
    fn act(&mut self, act: Act<'_>, outgoing: &mut Vec<u8>) -> io::Result<()> {
        self.check()?;
        // Whatever is whole was dealt with when it came.
        let mut unexpected = Vec::new();
        let mut plaintext = |bytes: &[u8]| unexpected.extend_from_slice(bytes);
        let mut sinks = Sinks { plaintext: &mut plaintext, outgoing };
        let done = self.engine.run(&mut self.incoming, act, &mut sinks);
        debug_assert!(unexpected.is_empty(), "there was a whole record");
        match done {
            Ok((used, done)) => {
                self.incoming.drain(..used);
                if done { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            }
            Err(error) => {
                self.broken = Some(reason(error, false));
                self.check()
            }
        }
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.peer_addr()
    }

    fn adopt(self) -> io::Result<Self> {
        Ok(Self { io: self.io.adopt()?, tls: self.tls })
    }

    fn probe_idle_peer(&self, timeout: Duration) -> io::Result<()> {
        self.io.probe_idle_peer(timeout)
    }

    fn silence(&self) -> Option<Silence> {
        self.io.silence()
    }

    fn is_abandoned(&self) -> bool {
        self.io.is_abandoned()
    }
}

impl<S: Stream> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_handshake(cx))?;
        let before = buffer.filled().len();
        for _ in 0..READS_PER_POLL {
            let kept = self.tls.plaintext.left();
            if !kept.is_empty() {
                let fits = kept.len().min(buffer.remaining());
                buffer.put_slice(&kept[..fits]);
                self.tls.plaintext.advance(fits);
                return Poll::Ready(Ok(()));
            }
            if self.tls.engine.heard_close() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_more(cx, buffer))?;
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_handshake(cx))?;
        ready!(self.poll_send(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.tls.engine.said_close() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Self { io, tls } = &mut *self;
        let bytes = &bytes[..bytes.len().min(RECORD_BYTES)];
        OUTGOING.with_borrow_mut(|record| {
            record.clear();
            tls.act(Act::Encrypt(bytes), record)?;
            let sent = match Pin::new(io).poll_write(cx, record) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            tls.outgoing.bytes.extend_from_slice(&record[sent..]);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tls { engine, broken, .. } = &*self.tls;
        if !engine.is_handshaking() && !engine.said_close() && broken.is_none() {
            let mut outgoing = std::mem::take(&mut self.tls.outgoing.bytes);
            let said = self.tls.act(Act::Close, &mut outgoing);
            self.tls.outgoing.bytes = outgoing;
            said?;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
