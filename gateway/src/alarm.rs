//! The one timer of a session.
//!
//! Deadlines are rounded up to a common grain, so that ten thousand silent sessions are looked at in a few wakes of
//! the process instead of ten thousand. A deadline is late by one grain at most: 1/64 of the shortest interval in
//! question, between 1 ms and 1 s.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

const MIN_GRAIN: Duration = Duration::from_millis(1);
const MAX_GRAIN: Duration = Duration::from_secs(1);

/// Where the grains of one gateway begin, and how long they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grain {
    epoch: Instant,
    length: Duration,
}

impl Grain {
    /// A grain that is fine enough for each of `intervals`; zero intervals do not count.
    pub(crate) fn for_intervals(epoch: Instant, intervals: &[Duration]) -> Self {
        let shortest = intervals.iter().filter(|interval| !interval.is_zero()).min();
        let length = shortest.map_or(MAX_GRAIN, |shortest| (*shortest / 64).clamp(MIN_GRAIN, MAX_GRAIN));
        Self { epoch, length }
    }

    /// The first boundary that is not before `at`.
    fn round_up(self, at: Instant) -> Instant {
        let grains = at.duration_since(self.epoch).as_nanos().div_ceil(self.length.as_nanos());
        let nanos = grains * self.length.as_nanos();
        self.epoch + Duration::from_nanos(u64::try_from(nanos).expect("nobody waits for 500 years"))
    }
}

/// A timer that is off until it is set.
#[derive(Debug)]
pub(crate) struct Alarm {
    grain: Grain,
    set_for: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(crate) fn new(grain: Grain) -> Self {
        Self { grain, set_for: None, sleep: None }
    }

    /// Sets it for `at`, unless it goes off earlier anyway.
    pub(crate) fn set_by(&mut self, at: Instant, cx: &mut Context<'_>) {
        if self.set_for.is_some_and(|set_for| set_for <= at) {
            return;
        }
        let at = self.grain.round_up(at);
        self.set_for = Some(at);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            // Already over: look at once.
            cx.waker().wake_by_ref();
        }
    }

    /// Whether it has gone off; it is off then.
    pub(crate) fn has_gone_off(&mut self) -> bool {
        let gone_off = self.set_for.is_some() && self.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed());
        if gone_off {
            self.set_for = None;
        }
        gone_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_rounded_up_by_one_grain_at_most() {
        let epoch = Instant::now();
        let grain = Grain::for_intervals(epoch, &[Duration::ZERO, Duration::from_secs(64)]);
        assert_eq!(grain.length, Duration::from_secs(1));
        let second = Duration::from_secs(1);
        assert_eq!(grain.round_up(epoch + second * 5), epoch + second * 5);
        assert_eq!(grain.round_up(epoch + second * 5 + Duration::from_nanos(1)), epoch + second * 6);
    }

    #[test]
    fn a_process_may_run_for_years() {
        let epoch = Instant::now();
        let grain = Grain::for_intervals(epoch, &[Duration::from_millis(10)]);
        let in_ten_years = epoch + Duration::from_secs(10 * 365 * 24 * 3600);
        assert_eq!(grain.round_up(in_ten_years), in_ten_years);
    }

    #[test]
    fn grains_are_neither_too_fine_nor_too_coarse() {
        let epoch = Instant::now();
        let length = |interval| Grain::for_intervals(epoch, &[interval]).length;
        assert_eq!(length(Duration::from_millis(10)), MIN_GRAIN);
        assert_eq!(length(Duration::from_secs(32)), Duration::from_millis(500));
        assert_eq!(length(Duration::from_secs(3600)), MAX_GRAIN);
        assert_eq!(length(Duration::ZERO), MAX_GRAIN);
    }
}
