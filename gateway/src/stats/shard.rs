//! What the sessions of one shard count together, also those that have ended.

use std::array::from_fn;
use std::iter::zip;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastway::id::Side;

use super::histogram::Durations;
use super::sampler::Sampler;
use super::{Ended, Totals, Traffic};
use crate::clock::{Clock, Moment};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The upper bounds for the lives of sessions. Who does not last a second has failed at once; half a minute to two is where the
/// default timeouts end whoever is silent or stalled; then come a match, an evening, and the days of servers.
pub(super) const SESSION_LIFE: [Duration; 13] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(MINUTE),
    Duration::from_secs(2 * MINUTE),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(15 * MINUTE),
    Duration::from_secs(HOUR),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(6 * HOUR),
    Duration::from_secs(DAY),
    Duration::from_secs(3 * DAY),
    Duration::from_secs(7 * DAY),
];

/// The upper bounds for delays, three for each power of ten. Ten microseconds are two system calls, so less is not to be told
/// apart; a frame of a game is 16 ms; and a message that takes longer than ten seconds waits for something that timeouts
/// are for.
pub(super) const FORWARDING_DELAY: [Duration; 19] = [
    Duration::from_micros(10),
    Duration::from_micros(20),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// The numbers of one shard. Far enough from those of the next one that two cores do not fight for a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ShardStats {
    sides: [SideCounts; 2],
    sampler: Sampler,
    forwarding_delay: Durations,
    session_life: Durations,
    /// The sessions of this shard run on more than one thread.
    has_many_threads: AtomicBool,
}

#[derive(Debug)]
struct SideCounts {
    received_messages: AtomicU64,
    received_bytes: AtomicU64,
    sent_messages: AtomicU64,
    sent_bytes: AtomicU64,
    begun: AtomicU64,
    opened: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
}

impl Default for SideCounts {
    fn default() -> Self {
        Self {
            received_messages: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_messages: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            ended: from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Default for ShardStats {
    fn default() -> Self {
        Self {
            sides: from_fn(|_| SideCounts::default()),
            sampler: Sampler::default(),
            forwarding_delay: Durations::new(&FORWARDING_DELAY),
            session_life: Durations::new(&SESSION_LIFE),
            has_many_threads: AtomicBool::new(false),
        }
    }
}

impl ShardStats {
    /// A runtime with several threads was given to this shard, as programs that embed a gateway may. To be called before
    /// anything is counted.
    pub(crate) fn has_many_threads(&self) {
        self.has_many_threads.store(true, Ordering::Relaxed);
    }

    /// Who is the only one to write needs no locked instruction, which would cost as much as ten others.
    fn add(&self, counter: &AtomicU64, number: u64) {
        if self.has_many_threads.load(Ordering::Relaxed) {
            counter.fetch_add(number, Ordering::Relaxed);
        } else {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
        }
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        for (side, counts) in zip([Side::Client, Side::Server], &self.sides) {
            let sum = totals.side_mut(side);
            for (sum, counter) in [
                (&mut sum.received.messages, &counts.received_messages),
                (&mut sum.received.bytes, &counts.received_bytes),
                (&mut sum.sent.messages, &counts.sent_messages),
                (&mut sum.sent.bytes, &counts.sent_bytes),
                (&mut sum.begun, &counts.begun),
                (&mut sum.opened, &counts.opened),
            ]
            .into_iter()
            .chain(zip(&mut sum.ended, &counts.ended))
            {
                *sum += counter.load(Ordering::Relaxed);
            }
        }
        self.forwarding_delay.add_to(&mut totals.forwarding_delay);
        self.session_life.add_to(&mut totals.session_life);
    }
}

/// Where the sessions of one side and shard count.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    shard: Arc<ShardStats>,
    side: Side,
    clock: Clock,
}

impl Tally {
    pub(crate) fn new(shard: Arc<ShardStats>, side: Side, clock: Clock) -> Self {
        Self { shard, side, clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn begun(&self) {
        self.shard.add(&self.counts().begun, 1);
    }

    pub(crate) fn ended(&self, reason: Ended, life: Duration) {
        self.shard.add(&self.counts().ended[reason as usize], 1);
        self.shard.session_life.count(life, |counter, number| self.shard.add(counter, number));
    }

    pub(crate) fn opened(&self) {
        self.shard.add(&self.counts().opened, 1);
    }

    pub(crate) fn received(&self, traffic: Traffic) {
        let counts = self.counts();
        self.shard.add(&counts.received_messages, traffic.messages);
        self.shard.add(&counts.received_bytes, traffic.bytes);
    }

    pub(crate) fn sent(&self, traffic: Traffic) {
        let counts = self.counts();
        self.shard.add(&counts.sent_messages, traffic.messages);
        self.shard.add(&counts.sent_bytes, traffic.bytes);
    }

    /// Before one of these sessions reads.
    pub(crate) fn before_read(&self) {
        self.shard.sampler.before_read(|| self.clock.now());
    }

    /// When the present read began, if one of its messages is to be timed.
    pub(crate) fn reading_since(&self) -> Option<Moment> {
        self.shard.sampler.reading_since()
    }

    /// That read is over, or one of its messages is being timed.
    pub(crate) fn after_read(&self) {
        self.shard.sampler.after_read();
    }

    /// A message was read then, and waits in a queue of these sessions, alone.
    pub(crate) fn begin_sample(&self, queue: usize, since: Moment) {
        self.shard.sampler.begin(queue, since);
    }

    /// The first message of this queue is written.
    pub(crate) fn end_sample(&self, queue: usize) {
        if let Some(since) = self.shard.sampler.end(queue) {
            let delay = self.clock.now().since(since);
            self.shard.forwarding_delay.count(delay, |counter, number| self.shard.add(counter, number));
        }
    }

    /// The first message of this queue is not written any time soon.
    pub(crate) fn drop_sample(&self, queue: usize) {
        let _ = self.shard.sampler.end(queue);
    }

    fn counts(&self) -> &SideCounts {
        &self.shard.sides[match self.side {
            Side::Client => 0,
            Side::Server => 1,
        }]
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    impl Tally {
        /// For tests of any module.
        pub(crate) fn of_nobody(side: Side) -> (Self, Arc<ShardStats>) {
            let shard = Arc::<ShardStats>::default();
            (Self::new(shard.clone(), side, Clock::new(Instant::now())), shard)
        }
    }

    #[test]
    fn totals_are_sums_over_shards_by_side_and_reason() {
        let shards: [Arc<ShardStats>; 2] = Default::default();
        shards[1].has_many_threads();
        let clock = Clock::new(Instant::now());
        for (index, shard) in shards.iter().enumerate() {
            let [client, server] =
                [Side::Client, Side::Server].map(|side| Tally::new(shard.clone(), side, clock));
            for reason in Ended::ALL.iter().skip(index) {
                (0..=*reason as usize).for_each(|_| client.ended(*reason, Duration::from_secs(60)));
            }
            client.begun();
            client.received(Traffic { messages: 1, bytes: 10 });
            client.sent(Traffic { messages: 2, bytes: 20 });
            server.received(Traffic { messages: 3, bytes: 30 });
            server.sent(Traffic { messages: 4, bytes: 40 });
            server.opened();
            server.opened();
        }
        let totals = Totals::of(shards.iter().map(|shard| &**shard), Default::default());
        let Totals { client, server, session_life, .. } = totals;
        assert_eq!((client.begun, client.opened, server.begun, server.opened), (2, 0, 0, 4));
        assert_eq!(client.received, Traffic { messages: 2, bytes: 20 });
        assert_eq!(client.sent, Traffic { messages: 4, bytes: 40 });
        assert_eq!(server.received, Traffic { messages: 6, bytes: 60 });
        assert_eq!(server.sent, Traffic { messages: 8, bytes: 80 });
        for reason in Ended::ALL {
            let of_each_shard = reason as u64 + 1;
            let expected = if reason as usize == 0 { of_each_shard } else { 2 * of_each_shard };
            assert_eq!((client.ended(reason), server.ended(reason)), (expected, 0), "{reason}");
        }
        // One more for each reason; the second shard has none of the first.
        let of_each_shard = (1..=Ended::ALL.len() as u64).sum::<u64>();
        assert_eq!(session_life.count(), 2 * of_each_shard - 1);
        let at_a_minute = session_life.buckets().find(|(bound, _)| *bound == Duration::from_secs(60));
        assert_eq!(at_a_minute.unwrap().1, 2 * of_each_shard - 1);
    }
}
