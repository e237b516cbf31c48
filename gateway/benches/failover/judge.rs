//! What became of each step: one table of what was measured, and one that holds it against what is wanted.

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
    /// What it is held against.
    pub(crate) bounds: Vec<Bound>,
    /// What cannot be, whatever is wanted.
    pub(crate) wrong: Vec<String>,
}

/// Something that was measured, and what it may be.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// What, in words.
    what: &'static str,
    measured: f64,
    /// As much as this; infinite where nothing is demanded.
    most: f64,
    unit: &'static str,
}

impl Bound {
    fn seconds(what: &'static str, measured: f64, most: Duration) -> Self {
        Self { what, measured, most: most.as_secs_f64(), unit: " s" }
    }

    fn count(what: &'static str, measured: u64, most: u32, unit: &'static str) -> Self {
        Self { what, measured: measured as f64, most: f64::from(most), unit }
    }

    /// What was not measured holds for nothing.
    pub(crate) fn holds(&self) -> bool {
        self.measured <= self.most
    }

    fn show(&self, value: f64) -> String {
        if value == f64::INFINITY {
            return "-".to_owned();
        }
        let decimals = if self.unit == " s" { 2 } else { 0 };
        format!("{value:.decimals$}{}", self.unit)
    }
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
        let connects = || its.iter().flat_map(|failure| list(&failure["connects"]));
        let mut outcome = Outcome {
            step,
            hit: sum("conns"),
            p50: seconds("p50"),
            p99: seconds("p99"),
            max: seconds("max"),
            lost: sum("lost"),
            unsent: sum("unsent"),
            connects_per_s: connects().filter_map(|one| one["peak_per_s"].as_u64()).max().unwrap_or(0),
            bounds: vec![Bound::count("not served any more", sum("unserved"), 0, "")],
            wrong: Vec::new(),
        };
        if its.len() != 1 {
            outcome.wrong.push(format!("{} failures are told of, and not one", its.len()));
        }
        match step {
            Step::Kill(_) | Step::Drain(_) => outcome.within(self.seen),
            Step::Cut(_) => outcome.within(self.detection + self.seen),
            Step::RestartServer(_) => self.judge_server(&mut outcome, &its, report),
            Step::KillAll => {}
        }
        if matches!(step, Step::Kill(_) | Step::Cut(_) | Step::Drain(_)) {
            let (peak, most) = (outcome.connects_per_s, self.connects_per_s);
            outcome.bounds.push(Bound::count("connects at another gateway", peak, most, "/s"));
            let moved: u64 = connects().filter_map(|one| one["count"].as_u64()).sum();
            let lost = outcome.hit.saturating_sub(sum("stalled"));
            if moved < lost {
                outcome.wrong.push(format!("{lost} were lost, and only {moved} connects were counted"));
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
            if first.is_nan() || first < 0.0 {
                outcome.wrong.push(format!("dialled through {gateway} before its return"));
            }
        }
        if through.len() != GATEWAYS.len() {
            outcome.wrong.push(format!("dialled through {} gateways of {}", through.len(), GATEWAYS.len()));
        }
        outcome.bounds.push(Bound::seconds("dialled again through every gateway", slowest, self.server));
        outcome.bounds.push(Bound {
            most: f64::INFINITY,
            ..Bound::seconds("dialled again by all its clients", last, self.server)
        });
    }
}

impl Outcome {
    fn within(&mut self, most: Duration) {
        self.bounds.push(Bound::seconds("without service, 99 of 100", self.p99, most));
        if self.hit == 0 {
            self.wrong.push("nobody was hit".to_owned());
        }
    }

    /// What is not as wanted, in sentences.
    pub(crate) fn missed(&self) -> impl Iterator<Item = String> {
        let bounds = self.bounds.iter().filter(|bound| !bound.holds()).map(|bound| {
            format!("{}: {}, not {} at most", bound.what, bound.show(bound.measured), bound.show(bound.most))
        });
        bounds.chain(self.wrong.iter().cloned()).map(|what| format!("{}: {what}", self.step.cause()))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Prints the tables. Whether everything is as wanted.
pub(crate) fn print(outcomes: &[Outcome], report: &Value) -> bool {
    print_measured(outcomes);
    print_bounds(outcomes);
    let mut missed: Vec<_> = outcomes.iter().flat_map(Outcome::missed).collect();
    // A run that says more of the tool than of what was measured, or whose answers were wrong.
    for kind in ["failure", "invalid", "integrity"] {
        let said = &report["reasons"][kind];
        missed
            .extend(said.as_str().into_iter().chain(list(said).filter_map(Value::as_str)).map(str::to_owned));
    }
    println!();
    for what in &missed {
        println!("missed: {what}");
    }
    if missed.is_empty() {
        println!("✓ everybody was served again, as soon as is wanted");
    }
    missed.is_empty()
}

fn print_measured(outcomes: &[Outcome]) {
    println!(
        "\n{:<18} {:>5} {:>7} {:>7} {:>7} {:>6} {:>7} {:>10}",
        "measured", "hit", "p50", "p99", "max", "lost", "unsent", "connects"
    );
    for outcome in outcomes {
        let Outcome { step, hit, p50, p99, max, lost, unsent, connects_per_s, .. } = outcome;
        println!(
            "{:<18} {hit:>5} {p50:>5.2} s {p99:>5.2} s {max:>5.2} s {lost:>6} {unsent:>7} {connects_per_s:>8}/s",
            step.cause()
        );
    }
}

fn print_bounds(outcomes: &[Outcome]) {
    println!("\n{:<18} {:<36} {:>9} {:>9}", "held against", "", "measured", "at most");
    for outcome in outcomes {
        let mut cause = outcome.step.cause();
        for bound in &outcome.bounds {
            let mark = match bound.holds() {
                true if bound.most == f64::INFINITY => "",
                true => "✓",
                false => "missed",
            };
            let [measured, most] = [bound.measured, bound.most].map(|value| bound.show(value));
            let line = format!("{cause:<18} {:<36} {measured:>9} {most:>9}  {mark}", bound.what);
            println!("{}", line.trim_end());
            cause.clear();
        }
    }
}
