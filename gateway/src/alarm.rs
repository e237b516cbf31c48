//! The alarms of sessions: one timer for a whole shard.
//!
//! Deadlines are rounded up to a common grain, so that ten thousand silent sessions are looked at in a few wakes of
//! the process instead of ten thousand, and an alarm is a pointer in the list of its grain. A deadline is late by one grain at
//! most: 1/64 of the shortest interval in question, between 1 ms and 1 s.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::outbox::Outbox;

const MIN_GRAIN: Duration = Duration::from_millis(1);
const MAX_GRAIN: Duration = Duration::from_secs(1);

/// Where the grains of one gateway begin, and how long they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grain {
    epoch: Instant,
    length: Duration,
}

impl Grain {
    /// A grain that is fine enough for all that sessions of this gateway wait for.
    pub(crate) fn of(config: &Config) -> Self {
        let (client, server) = (&config.client, &config.server);
        let intervals = [
            client.keepalive.ping_interval,
            client.keepalive.idle_timeout,
            server.keepalive.ping_interval,
            server.keepalive.idle_timeout,
            client.stall_timeout,
            server.stall_timeout,
            config.frame_timeout,
        ];
        Self::for_intervals(Instant::now(), &intervals)
    }

    /// A grain that is fine enough for each of `intervals`; zero intervals do not count.
    fn for_intervals(epoch: Instant, intervals: &[Duration]) -> Self {
        let shortest = intervals.iter().filter(|interval| !interval.is_zero()).min();
        let length = shortest.map_or(MAX_GRAIN, |shortest| (*shortest / 64).clamp(MIN_GRAIN, MAX_GRAIN));
        Self { epoch, length }
    }

    /// The finer one of the two: the deadlines of both are kept.
    fn refine(&mut self, other: Self) {
        self.length = self.length.min(other.length);
    }

    /// The first boundary that is not before `at`.
    fn round_up(self, at: Instant) -> Instant {
        let grains = at.duration_since(self.epoch).as_nanos().div_ceil(self.length.as_nanos());
        let nanos = grains * self.length.as_nanos();
        self.epoch + Duration::from_nanos(u64::try_from(nanos).expect("nobody waits for 500 years"))
    }
}

/// The alarms of one shard.
#[derive(Debug)]
pub(crate) struct Alarms {
    clock: Clock,
    list: Mutex<List>,
    /// There is an earlier one than before.
    earlier: Notify,
}

#[derive(Debug)]
struct List {
    grain: Grain,
    /// Whom to wake when. A session that has ended stays here until then, as an empty shell.
    due: BTreeMap<Instant, Vec<Weak<Outbox>>>,
}

impl Alarms {
    pub(crate) fn new(grain: Grain) -> Self {
        let clock = Clock::new(grain.epoch);
        let list = List { grain, due: BTreeMap::new() };
        Self { clock, list: Mutex::new(list), earlier: Notify::new() }
    }

    /// Sessions with other intervals begin; those with the old ones go on.
    pub(crate) fn refine(&self, grain: Grain) {
        self.list.lock().grain.refine(grain);
    }

    /// Rings each alarm at its time; never returns.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.list.lock().due.first_key_value().map(|(at, _)| *at);
            match next {
                None => self.earlier.notified().await,
                Some(at) if Instant::now() < at => {
                    let _ = timeout_at(at, self.earlier.notified()).await;
                }
                Some(_) => self.ring_first(),
            }
        }
    }

    fn ring_first(&self) {
        let first = self.list.lock().due.pop_first();
        let sessions = first.map(|(_, sessions)| sessions).unwrap_or_default();
        sessions.iter().filter_map(Weak::upgrade).for_each(|session| session.ring());
    }

    /// For `at`, rounded up; when that is.
    fn add(&self, at: Instant, session: &Arc<Outbox>) -> Instant {
        let mut list = self.list.lock();
        let List { grain, due } = &mut *list;
        let at = grain.round_up(at);
        let is_first = due.first_key_value().is_none_or(|(first, _)| at < *first);
        due.entry(at).or_default().push(Arc::downgrade(session));
        drop(list);
        if is_first {
            self.earlier.notify_one();
        }
        at
    }
}

/// The alarm of one session. It is off until it is set.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    set_for: Option<Moment>,
}

impl Alarm {
    /// Sets it for `at`, rounded up, unless it goes off earlier anyway.
    pub(crate) fn set_by(&mut self, at: Instant, session: &Arc<Outbox>, alarms: &Alarms) {
        let clock = alarms.clock;
        if self.set_for.is_some_and(|set_for| clock.instant(set_for) <= at) {
            return;
        }
        self.set_for = Some(clock.moment(alarms.add(at, session)));
    }

    /// Whether it has gone off; it is off then. An alarm that was set for later and then for earlier rings twice, and the
    /// second time is none.
    pub(crate) fn has_gone_off(&mut self, session: &Outbox, alarms: &Alarms) -> bool {
        let is_due = |at| alarms.clock.instant(at) <= Instant::now();
        let gone_off = session.take_rung() && self.set_for.is_some_and(is_due);
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
