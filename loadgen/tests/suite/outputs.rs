//! What a run leaves behind: the report, JSON, the HdrHistogram log, the time series, and the exit code of thresholds.

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::support::{Folder, TestGateway, Tool};

const LOAD: [&str; 10] = ["-R", "1k", "-d", "1s", "-w", "200ms", "-c", "2", "--conns", "2"];

#[test]
fn the_json_has_what_its_schema_says() {
    let gateway = TestGateway::start();
    let (target, pid) = (gateway.target(), std::process::id().to_string());
    let args = [&["run", &target, "--target-pid", &pid, "--seed", "77"], &LOAD[..]].concat();
    let ended = Tool::run(&args);
    ended.expect_code(0);
    ended.all_came_back();
    let json = &ended.json;
    assert_eq!((json["schema"].as_str(), ended.number("/version")), (Some("fastway-loadgen/1"), 1));
    assert!(["valid", "invalid"].contains(&json["verdict"].as_str().unwrap()), "{json:#}");
    assert_eq!((ended.number("/plan/seed"), json["plan"]["duration_s"].as_f64()), (77, Some(1.0)));
    for key in ["interrupted", "/reasons/failure"] {
        assert!(json.pointer(key).is_none_or(serde_json::Value::is_null), "{key}: {json:#}");
    }
    for name in ["invalid", "integrity", "notes"] {
        assert!(json["reasons"][name].is_array(), "{name}: {json:#}");
    }
    for name in [
        "due",
        "sent",
        "received",
        "measured_due",
        "measured_received",
        "censored",
        "not_sent",
        "dials",
        "refused",
        "churned",
        "reconnected",
        "calls",
        "bytes_sent",
        "errors",
    ] {
        ended.number(&format!("/counts/{name}"));
    }
    let measured = ended.number("/counts/measured_received");
    for (name, count) in [
        ("response", measured),
        ("lag", measured),
        ("blocked", measured),
        ("wire", measured),
        ("echo", measured),
        ("dial", 4),
        ("first_byte", 2),
        ("call", 0),
    ] {
        let times = &json["times"][name];
        assert_eq!(times["count"], count, "{name}: {json:#}");
        let values = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns"]
            .map(|key| times[key].as_u64());
        assert!(
            values.is_sorted() && values.iter().all(|value| value.is_some() == (count > 0)),
            "{name}: {times:#}"
        );
    }
    assert_eq!(ended.number("/times/connect/count"), 3, "two clients and a server");
    assert_eq!((measured, ended.number("/counts/received")), (1000, 1200), "{json:#}");
    let rate = |name: &str| json["rates"][name].as_f64().unwrap();
    assert!((rate("target_per_s") / 1000.0 - 1.0).abs() < 0.01 && rate("achieved_share") == 1.0, "{json:#}");
    assert!((rate("measured_s") - 1.0).abs() < 0.01 && rate("achieved_per_s") > 0.0, "{json:#}");
    // Of response, the parts are lag, blocked, wire and echo.
    let mean = |name: &str| json["times"][name]["mean_ns"].as_f64().unwrap();
    let sum: f64 = ["lag", "blocked", "wire", "echo"].map(mean).iter().sum();
    assert!((sum / mean("response") - 1.0).abs() < 0.02, "{sum} should be {}: {json:#}", mean("response"));
    let cpu = json["target"]["cpu_cores"].as_f64().unwrap();
    assert!(cpu >= 0.0 && ended.number("/target/rss_bytes") > 1_000_000, "{json:#}");
}

#[test]
fn the_hdr_log_adds_up_to_the_json() {
    let gateway = TestGateway::start();
    let folder = Folder::new();
    let path = folder.file("log");
    let ended =
        Tool::run(&[&["run", &gateway.target(), "--hdr", path.to_str().unwrap()], &LOAD[..]].concat());
    ended.expect_code(0);
    let log = std::fs::read(&path).unwrap();
    let mut all = Histogram::<u64>::new(3).unwrap();
    let mut lines = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.expect("a line of the log can be read")
            && interval.tag().is_some_and(|tag| tag.as_str() == "response")
        {
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let part: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            all.add(&part).unwrap();
            lines += 1;
        }
    }
    assert!(lines >= 5, "{lines} lines of 100 ms each");
    assert_eq!(all.len(), ended.number("/times/response/count"));
    let p50 = ended.number("/times/response/p50_ns");
    assert!(
        all.value_at_quantile(0.5).abs_diff(p50) <= p50 / 100,
        "{} should be {p50}",
        all.value_at_quantile(0.5)
    );
}

#[test]
fn the_time_series_adds_up_to_the_json() {
    let gateway = TestGateway::start();
    let folder = Folder::new();
    let path = folder.file("series.csv");
    let ended = Tool::start_bare(
        &[
            &["run", &gateway.target(), "--interval", "100ms", "--timeseries", path.to_str().unwrap()],
            &LOAD[..],
        ]
        .concat(),
    )
    .end();
    assert!([Some(0), Some(5)].contains(&ended.code), "{}", ended.tale());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| {
        lines[0].iter().position(|head| *head == name).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    let (from, to, received) = (column("from_s"), column("to_s"), column("received"));
    assert!(lines.len() >= 6, "{text}");
    let sum: u64 = lines[1..].iter().map(|line| line[received].parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 1200, "{text}");
    assert!(lines[1..].iter().all(|line| line.len() == lines[0].len()), "{text}");
    assert!(
        lines[1..].windows(2).all(|pair| pair[0][to] == pair[1][from]),
        "an interval begins where one ends: {text}"
    );
}

#[test]
fn the_report_goes_where_it_is_told_to() {
    let gateway = TestGateway::start();
    let folder = Folder::new();
    let path = folder.file("report");
    let target = gateway.target();
    for (quiet, output) in [(false, false), (true, true)] {
        let mut args = [&["run", &target], &LOAD[..]].concat();
        args.extend(quiet.then_some("--quiet"));
        args.extend(output.then(|| ["-o", path.to_str().unwrap()]).into_iter().flatten());
        let ended = Tool::start_bare(&args).end();
        assert!([Some(0), Some(5)].contains(&ended.code), "{}", ended.tale());
        let report = if output { std::fs::read_to_string(&path).unwrap() } else { ended.report.clone() };
        assert!(
            report.contains("VALID") && report.contains("response") && report.contains("integrity"),
            "{report}"
        );
        assert!(!report.contains('\u{1b}'), "no colours where nobody sees them: {report}");
        assert!(report.lines().all(|line| line.chars().count() <= 80), "{report}");
        assert_eq!(ended.report.is_empty(), output, "{}", ended.report);
        assert!(!quiet || ended.complaint.is_empty(), "{}", ended.complaint);
    }
}

#[test]
fn a_threshold_that_fails_is_exit_code_3_and_one_that_holds_is_shown() {
    let gateway = TestGateway::start();
    let run = |threshold: &str| {
        let load = ["--inflight", "1", "-d", "500ms", "-w", "0s", "-c", "1", "--conns", "2"];
        let holds = ["--threshold", "response.p50<1h", "--threshold", threshold];
        Tool::run(&[&["run", &gateway.target()], &load[..], &holds[..]].concat())
    };
    for (threshold, code) in [("response.p99<1us", 3), ("rate>1000m", 3), ("errors<1", 0)] {
        let ended = run(threshold);
        ended.expect_code(code);
        let judged = ended.json["thresholds"].as_array().unwrap();
        assert_eq!((judged.len(), &judged[0]["passed"]), (2, &true.into()), "{judged:?}");
        assert_eq!(judged[1]["passed"], code == 0, "{judged:?}");
        assert!(ended.says(if code == 0 { "PASS 2/2" } else { "PASS 1/2" }), "{}", ended.tale());
    }
}
