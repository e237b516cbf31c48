//! Which outages belong together: the clients of one gateway, of one server, or all of them. What each was, and what it did to
//! the other gateways.
//!
//! Every connect belongs to a failure: to the one in whose time it is, or else to the next one. A client that is given notice
//! moves before anybody is without service, and how many do so at a time is what the other gateways feel. If there is no next
//! one, everybody has moved in time: that is a failure that hit nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::record::{Outage, Record};
use crate::clock::{Nanos, SECOND, nanos};
use crate::stats::Times;

/// Reconnects are a wave if they come within so long.
const WAVE: Duration = Duration::from_millis(100);

/// Connects up to so long after the last outage are in the time of the failure.
const AFTERMATH: Nanos = SECOND;

/// Outages that began together, or none if all clients moved in time.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When the first one began, and the last one; or else the first connect.
    pub from_ns: Nanos,
    /// See `from_ns`.
    pub last_from_ns: Nanos,
    /// When the last one ended; `None`: some did not.
    pub to_ns: Option<Nanos>,
    /// What somebody had said last when it began: its cause, as a rule.
    pub mark: Option<usize>,
    /// Clients that were hit.
    pub clients: usize,
    /// Virtual connections that were hit.
    pub conns: usize,
    /// How long they were without service: those that came back.
    pub outage: Times,
    /// Those that did not.
    pub unserved: usize,
    /// Outages of connections that were not lost: they waited.
    pub stalled: usize,
    /// Questions that were never answered.
    pub lost: u64,
    /// Questions that could not be asked.
    pub unsent: u64,
    /// From which gateway to which, the most frequent first.
    pub moves: Vec<Move>,
    /// Connects to each gateway meanwhile, and since the failure before.
    pub connects: Vec<Connects>,
}

/// Virtual connections that were served by one gateway before, and by one afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Before.
    pub before: usize,
    /// After; `None`: not served any more.
    pub after: Option<usize>,
    /// How many.
    pub conns: usize,
    /// The first answer after that any of them had, and when all had one.
    pub first_back_ns: Option<Nanos>,
    /// See `first_back_ns`.
    pub last_back_ns: Option<Nanos>,
}

/// What clients did to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connects {
    /// Which.
    pub gateway: usize,
    /// How many.
    pub count: usize,
    /// The most in a second, by the fullest tenth of one.
    pub peak_per_s: u32,
}

impl Failure {
    /// The most connects in a second at any gateway.
    #[must_use]
    pub fn peak_per_s(&self) -> u32 {
        self.connects.iter().map(|connects| connects.peak_per_s).max().unwrap_or(0)
    }
}

/// Puts the outages of a record together. `pace` is how often each connection asks: an outage may have begun so long before
/// its cause.
pub(super) fn failures(record: &Record, pace: Duration, apart: Duration) -> Vec<Failure> {
    let mut outages: Vec<&Outage> = record.outages.iter().collect();
    outages.sort_by_key(|outage| outage.from_ns);
    let apart = nanos(apart);
    let mut over = 0;
    let mut failures = Vec::new();
    for together in outages.chunk_by(|before, after| after.from_ns - before.from_ns <= apart) {
        let failure = failure(record, together, over, nanos(pace));
        over = over.max(failure.to_ns.unwrap_or(record.length_ns) + AFTERMATH + 1);
        failures.push(failure);
    }
    if connects_since(record, over).next().is_some() {
        failures.push(failure(record, &[], over, nanos(pace)));
    }
    failures
}

/// `over`: when those before it were, with their aftermath.
fn failure(record: &Record, outages: &[&Outage], over: Nanos, pace: Nanos) -> Failure {
    let mut moved = connects_since(record, over);
    let from_ns = outages.first().map(|outage| outage.from_ns).or(moved.next()).unwrap_or(over);
    let last_from_ns = outages.last().map_or(from_ns, |outage| outage.from_ns);
    let mut outage = Times::default();
    for (to, from) in outages.iter().filter_map(|outage| Some((outage.to_ns?, outage.from_ns))) {
        outage.record(to - from);
    }
    let unserved = outages.iter().filter(|outage| outage.to_ns.is_none()).count();
    let ends = outages.iter().map(|outage| outage.to_ns.unwrap_or(record.length_ns));
    let end = ends.max().or(moved.next_back()).unwrap_or(from_ns);
    let distinct =
        |of: fn(&Outage) -> usize| outages.iter().map(|outage| of(outage)).collect::<BTreeSet<_>>().len();
    Failure {
        from_ns,
        last_from_ns,
        to_ns: (unserved == 0).then_some(end),
        // The last answer came before the cause, the one before it another pace earlier.
        mark: record.marks.iter().rposition(|mark| mark.at_ns <= from_ns + 2 * pace),
        clients: distinct(|outage| outage.client),
        conns: distinct(|outage| outage.lane),
        outage,
        unserved,
        stalled: outages.iter().filter(|outage| !outage.was_lost).count(),
        lost: outages.iter().map(|outage| outage.lost).sum(),
        unsent: outages.iter().map(|outage| outage.unsent).sum(),
        moves: moves(outages),
        connects: connects(record, from_ns.min(over), end + AFTERMATH),
    }
}

/// Until everybody stops.
fn connects_since(record: &Record, from: Nanos) -> impl DoubleEndedIterator<Item = Nanos> {
    record.connects.iter().map(|(at, _)| *at).filter(move |at| (from..record.length_ns).contains(at))
}

fn moves(outages: &[&Outage]) -> Vec<Move> {
    let mut moves: BTreeMap<(usize, Option<usize>), Move> = BTreeMap::new();
    for Outage { before, after, to_ns, .. } in outages {
        let one = moves.entry((*before, *after)).or_insert_with(|| Move {
            before: *before,
            after: *after,
            conns: 0,
            first_back_ns: *to_ns,
            last_back_ns: *to_ns,
        });
        one.conns += 1;
        one.first_back_ns = one.first_back_ns.min(*to_ns);
        one.last_back_ns = one.last_back_ns.max(*to_ns);
    }
    let mut moves: Vec<_> = moves.into_values().collect();
    moves.sort_by_key(|one| std::cmp::Reverse(one.conns));
    moves
}

fn connects(record: &Record, from: Nanos, to: Nanos) -> Vec<Connects> {
    let at = |gateway: usize| {
        let its = record
            .connects
            .iter()
            .filter(move |(at, to_gateway)| *to_gateway == gateway && (from..=to).contains(at));
        its.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    (0..record.gateways.len())
        .map(|gateway| (gateway, at(gateway)))
        .filter(|(_, times)| !times.is_empty())
        .map(|(gateway, times)| Connects { gateway, count: times.len(), peak_per_s: peak_per_s(times) })
        .collect()
}

/// The most in any [`WAVE`], as so many a second.
fn peak_per_s(mut times: Vec<Nanos>) -> u32 {
    times.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (last, at) in times.iter().enumerate() {
        while times[first] + nanos(WAVE) <= *at {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    let waves = Duration::from_secs(1).div_duration_f64(WAVE);
    (most as f64 * waves).round() as u32
}

#[cfg(test)]
mod tests {
    use super::super::record::Mark;
    use super::*;
    use crate::clock::MILLI;

    const PACE: Duration = Duration::from_millis(200);
    const APART: Duration = Duration::from_secs(1);

    fn outage(
        lane: usize,
        from_ms: u64,
        to_ms: impl Into<Option<u64>>,
        before: usize,
        after: usize,
    ) -> Outage {
        let to_ns = to_ms.into().map(|ms| ms * MILLI);
        Outage {
            lane,
            client: lane / 2,
            from_ns: from_ms * MILLI,
            to_ns,
            was_lost: true,
            lost: 2,
            unsent: 1,
            before,
            after: to_ns.map(|_| after),
        }
    }

    fn record(outages: Vec<Outage>) -> Record {
        let gateways = ["a", "b", "c"].map(str::to_owned).to_vec();
        Record { length_ns: 60 * SECOND, gateways, outages, ..Record::default() }
    }

    #[test]
    fn what_began_together_is_one_failure() {
        let outages = vec![
            outage(3, 20_900, 21_500, 1, 0),
            outage(0, 10_000, 10_400, 0, 1),
            outage(1, 10_150, 10_600, 0, 2),
            outage(2, 20_000, 20_700, 1, 0),
            outage(2, 21_800, 22_000, 0, 2),
        ];
        let failures = record(outages).failures(PACE, APART);
        let all: Vec<_> = failures
            .iter()
            .map(|failure| (failure.from_ns / MILLI, failure.conns, failure.clients, failure.lost))
            .collect();
        assert_eq!(all, [(10_000, 2, 1, 4), (20_000, 2, 1, 6)], "a lane that fails twice is one lane");
        assert_eq!(failures[0].to_ns, Some(10_600 * MILLI));
        assert_eq!(failures[1].last_from_ns, 21_800 * MILLI);
        assert!(failures[0].outage.max().abs_diff(450 * MILLI) < MILLI);
        assert!(failures[0].outage.min().abs_diff(400 * MILLI) < MILLI);
    }

    #[test]
    fn who_does_not_come_back_is_counted_and_has_no_time() {
        let outages = vec![outage(0, 10_000, 10_500, 0, 1), outage(1, 10_000, None, 0, 1)];
        let [failure] = &record(outages).failures(PACE, APART)[..] else { panic!("one failure") };
        assert_eq!((failure.unserved, failure.to_ns, failure.outage.count()), (1, None, 1));
        let nowhere = failure.moves.iter().find(|one| one.after.is_none()).expect("one went nowhere");
        assert_eq!((nowhere.conns, nowhere.first_back_ns, nowhere.last_back_ns), (1, None, None));
    }

    #[test]
    fn moves_say_from_where_to_where_and_when() {
        let outages = vec![
            outage(0, 10_000, 10_900, 0, 1),
            outage(1, 10_000, 10_400, 0, 1),
            outage(2, 10_000, 10_600, 0, 2),
        ];
        let [failure] = &record(outages).failures(PACE, APART)[..] else { panic!("one failure") };
        let Move { before, after, conns, first_back_ns, last_back_ns } = failure.moves[0].clone();
        assert_eq!((before, after, conns), (0, Some(1), 2));
        assert_eq!((first_back_ns, last_back_ns), (Some(10_400 * MILLI), Some(10_900 * MILLI)));
        assert_eq!((failure.moves[1].after, failure.moves[1].conns), (Some(2), 1));
    }

    #[test]
    fn the_cause_is_what_was_said_last() {
        let outages = vec![outage(0, 9_900, 10_500, 0, 1), outage(0, 20_100, 21_000, 1, 0)];
        let mark = |at_ms: u64, text: &str| Mark { at_ns: at_ms * MILLI, text: text.to_owned() };
        let marks =
            vec![mark(5_000, "calm"), mark(10_100, "killed"), mark(11_000, "back"), mark(20_000, "cut")];
        let record = Record { marks, ..record(outages) };
        let said: Vec<_> = record.failures(PACE, APART).iter().map(|failure| failure.mark).collect();
        assert_eq!(said, [Some(1), Some(3)], "the last answer came before the cause");
    }

    #[test]
    fn a_wave_is_seen_in_a_tenth_of_a_second() {
        let every = |from_ms: u64, step_ms: u64, count: u64| {
            (0..count).map(move |number| (from_ms + number * step_ms) * MILLI)
        };
        assert_eq!(peak_per_s(every(0, 2, 250).collect()), 500, "evenly spread over half a second");
        assert_eq!(peak_per_s(every(0, 0, 250).collect()), 2500, "all at once");
        let outages = vec![outage(0, 10_000, 10_500, 0, 1)];
        let connects = every(9_000, 10, 5).chain(every(10_100, 5, 40)).map(|at| (at, 1)).collect();
        let record = Record { connects, ..record(outages) };
        let [failure] = &record.failures(PACE, APART)[..] else { panic!("one failure") };
        assert_eq!(failure.connects, [Connects { gateway: 1, count: 45, peak_per_s: 200 }]);
    }

    /// `count` connects to the second gateway, 10 ms apart.
    fn wave(from_ms: u64, count: u64) -> impl Iterator<Item = (Nanos, usize)> {
        (0..count).map(move |number| ((from_ms + 10 * number) * MILLI, 1))
    }

    #[test]
    fn who_moves_in_time_belongs_to_the_failure_that_comes() {
        let outages = vec![
            outage(0, 5_000, 5_500, 0, 1),
            outage(1, 10_000, 15_000, 0, 1),
            outage(2, 12_000, 12_500, 0, 1),
        ];
        let connects = wave(1_000, 3).chain(wave(6_400, 5)).chain(wave(7_000, 20)).chain(wave(15_900, 2));
        let record = Record { connects: connects.collect(), length_ns: 30 * SECOND, ..record(outages) };
        let failures = record.failures(PACE, APART);
        let counts =
            failures.iter().map(|failure| failure.connects.iter().map(|one| one.count).sum::<usize>());
        let [before_and_after, since, meanwhile] = [3 + 5, 20 + 2, 0];
        assert_eq!(counts.collect::<Vec<_>>(), [before_and_after, since, meanwhile]);
    }

    #[test]
    fn whoever_moves_in_time_and_hits_nobody_is_in_the_report() {
        let marks = vec![Mark { at_ns: 19_900 * MILLI, text: "told to drain".to_owned() }];
        let connects = wave(10_100, 1).chain(wave(20_000, 40)).collect();
        let record = Record {
            connects,
            marks,
            length_ns: 30 * SECOND,
            ..record(vec![outage(0, 10_000, 10_500, 0, 1)])
        };
        let [_, moved] = &record.failures(PACE, APART)[..] else { panic!("two failures") };
        assert_eq!((moved.conns, moved.unserved, moved.outage.count(), moved.mark), (0, 0, 0, Some(0)));
        assert_eq!((moved.from_ns, moved.last_from_ns), (20 * SECOND, 20 * SECOND));
        assert_eq!(moved.connects, [Connects { gateway: 1, count: 40, peak_per_s: 100 }]);
        let late = Record { length_ns: 19 * SECOND, ..record };
        assert_eq!(late.failures(PACE, APART).len(), 1, "what comes when it is over does not count");
    }
}
