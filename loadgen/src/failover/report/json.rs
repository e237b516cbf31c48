//! The report for programs. Keys are only added within a version. Names that end in `_s` are seconds since everybody talked,
//! or so many of them; in `_per_s` numbers a second.
//!
//! | key | what it holds |
//! |---|---|
//! | `schema`, `version` | `"fastway-loadgen-failover/1"`, `1` |
//! | `exit_code`, `reasons` | as in the report of a run: `failure`, `invalid`, `integrity`, `notes` |
//! | `plan` | what was asked for: `play`, `client_tls`, `server_tls`, `clients`, `conns_per_client`, `servers`, `rate_per_s`, `pace_s`, `detection_s`, `spread_s`, `choice`, `targets`: a list of `name` (null: by its address), `client_addr`, `server_addr` |
//! | `length_s`, `counts` | how long everybody talked; `asked`, `answered`, `lost`, `unsent`, `open`, `lost_conns` |
//! | `response_s`, `lag_s` | `p50`, `p99`, `max` |
//! | `failures` | a list (`conns` is 0 where clients moved in time): `from_s`, `last_from_s`, `to_s` (null: not over), `mark` (text or null), `clients`, `conns`, `outage_s` (`count`, `min`, `p50`, `p90`, `p99`, `max`; null where `count` is 0), `unserved`, `stalled`, `lost`, `unsent`, `moves`, `connects` |
//! | `failures[].moves` | a list of `before`, `after` (null: nowhere), `conns`, `first_back_s`, `last_back_s` |
//! | `failures[].connects` | a list of `gateway`, `count`, `peak_per_s` |
//! | `marks` | a list of `at_s`, `text` |
//! | `troubles` | a list of `text` (`…` for numbers that differed), `count`, `first_s`, `last_s` |
//! | `early` | what came before everybody talked: `marks`, a list of texts; `lost_conns` |
//! | `series` | whole bins of `bin_s` only; by gateway `answers` and `connects` in each bin; `without_service`: virtual connections at its end |
//! | `thresholds` | a list of `text`, `value`, `passed` |

use serde_json::{Map, Value, json as value};

use super::super::failures::{Connects, Failure, Move};
use super::super::plan::FailoverPlan;
use super::super::record::{BIN, Record};
use crate::clock::Nanos;
use crate::stats::Times;
use crate::verdict::Verdict;

/// The report for programs.
#[must_use]
pub fn json(plan: &FailoverPlan, record: &Record, failures: &[Failure], verdict: &Verdict) -> Value {
    let marks = record.marks.iter();
    let troubles = record.troubles.iter();
    value!({
        "schema": "fastway-loadgen-failover/1",
        "version": 1,
        "exit_code": verdict.exit_code(),
        "reasons": {
            "failure": verdict.failure,
            "invalid": verdict.invalid,
            "integrity": verdict.integrity,
            "notes": verdict.notes,
        },
        "plan": {
            "play": plan.play,
            "targets": plan.targets,
            "client_tls": plan.client_tls.is_some(),
            "server_tls": plan.server_tls.is_some(),
            "clients": plan.clients,
            "conns_per_client": plan.conns_per_client,
            "servers": plan.servers,
            "rate_per_s": plan.rate,
            "pace_s": plan.pace().as_secs_f64(),
            "detection_s": plan.fleet.detection.as_secs_f64(),
            "spread_s": plan.fleet.spread.as_secs_f64(),
            "choice": plan.choice(),
        },
        "length_s": seconds(record.length_ns),
        "counts": serde_json::to_value(record.counts).unwrap_or_default(),
        "response_s": times(&record.response),
        "lag_s": times(&record.lag),
        "failures": failures.iter().map(|failure| one(record, failure)).collect::<Vec<_>>(),
        "marks": marks.map(|mark| value!({ "at_s": seconds(mark.at_ns), "text": mark.text })).collect::<Vec<_>>(),
        "troubles": troubles.map(|trouble| value!({
            "text": trouble.text,
            "count": trouble.count,
            "first_s": seconds(trouble.first_ns),
            "last_s": seconds(trouble.last_ns),
        })).collect::<Vec<_>>(),
        "early": { "marks": record.early.marks, "lost_conns": record.early.lost_conns },
        "series": {
            "bin_s": BIN.as_secs_f64(),
            "answers": by_gateway(record, &record.answers_by_bin()),
            "connects": by_gateway(record, &record.connects_by_bin()),
            "without_service": record.without_service(),
        },
        "thresholds": serde_json::to_value(&verdict.thresholds).unwrap_or_default(),
    })
}

fn one(record: &Record, failure: &Failure) -> Value {
    let name = |gateway: usize| record.gateways[gateway].as_str();
    let moves = failure.moves.iter().map(|Move { before, after, conns, first_back_ns, last_back_ns }| {
        value!({
            "before": name(*before),
            "after": after.map(name),
            "conns": conns,
            "first_back_s": first_back_ns.map(seconds),
            "last_back_s": last_back_ns.map(seconds),
        })
    });
    let connects = failure.connects.iter().map(|Connects { gateway, count, peak_per_s }| {
        value!({ "gateway": name(*gateway), "count": count, "peak_per_s": peak_per_s })
    });
    value!({
        "from_s": seconds(failure.from_ns),
        "last_from_s": seconds(failure.last_from_ns),
        "to_s": failure.to_ns.map(seconds),
        "mark": failure.mark.map(|mark| record.marks[mark].text.as_str()),
        "clients": failure.clients,
        "conns": failure.conns,
        "outage_s": times(&failure.outage),
        "unserved": failure.unserved,
        "stalled": failure.stalled,
        "lost": failure.lost,
        "unsent": failure.unsent,
        "moves": moves.collect::<Vec<_>>(),
        "connects": connects.collect::<Vec<_>>(),
    })
}

fn by_gateway(record: &Record, series: &[Vec<u32>]) -> Value {
    let entries = record.gateways.iter().zip(series);
    Value::Object(entries.map(|(name, series)| (name.clone(), value!(series))).collect::<Map<_, _>>())
}

fn times(times: &Times) -> Value {
    let some = |nanos: Nanos| (times.count() > 0).then(|| seconds(nanos));
    value!({
        "count": times.count(),
        "min": some(times.min()),
        "p50": some(times.percentile(50.0)),
        "p90": some(times.percentile(90.0)),
        "p99": some(times.percentile(99.0)),
        "max": some(times.max()),
    })
}

fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::super::super::verdict::judge;
    use super::super::sample;
    use super::*;

    #[test]
    fn the_report_holds_what_its_schema_says() {
        let (plan, record, failures) = (sample::plan(), sample::record(), sample::failures());
        let verdict = judge(&plan, &record, &failures, &["lost<1".parse().unwrap()]);
        let report = json(&plan, &record, &failures, &verdict);
        assert_eq!(
            (&report["schema"], &report["exit_code"]),
            (&value!("fastway-loadgen-failover/1"), &value!(3))
        );
        assert_eq!(report["plan"]["pace_s"], 0.2);
        assert_eq!(report["counts"]["lost"], 100);
        let [killed, cut] = &report["failures"].as_array().unwrap()[..] else { panic!("two") };
        assert_eq!((&killed["mark"], &cut["mark"]), (&value!("gw1 SIGKILL"), &value!("gw2 cut off")));
        assert_eq!((&killed["conns"], &killed["outage_s"]["count"]), (&value!(10), &value!(10)));
        assert_eq!((&cut["unserved"], &cut["to_s"]), (&value!(1), &Value::Null));
        assert_eq!(killed["moves"][0]["before"], "10.0.0.1:7010");
        assert_eq!(killed["moves"][0]["first_back_s"], 10.3);
        assert_eq!(
            cut["connects"][0],
            value!({ "gateway": "10.0.0.3:7010", "count": 14, "peak_per_s": 140 })
        );
        assert_eq!(report["marks"][1]["text"], "gw1 back");
        assert_eq!(report["series"]["without_service"][101], 10);
        assert_eq!(report["series"]["answers"]["10.0.0.2:7010"].as_array().unwrap().len(), 300);
        assert_eq!(report["thresholds"][0]["passed"], false);
    }
}
