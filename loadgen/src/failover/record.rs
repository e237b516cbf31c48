//! What was seen, when it is over.

use std::time::Duration;

use serde::Serialize;

use super::failures::{Failure, failures};
use crate::clock::Nanos;
use crate::stats::Times;

/// The length of the parts of time that answers are counted in.
pub const BIN: Duration = Duration::from_millis(100);

/// Everything. Times are in ns since everybody talked.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// How long everybody talked.
    pub length_ns: Nanos,
    /// The names of gateways, or else their addresses; others name them by their place here.
    pub gateways: Vec<String>,
    /// Answers through each gateway in each [`BIN`].
    pub answers: Vec<Vec<u32>>,
    /// Clients' connects: when, and to which gateway. In the order of time.
    pub connects: Vec<(Nanos, usize)>,
    /// Of virtual connections that came back, in the order of that; then of those that did not.
    pub outages: Vec<Outage>,
    /// What somebody said meanwhile.
    pub marks: Vec<Mark>,
    /// What the library said of gateways: each sentence once.
    pub troubles: Vec<Trouble>,
    /// What came too early to be measured.
    pub early: Early,
    /// From question to answer.
    pub response: Times,
    /// How late questions were asked. This tool's own fault.
    pub lag: Times,
    /// Counters.
    pub counts: Counts,
    /// Answers that cannot be: how many, and the first.
    pub wrong: (u64, String),
    /// Why there is nothing to measure.
    pub failure: Option<String>,
    /// The signal that ended it.
    pub interrupted: Option<i32>,
}

/// Counters of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Questions that were asked.
    pub asked: u64,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were asked on a connection that was lost before its answer came.
    pub lost: u64,
    /// Questions that were due while there was no connection.
    pub unsent: u64,
    /// Questions that wait for their answer at the end.
    pub open: u64,
    /// Virtual connections that were lost.
    pub lost_conns: u64,
}

/// One virtual connection was without service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub lane: usize,
    /// Whose.
    pub client: usize,
    /// Its last answer before.
    pub from_ns: Nanos,
    /// Its first answer after; `None`: there was none.
    pub to_ns: Option<Nanos>,
    /// Whether the connection was lost; otherwise it only waited.
    pub was_lost: bool,
    /// What was asked and never answered.
    pub lost: u64,
    /// What was due and could not be asked.
    pub unsent: u64,
    /// The gateway of the last answer.
    pub before: usize,
    /// The gateway of the first one.
    pub after: Option<usize>,
}

/// Somebody said something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at_ns: Nanos,
    /// What.
    pub text: String,
}

/// What was before everybody talked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// What somebody said.
    pub marks: Vec<String>,
    /// Virtual connections that were lost.
    pub lost_conns: u64,
}

/// Something that was said of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What; `…` stands for numbers that differed.
    pub text: String,
    /// How often.
    pub count: u64,
    /// First.
    pub first_ns: Nanos,
    /// Last.
    pub last_ns: Nanos,
}

impl Record {
    /// What failed, in the order of time.
    #[must_use]
    pub fn failures(&self, pace: Duration, apart: Duration) -> Vec<Failure> {
        failures(self, pace, apart)
    }

    /// How many virtual connections are without service at each end of a [`BIN`].
    #[must_use]
    pub fn without_service(&self) -> Vec<u32> {
        let bins = self.bins();
        let mut changes = vec![0_i64; bins + 1];
        for outage in &self.outages {
            let to = outage.to_ns.map_or(bins, bin_of).min(bins);
            changes[bin_of(outage.from_ns).min(bins)] += 1;
            changes[to] -= 1;
        }
        let mut now = 0;
        let counts = changes[..bins].iter().map(|change| {
            now += change;
            u32::try_from(now).unwrap_or_default()
        });
        counts.collect()
    }

    /// Connects to each gateway in each [`BIN`].
    #[must_use]
    pub fn connects_by_bin(&self) -> Vec<Vec<u32>> {
        let mut counts = vec![vec![0; self.bins()]; self.gateways.len()];
        for (at, gateway) in &self.connects {
            if let Some(count) = counts[*gateway].get_mut(bin_of(*at)) {
                *count += 1;
            }
        }
        counts
    }

    /// Answers through each gateway in each [`BIN`].
    #[must_use]
    pub fn answers_by_bin(&self) -> Vec<Vec<u32>> {
        let mut counts = self.answers.clone();
        counts.iter_mut().for_each(|counts| counts.resize(self.bins(), 0));
        counts
    }

    /// How often a [`BIN`] went by. What is left over at the end is none: in a part of its time there is a part of its answers.
    #[must_use]
    pub fn bins(&self) -> usize {
        bin_of(self.length_ns)
    }
}

/// The part of time that an instant is in.
pub(super) fn bin_of(at: Nanos) -> usize {
    usize::try_from(u128::from(at) / BIN.as_nanos()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLI;

    #[test]
    fn who_is_without_service_is_counted_from_the_last_answer_to_the_first() {
        let outage = |from_ms: u64, to_ms: Option<u64>| Outage {
            lane: 0,
            client: 0,
            from_ns: from_ms * MILLI,
            to_ns: to_ms.map(|ms| ms * MILLI),
            was_lost: true,
            lost: 0,
            unsent: 0,
            before: 0,
            after: Some(0),
        };
        let outages = vec![outage(150, Some(350)), outage(110, Some(120)), outage(290, None)];
        let record = Record { length_ns: 500 * MILLI, outages, ..Record::default() };
        assert_eq!(record.without_service(), [0, 1, 2, 1, 1]);
    }

    #[test]
    fn connects_are_counted_where_they_went() {
        let record = Record {
            length_ns: 390 * MILLI,
            gateways: vec!["a".to_owned(), "b".to_owned()],
            connects: vec![(50 * MILLI, 1), (120 * MILLI, 0), (130 * MILLI, 0), (900 * MILLI, 0)],
            ..Record::default()
        };
        assert_eq!(record.connects_by_bin(), [[0, 2, 0], [1, 0, 0]]);
    }

    #[test]
    fn what_is_left_over_at_the_end_is_no_fall() {
        let record =
            Record { length_ns: 203 * MILLI, answers: vec![vec![50, 50, 1], vec![50]], ..Record::default() };
        assert_eq!(record.answers_by_bin(), [[50, 50], [50, 0]]);
        assert_eq!(record.without_service().len(), 2);
    }
}
