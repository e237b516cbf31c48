//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

/// Waits that double from one failure in a row to the next, up to a limit.
///
/// Each is drawn between its half and its whole, so that those who failed together do not try again together. Whatever is
/// set here, none is shorter than a millisecond, and none longer than a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure. 200 ms.
    pub first: Duration,
    /// The longest wait of all. 5 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), max: Duration::from_secs(5) }
    }
}

/// A gateway that refuses at once would otherwise be asked as fast as the machine can.
const SHORTEST: Duration = Duration::from_millis(1);
/// No clock runs over.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Backoff {
    /// How long to wait after so many failures in a row; not at all after none.
    pub(super) fn after(self, failures: u32, rng: &mut StdRng) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let longest = self.first.saturating_mul(factor).min(self.max);
        longest.min(LONGEST).mul_f64(rng.random_range(0.5..=1.0)).max(SHORTEST)
    }

    /// How long to wait where trying again soon is of no use.
    pub(super) fn longest(self, rng: &mut StdRng) -> Duration {
        self.after(u32::MAX, rng)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_differ() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(backoff.after(0, &mut rng), Duration::ZERO);
        for (failures, longest_ms) in
            [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (40, 1000), (u32::MAX, 1000)]
        {
            let waits: Vec<_> = (0..100).map(|_| backoff.after(failures, &mut rng)).collect();
            let (shortest, longest) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            let whole = Duration::from_millis(longest_ms);
            assert!(shortest >= whole / 2 && longest <= whole, "{failures}: {shortest:?} to {longest:?}");
            assert!(longest - shortest > whole / 4, "they are spread: {shortest:?} to {longest:?}");
        }
    }

    #[test]
    fn no_wait_is_nothing_or_for_ever() {
        let mut rng = StdRng::seed_from_u64(1);
        let [none, endless] = [Duration::ZERO, Duration::MAX].map(|wait| Backoff { first: wait, max: wait });
        assert_eq!(none.after(1, &mut rng), SHORTEST);
        assert!((LONGEST / 2..=LONGEST).contains(&endless.after(1, &mut rng)));
        assert!((LONGEST / 2..=LONGEST).contains(&endless.longest(&mut rng)));
    }
}
