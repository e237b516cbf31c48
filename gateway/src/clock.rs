//! Instants in eight bytes. tokio's take sixteen, and a session keeps half a dozen of them, a hundred thousand times.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// Where the moments of one gateway count from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

/// An instant that is not before the origin of its clock. `None` takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(
    /// Nanoseconds since one before the origin: enough for five centuries.
    NonZeroU64,
);

impl Clock {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin }
    }

    pub(crate) fn now(self) -> Moment {
        self.moment(Instant::now())
    }

    pub(crate) fn moment(self, at: Instant) -> Moment {
        let nanos = u64::try_from(at.duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX);
        Moment(NonZeroU64::MIN.saturating_add(nanos))
    }

    pub(crate) fn instant(self, moment: Moment) -> Instant {
        self.origin + Duration::from_nanos(moment.0.get() - 1)
    }
}

impl Moment {
    /// For where it is kept in an atomic number. Never 0.
    pub(crate) fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// `None` for 0.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// How long after `earlier` it is; zero if it is before.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_instant() {
        let origin = Instant::now();
        let clock = Clock::new(origin);
        for after in [0, 1, 999_999_999, 1_000_000_000, 10 * 366 * 86_400 * 1_000_000_000] {
            let at = origin + Duration::from_nanos(after);
            assert_eq!(clock.instant(clock.moment(at)), at);
            assert_eq!(clock.moment(at).since(clock.moment(origin)), at - origin);
            assert_eq!(Moment::from_bits(clock.moment(at).to_bits()), Some(clock.moment(at)));
        }
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
