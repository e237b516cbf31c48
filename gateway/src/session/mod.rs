//! One physical connection, from registration to its end: a task that reads, dispatches, writes, and looks at the
//! clock.
//!
//! - This file: the turn, reading and writing.
//! - `deadlines.rs`: what the clock is looked at for.
//! - `end.rs`: how a session ends, and why.
//! - `config.rs`: what sessions have in common.
//!
//! Each turn ([`Session::turn`]) does as much as there is to do without waiting. It reads into a scratch
//! buffer that all sessions of a thread share, so between turns a session holds only the cut-off tail of a frame
//! and what its socket has not taken.

mod config;
mod deadlines;
mod end;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fastway::keepalive::Due;
use fastway::net::Stream;
use fastway::reader::{Flow, FrameReader, Progress, ReadError, with_scratch};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

pub(crate) use self::config::SessionConfig;
use self::end::Ending;
pub(crate) use self::end::{End, FLUSH_TIMEOUT};
use crate::alarm::Alarm;
use crate::batch::Batch;
use crate::clock::Moment;
use crate::dispatch::Dispatch;
use crate::outbox::Outbox;
use crate::pool::Pool;
use crate::stats::{Ended, Traffic};

/// Reads in one turn, before other sessions have theirs.
const READS_PER_TURN: usize = 4;

/// Writes in one turn, before other sessions have theirs.
const WRITES_PER_TURN: usize = 16;

/// One physical connection that is registered.
#[derive(Debug)]
pub(crate) struct Session<S> {
    stream: S,
    reader: FrameReader<Pool>,
    dispatch: Dispatch,
    /// What the socket has not taken: as a rule nothing, and no memory then. A turn has it in its hands.
    unwritten: Option<Box<Batch>>,
    alarm: Alarm,
    /// Since when the peer has taken nothing of what there is to write.
    blocked: Option<Moment>,
    /// Since when the first frame that is kept has been on its way.
    unfinished: Option<Moment>,
    /// When the peer was told something the last time.
    said: Moment,
    /// The session is to end, but what the peer had sent before is still delivered (rule 9).
    ending: Option<Box<Ending>>,
    /// A ping was queued since the peer last took something.
    ping_waits: bool,
    /// Something was written since it was last certain that the peer has everything.
    expects_life: bool,
    /// The peer was told that nothing more comes.
    hung_up: bool,
    /// It has had its first turn.
    has_begun: bool,
    /// Its end was counted.
    has_ended: bool,
}

impl<S: Stream> Session<S> {
    pub(crate) fn new(stream: S, outbox: Arc<Outbox>, config: Arc<SessionConfig>) -> Self {
        let now = Instant::now();
        config.outbox.tally.begun();
        if !config.dead_peer_timeout.is_zero() {
            // If that fails, the connection is gone, and the first read says so.
            let _ = stream.probe_idle_peer(config.dead_peer_timeout);
        }
        let said = config.outbox.tally.clock().moment(now);
        Self {
            stream,
            reader: FrameReader::with_buffers(config.max_packet, outbox.pool().clone()),
            dispatch: Dispatch::new(outbox, config, now),
            unwritten: None,
            alarm: Alarm::default(),
            blocked: None,
            unfinished: None,
            said,
            ending: None,
            ping_waits: false,
            expects_life: false,
            hung_up: false,
            has_begun: false,
            has_ended: false,
        }
    }

    /// Serves the connection until it is to end. Then comes [`wind_up`](Self::wind_up).
    pub(crate) fn turns(&mut self) -> impl Future<Output = End> {
        poll_fn(|cx| {
            if !self.has_begun {
                self.begin(cx);
            }
            let turn = self.turn(cx);
            self.dispatch.outbox().announce();
            turn.map_or_else(Poll::Ready, |()| Poll::Pending)
        })
    }

    fn begin(&mut self, cx: &Context<'_>) {
        self.has_begun = true;
        self.dispatch.outbox().woken_by(cx.waker());
        // Silence counts from here: since the peer was accepted, the machine may have stood still.
        let now = Instant::now();
        self.dispatch.keepalive.heard(now);
        self.said = self.clock().moment(now);
        if let Due::Nothing(Some(at)) = self.dispatch.keepalive.check(now) {
            self.set_alarm(at);
        }
    }

    /// One turn, with a batch that takes memory of its own only if the socket leaves something of it.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let (mut unwritten, mut fresh) = (self.unwritten.take(), Batch::default());
        let batch = unwritten.as_deref_mut().unwrap_or(&mut fresh);
        let turn = self.turn_with(batch, cx);
        if !batch.is_empty() {
            self.unwritten = unwritten.or_else(|| Some(Box::new(fresh)));
        }
        turn
    }

    /// News, reading, writing, the clock.
    fn turn_with(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        self.collect(batch);
        self.read(batch, cx)?;
        self.write(batch, cx)?;
        if self.alarm.has_gone_off(self.dispatch.outbox(), &self.dispatch.config().alarms) {
            self.look_at_the_clock(batch, cx)?;
        }
        Ok(())
    }

    fn collect(&mut self, batch: &mut Batch) {
        if let Some(cut) = self.dispatch.collect(Some(batch)) {
            self.end_after_reading(cut.into(), batch);
        }
    }

    /// Reads and dispatches until nothing is there, a queue is full, or others should have their turn.
    fn read(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        if self.reader.is_held() && !self.dispatch.outbox().take_resumed() {
            return self.end_if_held(batch, cx);
        }
        for _ in 0..READS_PER_TURN {
            let kept = self.reader.kept_bytes();
            let progress = self.poll_read(cx);
            let Poll::Ready(progress) = progress else { return self.end_if_read() };
            self.dispatch.outbox().keeps(self.reader.kept_bytes());
            match progress {
                Ok(Progress::Read(bytes)) => self.heard(kept, bytes)?,
                Ok(Progress::Held(bytes)) => {
                    // A frame that was only offered again is no sign of life, neither the peer's nor ours.
                    if bytes > 0 {
                        self.heard(kept, bytes)?;
                    }
                    self.set_reminder();
                    return self.end_if_held(batch, cx);
                }
                Ok(Progress::Eof { mid_frame }) => {
                    self.end_if_due()?;
                    return Err(if mid_frame { End::ClosedMidFrame } else { End::Closed });
                }
                Err(ReadError::Io(error)) => {
                    self.end_if_due()?;
                    return Err(End::Failed(error));
                }
                Err(ReadError::Frame(error)) => return Err(error.into()),
                Err(ReadError::Handler(end)) => return Err(end),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// One read, of which all that is whole is handled, and which is counted however it ends.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, ReadError<End>>> {
        let Self { reader, stream, dispatch, .. } = self;
        let mut stream = Counted { stream, bytes: 0 };
        let mut messages = 0;
        dispatch.config().outbox.tally.before_read();
        let progress = with_scratch(|scratch| {
            reader.poll_runs(cx, &mut stream, scratch, |run| {
                let frames = run.frames();
                let flow = dispatch.handle(run);
                if run.conn().is_some() {
                    let is_held = matches!(flow, Ok(Flow::Hold));
                    messages += if is_held { frames - run.frames() } else { frames };
                }
                flow
            })
        });
        dispatch.config().outbox.tally.after_read();
        if stream.bytes > 0 || messages > 0 {
            dispatch.outbox().received(Traffic { messages: messages as u64, bytes: stream.bytes as u64 });
        }
        progress
    }

    /// So many bytes came from the peer, where so many were kept before. If it is to end, that was perhaps the last of it.
    fn heard(&mut self, kept: usize, bytes: usize) -> Result<(), End> {
        let now = Instant::now();
        self.dispatch.keepalive.heard(now);
        self.look_at_the_frame(kept + bytes, now);
        if let Some(ending) = self.ending.as_deref_mut() {
            ending.bytes_left = ending.bytes_left.saturating_sub(bytes);
            if ending.bytes_left == 0 {
                return self.end_if_due();
            }
        }
        Ok(())
    }

    /// Writes until nothing is left, the socket takes no more, or others should have their turn.
    fn write(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        for _ in 0..WRITES_PER_TURN {
            if batch.is_empty() {
                self.collect(batch);
                if batch.is_empty() {
                    return self.flush(batch, cx);
                }
            }
            match poll_write_batch(&mut self.stream, batch, self.dispatch.outbox(), cx) {
                Poll::Ready(Ok(())) => {
                    self.blocked = None;
                    self.ping_waits = false;
                    self.said = self.clock().now();
                    self.expect_life();
                }
                Poll::Ready(Err(error)) => {
                    self.end_after_reading(End::Failed(error), batch);
                    return self.read(batch, cx);
                }
                Poll::Pending => {
                    self.note_blocked(cx);
                    return Ok(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Nothing is left to be written, but the end of it may wait inside of the stream: an encrypted one has records.
    fn flush(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.blocked = None;
                self.hang_up(batch, cx);
            }
            Poll::Ready(Err(error)) => {
                self.end_after_reading(End::Failed(error), batch);
                return self.read(batch, cx);
            }
            Poll::Pending => self.count_stall(),
        }
        Ok(())
    }

    fn note_blocked(&mut self, cx: &mut Context<'_>) {
        self.dispatch.outbox().mark_blocked();
        if self.ending.is_some() && self.reader.is_held() {
            // Whether to wait for room was decided before this was known.
            cx.waker().wake_by_ref();
        }
        self.count_stall();
    }
}

fn poll_write_batch<S: Stream>(
    stream: &mut S,
    batch: &mut Batch,
    outbox: &Outbox,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let written = ready!(Pin::new(stream).poll_write(cx, batch.unwritten()))?;
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    let messages = batch.advance(written, outbox.pool());
    outbox.wrote(batch, messages);
    Poll::Ready(Ok(()))
}

/// A stream from which so many bytes were read.
struct Counted<'a, S> {
    stream: &'a mut S,
    bytes: usize,
}

impl<S: Stream> AsyncRead for Counted<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream).poll_read(cx, buffer);
        self.bytes += buffer.filled().len() - before;
        read
    }
}

/// If the task was dropped, or panicked, in the middle: nobody may go on waiting for this session.
impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        // What was being written may have been in the hands of the turn that panicked.
        let batch = &mut Batch::default();
        self.dispatch.outbox().drop_batch(batch);
        self.dispatch.leave(batch);
        self.dispatch.close_some(usize::MAX);
        self.dispatch.outbox().drop_batch(batch);
        self.dispatch.outbox().keeps(0);
        if !self.has_ended {
            self.dispatch.outbox().ended(Ended::Abandoned);
        }
    }
}
