//! A run as it might have been, for tests.

use std::time::Duration;

use fastway::frame::MaxPacket;

use crate::clock::SECOND;
use crate::ledger::{Fault, Ledger};
use crate::message::Verify;
use crate::plan::{ArrivalKind, Key, Load, Plan, Sizes, Stage, Target};
use crate::stats::{ErrorKind, Metrics, Phase, Results, Tally, TargetUse, ThreadUse, Times};

pub(crate) fn plan() -> Plan {
    Plan {
        targets: vec![Target {
            client_addr: "127.0.0.1:7010".to_owned(),
            server_addr: "127.0.0.1:7011".to_owned(),
        }],
        key: Key::default(),
        client_tls: None,
        server_tls: None,
        clients: 1000,
        conns_per_client: 4,
        servers: 2,
        first_server_id: 1,
        dialled_servers: 2,
        load: Load::Open {
            stages: vec![Stage { duration: Duration::from_secs(60), from: 50_000.0, to: 50_000.0 }],
            arrivals: ArrivalKind::Poisson,
        },
        sizes: Sizes::Fixed(64),
        verify: Verify::Full,
        warm_up: Duration::from_secs(2),
        duration: Some(Duration::from_secs(60)),
        count: None,
        churn: 0.0,
        reconnects: 0.0,
        calls: 0.0,
        threads: 2,
        seed: 42,
        max_packet: MaxPacket::default(),
        connect_timeout: Duration::from_secs(10),
        dial_timeout: Duration::from_secs(10),
        grace: Duration::from_millis(2500),
        ping_interval: Duration::from_secs(15),
        give_up: Duration::from_secs(30),
        interval: Duration::from_secs(1),
        sources: Vec::new(),
        target_pid: None,
    }
}

/// Times that are spread as response times are: most of them alike, a few much longer.
fn times(samples: u64, median: f64, worst: f64) -> Times {
    let mut times = Times::default();
    for sample in 0..samples {
        let place = (sample as f64 + 0.5) / samples as f64;
        let tail = (worst / median).powf(place.powi(100)) - 1.0;
        times.record((median * (0.7 + 0.6 * place + tail)) as u64);
    }
    times
}

/// A good run.
pub(crate) fn results() -> Results {
    let ledger = Ledger { sent: 3_098_812, received: 3_098_812, ..Ledger::default() };
    Results {
        metrics: Metrics {
            response: times(100_000, 310e3, 18.2e6),
            lag: times(100_000, 12e3, 700e3),
            blocked: times(100_000, 100.0, 3.1e6),
            wire: times(100_000, 270e3, 17e6),
            echo: times(100_000, 9e3, 600e3),
            connect: times(1000, 900e3, 41e6),
            dial: times(4000, 450e3, 9e6),
            first_byte: times(1000, 1.6e6, 48e6),
            call: Times::default(),
        },
        tally: Tally {
            due: 3_100_000,
            sent: 3_098_812,
            received: 3_098_812,
            measured_due: 3_000_000,
            measured_received: 2_998_812,
            censored: 0,
            not_sent: 1188,
            dials: 4000,
            bytes_sent: 446_228_928,
            ..Tally::default()
        },
        measured_from_ns: 3 * SECOND,
        measured_to_ns: 63 * SECOND,
        target_rate: Some(50_000.0),
        there: ledger.clone(),
        back: ledger,
        both_sides: true,
        threads: vec![
            ThreadUse { cpu_ns: 24_600_000_000, wall_ns: 60 * SECOND, stood_still_ns: 700_000 },
            ThreadUse { cpu_ns: 22_800_000_000, wall_ns: 60 * SECOND, stood_still_ns: 310_000 },
        ],
        target: Some(TargetUse {
            pid: 4711,
            cpu_ns: 96 * SECOND,
            wall_ns: 60 * SECOND,
            cpu_cores: 1.6,
            rss_bytes: 222_298_112,
        }),
        files: (2104, 20_000),
        ports: (1000, 28_231),
        ..Results::default()
    }
}

/// A run in which everything went wrong that can.
pub(crate) fn bad_results() -> Results {
    let mut results = results();
    results.metrics.lag = times(100_000, 800e3, 30e6);
    results.threads[0].stood_still_ns = 212_000_000;
    results.threads[1].cpu_ns = 55 * SECOND;
    results.tally.measured_received = 2_871_002;
    results.tally.censored = 12_034;
    results.tally.refused = 12;
    results.back.note(Fault::Lost, 3, 7_204_000_000, || {
        "client 17, connection 2 to server 1: message 40112 never came; 40113 came instead".to_owned()
    });
    results.back.received -= 2;
    results.back.note(Fault::Corrupt, 1, 12_500_000_000, || {
        "client 913, connection 0 to server 2: message 1204 is not what was sent".to_owned()
    });
    for second in [1_200_000_000, 2_600_000_000] {
        for _ in 0..6 {
            results.errors.note(ErrorKind::DialRefused, Phase::Setup, second, || {
                "client 3, connection 1: server 2 is not registered at 127.0.0.1:7011; start it first or name another with --servers".to_owned()
            });
        }
    }
    results.errors.note(ErrorKind::ConnClosed, Phase::Measured, 17_340_000_000, || {
        "client 17, connection 2: closed by the gateway after 312 messages".to_owned()
    });
    results
}
