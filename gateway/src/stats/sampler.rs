//! Samples of the forwarding delay: how long a message takes from where it is read to where the kernel has taken it for the
//! receiver.
//!
//! To time every message would take two looks at the clock for each. So every so many reads one message is timed: the first of the
//! read that finds an empty queue, which is the one that waits the longest of all that are written with it. Of the messages to
//! one shard one is timed at a time, so a queue needs no room for it. If the receiver's socket takes nothing, the sample is
//! dropped: how long that lasts is the receiver's doing.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::clock::Moment;

/// A prime: of peers that take turns, each has its turn here too.
const READS_FOR_A_SAMPLE: u32 = 31;

/// What is being timed.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// Reads since the last one that was chosen.
    reads: AtomicU32,
    /// When the chosen read began, as long as none of its messages is being timed; 0 if there is none.
    reading_since: AtomicU64,
    /// The address of the queue with the message that is being timed; 0 if there is none. Whoever changes it to something else
    /// has the lock of that queue, or owns it.
    queue: AtomicUsize,
    /// When it was read. Belongs to whoever has set `queue`, and then to that queue's owner.
    since: AtomicU64,
}

impl Sampler {
    /// Before a read: is it its turn?
    pub(super) fn before_read(&self, now: impl FnOnce() -> Moment) {
        let reads = self.reads.load(Ordering::Relaxed) + 1;
        let is_chosen = reads >= READS_FOR_A_SAMPLE;
        self.reads.store(if is_chosen { 0 } else { reads }, Ordering::Relaxed);
        if is_chosen {
            self.reading_since.store(now().to_bits(), Ordering::Relaxed);
        }
    }

    /// When the read began from which a message is to be timed.
    pub(super) fn reading_since(&self) -> Option<Moment> {
        Moment::from_bits(self.reading_since.load(Ordering::Relaxed))
    }

    /// One of its messages is timed, or none.
    pub(super) fn after_read(&self) {
        if self.reading_since().is_some() {
            self.reading_since.store(0, Ordering::Relaxed);
        }
    }

    /// A message waits in this queue, alone, and was read then. Nothing happens if another is being timed.
    pub(super) fn begin(&self, queue: usize, since: Moment) {
        if self.queue.compare_exchange(0, queue, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.since.store(since.to_bits(), Ordering::Relaxed);
        }
    }

    /// The first message of this queue is written, or never will be. If it was the one that is timed: since when.
    pub(super) fn end(&self, queue: usize) -> Option<Moment> {
        if self.queue.load(Ordering::Relaxed) != queue {
            return None;
        }
        let since = Moment::from_bits(self.since.load(Ordering::Relaxed));
        self.queue.store(0, Ordering::Relaxed);
        since
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn one_read_in_so_many_is_chosen_and_one_message_of_it_is_timed() {
        let (sampler, clock) = (Sampler::default(), Clock::new(Instant::now()));
        let mut chosen = Vec::new();
        for read in 1..100 {
            sampler.before_read(|| clock.moment(Instant::now() + Duration::from_secs(read)));
            if sampler.reading_since().is_some() {
                chosen.push(read);
            }
            sampler.after_read();
            assert_eq!(sampler.reading_since(), None);
        }
        assert_eq!(chosen, [31, 62, 93]);
        let (one, other) = (clock.now(), clock.moment(Instant::now() + Duration::from_secs(1)));
        sampler.begin(1000, one);
        sampler.begin(2000, other);
        assert_eq!((sampler.end(2000), sampler.end(1000), sampler.end(1000)), (None, Some(one), None));
        sampler.begin(2000, other);
        assert_eq!(sampler.end(2000), Some(other));
    }
}
