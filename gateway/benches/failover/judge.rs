//! What became of each step: a table, and whether it is as wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::steps::Step;
use crate::world::GATEWAYS;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// 99 of 100 clients are served again so long after their gateway, if that was seen to be gone.
    pub(crate) seen: Duration,
    /// And so long after the detection, if it was not.
    pub(crate) detection: Duration,
    /// A server is dialled again through every gateway so long after its return.
    pub(crate) server: Duration,
    /// Connects a second at any other gateway, at most.
    pub(crate) connects_per_s: u32,
}

/// What became of one step.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Its cause.
    pub(crate) step: Step,
    /// Virtual connections that were hit.
    pub(crate) hit: u64,
    /// Seconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) lost: u64,
    pub(crate) unsent: u64,
    /// The most in a second, at any gateway.
    pub(crate) connects_per_s: u64,
    /// The bound, in words; and what is wrong.
    pub(crate) wanted: String,
    pub(crate) wrong: Vec<String>,
}

impl Wanted {
    /// Judges one step by the tool's report.
    pub(crate) fn judge(&self, step: Step, report: &Value) -> Outcome {
        let cause = step.cause();
        let all = report["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
        let its: Vec<_> = all.iter().filter(|failure| failure["mark"] == cause.as_str()).collect();
        let sum = |key: &str| its.iter().filter_map(|failure| failure[key].as_u64()).sum::<u64>();
        let seconds = |key: &str| {
            its.iter().filter_map(|failure| failure["outage_s"][key].as_f64()).fold(0.0, f64::max)
        };
        let connects = its.iter().flat_map(|failure| list(&failure["connects"]));
        let mut outcome = Outcome {
            step,
            hit: sum("conns"),
            p50: seconds("p50"),
            p99: seconds("p99"),
            max: seconds("max"),
            lost: sum("lost"),
            unsent: sum("unsent"),
            connects_per_s: connects.filter_map(|one| one["peak_per_s"].as_u64()).max().unwrap_or(0),
            wanted: String::new(),
            wrong: Vec::new(),
        };
        if its.len() != 1 {
            outcome.wrong.push(format!("{} failures are told of, and not one", its.len()));
        }
        if sum("unserved") > 0 {
            outcome.wrong.push(format!("{} were not served any more", sum("unserved")));
        }
        match step {
            Step::Kill(_) | Step::Drain(_) => outcome.within(self.seen),
            Step::Cut(_) => outcome.within(self.detection + self.seen),
            Step::RestartServer(_) => self.judge_server(&mut outcome, &its, report),
            Step::KillAll => "all come back".clone_into(&mut outcome.wanted),
        }
        if matches!(step, Step::Kill(_) | Step::Cut(_) | Step::Drain(_)) {
            let most = u64::from(self.connects_per_s);
            outcome.wanted.push_str(&format!(", connects ≤ {most}/s"));
            if outcome.connects_per_s > most {
                outcome
                    .wrong
                    .push(format!("{} connects a second, not {most} at most", outcome.connects_per_s));
            }
        }
        outcome
    }

    /// Through every gateway: all of them had clients of it.
    fn judge_server(&self, outcome: &mut Outcome, its: &[&Value], report: &Value) {
        let back = list(&report["marks"])
            .find(|mark| mark["text"] == outcome.step.return_of().as_str())
            .and_then(|mark| mark["at_s"].as_f64())
            .unwrap_or(f64::NAN);
        let moves = its.iter().flat_map(|failure| list(&failure["moves"]));
        let (mut through, mut slowest, mut last) = (BTreeSet::new(), 0.0_f64, 0.0_f64);
        for one in moves {
            let since = |key: &str| one[key].as_f64().map_or(f64::INFINITY, |at| at - back);
            let (first, gateway) = (since("first_back_s"), &one["after"]);
            through.insert(gateway.to_string());
            (slowest, last) = (slowest.max(first), last.max(since("last_back_s")));
            if !(0.0..=self.server.as_secs_f64()).contains(&first) {
                outcome.wrong.push(format!("dialled through {gateway} {first:.2} s after its return"));
            }
        }
        if through.len() != GATEWAYS.len() {
            outcome.wrong.push(format!("dialled through {} gateways of {}", through.len(), GATEWAYS.len()));
        }
        outcome.wanted =
            format!("dialled {:?} after its return: {slowest:.2} s; all: {last:.2} s", self.server);
    }
}

impl Outcome {
    fn within(&mut self, wanted: Duration) {
        self.wanted = format!("p99 ≤ {wanted:?}");
        if self.p99 > wanted.as_secs_f64() {
            self.wrong.push(format!("p99 is {:.2} s, not {wanted:?} at most", self.p99));
        }
        if self.hit == 0 {
            self.wrong.push("nobody was hit".to_owned());
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Prints the table. Whether everything is as wanted.
pub(crate) fn print(outcomes: &[Outcome], report: &Value) -> bool {
    println!(
        "\n{:<18} {:>5} {:>7} {:>7} {:>7} {:>6} {:>7} {:>10}   wanted",
        "", "hit", "p50", "p99", "max", "lost", "unsent", "connects"
    );
    for outcome in outcomes {
        let Outcome { step, hit, p50, p99, max, lost, unsent, connects_per_s, wanted, wrong } = outcome;
        let mark = if wrong.is_empty() { "✓" } else { "missed" };
        println!(
            "{:<18} {hit:>5} {p50:>5.2} s {p99:>5.2} s {max:>5.2} s {lost:>6} {unsent:>7} {connects_per_s:>8}/s   {wanted}  {mark}",
            step.cause()
        );
    }
    let mut wrong: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| outcome.wrong.iter().map(|what| format!("{}: {what}", outcome.step.cause())))
        .collect();
    // A run that says more of the tool than of what was measured, or whose answers were wrong.
    for kind in ["failure", "invalid", "integrity"] {
        let said = &report["reasons"][kind];
        wrong
            .extend(said.as_str().into_iter().chain(list(said).filter_map(Value::as_str)).map(str::to_owned));
    }
    println!();
    for what in &wrong {
        println!("missed: {what}");
    }
    if wrong.is_empty() {
        println!("✓ everybody was served again, as soon as is wanted");
    }
    wrong.is_empty()
}
