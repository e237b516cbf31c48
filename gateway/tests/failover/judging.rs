//! What is a bound, and when it is missed.

use std::time::Duration;

use serde_json::json;

use crate::judge::{Outcome, Wanted};
use crate::steps::Step;
use crate::world::GATEWAYS;

const WANTED: Wanted = Wanted {
    seen: Duration::from_secs(1),
    detection: Duration::from_secs(5),
    server: Duration::from_secs(1),
    connects_per_s: 400,
};

/// 142 clients of a gateway that drains, of which so many were seen to connect elsewhere, at such a peak.
fn drained(connects: u64, peak_per_s: u64) -> Outcome {
    let step = Step::Drain(2);
    let report = json!({ "failures": [{
        "mark": step.cause(), "conns": 142, "stalled": 2, "unserved": 0, "lost": 3, "unsent": 9,
        "outage_s": { "p50": 0.11, "p99": 0.56, "max": 0.66 },
        "connects": [{ "gateway": "gw1", "count": connects, "peak_per_s": peak_per_s }],
    }] });
    WANTED.judge(step, &report)
}

#[test]
fn who_was_lost_has_connected_or_nothing_was_counted() {
    assert_eq!(drained(140, 330).missed().count(), 0);
    let missed: Vec<_> = drained(0, 0).missed().collect();
    assert_eq!(missed, ["gw3 SIGTERM: 140 were lost, and only 0 connects were counted"]);
}

#[test]
fn what_is_above_its_bound_is_missed() {
    let missed: Vec<_> = drained(140, 410).missed().collect();
    assert_eq!(missed, ["gw3 SIGTERM: connects at another gateway: 410/s, not 400/s at most"]);
}

#[test]
fn a_server_whose_return_nobody_told_is_missed() {
    let step = Step::RestartServer(1);
    let moves: Vec<_> = GATEWAYS
        .iter()
        .map(|gateway| json!({ "after": gateway, "first_back_s": 5.2, "last_back_s": 7.5 }))
        .collect();
    let failures = json!([{ "mark": step.cause(), "moves": moves, "unserved": 0 }]);
    let at = |at_s: f64| {
        let marks = json!([{ "text": step.return_of(), "at_s": at_s }]);
        WANTED.judge(step, &json!({ "failures": failures, "marks": marks }))
    };
    assert_eq!(at(5.0).missed().count(), 0);
    let missed: Vec<_> = at(3.0).missed().collect();
    assert_eq!(missed, ["server 2 SIGKILL: dialled again through every gateway: 2.20 s, not 1.00 s at most"]);
    assert_eq!(at(5.5).missed().count(), 3, "before it was there");
    assert!(WANTED.judge(step, &json!({ "failures": failures })).missed().count() > 0);
}
