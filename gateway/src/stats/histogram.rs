//! Durations, counted by how long they were.

use std::iter::zip;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many durations were how long, in buckets with fixed bounds.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is beyond the last.
    counts: Vec<u64>,
    sum: Duration,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: Duration::ZERO }
    }

    /// The upper bound of each bucket, and how many were not longer: cumulative, as Prometheus wants it. The last bucket, which
    /// has no bound, is [`count`](Self::count).
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let cumulative = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        zip(self.bounds.iter().copied(), cumulative)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they were in all, each rounded to a microsecond.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// Where durations are counted as they come.
#[derive(Debug)]
pub(super) struct Durations {
    bounds: &'static [Duration],
    counts: Box<[AtomicU64]>,
    /// In nanoseconds, the lives of a hundred thousand sessions would be more than fits in a few days.
    sum_micros: AtomicU64,
}

impl Durations {
    /// The bounds ascend.
    pub(super) fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_micros: AtomicU64::new(0) }
    }

    pub(super) fn count(&self, duration: Duration, add: impl Fn(&AtomicU64, u64)) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        add(&self.counts[bucket], 1);
        let micros = duration.saturating_add(Duration::from_nanos(500)).as_micros();
        add(&self.sum_micros, u64::try_from(micros).unwrap_or(u64::MAX));
    }

    pub(super) fn add_to(&self, histogram: &mut Histogram) {
        for (sum, count) in zip(&mut histogram.counts, &self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        histogram.sum += Duration::from_micros(self.sum_micros.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_up_to_its_bound_and_in_all_buckets_above() {
        const BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];
        let durations = Durations::new(&BOUNDS);
        for micros in [0, 999, 1000, 1001, 10_000, 10_001] {
            let add = |counter: &AtomicU64, number| {
                counter.fetch_add(number, Ordering::Relaxed);
            };
            durations.count(Duration::from_micros(micros), add);
        }
        let mut histogram = Histogram::new(&BOUNDS);
        durations.add_to(&mut histogram);
        assert!(histogram.buckets().eq([(BOUNDS[0], 3), (BOUNDS[1], 5)]));
        assert_eq!((histogram.count(), histogram.sum()), (6, Duration::from_micros(23_001)));
        durations.add_to(&mut histogram);
        assert!(histogram.buckets().eq([(BOUNDS[0], 6), (BOUNDS[1], 10)]));
        assert_eq!(histogram.count(), 12);
    }
}
