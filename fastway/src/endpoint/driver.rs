//! The task that owns the stream of a link: it reads frames for the connections, writes what is queued, and looks
//! at the clock.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::config::SlowReceiver;
use super::conn::{ConnState, Delivery};
use super::error::{CloseReason, LinkError};
use super::link::Link;
use crate::command::{CommandError, ToEndpoint, ToGateway};
use crate::extensions::{ClientAddr, DrainNotice, Extensions, Grant};
use crate::frame::{Frame, HEADER_BYTES};
use crate::id::{ConnId, RemoteId, Side};
use crate::keepalive::{Due, Keepalive};
use crate::net::{Stream, close_in_order};
use crate::reader::{Flow, FrameReader, Progress, ReadError, with_scratch};

/// Reads and writes in one turn, before other tasks have theirs.
const READS_PER_TURN: usize = 4;
const WRITES_PER_TURN: usize = 16;

/// A look at the gateway's silence that comes late by this part of the time that it may last says nothing of the gateway: this
/// machine was asleep, or the program was stopped, and what came meanwhile is not read yet.
const LATE: u32 = 4;

/// Memory that a link keeps for what may be sent.
const SPARE_BYTES: usize = 64 * 1024;

/// Starts to drive a link over `stream`. A server's ends early if its key was wrong.
pub(super) fn spawn<S: Stream>(link: Arc<Link>, stream: S, side: Side) {
    let now = Instant::now();
    let keepalive = Keepalive::new(link.config.keepalive, now);
    let dead_peer_timeout = link.config.dead_peer_timeout;
    if !dead_peer_timeout.is_zero() {
        // If that fails, the connection is gone, and the first read says so.
        let _ = stream.probe_idle_peer(dead_peer_timeout);
    }
    let on_probation = (side == Side::Server).then(|| now + link.config.connect_timeout);
    let driver = Driver {
        stream,
        reader: FrameReader::new(link.config.max_packet),
        desk: Desk {
            link: link.clone(),
            conns: FxHashMap::default(),
            last_serial: 0,
            asks: link.lock().accept_waits,
            granted: Extensions::NONE,
            keepalive,
        },
        outgoing: Batch::default(),
        write_failure: None,
        alarm: Box::pin(sleep_until(now)),
        keepalive_at: Some(now),
        look_at: None,
        on_probation,
    };
    tokio::spawn(unconstrained(driver.run()));
}

struct Driver<S> {
    stream: S,
    reader: FrameReader,
    desk: Desk,
    outgoing: Batch,
    /// Writing failed. What the gateway sent before is still read.
    write_failure: Option<Arc<io::Error>>,
    alarm: Pin<Box<Sleep>>,
    /// When the gateway's silence is looked at next.
    keepalive_at: Option<Instant>,
    /// Something was written, and then it is time to look whether the network has heard of the gateway since.
    look_at: Option<Instant>,
    /// A gateway that ends the link before it has said anything, and before this, has turned the server away.
    on_probation: Option<Instant>,
}

/// What incoming frames are for.
struct Desk {
    link: Arc<Link>,
    conns: FxHashMap<ConnId, Arc<ConnState>>,
    last_serial: u64,
    /// The gateway was asked for more than the original protocol has, and has not answered.
    asks: bool,
    /// What it grants.
    granted: Extensions,
    keepalive: Keepalive,
}

impl<S: Stream> Driver<S> {
    async fn run(mut self) {
        let end = poll_fn(|cx| match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        })
        .await;
        tracing::debug!(reason = %end, "link ended");
        self.desk.end(&end);
        if matches!(end, LinkError::ClosedHere) {
            self.finish().await;
        }
        self.desk.link.lock().finish();
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        self.desk.link.lock().driven_by(cx.waker());
        self.read(cx)?;
        self.look_at_the_clock(cx)?;
        self.write(cx)?;
        if self.desk.link.lock().closing { Err(LinkError::ClosedHere) } else { Ok(()) }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        let Self { stream, reader, desk, .. } = self;
        for _ in 0..READS_PER_TURN {
            let progress =
                with_scratch(|scratch| reader.poll_frames(cx, stream, scratch, |frame| desk.handle(frame)));
            let Poll::Ready(progress) = progress else {
                return self.write_failure.take().map_or(Ok(()), |error| Err(LinkError::Failed(error)));
            };
            match progress {
                Ok(Progress::Read(_)) => desk.keepalive.heard(Instant::now()),
                Ok(Progress::Held(_)) => {
                    desk.keepalive.heard(Instant::now());
                    return Ok(());
                }
                Ok(Progress::Eof { .. }) | Err(ReadError::Io(_))
                    if self.on_probation.is_some_and(|until| Instant::now() < until) =>
                {
                    return Err(LinkError::TurnedAway);
                }
                Ok(Progress::Eof { .. }) => return Err(LinkError::ClosedByGateway),
                Err(ReadError::Io(error)) => return Err(LinkError::Failed(Arc::new(error))),
                Err(ReadError::Frame(error)) => return Err(error.into()),
                Err(ReadError::Handler(error)) => return Err(error.into()),
            }
            if self.on_probation.take().is_some() {
                desk.link.lock().let_in();
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        if self.write_failure.is_some() {
            return Ok(());
        }
        for _ in 0..WRITES_PER_TURN {
            match self.poll_write(cx) {
                Poll::Ready(Ok(true)) => self.expect_life(),
                Poll::Ready(Ok(false)) | Poll::Pending => return Ok(()),
                // What the gateway sent before is still of use, and its end of file says more than a failed write.
                Poll::Ready(Err(error)) => {
                    let error = Arc::new(error);
                    self.desk.link.lock().fail_writing(LinkError::Failed(error.clone()));
                    self.write_failure = Some(error);
                    return self.read(cx);
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Something was written.
    fn expect_life(&mut self) {
        let timeout = self.desk.link.config.dead_peer_timeout;
        if self.look_at.is_none() && !timeout.is_zero() {
            let look_at = Instant::now() + timeout;
            self.look_at = Some(look_at);
            if look_at < self.alarm.deadline() {
                self.alarm.as_mut().reset(look_at);
            }
        }
    }

    /// Whether the network has heard of the gateway since something was written. A gateway that takes nothing, but answers that it
    /// does not, is alive. When to look again, if something is on its way.
    fn look_for_life(&mut self, now: Instant) -> Result<Option<Instant>, LinkError> {
        let timeout = self.desk.link.config.dead_peer_timeout;
        let Some(silence) = self.stream.silence() else {
            return Ok((!self.outgoing.bytes.is_empty()).then(|| now + timeout));
        };
        let after = silence.next_look(timeout).ok_or(LinkError::Silent(timeout))?;
        Ok(Some(now + after))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.outgoing.poll_write(&mut self.stream, &self.desk.link, cx)
    }

    fn look_at_the_clock(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(at) = self.keepalive_at.filter(|at| now >= *at) {
                self.keepalive_at = self.look_at_the_silence(at, now)?;
            }
            if self.look_at.is_some_and(|at| now >= at) {
                self.look_at = self.look_for_life(now)?;
            }
            // Without a keepalive there may be nothing to look at, ever.
            let never = now + Duration::from_secs(365 * 24 * 3600);
            let next = [self.keepalive_at, self.look_at].into_iter().flatten().min();
            self.alarm.as_mut().reset(next.unwrap_or(never));
        }
        Ok(())
    }

    /// When to look again, after a look that was to be at `at`.
    fn look_at_the_silence(&mut self, at: Instant, now: Instant) -> Result<Option<Instant>, LinkError> {
        let patience = self.desk.link.config.keepalive.idle_timeout;
        let stood_still = !patience.is_zero() && now - at > patience / LATE;
        if self.reader.is_held() || stood_still {
            // It is this end that does not listen, or has not. A sign of life is due all the same.
            if !self.desk.link.config.keepalive.ping_interval.is_zero() {
                self.desk.ping();
            }
            self.desk.keepalive.heard(now);
        }
        match self.desk.keepalive.check(now) {
            Due::Expired => Err(LinkError::Silent(self.desk.link.config.keepalive.idle_timeout)),
            Due::Nothing(next) => Ok(next),
            Due::Ping(next) => {
                self.desk.link.command(ToGateway::Ping);
                Ok(next)
            }
        }
    }

    /// Everything queued is written, then the end of file, then the gateway's end is awaited.
    async fn finish(&mut self) {
        let Self { stream, outgoing, desk, .. } = self;
        let flush = |stream: &mut S, cx: &mut Context<'_>| {
            while ready!(outgoing.poll_write(stream, &desk.link, cx))? {}
            Poll::Ready(Ok(()))
        };
        close_in_order(stream, desk.link.config.close_timeout, flush).await;
    }
}

/// What was taken from the link to be written, and how much of it is.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    written: usize,
}

impl Batch {
    /// One write; `false` if there is nothing to write, and nothing waits inside of the stream.
    fn poll_write<S: Stream>(
        &mut self,
        stream: &mut S,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.bytes.is_empty() {
            let mut shared = link.lock();
            if shared.out.is_empty() {
                drop(shared);
                return Pin::new(stream).poll_flush(cx).map_ok(|()| false);
            }
            shared.out.take(&mut self.bytes);
        }
        let written = ready!(Pin::new(stream).poll_write(cx, &self.bytes[self.written..]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += written;
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(SPARE_BYTES);
        }
        link.lock().out.wrote(written, link.config.send_queue_bytes);
        Poll::Ready(Ok(true))
    }
}

impl Desk {
    fn handle(&mut self, frame: &mut Frame<'_>) -> Result<Flow, CommandError> {
        match frame.conn() {
            Some(id) => Ok(self.deliver(id, frame)),
            None => self.obey(frame.message()).map(|()| Flow::Next),
        }
    }

    /// A message for a connection that is not there was sent before its sender knew: it is dropped.
    fn deliver(&mut self, id: ConnId, frame: &mut Frame<'_>) -> Flow {
        let Some(conn) = self.conns.get(&id) else { return Flow::Next };
        let config = &self.link.config;
        match conn.deliver(frame.message().len(), config, || message(frame)) {
            Delivery::Done => Flow::Next,
            Delivery::Full if config.slow_receiver == SlowReceiver::LinkWaits => {
                self.link.lock().accept_at_once();
                Flow::Hold
            }
            Delivery::Full => {
                if conn.end(CloseReason::SlowReceiver) {
                    self.link.command(ToGateway::Close { conn: Some(id) });
                    self.link.lock().out.wake(conn.serial());
                }
                Flow::Next
            }
        }
    }

    fn obey(&mut self, message: &[u8]) -> Result<(), CommandError> {
        let command = ToEndpoint::decode(message)?;
        match command {
            ToEndpoint::Accept { conn, remote } => {
                let conn = self.new_conn(conn, remote, message);
                self.accepted(conn);
            }
            ToEndpoint::Connect { conn, remote } => {
                let conn = self.new_conn(conn, remote, message);
                self.connected(conn);
            }
            ToEndpoint::Refuse { remote } => {
                let mut shared = self.link.lock();
                if let Some(ticket) = shared.dials.refused(remote)
                    && let Some(dialler) = shared.dials.answer(ticket, Err(()))
                {
                    dialler.wake();
                }
                shared.close_if_idle();
            }
            ToEndpoint::Close { conn: Some(id) } => {
                if let Some(conn) = self.conns.remove(&id) {
                    self.ended(&conn);
                }
            }
            ToEndpoint::Close { conn: None } => {
                if let Some(notice) = DrainNotice::decode(message).filter(|_| self.link.config.ask_draining) {
                    self.link.lock().drains(notice.window);
                }
            }
            ToEndpoint::Ping => {
                if self.keepalive.should_echo(Instant::now()) {
                    self.link.command(ToGateway::Ping);
                }
            }
        }
        if let ToEndpoint::Refuse { remote } | ToEndpoint::Accept { remote, .. } = command
            && remote.client().is_none()
        {
            self.answered(message);
        }
        Ok(())
    }

    /// A dial to client 0 was answered, in whatever way: if it was a question, nobody waits for the answer any longer.
    fn answered(&mut self, message: &[u8]) {
        if !std::mem::take(&mut self.asks) {
            return;
        }
        if let Some(grant) = Grant::decode(message) {
            self.granted = grant.extensions();
            for (id, addr) in grant.earlier() {
                if let Some(conn) = self.conns.get(&id) {
                    conn.comes_from(addr);
                }
            }
        }
        self.link.lock().accept_at_once();
    }

    fn accepted(&mut self, conn: Arc<ConnState>) {
        let mut shared = self.link.lock();
        let Some(ticket) = shared.dials.accepted(conn.remote()) else {
            shared.close_if_idle();
            drop(shared);
            return self.link.command(ToGateway::Close { conn: Some(conn.id()) });
        };
        shared.opened();
        let dialler = shared.dials.answer(ticket, Ok(conn.clone()));
        drop(shared);
        self.insert(conn);
        if let Some(dialler) = dialler {
            dialler.wake();
        }
    }

    fn connected(&mut self, conn: Arc<ConnState>) {
        let mut shared = self.link.lock();
        if !shared.accepts || shared.incoming.len() >= self.link.config.accept_queue {
            drop(shared);
            return self.link.command(ToGateway::Close { conn: Some(conn.id()) });
        }
        shared.offer(conn.clone());
        drop(shared);
        self.insert(conn);
    }

    /// The connection that a command opens. Without a grant, what stands behind its arguments means nothing.
    fn new_conn(&mut self, id: ConnId, remote: RemoteId, command: &[u8]) -> Arc<ConnState> {
        self.last_serial += 1;
        let conn = ConnState::new(id, remote, self.last_serial);
        if self.granted.contains(Extensions::CLIENT_ADDR)
            && let Some(addr) = ClientAddr::behind(command)
        {
            conn.comes_from(addr);
        }
        conn
    }

    /// A gateway that gives a number again has forgotten the connection that had it.
    fn insert(&mut self, conn: Arc<ConnState>) {
        if let Some(forgotten) = self.conns.insert(conn.id(), conn) {
            self.ended(&forgotten);
        }
    }

    fn ended(&self, conn: &ConnState) {
        let was_open = conn.end(CloseReason::ClosedByRemote);
        let mut link = self.link.lock();
        link.closed();
        if was_open {
            link.out.wake(conn.serial());
        }
    }

    fn ping(&mut self) {
        self.keepalive.ask(Instant::now());
        self.link.command(ToGateway::Ping);
    }

    /// The link has ended: so has everything on it.
    fn end(&mut self, reason: &LinkError) {
        for (_, conn) in self.conns.drain() {
            conn.end(CloseReason::Link(reason.clone()));
        }
        self.link.lock().end(reason.clone());
    }
}

/// The message of a frame, in memory of its own. That of a large frame moves here, with its header in front.
fn message(frame: &mut Frame<'_>) -> Bytes {
    match frame.take_bytes() {
        std::borrow::Cow::Borrowed(bytes) => Bytes::copy_from_slice(&bytes[HEADER_BYTES..]),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes).slice(HEADER_BYTES..),
    }
}

/// If the runtime drops the task: nobody may go on waiting for this link.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        if self.desk.link.lock().ended.is_none() {
            self.desk.end(&LinkError::ClosedHere);
        }
        self.desk.link.lock().finish();
    }
}
