//! One physical connection, from registration to its end: a task that reads, dispatches, writes, and looks at the
//! clock.
//!
//! Each turn ([`Session::turn`]) does as much as there is to do without waiting. It reads into a scratch
//! buffer that all sessions of a thread share, so between turns a session holds only the cut-off tail of a frame
//! and what its socket has not taken.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fastway::command::{CommandError, ToEndpoint};
use fastway::frame::{FrameError, MaxPacket};
use fastway::id::Side;
use fastway::keepalive::{Due, KeepaliveConfig};
use fastway::net::{LINGER_TIMEOUT, Stream, close_in_order};
use fastway::reader::{Flow, FrameReader, Progress, ReadError, with_scratch};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::access_log::EndLog;
use crate::alarm::{Alarm, Alarms};
use crate::batch::Batch;
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::outbox::{Cut, Outbox, OutboxConfig};
use crate::pool::Pool;
use crate::rate::Rate;
use crate::refusal::Refusals;
use crate::router::Router;
use crate::stats::{Ended, Traffic};

/// Reads in one turn, before other sessions have theirs.
const READS_PER_TURN: usize = 4;

/// What a session still reads, in bytes, when it was told to end: more than kernels keep for one connection (Linux:
/// 6 MiB), so that everything sent before is there; but a peer that goes on sending cannot delay its end.
const LAST_BYTES: usize = 8 * 1024 * 1024;

/// Writes in one turn, before other sessions have theirs.
const WRITES_PER_TURN: usize = 16;

/// A frame that comes with so many bytes a second may take longer than the frame timeout: the line is bad, not the peer.
const SLOWEST_FRAME: usize = 1024;

/// Virtual connections that are closed in one go at a session's end, before other sessions have their turn.
const CLOSES_PER_TURN: usize = 1024;

/// At an orderly end: so long for what is queued to be written.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What the sessions of one side and shard have in common.
#[derive(Clone, Debug)]
pub(crate) struct SessionConfig {
    pub(crate) max_packet: MaxPacket,
    pub(crate) keepalive: Arc<KeepaliveConfig>,
    pub(crate) max_dialled: u32,
    /// How long a peer may take nothing of what there is to write.
    stall_timeout: Duration,
    /// A peer that acknowledges nothing for so long is dead; zero is never.
    dead_peer_timeout: Duration,
    /// How long a frame may be on its way, if it does not come slowly but surely; zero is for ever.
    frame_timeout: Duration,
    pub(crate) dial_rate: Option<Rate>,
    pub(crate) command_rate: Option<Rate>,
    alarms: Arc<Alarms>,
    pub(crate) router: Arc<Router>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) outbox: Arc<OutboxConfig>,
    ends: Arc<EndLog>,
}

impl SessionConfig {
    pub(crate) fn new(
        config: &Config,
        side: Side,
        router: Arc<Router>,
        refusals: Arc<Refusals>,
        alarms: Arc<Alarms>,
        outbox: OutboxConfig,
        ends: Arc<EndLog>,
    ) -> Self {
        let (client, server) = (&config.client, &config.server);
        let (keepalive, max_dialled) = match side {
            Side::Client => (client.keepalive, u32::try_from(client.max_conn).unwrap_or(u32::MAX)),
            Side::Server => (server.keepalive, u32::MAX),
        };
        let (stall_timeout, dead_peer_timeout) = match side {
            Side::Client => (client.stall_timeout, client.dead_peer_timeout),
            Side::Server => (server.stall_timeout, server.dead_peer_timeout),
        };
        let of_client = |per_second| Rate::new(per_second).filter(|_| side == Side::Client);
        Self {
            max_packet: config.max_packet,
            keepalive: Arc::new(keepalive),
            max_dialled,
            stall_timeout,
            dead_peer_timeout,
            frame_timeout: config.frame_timeout,
            dial_rate: of_client(client.dial_rate),
            command_rate: of_client(client.command_rate),
            alarms,
            router,
            refusals,
            outbox: Arc::new(outbox),
            ends,
        }
    }
}

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
struct Ending {
    reason: End,
    /// After so many more bytes at most …
    bytes_left: usize,
    /// … or at this instant, if the end of the peer is awaited.
    until: Option<Instant>,
}

impl Ending {
    fn is_drained(&self) -> bool {
        matches!(self.reason, End::Drained)
    }
}

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

    /// Ends the session when what has arrived from the peer is read. The first reason counts, but what cannot be written is
    /// dropped whatever it was: nobody may go on waiting for room, least of all this session itself.
    fn end_after_reading(&mut self, end: End, batch: &mut Batch) {
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

    /// Begins to count the time of a frame that has not arrived as a whole. If all that there was is still kept, it is the same
    /// as before.
    fn look_at_the_frame(&mut self, all: usize, now: Instant) {
        let kept = self.reader.kept_bytes();
        let timeout = self.dispatch.config().frame_timeout;
        if kept == 0 || self.reader.is_held() || timeout.is_zero() {
            self.unfinished = None;
        } else if self.unfinished.is_none() || kept != all {
            self.unfinished = Some(self.clock().moment(now));
            self.set_alarm(now + timeout);
        }
    }

    /// Nothing more is there for now. That was all, if the session is to end, unless the peer's own end is awaited.
    fn end_if_read(&mut self) -> Result<(), End> {
        if self.ending.as_deref().is_some_and(Ending::is_drained) { Ok(()) } else { self.end_if_due() }
    }

    /// Everything that had arrived is read.
    fn end_if_due(&mut self) -> Result<(), End> {
        self.ending.take().map_or(Ok(()), |ending| Err(ending.reason))
    }

    /// A queue is full. When the gateway stops, nobody waits for it. Whoever was taken over, or closed by the operator, and takes
    /// nothing any more is held back by that: what waits for it is dropped. What a client had sent before it failed, or was cut
    /// off, is delivered when there is room; but that it is cut off, it learns at once.
    fn end_if_held(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
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

    /// Something was written: in a while it is time to look whether the network has heard of the peer since.
    fn expect_life(&mut self) {
        let timeout = self.dispatch.config().dead_peer_timeout;
        if !self.expects_life && !timeout.is_zero() {
            self.expects_life = true;
            self.set_alarm(self.clock().instant(self.said) + timeout);
        }
    }

    /// Whether the network has heard of the peer. A peer that takes nothing, but answers that it does not, is alive. When to look
    /// again, if something is on its way; `Err` if the peer is dead.
    fn look_for_life(&mut self, now: Instant) -> Result<Option<Instant>, End> {
        if !self.expects_life {
            return Ok(None);
        }
        let timeout = self.dispatch.config().dead_peer_timeout;
        let Some(silence) = self.stream.silence() else {
            self.expects_life = self.blocked.is_some();
            return Ok(self.expects_life.then(|| now + timeout));
        };
        let next_look = silence.next_look(timeout).ok_or_else(|| End::Failed(io::ErrorKind::TimedOut.into()));
        next_look.map(|after| Some(now + after))
    }

    /// A client that is told to go has got all there was for it: now the end of file. What it still says meanwhile is read for as
    /// long as its answer may take; what others still say to it is dropped.
    fn hang_up(&mut self, batch: &mut Batch, cx: &mut Context<'_>) {
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
    fn end_if_late(&mut self, now: Instant) -> Result<(), End> {
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

    /// From now on the peer takes nothing, if it did not before.
    fn count_stall(&mut self) {
        if self.blocked.is_none() {
            let now = Instant::now();
            self.blocked = Some(self.clock().moment(now));
            self.set_alarm(now + self.dispatch.config().stall_timeout);
        }
    }

    /// The alarm has gone off: is the peer silent, or stalled, or a frame overdue? When is the next look?
    fn look_at_the_clock(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        let (now, clock) = (Instant::now(), self.clock());
        self.end_if_late(now)?;
        let config = self.dispatch.config();
        let slowly = Duration::from_secs((self.reader.kept_bytes() / SLOWEST_FRAME) as u64);
        let unfinished_at = self.unfinished.map(|since| clock.instant(since) + config.frame_timeout + slowly);
        if unfinished_at.is_some_and(|at| now >= at) {
            return Err(End::UnfinishedFrame);
        }
        let stalled_at = self.blocked.map(|since| clock.instant(since) + config.stall_timeout);
        if stalled_at.is_some_and(|at| now >= at) {
            self.end_after_reading(End::Stalled, batch);
            return self.read(batch, cx);
        }
        let look_at = match self.look_for_life(now) {
            Ok(at) => at,
            Err(end) => {
                self.end_after_reading(end, batch);
                return self.read(batch, cx);
            }
        };
        if self.reader.is_held() {
            self.remind(now, batch, cx)?;
        }
        let silent_at = match self.dispatch.keepalive.check(now) {
            Due::Expired => return Err(End::Silent),
            Due::Nothing(at) => at,
            Due::Ping(at) => {
                self.ping(batch, cx)?;
                at
            }
        };
        for at in [silent_at, stalled_at, unfinished_at, look_at].into_iter().flatten() {
            self.set_alarm(at);
        }
        Ok(())
    }

    /// It is the gateway that does not listen to a peer that is held back (rule 13). But it has to say something: the peer's
    /// own pings are not read, let alone echoed, and it would give the gateway up. What counts is when it was told something
    /// the last time, not when it was heard: it may have talked all the while.
    fn remind(&mut self, now: Instant, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        self.dispatch.keepalive.heard(now);
        if self.reminder().is_some_and(|at| now >= at) {
            if !self.ping_waits {
                self.dispatch.keepalive.ask(now);
            }
            self.ping(batch, cx)?;
        }
        self.set_reminder();
        Ok(())
    }

    /// When a peer that is held back is to be told something.
    fn reminder(&self) -> Option<Instant> {
        let interval = self.dispatch.config().keepalive.ping_interval;
        (!interval.is_zero()).then(|| self.clock().instant(self.said) + interval)
    }

    fn set_reminder(&mut self) {
        if let Some(at) = self.reminder() {
            self.set_alarm(at);
        }
    }

    fn set_alarm(&mut self, at: Instant) {
        self.alarm.set_by(at, self.dispatch.outbox(), &self.dispatch.config().alarms);
    }

    /// One ping that waits is enough: a peer that takes nothing gets no more of them, however long that lasts.
    fn ping(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        // Also if it does not get through: one is enough for this interval.
        self.said = self.clock().now();
        if !self.ping_waits {
            self.ping_waits = true;
            self.dispatch.outbox().reply(ToEndpoint::Ping);
        }
        self.write(batch, cx)
    }

    fn clock(&self) -> Clock {
        self.dispatch.config().outbox.tally.clock()
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

#[cfg(test)]
mod tests {
    use fastway::net::{BindOptions, Listener as _, MemoryNetwork, Network as _};
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::alarm::Grain;

    /// A machine can be suspended between accepting a connection and its first turn. Then the peer is neither given up at once
    /// nor never.
    #[tokio::test(start_paused = true)]
    async fn rule_11_silence_counts_from_the_first_turn() {
        let network = MemoryNetwork::new();
        let mut listener = network.bind("10.0.0.1:1".parse().unwrap(), BindOptions::default()).await.unwrap();
        let (peer, stream) = tokio::join!(network.connect("10.0.0.1:1"), listener.accept());
        let (_peer, stream) = (peer.unwrap(), stream.unwrap());
        let (config, router) = (Config::default(), Arc::new(Router::new(0)));
        let alarms = Arc::new(Alarms::new(Grain::of(&config)));
        let outbox = Arc::into_inner(OutboxConfig::with_limits(1000, 100_000)).unwrap();
        let session = SessionConfig::new(
            &config,
            Side::Client,
            router.clone(),
            Arc::default(),
            alarms.clone(),
            outbox,
            Arc::default(),
        );
        let outbox = router.register_client(&session.outbox, None).unwrap();
        let mut session = Session::new(stream, outbox, Arc::new(session));
        tokio::spawn(async move { alarms.run().await });

        advance(Duration::from_secs(3600)).await;
        let first_turn = Instant::now();
        let end = timeout(Duration::from_secs(100), session.turns()).await.expect("it ends");
        assert!(matches!(end, End::Silent), "{end}");
        assert!(first_turn.elapsed() >= config.client.keepalive.idle_timeout);
    }
}
