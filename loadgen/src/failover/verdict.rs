//! Whether the figures can be believed, whether answers were right, whether it was good enough.

use std::time::Duration;

use super::failures::Failure;
use super::plan::{FailoverPlan, Play};
use super::record::{Early, Record};
use super::threshold::Demand;
use crate::clock::{MILLI, Nanos, nanos};
use crate::report::format;
use crate::verdict::{Verdict, interruption};

/// A question that is asked later than that, 1 of 100, makes outages look longer than they were.
const MOST_LAG: Nanos = 50 * MILLI;

/// Sentences about gateways in a verdict.
const MOST_TROUBLES: usize = 8;

/// Judges what was seen.
#[must_use]
pub fn judge(plan: &FailoverPlan, record: &Record, failures: &[Failure], demands: &[Demand]) -> Verdict {
    let mut verdict = Verdict {
        thresholds: demands.iter().map(|demand| demand.judge(failures)).collect(),
        failure: record.failure.clone(),
        // Who serves until it is interrupted has done what was asked.
        interrupted: record.interrupted.filter(|_| plan.play != Play::Servers),
        ..Verdict::default()
    };
    let (wrong, first) = &record.wrong;
    if *wrong > 0 {
        verdict.integrity.push(format!("{wrong} answers were wrong; the first one: {first}."));
    }
    let lag = record.lag.percentile(99.0);
    if verdict.failure.is_none() && lag > MOST_LAG {
        verdict.invalid.push(format!(
            "This tool asked late: lag p99 is {}, the limit is {}, so outages look longer than they were. Leave it a core of its own, or lower -R.",
            format::time(lag as f64),
            format::time(MOST_LAG as f64),
        ));
    }
    if verdict.failure.is_none() && plan.play != Play::Servers {
        judge_time(&mut verdict, plan, record, failures);
    }
    if plan.play != Play::Servers && plan.pace() > Duration::from_millis(500) {
        verdict.notes.push(format!(
            "Each virtual connection asks every {:?}, and outages are as long as that at least: raise -R to see shorter ones.",
            plan.pace()
        ));
    }
    if let Some(signal) = verdict.interrupted {
        verdict.notes.push(interruption(signal));
    }
    let mut troubles: Vec<_> = record.troubles.iter().collect();
    troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.count));
    for trouble in troubles.iter().take(MOST_TROUBLES) {
        verdict.notes.push(format!("{}× {}", trouble.count, trouble.text));
    }
    if troubles.len() > MOST_TROUBLES {
        verdict.notes.push(format!("And {} other sentences, in --json.", troubles.len() - MOST_TROUBLES));
    }
    verdict
}

/// Whether there was time to see anything, and whether all that happened was in it.
fn judge_time(verdict: &mut Verdict, plan: &FailoverPlan, record: &Record, failures: &[Failure]) {
    if record.length_ns == 0 {
        verdict.invalid.push(
            "It ended before every virtual connection had an answer, so nothing was measured. Let it run for longer.".to_owned(),
        );
        return;
    }
    let pace = nanos(plan.pace());
    if record.length_ns < pace {
        verdict.invalid.push(format!(
            "It ended {} after everybody had an answer, and each asks every {}, so nothing was measured. Let it run for longer.",
            format::time(record.length_ns as f64),
            format::time(pace as f64),
        ));
    }
    // Where something failed later, that was measured all the same.
    let sentences = if failures.is_empty() { &mut verdict.invalid } else { &mut verdict.notes };
    let Early { marks, lost_conns } = &record.early;
    let mut too_early = |what: String| {
        sentences.push(format!(
            "{what} before everybody had an answer: what failed then was not measured. With --marks, the line \"ready\" says from when on it is."
        ));
    };
    if let Some(first) = marks.first() {
        let more = if marks.len() > 1 { format!(" (and {} more)", marks.len() - 1) } else { String::new() };
        too_early(format!("{first:?}{more} was said"));
    }
    if *lost_conns > 0 {
        too_early(format!("{lost_conns} virtual connections were lost"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Trouble;
    use super::super::report::sample;
    use super::*;

    #[test]
    fn exit_codes_are_those_of_every_run() {
        let (plan, record) = (sample::plan(), sample::record());
        let failures = sample::failures();
        let code = |record: &Record, demands: &[&str]| {
            let demands: Vec<_> = demands.iter().map(|text| text.parse().unwrap()).collect();
            judge(&plan, record, &failures, &demands).exit_code()
        };
        assert_eq!(code(&record, &["outage.p99<7s"]), 0);
        assert_eq!(code(&record, &["outage.p99<7s", "outage.p99<1s"]), 3);
        let mut late = record.clone();
        late.lag.record(80 * MILLI);
        assert_eq!(code(&late, &["outage.p99<1s"]), 5);
        let wrong = Record { wrong: (1, "why".to_owned()), ..late };
        assert_eq!(code(&wrong, &[]), 4);
        assert_eq!(code(&Record { failure: Some("why".to_owned()), ..wrong }, &[]), 1);
        assert_eq!(code(&Record { interrupted: Some(2), ..record }, &[]), 130);
    }

    #[test]
    fn whoever_interrupts_is_named_unless_that_is_how_it_ends() {
        let (plan, record) = (sample::plan(), Record { interrupted: Some(2), ..sample::record() });
        let notes = |plan: &FailoverPlan| judge(plan, &record, &[], &[]).notes.join(" ");
        assert!(notes(&plan).contains("interrupted by Ctrl-C (SIGINT)"), "{}", notes(&plan));
        let servers = FailoverPlan { play: Play::Servers, ..plan };
        assert!(!notes(&servers).contains("interrupted"), "{}", notes(&servers));
    }

    #[test]
    fn where_nothing_was_measured_nothing_is_valid() {
        let (plan, sample) = (sample::plan(), Record { outages: Vec::new(), ..sample::record() });
        let judged = |record: &Record, failures: &[Failure]| judge(&plan, record, failures, &[]);
        let is_invalid_since = |record: &Record, words: &str| {
            let verdict = judged(record, &[]);
            assert_eq!((verdict.invalid.len(), verdict.exit_code()), (1, 5), "{verdict:?}");
            assert!(verdict.invalid[0].contains(words), "{:?} has no {words:?}", verdict.invalid);
        };
        assert!(judged(&sample, &[]).is_valid(), "nothing failed, and it was looked at");
        let never = Record { length_ns: 0, interrupted: Some(2), ..sample.clone() };
        is_invalid_since(&never, "before every virtual connection had an answer");
        is_invalid_since(&Record { length_ns: 50 * MILLI, ..sample.clone() }, "50.0 ms after everybody");
        let marks = ["gw1 killed", "gw1 back"].map(str::to_owned).to_vec();
        let said = Record { early: Early { marks, lost_conns: 0 }, ..sample.clone() };
        is_invalid_since(&said, "\"gw1 killed\" (and 1 more) was said before");
        let lost = Record { early: Early { marks: Vec::new(), lost_conns: 33 }, ..sample };
        is_invalid_since(&lost, "33 virtual connections were lost before");
        for record in [said, lost] {
            let verdict = judged(&record, &sample::failures());
            assert!(verdict.is_valid() && verdict.notes[0].contains("before everybody"), "{verdict:?}");
        }
        let servers = FailoverPlan { play: Play::Servers, ..plan.clone() };
        assert_eq!(judge(&servers, &never, &[], &[]).exit_code(), 0, "they measure nothing anyway");
    }

    #[test]
    fn what_was_said_of_gateways_is_told_the_most_frequent_first() {
        let mut record = sample::record();
        for number in 0..10 {
            let text = format!("gateway {number}");
            record.troubles.push(Trouble { text, count: number, first_ns: 0, last_ns: 0 });
        }
        let notes = judge(&sample::plan(), &record, &[], &[]).notes;
        assert_eq!(notes.first().map(String::as_str), Some("9× gateway 9"));
        assert!(notes.last().unwrap().starts_with("And 2 other"), "{notes:?}");
    }
}
