//! A run that might have been: one gateway is killed, another one is cut off and a client does not come back.

use std::time::Duration;

use super::super::failures::Failure;
use super::super::plan::{FailoverPlan, Gateway};
use super::super::record::{Counts, Mark, Outage, Record};
use crate::clock::{MILLI, SECOND};
use crate::plan::Target;

pub(in crate::failover) fn plan() -> FailoverPlan {
    let target =
        |host: &str| Target { client_addr: format!("{host}:7010"), server_addr: format!("{host}:7020") };
    FailoverPlan {
        targets: ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(target).map(Gateway::from).to_vec(),
        clients: 30,
        servers: 4,
        rate: 150.0,
        ..FailoverPlan::default()
    }
}

pub(in crate::failover) fn failures() -> Vec<Failure> {
    record().failures(plan().pace(), plan().apart)
}

pub(in crate::failover) fn record() -> Record {
    let outage = |lane: usize, from_ms: u64, to_ms: Option<u64>, before: usize, after: usize| Outage {
        lane,
        client: lane,
        from_ns: from_ms * MILLI,
        to_ns: to_ms.map(|ms| ms * MILLI),
        was_lost: true,
        lost: if from_ms < 15_000 { 1 } else { 6 },
        unsent: 2,
        before,
        after: to_ms.map(|_| after),
    };
    let killed = (0..10).map(|lane| {
        let length = 300 + 400 * lane as u64 / 9;
        outage(lane, 10_000, Some(10_000 + length), 0, 1 + lane % 2)
    });
    let cut = (10..25).map(|lane| {
        let length = 5200 + 800 * (lane as u64 - 10) / 14;
        outage(lane, 20_000, (lane != 17).then_some(20_000 + length), 1, 2)
    });
    let connects = (0..10).map(|number| ((10_100 + 50 * number) * MILLI, 1 + number as usize % 2));
    let wave = (0..14).map(|number| ((25_100 + 2 * number) * MILLI, 2));
    let counts = Counts { asked: 4400, answered: 4288, lost: 100, unsent: 50, open: 12, lost_conns: 25 };
    let mut record = Record {
        length_ns: 30 * SECOND,
        gateways: ["10.0.0.1:7010", "10.0.0.2:7010", "10.0.0.3:7010"].map(str::to_owned).to_vec(),
        answers: vec![vec![5; 100], vec![5; 200], vec![5; 300]],
        connects: connects.chain(wave).collect(),
        outages: killed.chain(cut).collect(),
        marks: vec![
            Mark { at_ns: 10_010 * MILLI, text: "gw1 SIGKILL".to_owned() },
            Mark { at_ns: 13 * SECOND, text: "gw1 back".to_owned() },
            Mark { at_ns: 20_010 * MILLI, text: "gw2 cut off".to_owned() },
        ],
        counts,
        ..Record::default()
    };
    assert_eq!(plan().pace(), Duration::from_millis(200));
    record.response.record(MILLI);
    record.lag.record(MILLI);
    record
}
