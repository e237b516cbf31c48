//! When what is due: the schedule of an open loop, as a stream of times. Pure.
//!
//! A schedule is a rate over time, λ(t), in stages. Its integral Λ(t) is how much is due by t. Evenly spread arrivals are
//! those t where Λ(t) is a whole number; a Poisson process is those where Λ(t) is a sum of exponential gaps. So ramps and
//! stages cost nothing extra, and no rounding adds up.
//!
//! Each of several threads has its own share: evenly spread, every n-th arrival; else, a process of its own with a part of
//! the rate.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand_distr::Exp1;

use crate::clock::{Nanos, SECOND, nanos};
use crate::plan::{ArrivalKind, Stage};

/// One thread's share of a schedule.
#[derive(Debug)]
pub(crate) struct Arrivals {
    kind: ArrivalKind,
    rng: StdRng,
    stages: Vec<Stage>,
    /// The present one, when it began, and how much was due by then.
    stage: usize,
    stage_from: Nanos,
    due_before: f64,
    /// Λ of the next arrival.
    next: f64,
    share: Share,
}

/// Which of several threads it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Arrivals {
    /// The schedule that begins at `from`.
    pub(crate) fn new(kind: ArrivalKind, stages: Vec<Stage>, from: Nanos, share: Share, rng: StdRng) -> Self {
        let mut arrivals =
            Self { kind, rng, stages, stage: 0, stage_from: from, due_before: 0.0, next: 0.0, share };
        arrivals.next = match kind {
            // In the middle between two, so that the last one of a stage is within it.
            ArrivalKind::Uniform => share.index as f64 + 0.5,
            ArrivalKind::Poisson => arrivals.gap(),
        };
        arrivals
    }

    /// The same, at one rate for ever.
    pub(crate) fn at_rate(
        kind: ArrivalKind,
        per_second: f64,
        from: Nanos,
        share: Share,
        rng: StdRng,
    ) -> Self {
        let stage = Stage { duration: std::time::Duration::MAX, from: per_second, to: per_second };
        Self::new(kind, vec![stage], from, share, rng)
    }

    fn gap(&mut self) -> f64 {
        match self.kind {
            ArrivalKind::Uniform => self.share.of as f64,
            ArrivalKind::Poisson => self.rng.sample::<f64, _>(Exp1) * self.share.of as f64,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Nanos;

    /// The time of the next arrival; `None` after the last stage.
    fn next(&mut self) -> Option<Nanos> {
        loop {
            let stage = self.stages.get(self.stage)?;
            let length = nanos(stage.duration);
            let seconds = length as f64 / SECOND as f64;
            let due = self.next - self.due_before;
            if due < stage.whole(seconds) {
                let at = self.stage_from + (stage.time_of(due, seconds) * SECOND as f64) as Nanos;
                self.next += self.gap();
                return Some(at);
            }
            self.due_before += stage.whole(seconds);
            self.stage_from = self.stage_from.saturating_add(length);
            self.stage += 1;
        }
    }
}

impl Stage {
    /// How much is due in all of it.
    fn whole(&self, seconds: f64) -> f64 {
        (self.from + self.to) / 2.0 * seconds
    }

    /// When so much is due, in s after its beginning. The inverse of `from·t + slope·t²/2`, written so that it neither
    /// divides by a slope of 0 nor loses digits.
    fn time_of(&self, due: f64, seconds: f64) -> f64 {
        let slope = (self.to - self.from) / seconds;
        let root = (self.from * self.from + 2.0 * slope * due).max(0.0).sqrt();
        2.0 * due / (self.from + root)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng as _;

    use super::*;

    fn stage(seconds: u64, from: f64, to: f64) -> Stage {
        Stage { duration: Duration::from_secs(seconds), from, to }
    }

    fn arrivals(kind: ArrivalKind, stages: &[Stage], index: usize, of: usize) -> Vec<Nanos> {
        let rng = StdRng::seed_from_u64(index as u64);
        Arrivals::new(kind, stages.to_vec(), 7 * SECOND, Share { index, of }, rng).collect()
    }

    #[test]
    fn a_constant_rate_is_evenly_spread() {
        let times = arrivals(ArrivalKind::Uniform, &[stage(10, 1000.0, 1000.0)], 0, 1);
        assert_eq!(times.len(), 10_000);
        for (index, at) in times.iter().enumerate() {
            let expected = 7 * SECOND + index as u64 * 1_000_000 + 500_000;
            assert!(at.abs_diff(expected) <= 2, "{index}: {at}");
        }
    }

    #[test]
    fn threads_share_it_without_a_gap_or_an_overlap() {
        let stages = [stage(2, 0.0, 500.0), stage(1, 1000.0, 1000.0)];
        let whole = arrivals(ArrivalKind::Uniform, &stages, 0, 1);
        let mut shared: Vec<Nanos> =
            (0..3).flat_map(|index| arrivals(ArrivalKind::Uniform, &stages, index, 3)).collect();
        shared.sort_unstable();
        assert_eq!(shared, whole);
        assert_eq!(whole.len(), 1500);
    }

    #[test]
    fn a_ramp_has_the_rate_that_it_should_have_at_any_time() {
        let times = arrivals(ArrivalKind::Uniform, &[stage(10, 100.0, 1100.0)], 0, 1);
        assert_eq!(times.len(), 6000);
        // By the middle: 5 s at 100 to 600 a second.
        let by_middle = times.iter().filter(|at| **at < 12 * SECOND).count();
        assert!((1749..=1751).contains(&by_middle), "{by_middle}");
        assert!(times.is_sorted());
    }

    #[test]
    fn a_ramp_may_begin_or_end_at_nothing() {
        let times = arrivals(ArrivalKind::Uniform, &[stage(4, 0.0, 50.0), stage(2, 50.0, 0.0)], 0, 1);
        assert_eq!(times.len(), 150);
        assert!(times.is_sorted() && times.iter().all(|at| *at <= 13 * SECOND));
        assert!(arrivals(ArrivalKind::Uniform, &[stage(4, 0.0, 0.0)], 0, 1).is_empty());
    }

    #[test]
    fn poisson_gaps_are_exponential_and_their_number_is_right() {
        let parts: Vec<Vec<Nanos>> = (0..2)
            .map(|index| arrivals(ArrivalKind::Poisson, &[stage(100, 1000.0, 1000.0)], index, 2))
            .collect();
        let count: usize = parts.iter().map(Vec::len).sum();
        assert!((99_000..101_000).contains(&count), "{count}: three standard deviations are 950");
        let gaps: Vec<f64> =
            parts[0].windows(2).map(|pair| (pair[1] - pair[0]) as f64 / SECOND as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.9..1.1).contains(&(variance.sqrt() / mean)), "an exponential's deviation is its mean");
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let stages = [stage(3, 200.0, 400.0)];
        let again = || arrivals(ArrivalKind::Poisson, &stages, 1, 2);
        assert_eq!(again(), again());
    }
}
