//! One session's send queue, and the only place where sessions meet.
//!
//! Other sessions push: frames, the news that a virtual connection has opened or ended, an order to stop. The
//! owning session collects all of it in one go and writes it. Each push is one short lock and one copy behind the
//! bytes that wait for the same socket already; the owner is woken once, however much is pushed until it runs.
//!
//! The queue is bounded in messages and in bytes. What happens at the bound depends on whose it is. A server holds
//! the sender back until half of the queue is free (rule 15). A client whose socket takes nothing more is cut off (rule
//! 14). But the queue of a client that reads can fill up within one turn of the sender, by a burst of small messages:
//! then the sender is held back for the one turn that the client's session needs to write. That wait depends on no
//! peer, so a server never waits for a client.
//!
//! Commands are never held back; whoever causes one checks for room first ([`Outbox::has_room`]).
//!
//! - This file: what the sessions of others do.
//! - `owner.rs`: what the owning session does.
//! - `queue.rs`: what the lock guards.
//!
//! Locks: no two queues' locks are ever held at once, and no waker runs under one.

mod owner;
mod queue;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastway::command::{CommandFrame, ToEndpoint};
use fastway::extensions::DrainNotice;
use fastway::id::{ClientId, RemoteId, ServerId, Side};
use fastway::run::Run;
use tokio::time::Instant;

use self::queue::{Notice, Queue, State};
use crate::budget::Account;
use crate::config::{Config, QueueLimits};
use crate::conn::Conn;
use crate::mailbox::Mailbox;
use crate::pool::Pool;
use crate::stats::{Gauge, Peer, SessionInfo, SessionStats, Tally};
use crate::sync::{AtomicBool, AtomicU32, Mutex, MutexGuard, fence};

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Client(ClientId),
    Server(ServerId),
}

impl Owner {
    pub(crate) fn side(self) -> Side {
        match self {
            Self::Client(_) => Side::Client,
            Self::Server(_) => Side::Server,
        }
    }

    pub(crate) fn remote_id(self) -> RemoteId {
        match self {
            Self::Client(id) => id.into(),
            Self::Server(id) => id.into(),
        }
    }
}

/// What has changed in the owner's table of virtual connections.
#[derive(Debug)]
pub(crate) enum News {
    Opened(Arc<Conn>),
    Closed(Arc<Conn>),
}

/// Why somebody else ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A client did not take what was sent to it.
    SlowClient,
    /// A newer server registered the same ID.
    TakenOver,
    /// All queues together are full, and this one owed the most.
    Debt,
    /// Somebody who runs the gateway wants it.
    Operator,
    /// The gateway drains, and it is this client's turn to go.
    Drained,
    /// The gateway stops.
    Shutdown,
}

/// What became of frames that were to be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    Done,
    /// No room for those that are left. The sender will be resumed when there is.
    Full,
    /// The connection, or the whole session, has ended on this side.
    Gone,
}

/// What would come of a dial to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// The dialler would have to wait for room.
    Full,
    /// The session has ended, or is about to.
    Ending,
}

/// What the queues of one side and shard have in common.
#[derive(Debug)]
pub(crate) struct OutboxConfig {
    pub(crate) limits: QueueLimits,
    /// A queue takes a buffer as large as the last one was filled, up to so many bytes.
    pub(crate) buffer_bytes: u32,
    pub(crate) pool: Pool,
    /// That of the owners' shard.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Where the owners' shard counts what waits.
    pub(crate) account: Account,
    /// Where it counts what comes and goes.
    pub(crate) tally: Tally,
}

impl OutboxConfig {
    pub(crate) fn new(
        config: &Config,
        side: Side,
        pool: Pool,
        mailbox: Arc<Mailbox>,
        account: Account,
        tally: Tally,
    ) -> Self {
        let (limits, buffer_bytes) = match side {
            Side::Client => (config.client.queue, config.client.buffer_bytes),
            Side::Server => (config.server.queue, config.server.buffer_bytes),
        };
        // The largest is 64 MiB, by `Config::check`.
        let buffer_bytes = u32::try_from(buffer_bytes).unwrap_or(u32::MAX);
        Self { limits, buffer_bytes, pool, mailbox, account, tally }
    }
}

#[derive(Debug)]
pub(crate) struct Outbox {
    owner: Owner,
    config: Arc<OutboxConfig>,
    /// The owner has something to collect and knows, or is about to. Changes under the lock of the queue.
    pending: AtomicBool,
    /// The owner was held back and may go on.
    resumed: AtomicBool,
    /// The owner's alarm has gone off.
    rung: AtomicBool,
    /// Somebody is held back by this queue.
    holds_back: AtomicBool,
    /// The owner's socket took nothing more when it last wrote. Only the owner stores.
    blocked: AtomicBool,
    /// What the owner has collected and not yet written. Only the owner stores.
    writing_messages: AtomicU32,
    writing_bytes: AtomicU32,
    /// What has come from the owner's peer and waits for the rest of its frame, or is held back. Only the owner stores.
    kept_bytes: AtomicU32,
    /// Virtual connections that are open. Changes under the lock of the queue.
    open: Gauge,
    stats: SessionStats,
    peer: Peer,
    queue: Mutex<Queue>,
}

impl Outbox {
    /// For a session that begins now.
    pub(crate) fn new(owner: Owner, config: Arc<OutboxConfig>, peer: Option<SocketAddr>) -> Self {
        Self {
            owner,
            open: Gauge::default(),
            peer: peer.into(),
            stats: SessionStats::new(config.tally.clock().now()),
            config,
            pending: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            holds_back: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            writing_messages: AtomicU32::new(0),
            writing_bytes: AtomicU32::new(0),
            kept_bytes: AtomicU32::new(0),
            queue: Mutex::default(),
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Where the owner's peer is; behind a proxy, as the proxy said.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer.addr()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.config.pool
    }

    /// Queues messages of `conn`. With [`Push::Full`] what is left in `run` stays the sender's, and `sender` is resumed
    /// later.
    pub(crate) fn forward(&self, conn: &Conn, run: &mut Run<'_>, sender: &Arc<Self>) -> Push {
        let mut queue = self.queue.lock();
        if queue.state == State::Shut || conn.is_closed(self.owner.side()) {
            return Push::Gone;
        }
        if queue.state == State::Broken {
            return Push::Done;
        }
        let mut outcome = Push::Done;
        let before = run.frames();
        let sample = sender.config.tally.reading_since().filter(|_| self.queued(&queue).0 == 0);
        while run.frames() > 0 {
            let fitting = self.fitting(&queue, run);
            if fitting > 0 {
                self.push(&mut queue, run.take(fitting), fitting, &sender.config.account);
            } else if self.is_too_slow() {
                // Its connections are closed when what it had sent itself is delivered, not by this message.
                drop(queue);
                self.cut(Cut::SlowClient);
                return Push::Done;
            } else if self.hold_back(&mut queue, run.first_bytes(), sender) {
                outcome = Push::Full;
                break;
            }
        }
        if run.frames() < before {
            if let Some(since) = sample {
                sender.config.tally.after_read();
                self.config.tally.begin_sample(self.address(), since);
            }
            self.wake_once(queue, Some(sender));
        }
        outcome
    }

    /// Tells the owner that `conn` is open, by `command`. `false` if the session has ended.
    pub(crate) fn open(&self, conn: &Arc<Conn>, command: ToEndpoint) -> bool {
        let mut queue = self.queue.lock();
        if queue.state == State::Shut {
            return false;
        }
        self.open.increment();
        queue.opened += 1;
        queue.others.get_or_insert_default().news.push(News::Opened(conn.clone()));
        let frame = command.encode();
        let is_to_tell = queue.tells_client_addr;
        self.push_command(queue, if is_to_tell { frame.with_client_addr(conn.client_addr()) } else { frame });
        true
    }

    /// Tells the owner that `conn` has ended, once. `false` if that was done before.
    pub(crate) fn close(&self, conn: &Arc<Conn>) -> bool {
        let mut queue = self.queue.lock();
        if !conn.mark_closed(self.owner.side()) {
            return false;
        }
        if queue.state != State::Shut {
            self.open.decrement();
            queue.others.get_or_insert_default().news.push(News::Closed(conn.clone()));
            self.push_command(queue, ToEndpoint::Close { conn: Some(conn.id()) }.encode());
        }
        true
    }

    /// Whether commands may be caused here. If the queue is full, `sender` is resumed when it is not. That of a slow
    /// client counts as having room: the command will cut it off.
    pub(crate) fn has_room(&self, sender: &Arc<Self>) -> bool {
        let mut queue = self.queue.lock();
        queue.state != State::Open
            || self.fits(&queue, 0)
            || self.is_too_slow()
            || !self.hold_back(&mut queue, 0, sender)
    }

    /// Orders the session to end. The first order counts; what waits for somebody who does not take it is dropped at once.
    pub(crate) fn cut(&self, reason: Cut) {
        let mut queue = self.queue.lock();
        if queue.state == State::Shut {
            return;
        }
        if matches!(reason, Cut::SlowClient | Cut::Debt) {
            queue.state = State::Broken;
            self.drop_chunks(&mut queue);
        }
        queue.cut.get_or_insert(reason);
        self.pending.store(true, Ordering::Release);
        drop(queue);
        self.wake();
    }

    /// The gateway drains: the owner's peer is told, once, if it asked for that. Not even a full queue stands in the way, and nobody
    /// is cut off for it.
    pub(crate) fn give_notice(&self, notice: DrainNotice) {
        let mut queue = self.queue.lock();
        if queue.notice != Notice::Wanted || queue.state != State::Open {
            return;
        }
        queue.notice = Notice::Given;
        self.push(&mut queue, Cow::Borrowed(notice.encode().as_ref()), 1, &self.config.account);
        self.wake_once(queue, None);
    }

    /// The owner's alarm goes off.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.wake();
    }

    /// Bytes that wait to be written, collected or not.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued(&self.queue.lock()).1
    }

    /// What of all that waits in the gateway is this session's doing, in bytes: `None` if it is to end anyway.
    pub(crate) fn debt(&self) -> Option<usize> {
        let queue = self.queue.lock();
        (!queue.is_to_end()).then(|| self.queued(&queue).1 + self.kept_bytes.load(Ordering::Relaxed) as usize)
    }

    /// What would come of a dial to the owner at this moment. Nobody waits for room by asking.
    pub(crate) fn readiness(&self) -> Readiness {
        let queue = self.queue.lock();
        if queue.is_to_end() {
            Readiness::Ending
        } else if self.fits(&queue, 0) {
            Readiness::Ready
        } else {
            Readiness::Full
        }
    }

    /// Virtual connections that are open.
    pub(crate) fn open_conns(&self) -> usize {
        self.open.get()
    }

    /// Whether the owner's socket took nothing more when it last wrote.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether the queue was full, and is not yet half empty again. A hint: nothing is locked.
    pub(crate) fn holds_back(&self) -> bool {
        self.holds_back.load(Ordering::Relaxed)
    }

    /// The owner's session as it is.
    pub(crate) fn info(&self, now: Instant) -> SessionInfo {
        let queue = self.queue.lock();
        let (queued_messages, queued_bytes) = self.queued(&queue);
        let opened = queue.opened;
        drop(queue);
        SessionInfo {
            side: self.owner.side(),
            id: self.owner.remote_id().get(),
            peer: self.peer(),
            age: self.age(now),
            received: self.stats.received.get(),
            sent: self.stats.sent.get(),
            conns: self.open.get(),
            opened,
            queued_messages,
            queued_bytes,
            kept_bytes: self.kept_bytes.load(Ordering::Relaxed) as usize,
            blocked: self.blocked.load(Ordering::Relaxed),
        }
    }

    fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.config.tally.clock().instant(self.stats.since))
    }

    fn push_command(&self, mut queue: MutexGuard<'_, Queue>, frame: CommandFrame) {
        if queue.state == State::Broken {
            // Nobody gets the command, but the owner gets the news that came with it.
            return self.wake_once(queue, None);
        }
        let too_slow = !self.fits(&queue, frame.as_ref().len()) && self.is_too_slow();
        self.push(&mut queue, Cow::Borrowed(frame.as_ref()), 1, &self.config.account);
        if too_slow {
            drop(queue);
            self.cut(Cut::SlowClient);
        } else {
            self.wake_once(queue, None);
        }
    }

    fn push(&self, queue: &mut Queue, frames: Cow<'_, [u8]>, count: usize, account: &Account) {
        account.add(frames.len());
        let count = u32::try_from(count).expect("one read brings so many frames at most");
        queue.chunks.push(frames, count, queue.expected_bytes as usize, &self.config.pool);
    }

    /// Messages and bytes that wait to be written, collected or not.
    fn queued(&self, queue: &Queue) -> (usize, usize) {
        let messages = queue.chunks.messages() + self.writing_messages.load(Ordering::Relaxed);
        let bytes = queue.chunks.bytes() + self.writing_bytes.load(Ordering::Relaxed);
        (messages as usize, bytes as usize)
    }

    fn fits(&self, queue: &Queue, bytes: usize) -> bool {
        let (queued_messages, queued_bytes) = self.queued(queue);
        queued_messages < self.config.limits.messages && queued_bytes + bytes <= self.config.limits.bytes
    }

    /// How many frames of `run` fit into the queue as it is.
    fn fitting(&self, queue: &Queue, run: &Run<'_>) -> usize {
        let (queued_messages, queued_bytes) = self.queued(queue);
        let QueueLimits { messages, bytes } = self.config.limits;
        run.frames_within(bytes.saturating_sub(queued_bytes)).min(messages.saturating_sub(queued_messages))
    }

    /// Whether a full queue means that the owner is to be cut off.
    fn is_too_slow(&self) -> bool {
        self.owner.side() == Side::Client && self.blocked.load(Ordering::Relaxed)
    }

    /// Notes that `sender` waits for room. `false` if there is room after all: the owner may have written since
    /// the caller looked, and it looks for the mark only after it has written.
    fn hold_back(&self, queue: &mut Queue, bytes: usize, sender: &Arc<Self>) -> bool {
        self.holds_back.store(true, Ordering::Relaxed);
        // Either this sees what the owner has written, or the owner sees the mark (`wrote`).
        fence(Ordering::SeqCst);
        let full = !self.fits(queue, bytes);
        if full {
            queue.others.get_or_insert_default().held_back.push(sender.clone());
        }
        full
    }

    /// Unlocks the queue and wakes the owner, unless it was woken since it last collected. A sender of messages that is on
    /// another shard does so at the end of its turn ([`Outbox::announce`]).
    fn wake_once(&self, queue: MutexGuard<'_, Queue>, sender: Option<&Self>) {
        if self.pending.load(Ordering::Relaxed) {
            return;
        }
        self.pending.store(true, Ordering::Release);
        let waker = queue.waker.clone();
        drop(queue);
        let Some(waker) = waker else { return };
        let (here, there) = (sender.map(|sender| &sender.config.mailbox), &self.config.mailbox);
        match here.filter(|here| !Arc::ptr_eq(here, there)) {
            None => waker.wake(),
            Some(here) => here.leave(waker, there),
        }
    }

    fn wake(&self) {
        let waker = self.queue.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::budget::Budget;
    use crate::config::MemPoolConfig;
    use crate::stats::Tally;

    const PING_BYTES: usize = 9;

    impl OutboxConfig {
        /// For tests of any module.
        pub(crate) fn with_limits(messages: usize, bytes: usize) -> Arc<Self> {
            let pool = Pool::new(MemPoolConfig::default());
            let limits = QueueLimits { messages, bytes };
            let account = Account::new(Arc::new(Budget::new(0, 1)), 0);
            let tally = Tally::of_nobody(Side::Server).0;
            Arc::new(Self { limits, buffer_bytes: 1024, pool, mailbox: Arc::default(), account, tally })
        }
    }

    fn outbox(messages: usize, bytes: usize) -> Arc<Outbox> {
        let config = OutboxConfig::with_limits(messages, bytes);
        Arc::new(Outbox::new(Owner::Server(ServerId::new(1)), config, None))
    }

    /// Rule 15, whichever limit was reached, and wherever what is left waits: not earlier, or each write would wake
    /// everybody; not later, or the socket could run dry.
    #[test]
    fn a_sender_is_let_go_when_half_of_the_queue_is_free() {
        for full in [outbox(6, 1_000), outbox(1_000, 6 * PING_BYTES)] {
            for in_queue in [0, 2] {
                let sender = outbox(10, 1_000);
                let mut batch = Batch::default();
                (0..7 - in_queue).for_each(|_| full.reply(ToEndpoint::Ping));
                full.collect(Some(&mut batch), |_| ());
                (0..in_queue).for_each(|_| full.reply(ToEndpoint::Ping));
                assert!(!full.has_room(&sender));
                for left in [6, 5, 4, 3] {
                    let messages = batch.advance(PING_BYTES, full.pool());
                    full.wrote(&batch, messages);
                    assert_eq!(sender.take_resumed(), left == 3, "{left} of 6 messages are left");
                }
                // The next round begins with an empty queue.
                full.break_off(&mut batch);
                full.queue.lock().state = State::Open;
            }
        }
    }

    /// From the read to the write that takes all of it; and not if the socket takes nothing for a while.
    #[tokio::test(start_paused = true)]
    async fn the_first_message_to_an_empty_queue_is_timed() {
        let (tally, shard) = Tally::of_nobody(Side::Server);
        let config = Arc::into_inner(OutboxConfig::with_limits(100, 1_000)).unwrap();
        let config = Arc::new(OutboxConfig { tally: tally.clone(), ..config });
        let [sender, receiver] = [1, 2].map(|id| {
            let owner =
                if id == 1 { Owner::Client(ClientId::new(1).unwrap()) } else { Owner::Server(id.into()) };
            Arc::new(Outbox::new(owner, config.clone(), None))
        });
        let conn = Conn::new(&crate::conn::ConnIds::after(0), &sender, &receiver);
        let mut wire = Vec::new();
        fastway::frame::encode(conn.id(), b"message", &mut wire);
        let forward = || {
            let (mut run, _) = fastway::run::split_run(&wire, Default::default()).unwrap().unwrap();
            assert_eq!(receiver.forward(&conn, &mut run, &sender), Push::Done);
        };
        let read = |messages| {
            while tally.reading_since().is_none() {
                tally.before_read();
            }
            (0..messages).for_each(|_| forward());
            tally.after_read();
        };
        let delays = || {
            let delays = crate::stats::Totals::of([&*shard], Default::default()).forwarding_delay;
            (delays.count(), delays.sum())
        };
        let mut batch = Batch::default();
        let mut write = |bytes: usize| {
            receiver.collect(Some(&mut batch), |_| ());
            let messages = batch.advance(bytes, receiver.pool());
            receiver.wrote(&batch, messages);
        };
        let millis = Duration::from_millis;

        read(3);
        tokio::time::advance(millis(3)).await;
        write(wire.len() - 1);
        assert_eq!(delays(), (0, millis(0)), "it is not yet written as a whole");
        tokio::time::advance(millis(4)).await;
        write(1);
        assert_eq!(delays(), (1, millis(7)));
        tokio::time::advance(millis(1)).await;
        read(1);
        write(2 * wire.len());
        write(wire.len());
        assert_eq!(delays(), (1, millis(7)), "the queue was not empty");
        read(1);
        receiver.mark_blocked();
        tokio::time::advance(millis(100)).await;
        write(wire.len());
        assert_eq!(delays(), (1, millis(7)), "its socket took nothing");
        read(1);
        tokio::time::advance(millis(2)).await;
        write(wire.len());
        assert_eq!(delays(), (2, millis(9)));
    }
}
