//! How often something may happen.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// So many times a second. Whoever was quiet for a second may do a second's worth at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(NonZeroU32);

impl Rate {
    /// `None` for 0, which is no limit.
    pub(crate) fn new(per_second: u32) -> Option<Self> {
        NonZeroU32::new(per_second).map(Self)
    }

    fn interval(self) -> Duration {
        SECOND / self.0.get()
    }
}

/// A token bucket, kept as the instant at which it is full again (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether there is a token.
    pub(crate) fn has_token(&self, rate: Rate, now: Instant) -> bool {
        self.next(rate, now) <= now
    }

    /// Takes the next token, which is there at the instant that is returned.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Instant {
        let at = self.next(rate, now);
        self.full_at = self.full_at.max(now) + rate.interval();
        at
    }

    /// When there is a token: once the bucket lacks no more than all but one of them.
    fn next(&self, rate: Rate, now: Instant) -> Instant {
        (self.full_at + rate.interval()).checked_sub(SECOND).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, rate: Rate, now: Instant) -> usize {
        let mut taken = 0;
        while bucket.has_token(rate, now) {
            bucket.take(rate, now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_seconds_worth_at_once_and_then_one_by_one() {
        let start = Instant::now() + Duration::from_secs(1000);
        for per_second in [1, 3, 10, 100] {
            let rate = Rate::new(per_second).unwrap();
            let mut bucket = Bucket::full(start);
            assert_eq!(taken(&mut bucket, rate, start), per_second as usize);
            assert_eq!(taken(&mut bucket, rate, start + SECOND / 2), (per_second / 2) as usize);
            assert_eq!(taken(&mut bucket, rate, start + 100 * SECOND), per_second as usize);
        }
        assert_eq!(Rate::new(0), None);
    }

    #[test]
    fn who_cannot_wait_is_told_for_how_long() {
        let start = Instant::now() + Duration::from_secs(1000);
        let (rate, mut bucket) = (Rate::new(4).unwrap(), Bucket::full(start));
        let at: Vec<_> = (0..7).map(|_| bucket.take(rate, start) - start).collect();
        let quarters = [0, 0, 0, 0, 1, 2, 3].map(|quarters| SECOND / 4 * quarters);
        assert_eq!(at, quarters);
    }
}
