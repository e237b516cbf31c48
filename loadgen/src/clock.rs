//! The clock of a run: nanoseconds of the kernel's monotonic clock since the run's beginning.
//!
//! The schedule, the time stamps in messages and the timer all count by it. It is the same on every thread.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since the beginning of the run.
pub(crate) type Nanos = u64;

/// One second.
pub(crate) const SECOND: Nanos = 1_000_000_000;
/// One millisecond.
pub(crate) const MILLI: Nanos = 1_000_000;

/// The clock of one run. A copy is the same clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The monotonic clock's reading at the beginning, in ns.
    beginning: u64,
}

impl Clock {
    /// A clock that begins to count now.
    pub(crate) fn start() -> Self {
        Self { beginning: monotonic() }
    }

    /// The time now.
    pub(crate) fn now(self) -> Nanos {
        monotonic() - self.beginning
    }

    /// A time of this clock as the kernel counts it.
    pub(crate) fn to_kernel(self, at: Nanos) -> Timespec {
        timespec(self.beginning.saturating_add(at))
    }
}

/// A duration in nanoseconds; what does not fit is for ever.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The CPU time that the calling thread has used, in ns.
pub(crate) fn thread_cpu() -> Nanos {
    to_nanos(clock_gettime(ClockId::ThreadCPUTime))
}

fn monotonic() -> u64 {
    to_nanos(clock_gettime(ClockId::Monotonic))
}

fn to_nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

fn timespec(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / SECOND) as i64, tv_nsec: (nanos % SECOND) as i64 }
}
