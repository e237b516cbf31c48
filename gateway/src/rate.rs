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
    rate: Rate,
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Whether there is a token.
    pub(crate) fn has_token(&self, now: Instant) -> bool {
        self.next(now) <= now
    }

    /// Takes the next token, which is there at the instant that is returned.
    pub(crate) fn take(&mut self, now: Instant) -> Instant {
        let at = self.next(now);
        self.full_at = self.full_at.max(now) + self.rate.interval();
        at
    }

    /// When there is a token: once the bucket lacks no more than all but one of them.
    fn next(&self, now: Instant) -> Instant {
        (self.full_at + self.rate.interval()).checked_sub(SECOND).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now: Instant) -> usize {
        let mut taken = 0;
        while bucket.has_token(now) {
            bucket.take(now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_seconds_worth_at_once_and_then_one_by_one() {
        let start = Instant::now() + Duration::from_secs(1000);
        for per_second in [1, 3, 10, 100] {
            let mut bucket = Bucket::full(Rate::new(per_second).unwrap(), start);
            assert_eq!(taken(&mut bucket, start), per_second as usize);
            assert_eq!(taken(&mut bucket, start + SECOND / 2), (per_second / 2) as usize);
            assert_eq!(taken(&mut bucket, start + 100 * SECOND), per_second as usize);
        }
        assert_eq!(Rate::new(0), None);
    }

    #[test]
    fn who_cannot_wait_is_told_for_how_long() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut bucket = Bucket::full(Rate::new(4).unwrap(), start);
        let at: Vec<_> = (0..7).map(|_| bucket.take(start) - start).collect();
        let quarters = [0, 0, 0, 0, 1, 2, 3].map(|quarters| SECOND / 4 * quarters);
        assert_eq!(at, quarters);
    }
}
