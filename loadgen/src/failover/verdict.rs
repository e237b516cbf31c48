//! Whether the figures can be believed, whether answers were right, whether it was good enough.

use std::time::Duration;

use super::failures::Failure;
use super::plan::{FailoverPlan, Play};
use super::record::Record;
use super::threshold::Demand;
use crate::clock::{MILLI, Nanos};
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
    troubles.sort_by_key(|(_, trouble)| std::cmp::Reverse(trouble.count));
    for (text, trouble) in troubles.iter().take(MOST_TROUBLES) {
        verdict.notes.push(format!("{text} ({}×)", trouble.count));
    }
    if troubles.len() > MOST_TROUBLES {
        verdict.notes.push(format!("And {} other sentences, in --json.", troubles.len() - MOST_TROUBLES));
    }
    verdict
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
    fn what_was_said_of_gateways_is_told_the_most_frequent_first() {
        let mut record = sample::record();
        for number in 0..10 {
            let trouble = Trouble { count: number, first_ns: 0, last_ns: 0 };
            record.troubles.insert(format!("gateway {number}"), trouble);
        }
        let notes = judge(&sample::plan(), &record, &[], &[]).notes;
        assert_eq!(notes.first().map(String::as_str), Some("gateway 9 (9×)"));
        assert!(notes.last().unwrap().starts_with("And 2 other"), "{notes:?}");
    }
}
