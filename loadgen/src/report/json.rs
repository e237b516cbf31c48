//! The report for programs, as `--json` writes it. Keys are only added within a version; a key that changes its meaning, or
//! goes, makes a new one. Names that end in `_ns` are nanoseconds, in `_s` seconds, in `_per_s` numbers a second.
//!
//! | key | what it holds |
//! |---|---|
//! | `schema`, `version` | `"fastway-loadgen/1"`, `1` |
//! | `verdict` | `"valid"`, `"invalid"` or `"failed"`: whether the numbers can be believed |
//! | `exit_code` | what the process ended with |
//! | `interrupted` | the signal that ended the run, or null |
//! | `reasons` | `failure` (sentence or null), `invalid`, `integrity`, `notes` (lists of sentences) |
//! | `plan` | what was asked for, as it was understood; times are `…_s` |
//! | `rates` | `target_per_s` (null in a closed loop), `achieved_per_s`, `achieved_share` (0 to 1, or null), `measured_s` |
//! | `counts` | counters of the whole run: `due`, `sent`, `received`, `measured_due`, `measured_received`, `censored`, `not_sent`, `dials`, `refused`, `churned`, `reconnected`, `calls`, `bytes_sent`, `errors` |
//! | `times` | by metric (`response`, `lag`, `blocked`, `wire`, `echo`, `connect`, `dial`, `first_byte`, `call`): `count`, and `min_ns`, `mean_ns`, `p50_ns`, `p90_ns`, `p99_ns`, `p99_9_ns`, `p99_99_ns`, `max_ns`, which are null where `count` is 0 |
//! | `integrity` | `both_sides`; `there` (questions) and `back` (echoes), each with `sent`, `received`, `open`, `balances`, `faults` by kind, `examples` |
//! | `errors` | a list of `kind`, `phase`, `count`, `first_ns`, `last_ns`, `example` |
//! | `generator` | `threads` (`cpu_ns`, `wall_ns`, `busy` 0 to 1, `stood_still_ns`), `lag_max_ns`, `rss_bytes`, `files` and `ports` (`used`, `limit`) |
//! | `target` | `pid`, `cpu_ns`, `wall_ns`, `cpu_cores`, `rss_bytes`; null if it was not asked for |
//! | `thresholds` | a list of `text`, `value`, `passed` |

use serde::Serialize;
use serde_json::{Map, Value, json as value};

use crate::ledger::{Fault, Ledger};
use crate::plan::Plan;
use crate::stats::{Metric, Results, ThreadUse, Times};
use crate::verdict::Verdict;

/// The report of a run for programs.
#[must_use]
pub fn json(plan: &Plan, results: &Results, verdict: &Verdict) -> Value {
    value!({
        "schema": "fastway-loadgen/1",
        "version": 1,
        "verdict": if verdict.failure.is_some() {
            "failed"
        } else if verdict.is_valid() {
            "valid"
        } else {
            "invalid"
        },
        "exit_code": verdict.exit_code(),
        "interrupted": verdict.interrupted,
        "reasons": {
            "failure": verdict.failure,
            "invalid": verdict.invalid,
            "integrity": verdict.integrity,
            "notes": verdict.notes,
        },
        "plan": with_seconds(plain(plan)),
        "rates": {
            "target_per_s": results.target_rate,
            "achieved_per_s": results.achieved_rate(),
            "achieved_share": results.achieved_share(),
            "measured_s": results.seconds(),
        },
        "counts": plain(&results.tally),
        "times": all_times(results),
        "integrity": {
            "both_sides": results.both_sides,
            "there": ledger(&results.there),
            "back": ledger(&results.back),
        },
        "errors": plain(&results.errors),
        "generator": {
            "threads": results.threads.iter().map(thread).collect::<Vec<_>>(),
            "lag_max_ns": results.metrics.lag.max(),
            "rss_bytes": results.rss_bytes,
            "files": { "used": results.files.0, "limit": results.files.1 },
            "ports": { "used": results.ports.0, "limit": results.ports.1 },
        },
        "target": results.target.as_ref().map(plain),
        "thresholds": plain(&verdict.thresholds),
    })
}

/// What can be said in JSON anyway: structs of numbers, strings and lists.
fn plain(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or(Value::Null)
}

/// Durations as serde writes them (`"x": {"secs": 1, "nanos": 5}`) become `"x_s": 1.000000005`.
fn with_seconds(part: Value) -> Value {
    match part {
        Value::Object(entries) => Value::Object(entries.into_iter().map(entry_with_seconds).collect()),
        Value::Array(parts) => Value::Array(parts.into_iter().map(with_seconds).collect()),
        other => other,
    }
}

fn entry_with_seconds((key, part): (String, Value)) -> (String, Value) {
    let number = |name: &str| part.get(name).and_then(Value::as_u64);
    match (number("secs"), number("nanos")) {
        (Some(secs), Some(nanos)) => (key + "_s", value!(secs as f64 + nanos as f64 / 1e9)),
        // A duration that is not limited has to be found under the same name.
        _ if key == "duration" && part.is_null() => (key + "_s", part),
        _ => (key, with_seconds(part)),
    }
}

fn all_times(results: &Results) -> Value {
    let rows = Metric::ALL.iter().map(|metric| {
        let name = metric.name().replace('-', "_");
        (name, times(results.metrics.get(*metric)))
    });
    Value::Object(rows.collect())
}

fn times(times: &Times) -> Value {
    let some = times.count() > 0;
    let nanos = |percent| some.then(|| times.percentile(percent));
    value!({
        "count": times.count(),
        "min_ns": some.then(|| times.min()),
        "mean_ns": some.then(|| times.mean().round() as u64),
        "p50_ns": nanos(50.0),
        "p90_ns": nanos(90.0),
        "p99_ns": nanos(99.0),
        "p99_9_ns": nanos(99.9),
        "p99_99_ns": nanos(99.99),
        "max_ns": some.then(|| times.max()),
    })
}

fn ledger(ledger: &Ledger) -> Value {
    let faults: Map<String, Value> = Fault::ALL
        .into_iter()
        .map(|fault| (fault.name().replace(' ', "_"), ledger.count(fault).into()))
        .collect();
    value!({
        "sent": ledger.sent,
        "received": ledger.received,
        "open": ledger.open,
        "balances": ledger.balances(),
        "faults": faults,
        "examples": plain(&ledger.examples),
    })
}

fn thread(thread: &ThreadUse) -> Value {
    value!({
        "cpu_ns": thread.cpu_ns,
        "wall_ns": thread.wall_ns,
        "busy": thread.busy(),
        "stood_still_ns": thread.stood_still_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_report_holds_what_its_schema_says() {
        let (plan, results) = (sample::plan(), sample::bad_results());
        let thresholds = ["errors<=0".parse().unwrap()];
        let report = json(&plan, &results, &Verdict::of(&plan, &results, &thresholds));
        assert_eq!((&report["schema"], &report["version"]), (&value!("fastway-loadgen/1"), &value!(1)));
        assert_eq!((&report["verdict"], &report["exit_code"]), (&value!("invalid"), &value!(4)));
        assert_eq!(report["plan"]["seed"], 42);
        assert_eq!(report["plan"]["grace_s"], 2.5);
        assert_eq!(report["plan"]["load"]["open"]["stages"][0]["duration_s"], 60.0);
        assert_eq!(report["plan"]["key"], Value::Null, "the password is not told");
        assert_eq!(report["rates"]["target_per_s"], 50_000.0);
        assert_eq!(report["counts"]["censored"], 12_034);
        assert_eq!(report["times"]["response"]["p99_9_ns"], results.metrics.response.percentile(99.9));
        assert_eq!(report["times"]["first_byte"]["count"], 1000);
        assert_eq!(report["times"]["call"]["p50_ns"], Value::Null);
        assert_eq!(report["integrity"]["back"]["faults"]["lost"], 3);
        assert_eq!(report["integrity"]["back"]["faults"]["after_close"], 0);
        assert_eq!(report["integrity"]["back"]["balances"], false);
        assert_eq!(report["integrity"]["back"]["examples"][0]["fault"], "lost");
        assert_eq!(report["errors"][0]["kind"], "dial_refused");
        assert_eq!(report["errors"][0]["count"], 12);
        assert_eq!(report["generator"]["threads"][0]["stood_still_ns"], 212_000_000);
        assert_eq!(report["generator"]["files"]["limit"], 20_000);
        assert_eq!(report["target"]["pid"], 4711);
        assert_eq!(report["thresholds"][0]["passed"], false);
    }

    #[test]
    fn a_run_that_failed_still_is_a_report() {
        let results = Results { failure: Some("why".to_owned()), ..Results::default() };
        let plan = Plan { duration: None, ..sample::plan() };
        let report = json(&plan, &results, &Verdict::of(&plan, &results, &[]));
        assert_eq!((&report["verdict"], &report["exit_code"]), (&value!("failed"), &value!(1)));
        assert_eq!(report["reasons"]["failure"], "why");
        assert_eq!((&report["target"], &report["plan"]["duration_s"]), (&Value::Null, &Value::Null));
    }
}
