//! How a session ends: why, what is still read and written then, and who is told.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fastway::command::CommandError;
use fastway::frame::FrameError;
use fastway::net::{LINGER_TIMEOUT, Stream, close_in_order};
use tokio::time::Instant;

use super::{Session, poll_write_batch};
use crate::batch::Batch;
use crate::outbox::Cut;
use crate::stats::Ended;

/// What a session still reads, in bytes, when it was told to end: more than kernels keep for one connection (Linux:
/// 6 MiB), so that everything sent before is there; but a peer that goes on sending cannot delay its end.
const LAST_BYTES: usize = 8 * 1024 * 1024;

/// Virtual connections that are closed in one go at a session's end, before other sessions have their turn.
const CLOSES_PER_TURN: usize = 1024;

/// At an orderly end: so long for what is queued to be written.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a session ended, with the particulars that [`Ended`] has no place for.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
pub(crate) enum End {
    Closed,
    ClosedMidFrame,
    #[error("the connection failed: {0}")]
    Failed(io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Command(#[from] CommandError),
    Silent,
    Stalled,
    UnfinishedFrame,
    Debt,
    CommandRate,
    SlowClient,
    TakenOver,
    Operator,
    /// The client gets all that waits for it, and then the end of file, and nothing after that. Until it sees that, it goes on
    /// talking, so the session reads until the client's own end, and its servers learn only then that it has gone: nothing is
    /// lost that it says in between.
    Drained,
    Shutdown,
}

impl End {
    /// Whether what is queued for the peer should still reach it.
    fn is_orderly(&self) -> bool {
        matches!(self, Self::Closed | Self::TakenOver | Self::Operator | Self::Drained | Self::Shutdown)
    }

    /// The same without the particulars.
    pub(crate) fn reason(&self) -> Ended {
        match self {
            Self::Closed => Ended::Closed,
            Self::ClosedMidFrame => Ended::ClosedMidFrame,
            Self::Failed(_) => Ended::Failed,
            Self::Frame(_) => Ended::Frame,
            Self::Command(_) => Ended::Command,
            Self::Silent => Ended::Silent,
            Self::Stalled => Ended::Stalled,
            Self::UnfinishedFrame => Ended::UnfinishedFrame,
            Self::Debt => Ended::Debt,
            Self::CommandRate => Ended::CommandRate,
            Self::SlowClient => Ended::SlowClient,
            Self::TakenOver => Ended::TakenOver,
            Self::Operator => Ended::Operator,
            Self::Drained => Ended::Drained,
            Self::Shutdown => Ended::Shutdown,
        }
    }

    /// Whether the peer broke the protocol, as opposed to having gone or being too slow.
    pub(crate) fn is_violation(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Command(_) | Self::UnfinishedFrame | Self::CommandRate)
    }
}

impl From<Cut> for End {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::SlowClient => Self::SlowClient,
            Cut::TakenOver => Self::TakenOver,
            Cut::Debt => Self::Debt,
            Cut::Operator => Self::Operator,
            Cut::Drained => Self::Drained,
            Cut::Shutdown => Self::Shutdown,
        }
    }
}

/// How a session ends.
#[derive(Debug)]
pub(super) struct Ending {
    reason: End,
    /// After so many more bytes at most …
    pub(super) bytes_left: usize,
    /// … or at this instant, if the end of the peer is awaited.
    until: Option<Instant>,
}

impl Ending {
    fn is_drained(&self) -> bool {
        matches!(self.reason, End::Drained)
    }
}

impl<S: Stream> Session<S> {
    /// The others are told, then what is still queued is written if the end is an orderly one.
    pub(crate) async fn wind_up(&mut self, end: End) {
        self.dispatch.leave(self.unwritten.get_or_insert_default());
        while self.dispatch.close_some(CLOSES_PER_TURN) {
            tokio::task::yield_now().await;
        }
        if end.is_orderly() && !self.hung_up {
            self.finish().await;
        }
        self.has_ended = true;
        let outbox = self.dispatch.outbox();
        outbox.ended(end.reason());
        self.dispatch.config().ends.log(outbox, &end);
    }

    /// Ends the session when what has arrived from the peer is read. The first reason counts, but what cannot be written is
    /// dropped whatever it was: nobody may go on waiting for room, least of all this session itself.
    pub(super) fn end_after_reading(&mut self, end: End, batch: &mut Batch) {
        if !end.is_orderly() {
            self.dispatch.outbox().break_off(batch);
        }
        if self.ending.is_none() {
            self.dispatch.unregister();
            let mut ending = Ending { reason: end, bytes_left: LAST_BYTES, until: None };
            if ending.is_drained() {
                let until = Instant::now() + FLUSH_TIMEOUT;
                ending = Ending { bytes_left: usize::MAX, until: Some(until), ..ending };
                self.set_alarm(until);
            }
            self.ending = Some(Box::new(ending));
        }
    }

    /// Nothing more is there for now. That was all, if the session is to end, unless the peer's own end is awaited.
    pub(super) fn end_if_read(&mut self) -> Result<(), End> {
        if self.ending.as_deref().is_some_and(Ending::is_drained) { Ok(()) } else { self.end_if_due() }
    }

    /// Everything that had arrived is read.
    pub(super) fn end_if_due(&mut self) -> Result<(), End> {
        self.ending.take().map_or(Ok(()), |ending| Err(ending.reason))
    }

    /// A queue is full. When the gateway stops, nobody waits for it. Whoever was taken over, or closed by the operator, and takes
    /// nothing any more is held back by that: what waits for it is dropped. What a client had sent before it failed, or was cut
    /// off, is delivered when there is room; but that it is cut off, it learns at once.
    pub(super) fn end_if_held(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        match self.ending.as_deref().map(|ending| &ending.reason) {
            Some(End::Shutdown) => return self.end_if_due(),
            Some(End::TakenOver | End::Operator) if self.blocked.is_some() => {
                self.dispatch.outbox().break_off(batch);
            }
            Some(End::SlowClient) if !self.hung_up => {
                self.hung_up = Pin::new(&mut self.stream).poll_shutdown(cx).is_ready();
            }
            _ => {}
        }
        Ok(())
    }

    /// A client that is told to go has got all there was for it: now the end of file. What it still says meanwhile is read for as
    /// long as its answer may take; what others still say to it is dropped.
    pub(super) fn hang_up(&mut self, batch: &mut Batch, cx: &mut Context<'_>) {
        let Some(ending) = self.ending.as_deref_mut().filter(|ending| ending.is_drained()) else { return };
        if self.hung_up || Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
            return;
        }
        let until = Instant::now() + LINGER_TIMEOUT;
        ending.until = Some(until);
        self.hung_up = true;
        self.dispatch.outbox().break_off(batch);
        self.set_alarm(until);
    }

    /// The end of the peer has been awaited for long enough, but what it said before is still delivered when there is room for it.
    pub(super) fn end_if_late(&mut self, now: Instant) -> Result<(), End> {
        let Some(ending) = self.ending.as_deref_mut() else { return Ok(()) };
        let Some(until) = ending.until else { return Ok(()) };
        if now >= until && !self.reader.is_held() {
            // It has had its time to take what waits for it, too.
            self.hung_up = true;
            return self.end_if_due();
        }
        let next = if now < until { until } else { now + LINGER_TIMEOUT };
        ending.until = Some(next);
        self.set_alarm(next);
        Ok(())
    }

    /// The orderly end of a connection: everything queued is written, then the end of file, then the peer's end
    /// is awaited.
    async fn finish(&mut self) {
        let Self { stream, unwritten, dispatch, .. } = self;
        let batch = unwritten.get_or_insert_default();
        let flush = |stream: &mut S, cx: &mut Context<'_>| {
            while !batch.is_empty() {
                ready!(poll_write_batch(stream, batch, dispatch.outbox(), cx))?;
            }
            Poll::Ready(Ok(()))
        };
        close_in_order(stream, FLUSH_TIMEOUT, flush).await;
    }
}
