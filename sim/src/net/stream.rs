//! One end of a simulated connection: a stream of bytes, as unkind as TCP may be.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf as _, BytesMut};
use fastway::net::Stream;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PortTaken;
use super::chop::Chopper;
use super::wire::{End, Net, Reading, WireId, Writing};

/// Bytes that are fetched from turmoil at once.
const FETCH_BYTES: usize = 16 * 1024;

/// One end of a connection of a [`SimNetwork`](super::SimNetwork).
///
/// Whatever has come is fetched from turmoil on every call, writing included. So turmoil's queue never fills, what came
/// in pieces can be read in one, and a writer that waits for room learns of a reset.
#[derive(Debug)]
pub struct SimStream {
    net: Arc<Mutex<Net>>,
    wire: WireId,
    end: End,
    inner: turmoil::net::TcpStream,
    peer: SocketAddr,
    /// Fetched, and not yet read.
    here: BytesMut,
    over: Option<Over>,
    shut_down: bool,
    chopper: Chopper,
    /// Wakes whoever reads or writes here when turmoil has something.
    waker: Waker,
    _port: Option<PortTaken>,
}

/// How the peer's bytes have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Eof,
    Reset,
}

struct EndWaker {
    net: Arc<Mutex<Net>>,
    wire: WireId,
    end: End,
}

impl Wake for EndWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = self.net.lock().take_wakers_of(self.wire, self.end);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl SimStream {
    pub(super) fn new(
        net: Arc<Mutex<Net>>,
        wire: WireId,
        end: End,
        inner: turmoil::net::TcpStream,
        peer: SocketAddr,
        port: Option<PortTaken>,
    ) -> Self {
        let chopper = net.lock().chopper(wire, end);
        let waker = Waker::from(Arc::new(EndWaker { net: net.clone(), wire, end }));
        let here = BytesMut::new();
        Self { net, wire, end, inner, peer, here, over: None, shut_down: false, chopper, waker, _port: port }
    }

    /// Which connection of the network it is.
    #[must_use]
    pub fn wire(&self) -> WireId {
        self.wire
    }

    /// Takes from turmoil what has come.
    fn fetch(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        // Most of the time nothing has come: then nothing is allocated either.
        let mut room = [MaybeUninit::uninit(); FETCH_BYTES];
        while self.over.is_none() {
            let mut buffer = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.inner).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => self.over = Some(Over::Reset),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.over = Some(Over::Eof),
                Poll::Ready(Ok(())) => self.here.extend_from_slice(buffer.filled()),
            }
        }
    }

    /// How much may be written now.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(usize, bool)>> {
        let writing = self.net.lock().writing(self.wire, self.end, cx.waker());
        match writing {
            Writing::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Writing::Nothing => Poll::Pending,
            Writing::Room { bytes, into_void } => Poll::Ready(Ok((bytes, into_void))),
            Writing::Full => {
                if self.net.lock().reading(self.wire, self.end, None) == Reading::Everything {
                    self.fetch();
                }
                if self.over == Some(Over::Reset) {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Poll::Pending
            }
        }
    }

    fn write_now(&mut self, cx: &mut Context<'_>, bytes: &[u8], into_void: bool) -> Poll<io::Result<usize>> {
        let written =
            if into_void { bytes.len() } else { ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))? };
        let wakers = self.net.lock().has_written(self.wire, self.end, written);
        wakers.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(written))
    }

    fn puts_off(&mut self, cx: &Context<'_>) -> bool {
        let puts_off = self.chopper.puts_off();
        if puts_off {
            cx.waker().wake_by_ref();
        }
        puts_off
    }
}

impl Stream for SimStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.puts_off(cx) {
            return Poll::Pending;
        }
        let reading = this.net.lock().reading(this.wire, this.end, Some(cx.waker()));
        match reading {
            Reading::Nothing => return Poll::Pending,
            Reading::Everything => this.fetch(),
            Reading::WhatIsHere | Reading::Reset => {}
        }
        if !this.here.is_empty() {
            let most = buffer.remaining().min(this.here.len());
            let taken = this.chopper.part_of(most);
            buffer.put_slice(&this.here[..taken]);
            this.here.advance(taken);
            if this.here.is_empty() {
                // An idle connection holds no memory; a world has hundreds of them.
                this.here = BytesMut::new();
            }
            let writer = this.net.lock().has_read(this.wire, this.end, taken);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
        if reading == Reading::Reset || this.over == Some(Over::Reset) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if this.over == Some(Over::Eof) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.shut_down {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.puts_off(cx) {
            return Poll::Pending;
        }
        let (room, into_void) = ready!(self.poll_room(cx))?;
        let part = self.chopper.part_of(bytes.len().min(room));
        self.write_now(cx, &bytes[..part], into_void)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &joined)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut_down {
            return Poll::Ready(Ok(()));
        }
        let writing = self.net.lock().writing(self.wire, self.end, cx.waker());
        match writing {
            Writing::Reset => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Writing::Nothing => return Poll::Pending,
            Writing::Room { .. } | Writing::Full => {}
        }
        self.shut_down = true;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // What has come and was not fetched yet is unread as well. A host without power fetches nothing.
        let unread = !self.here.is_empty() || {
            let reading = self.net.lock().reading(self.wire, self.end, None);
            if reading == Reading::Everything {
                self.fetch();
            }
            !self.here.is_empty()
        };
        let wakers = self.net.lock().has_dropped(self.wire, self.end, unread);
        wakers.into_iter().for_each(Waker::wake);
    }
}
