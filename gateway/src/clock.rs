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
        }
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
