//! The link to a gateway as its users see it: what is to be sent, who dials, who accepts. The task that owns the
//! stream is [`super::driver`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::config::EndpointConfig;
use super::conn::ConnState;
use super::dials::{Dials, Ticket};
use super::error::{CloseReason, DialError, LinkError, SendError};
use crate::command::ToGateway;
use crate::id::RemoteId;

/// What a dial gets. `Err`: it was refused.
pub(super) type Answer = Result<Arc<ConnState>, ()>;

/// What the users of a link and its driver share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: EndpointConfig,
    /// The address that was connected to.
    pub(super) gateway: Box<str>,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) out: Outgoing,
    pub(super) dials: Dials<Answer>,
    /// Somebody may still accept what others open.
    pub(super) accepts: bool,
    /// Connections that others have opened.
    pub(super) incoming: VecDeque<Arc<ConnState>>,
    accepting: Vec<Waker>,
    /// Nobody accepts anything yet: the gateway was asked for the addresses of clients, and its answer may tell those of
    /// connections that were opened before it.
    pub(super) accept_waits: bool,
    /// The gateway has said something to a server, so it has let it in.
    let_in: bool,
    /// Virtual connections that are open, those that nobody has accepted yet included.
    open: usize,
    /// Nobody uses the link any more, or it was closed on this side.
    pub(super) closing: bool,
    /// It is closed as soon as nothing is open or being dialled.
    closes_when_idle: bool,
    pub(super) ended: Option<LinkError>,
    /// Nothing can be written any more, while what the gateway sent before may still wait to be received.
    write_failed: Option<LinkError>,
    /// The gateway drains, and will have told all its clients to go by then.
    draining_until: Option<Instant>,
    /// It has ended, and nothing more is written.
    finished: bool,
    /// Who waits for one of those, or for being let in.
    watching: Vec<Waker>,
    driver: Option<Waker>,
}

/// Frames that wait to be written, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// Bytes that were ever queued, and of those the ones that are written.
    queued: u64,
    written: u64,
    /// Who waits for room, by connection.
    for_room: BTreeMap<u64, Waker>,
    /// Who waits for the bytes up to a point to be written, by connection.
    for_written: BTreeMap<u64, (u64, Waker)>,
}

impl Link {
    pub(super) fn new(config: EndpointConfig, gateway: &str) -> Arc<Self> {
        let shared = Shared {
            out: Outgoing::default(),
            dials: Dials::new(),
            accepts: true,
            incoming: VecDeque::new(),
            accepting: Vec::new(),
            accept_waits: false,
            let_in: false,
            open: 0,
            closing: false,
            closes_when_idle: false,
            ended: None,
            write_failed: None,
            draining_until: None,
            finished: false,
            watching: Vec::new(),
            driver: None,
        };
        Arc::new(Self { config, gateway: gateway.into(), shared: Mutex::new(shared) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// Queues a command. It may exceed the limit: there are not more of them than connections and dials.
    pub(super) fn command(&self, command: ToGateway) {
        let mut shared = self.lock();
        if shared.ended.is_some() {
            return;
        }
        shared.out.push(command.encode().as_ref());
        shared.wake_driver();
    }

    /// Queues the dial and takes a place in line, in one go: answers come in the order of the dials.
    pub(super) fn begin_dial(&self, remote: RemoteId) -> Result<Ticket, LinkError> {
        let mut shared = self.lock();
        if let Some(ended) = &shared.ended {
            return Err(ended.clone());
        }
        if shared.closing {
            return Err(LinkError::ClosedHere);
        }
        if let Some(failed) = &shared.write_failed {
            return Err(failed.clone());
        }
        shared.out.push(ToGateway::Dial { remote }.encode().as_ref());
        shared.wake_driver();
        Ok(shared.dials.begin(remote))
    }

    pub(super) fn poll_dial(
        &self,
        ticket: Ticket,
        remote: RemoteId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arc<ConnState>, DialError>> {
        let mut shared = self.lock();
        if let Some(answer) = shared.dials.take_answer(ticket, cx.waker()) {
            return Poll::Ready(answer.map_err(|()| DialError::Refused { remote }));
        }
        match &shared.ended {
            Some(ended) => Poll::Ready(Err(ended.clone().into())),
            None => Poll::Pending,
        }
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<Arc<ConnState>, LinkError>> {
        let mut shared = self.lock();
        if !shared.accept_waits
            && let Some(conn) = shared.incoming.pop_front()
        {
            return Poll::Ready(Ok(conn));
        }
        if let Some(ended) = &shared.ended {
            return Poll::Ready(Err(ended.clone()));
        }
        register(&mut shared.accepting, cx.waker());
        Poll::Pending
    }

    /// Waits until it has ended and nothing more is written.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let mut shared = self.lock();
        if let Some(ended) = shared.ended.as_ref().filter(|_| shared.finished) {
            return Poll::Ready(ended.clone());
        }
        register(&mut shared.watching, cx.waker());
        Poll::Pending
    }

    /// Waits until a server is let in, or its link has ended.
    pub(super) fn poll_let_in(&self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut shared = self.lock();
        if shared.let_in {
            return Poll::Ready(Ok(()));
        }
        if let Some(ended) = &shared.ended {
            return Poll::Ready(Err(ended.clone()));
        }
        register(&mut shared.watching, cx.waker());
        Poll::Pending
    }

    /// Waits for a notice that the gateway drains, and says how long it will take from now until all its clients are told to go.
    pub(super) fn poll_draining(&self, cx: &mut Context<'_>) -> Poll<Result<Duration, LinkError>> {
        let mut shared = self.lock();
        if let Some(until) = shared.draining_until {
            return Poll::Ready(Ok(until.saturating_duration_since(Instant::now())));
        }
        if let Some(ended) = shared.ended.as_ref().filter(|_| shared.finished) {
            return Poll::Ready(Err(ended.clone()));
        }
        register(&mut shared.watching, cx.waker());
        Poll::Pending
    }

    /// Nobody is left to accept: what others have opened, and will open, is closed.
    pub(super) fn accept_no_more(&self) {
        let mut shared = self.lock();
        shared.accepts = false;
        let unwanted = std::mem::take(&mut shared.incoming);
        drop(shared);
        for conn in unwanted {
            conn.end(CloseReason::ClosedHere);
            self.command(ToGateway::Close { conn: Some(conn.id()) });
        }
    }

    /// No more dials; what is queued is sent, then the link ends.
    pub(super) fn close(&self) {
        let mut shared = self.lock();
        shared.closing = true;
        shared.wake_driver();
    }

    /// The same as soon as nothing is open or being dialled.
    pub(super) fn close_when_idle(&self) {
        let mut shared = self.lock();
        shared.closes_when_idle = true;
        shared.close_if_idle();
    }

    pub(super) fn wake_driver(&self) {
        self.lock().wake_driver();
    }
}

impl Shared {
    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// To be called by the driver at the start of every turn.
    pub(super) fn driven_by(&mut self, waker: &Waker) {
        self.driver = Some(waker.clone());
    }

    /// A virtual connection is open.
    pub(super) fn opened(&mut self) {
        self.open += 1;
    }

    /// One has ended.
    pub(super) fn closed(&mut self) {
        self.open -= 1;
        self.close_if_idle();
    }

    /// To be called when something that kept the link busy has ended.
    pub(super) fn close_if_idle(&mut self) {
        if self.closes_when_idle && self.open == 0 && self.dials.are_answered() {
            self.closing = true;
            self.wake_driver();
        }
    }

    pub(super) fn offer(&mut self, conn: Arc<ConnState>) {
        self.opened();
        self.incoming.push_back(conn);
        self.accepting.drain(..).for_each(Waker::wake);
    }

    /// The gateway has answered, one way or the other, or its answer is stuck behind messages that nobody has accepted.
    pub(super) fn accept_at_once(&mut self) {
        if std::mem::take(&mut self.accept_waits) {
            self.accepting.drain(..).for_each(Waker::wake);
        }
    }

    /// The gateway has said its first word to a server.
    pub(super) fn let_in(&mut self) {
        self.let_in = true;
        self.watching.drain(..).for_each(Waker::wake);
    }

    /// The gateway has given notice.
    pub(super) fn drains(&mut self, window: Duration) {
        self.draining_until = Some(Instant::now() + window);
        self.watching.drain(..).for_each(Waker::wake);
    }

    /// The link has ended: everybody who waits for something is told.
    pub(super) fn end(&mut self, reason: LinkError) {
        self.ended = Some(reason);
        self.incoming.clear();
        self.out.wake_all();
        self.accepting.drain(..).chain(self.dials.wakers()).for_each(Waker::wake);
    }

    /// Writing has failed. Who waits to send is told at once: the link itself may live on for as long as what came before
    /// is not received.
    pub(super) fn fail_writing(&mut self, error: LinkError) {
        self.write_failed = Some(error);
        self.out.wake_all();
    }

    pub(super) fn check_writable(&self) -> Result<(), SendError> {
        match &self.write_failed {
            Some(failed) => Err(SendError::Closed(CloseReason::Link(failed.clone()))),
            None => Ok(()),
        }
    }

    /// Nothing more is written, now that it has ended.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.watching.drain(..).for_each(Waker::wake);
    }
}

impl Outgoing {
    pub(super) fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.queued += frame.len() as u64;
    }

    /// Bytes that were ever queued: a point to wait for with [`poll_written`](Self::poll_written).
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// Where messages are to be appended.
    pub(super) fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        self.queued += (self.bytes.len() - before) as u64;
    }

    /// Waits for room; `conn` says who waits.
    pub(super) fn poll_room(&mut self, limit: usize, conn: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.queued - self.written < limit.max(1) as u64 {
            return Poll::Ready(());
        }
        self.for_room.insert(conn, cx.waker().clone());
        Poll::Pending
    }

    /// Waits until so many bytes are written; `conn` says who waits.
    pub(super) fn poll_written(&mut self, up_to: u64, conn: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.written >= up_to {
            return Poll::Ready(());
        }
        self.for_written.insert(conn, (up_to, cx.waker().clone()));
        Poll::Pending
    }

    /// This connection has ended: it has nothing to wait for.
    pub(super) fn wake(&mut self, conn: u64) {
        let flushing = self.for_written.remove(&conn).map(|(_, waker)| waker);
        self.for_room.remove(&conn).into_iter().chain(flushing).for_each(Waker::wake);
    }

    fn wake_all(&mut self) {
        let flushing = std::mem::take(&mut self.for_written).into_values().map(|(_, waker)| waker);
        std::mem::take(&mut self.for_room).into_values().chain(flushing).for_each(Waker::wake);
    }

    /// The driver takes all of it; `buffer` is empty, and its memory serves for what comes.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, buffer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The driver has written so many bytes. Those who wait for room go on when half of it is free.
    pub(super) fn wrote(&mut self, bytes: usize, limit: usize) {
        self.written += bytes as u64;
        let written = self.written;
        for (_, (_, waker)) in self.for_written.extract_if(.., |_, (up_to, _)| *up_to <= written) {
            waker.wake();
        }
        if self.queued - written <= limit as u64 / 2 {
            std::mem::take(&mut self.for_room).into_values().for_each(Waker::wake);
        }
    }
}

/// Remembers a waker, once.
fn register(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}
