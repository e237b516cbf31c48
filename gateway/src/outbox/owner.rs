//! What the owning session does with its queue.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use fastway::command::ToEndpoint;
use fastway::extensions::Extensions;
use fastway::id::Side;
use tokio::time::Instant;

use super::queue::{Notice, Queue, State};
use super::{Cut, News, Outbox};
use crate::batch::{Batch, Chunks};
use crate::stats::{Ended, Traffic};
use crate::sync::fence;

impl Outbox {
    /// To be called before the first turn. A session is one task for life, so its waker never changes.
    pub(crate) fn woken_by(&self, waker: &Waker) {
        self.queue.lock().waker = Some(waker.clone());
    }

    /// Takes the news, and the bytes too if there is a `batch` and it is written out. The order to end, if there
    /// is one.
    pub(crate) fn collect(&self, batch: Option<&mut Batch>, news: impl FnMut(News)) -> Option<Cut> {
        if !self.pending.load(Ordering::Acquire) {
            return None;
        }
        let mut queue = self.queue.lock();
        if let Some(batch) = batch.filter(|batch| batch.is_empty()) {
            queue.chunks.move_to(batch);
            queue.expected_bytes = batch.bytes().min(self.config.buffer_bytes);
            self.store_writing(batch);
        }
        // What is left waits for the batch to be written; until then nobody needs to wake the owner for more.
        let cut = queue.cut;
        self.pending.store(!queue.chunks.is_empty() || cut.is_some(), Ordering::Release);
        let all_news = queue.take_news();
        drop(queue);
        all_news.into_iter().for_each(news);
        cut
    }

    /// After a write that took something: what is still to be written of the batch, and how many messages of it are done. Lets
    /// go on those who were held back, if half of the queue is free again.
    pub(crate) fn wrote(&self, batch: &Batch, messages: u32) {
        let bytes = self.writing_bytes.load(Ordering::Relaxed) - batch.bytes();
        self.config.account.remove(bytes as usize);
        if messages > 0 {
            self.config.tally.end_sample(self.address());
        }
        let traffic = Traffic { messages: messages.into(), bytes: bytes.into() };
        self.stats.sent.add(traffic);
        self.config.tally.sent(traffic);
        if self.blocked.load(Ordering::Relaxed) {
            self.blocked.store(false, Ordering::Relaxed);
        }
        self.store_writing(batch);
        fence(Ordering::SeqCst);
        if !self.holds_back.load(Ordering::Relaxed) {
            return;
        }
        let limits = &self.config.limits;
        let mut queue = self.queue.lock();
        let low = (queue.chunks.messages() + batch.messages()) as usize <= limits.messages / 2
            && (queue.chunks.bytes() + batch.bytes()) as usize <= limits.bytes / 2;
        if low {
            let resumed = self.let_go(&mut queue);
            drop(queue);
            resume(resumed);
        }
    }

    /// The socket takes nothing more for now. Whoever was held back by a client for one turn has had to wait long
    /// enough.
    pub(crate) fn mark_blocked(&self) {
        let mut queue = self.queue.lock();
        self.blocked.store(true, Ordering::Relaxed);
        self.config.tally.drop_sample(self.address());
        if self.owner.side() == Side::Client {
            let resumed = self.let_go(&mut queue);
            drop(queue);
            resume(resumed);
        }
    }

    /// Queues a command for the owner itself, which is about to write anyway.
    pub(crate) fn reply(&self, command: ToEndpoint) {
        let queue = self.queue.lock();
        self.pending.store(true, Ordering::Release);
        self.push_command(queue, command.encode());
    }

    /// Queues the answer to what the owner's peer, a server, asks for beyond the protocol. From that very moment on it is told
    /// the addresses of clients, if that is granted. `answer` makes the frame; it gets the news that are not collected yet if
    /// this is the first grant: what was opened before it came without an address.
    pub(crate) fn grant(&self, granted: Extensions, answer: impl FnOnce(Option<&[News]>) -> Vec<u8>) {
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return;
        }
        let is_first = granted.contains(Extensions::CLIENT_ADDR) && !queue.tells_client_addr;
        queue.tells_client_addr |= is_first;
        let frame = answer(is_first.then_some(queue.others.as_ref().map_or(&[], |others| &others.news)));
        self.push(&mut queue, Cow::Owned(frame), 1, &self.config.account);
        self.pending.store(true, Ordering::Release);
    }

    /// The owner's peer asks for a notice when the gateway drains.
    pub(crate) fn wants_notice(&self) {
        let mut queue = self.queue.lock();
        if queue.notice == Notice::Unwanted {
            queue.notice = Notice::Wanted;
        }
    }

    /// Whether the owner was held back and may go on; asked once.
    pub(crate) fn take_resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::AcqRel)
    }

    /// So much came from the owner's peer.
    pub(crate) fn received(&self, traffic: Traffic) {
        self.stats.received.add(traffic);
        self.config.tally.received(traffic);
    }

    /// The owner's session has ended.
    pub(crate) fn ended(&self, reason: Ended) {
        self.config.tally.ended(reason, self.age(Instant::now()));
    }

    /// For the end of every turn: those on other shards who got messages in it are woken.
    pub(crate) fn announce(&self) {
        self.config.mailbox.announce();
    }

    /// Whether the owner's alarm has gone off; asked once.
    pub(crate) fn take_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire)
    }

    /// So many bytes from the owner's peer are kept after a turn.
    pub(crate) fn keeps(&self, bytes: usize) {
        let before = self.kept_bytes.load(Ordering::Relaxed) as usize;
        if bytes == before {
            return;
        }
        // No more than one frame or one read.
        self.kept_bytes.store(bytes.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
        self.config.account.add(bytes);
        self.config.account.remove(before);
    }

    /// The socket takes no more: drops what waits and what will come.
    pub(crate) fn break_off(&self, batch: &mut Batch) {
        self.drop_batch(batch);
        let mut queue = self.queue.lock();
        queue.state = State::Broken;
        self.drop_chunks(&mut queue);
        let resumed = self.let_go(&mut queue);
        drop(queue);
        resume(resumed);
    }

    /// The session has ended: nothing more comes in. What was still to be written is added to `batch`.
    pub(crate) fn shut(&self, batch: &mut Batch) -> Vec<News> {
        let mut queue = self.queue.lock();
        queue.state = State::Shut;
        self.config.tally.drop_sample(self.address());
        queue.chunks.move_to(batch);
        self.store_writing(batch);
        let resumed = self.let_go(&mut queue);
        let news = queue.take_news();
        drop(queue);
        resume(resumed);
        news
    }

    /// Nobody will write this, nor what else the owner has collected.
    pub(crate) fn drop_batch(&self, batch: &mut Batch) {
        self.config.account.remove(self.writing_bytes.load(Ordering::Relaxed) as usize);
        *batch = Batch::default();
        self.store_writing(batch);
    }

    pub(super) fn drop_chunks(&self, queue: &mut Queue) {
        self.config.account.remove(queue.chunks.bytes() as usize);
        queue.chunks = Chunks::default();
    }

    fn store_writing(&self, batch: &Batch) {
        self.writing_messages.store(batch.messages(), Ordering::Relaxed);
        self.writing_bytes.store(batch.bytes(), Ordering::Relaxed);
    }

    /// Nobody else has it as long as the session lives.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn let_go(&self, queue: &mut Queue) -> Vec<Arc<Self>> {
        self.holds_back.store(false, Ordering::Relaxed);
        queue.take_held_back()
    }
}

fn resume(sessions: Vec<Arc<Outbox>>) {
    for outbox in sessions {
        outbox.resumed.store(true, Ordering::Release);
        outbox.wake();
    }
}
