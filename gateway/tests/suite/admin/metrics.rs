//! The metrics: what is exported, and what the documentation says of it.

use std::collections::{BTreeMap, BTreeSet};

use std::time::{Duration, SystemTime};

use fastway::net::tls::TlsAcceptor;
use fastway_gateway::{Config, Ended, Refusal};
use rcgen::date_time_ymd;

use super::{Operated, config};
use crate::authority::Authority;
use crate::support::{config_with, wire};
use crate::tls_files::from_now;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

/// What one metric is, and its values by their labels.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    values: BTreeMap<String, f64>,
}

/// Prometheus' own format, line by line.
fn parse(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            let older =
                metrics.insert(current.clone(), Metric { help: help.to_owned(), ..Metric::default() });
            assert!(older.is_none(), "{name} is there twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            metrics.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&current), "{line} is under {current}");
            let metric = metrics.get_mut(&current).unwrap();
            if let Some((_, labels)) = series.split_once('{') {
                let labels = labels.trim_end_matches('}').split(',');
                metric.labels.extend(labels.map(|label| label.split_once('=').unwrap().0.to_owned()));
            }
            let older = metric.values.insert(series.to_owned(), value.parse().unwrap());
            assert!(older.is_none(), "{series} is there twice");
        }
    }
    metrics
}

async fn metrics(operated: &Operated) -> BTreeMap<String, Metric> {
    let answer = operated.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type").as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(&answer.body)
}

fn value(metrics: &BTreeMap<String, Metric>, series: &str) -> f64 {
    let name = series.split('{').next().unwrap();
    let metric =
        metrics.iter().find(|(metric, _)| name.starts_with(metric.as_str()) && name.len() - metric.len() < 8);
    *metric
        .and_then(|(_, metric)| metric.values.get(series))
        .unwrap_or_else(|| panic!("there is no {series}"))
}

/// A name that is in one of them and not in the other is a surprise on somebody's dashboard.
#[tokio::test]
async fn the_document_says_what_is_exported_and_nothing_else() {
    let tls = Authority::new().issue("gateway.internal");
    let mut everything = with_a_group();
    everything.client.tls = Some(TlsAcceptor::new(tls.identity(), None).unwrap());
    let operated = Operated::start_with(everything, |_| ()).await;
    let mut rows: Vec<_> = metrics(&operated)
        .await
        .iter()
        .map(|(name, metric)| {
            let labels: Vec<_> = metric
                .labels
                .iter()
                .filter(|label| *label != "le")
                .map(|label| format!("`{label}`"))
                .collect();
            format!("| `{name}` | {} | {} | {} |", metric.kind, labels.join(", "), metric.help)
        })
        .collect();
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let mut documented: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
    documented.sort_unstable();
    rows.sort_unstable();
    let is_right = documented.iter().eq(rows.iter());
    assert!(is_right, "the table in docs/metrics.md should be:\n{}", rows.join("\n"));
}

/// One metric is only there with groups.
fn with_a_group() -> Config {
    config_with(|config| config.server.groups = vec!["1000=1001-1010".parse().unwrap()])
}

#[tokio::test]
async fn names_follow_the_conventions_of_prometheus() {
    let operated = Operated::start_with(with_a_group(), |_| ()).await;
    for (name, Metric { kind, help, values, .. }) in metrics(&operated).await {
        assert!(name.starts_with("fastway_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(["counter", "gauge", "histogram"].contains(&&kind[..]), "{name} is a {kind}");
        assert!(!name.contains("_ms") && !name.contains("_micros") && !name.contains("_kb"), "{name}");
        assert!(help.len() > 10 && !help.ends_with('.') && !help.contains('|'), "{name}: {help}");
        assert!(!values.is_empty(), "{name} has no value");
    }
}

/// Who asks for OpenMetrics gets that: with units, and with an end, so that half an answer is none.
#[tokio::test]
async fn open_metrics_is_there_for_those_who_ask_for_it() {
    let operated = Operated::start().await;
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let answer = operated.ask("GET", "/metrics", &[("Accept", accept)], "").await;
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.body.ends_with("# EOF\n"));
    for line in [
        "# UNIT fastway_received_bytes bytes\n",
        "# TYPE fastway_received_bytes counter\n",
        "\nfastway_received_bytes_total{side=\"client\"} 0\n",
        "\nfastway_build_info{version=\"",
        "\nfastway_forwarding_delay_seconds_bucket{le=\"+Inf\"} 0\n",
    ] {
        assert!(answer.body.contains(line), "{line} is not in {}", answer.body);
    }
    let plain = operated.ask("GET", "/metrics", &[("Accept", "text/plain")], "").await;
    assert!(!plain.body.contains("# EOF"));
}

#[tokio::test]
async fn every_kind_is_there_from_the_beginning() {
    let operated =
        Operated::start_with(config_with(|config| config.max_buffered_bytes = 1 << 30), |_| ()).await;
    let metrics = metrics(&operated).await;
    for kind in Refusal::ALL {
        assert_eq!(value(&metrics, &format!("fastway_refusals_total{{reason=\"{}\"}}", kind.name())), 0.0);
    }
    for side in ["client", "server"] {
        for reason in Ended::ALL {
            let reason = reason.name();
            let series = format!("fastway_sessions_ended_total{{side=\"{side}\",reason=\"{reason}\"}}");
            assert_eq!(value(&metrics, &series), 0.0);
        }
        for name in [
            "fastway_sessions",
            "fastway_blocked_sessions",
            "fastway_queued_bytes",
            "fastway_queued_messages",
        ] {
            assert_eq!(value(&metrics, &format!("{name}{{side=\"{side}\"}}")), 0.0);
        }
    }
    assert_eq!(value(&metrics, "fastway_ready"), 1.0);
    assert_eq!(value(&metrics, "fastway_draining"), 0.0);
    assert_eq!(value(&metrics, "fastway_threads"), 1.0);
    assert_eq!(value(&metrics, "fastway_buffered_limit_bytes"), f64::from(1 << 30));
    let build = format!("fastway_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&metrics, &build), 1.0);
    assert!(value(&metrics, "process_open_fds") > 5.0);
    assert!(value(&metrics, "process_max_fds") > value(&metrics, "process_open_fds"));
    assert!(value(&metrics, "process_resident_memory_bytes") > 1e6);
    assert!(value(&metrics, "process_start_time_seconds") > 1.7e9);
    assert!(value(&metrics, "process_cpu_seconds_total") >= 0.0);
}

#[tokio::test]
async fn what_happens_is_counted() {
    let operated = Operated::start_with(config_with(|config| config.client.max_conn = 1), |_| ()).await;
    let (mut client, mut server, conn) = operated.gateway.pair().await;
    let message = wire::data(conn, &[1; 1000]);
    for _ in 0..10 {
        client.send(&message).await;
        server.expect(&message).await;
    }
    server.send(&message).await;
    client.expect(&message).await;
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;
    let mut gone = operated.gateway.client().await;
    gone.send([0; 4]).await;
    gone.expect_end().await;
    let mut stranger = operated.gateway.stranger().await;
    let _: [u8; 8] = stranger.read_exact().await;
    stranger.send([0; 20]).await;
    stranger.expect_end().await;
    drop((client, server));
    operated.gateway.nothing_is_left().await;

    let metrics = metrics(&operated).await;
    for (series, expected) in [
        ("fastway_sessions_started_total{side=\"client\"}", 2.0),
        ("fastway_sessions_started_total{side=\"server\"}", 1.0),
        ("fastway_sessions_ended_total{side=\"client\",reason=\"closed\"}", 1.0),
        ("fastway_sessions_ended_total{side=\"client\",reason=\"frame\"}", 1.0),
        ("fastway_sessions_ended_total{side=\"server\",reason=\"closed\"}", 1.0),
        ("fastway_sessions{side=\"client\"}", 0.0),
        ("fastway_session_duration_seconds_count", 3.0),
        ("fastway_session_duration_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("fastway_virtual_connections", 0.0),
        ("fastway_virtual_connections_opened_total{side=\"client\"}", 1.0),
        ("fastway_virtual_connections_opened_total{side=\"server\"}", 0.0),
        ("fastway_received_messages_total{side=\"client\"}", 10.0),
        ("fastway_received_messages_total{side=\"server\"}", 1.0),
        ("fastway_sent_messages_total{side=\"client\"}", 1.0),
        ("fastway_sent_messages_total{side=\"server\"}", 10.0),
        ("fastway_refusals_total{reason=\"dial_quota\"}", 1.0),
        ("fastway_refusals_total{reason=\"handshake\"}", 1.0),
        ("fastway_buffered_limit_bytes", f64::INFINITY),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}");
    }
    for (side, bytes) in [("client", 10.0 * 1008.0), ("server", 1008.0)] {
        let received = value(&metrics, &format!("fastway_received_bytes_total{{side=\"{side}\"}}"));
        assert!(received >= bytes && received < bytes + 200.0, "{side}: {received}");
    }
}

#[tokio::test]
async fn groups_are_there_with_the_servers_that_they_have() {
    let groups = ["2000=2001-2004:client", "1000=1001-1010"].map(|group| group.parse().unwrap());
    let operated =
        Operated::start_with(config_with(|config| config.server.groups = groups.into()), |_| ()).await;
    let members = async |group: u32| {
        let series = format!("fastway_server_group_members{{group=\"{group}\"}}");
        value(&metrics(&operated).await, &series)
    };
    assert_eq!((members(1000).await, members(2000).await), (0.0, 0.0));
    let status = async || operated.get("/status").await.json();
    let warning = |status: &serde_json::Value| status["warnings"].to_string();
    assert!(!warning(&status().await).contains("group"), "that there are no servers at all says enough");

    let _servers = [operated.gateway.server(1001).await, operated.gateway.server(1010).await];
    // Nobody's.
    let _other = operated.gateway.server(3000).await;
    assert_eq!((members(1000).await, members(2000).await), (2.0, 0.0));
    let status = status().await;
    assert_eq!(
        status["groups"],
        serde_json::json!([
            { "id": 1000, "group": "1000=1001-1010:least", "members": 2 },
            { "id": 2000, "group": "2000=2001-2004:client", "members": 0 },
        ])
    );
    let words = "no server of the group 2000=2001-2004:client is registered: each dial of it is refused";
    assert!(warning(&status).contains(words) && !warning(&status).contains("1000="), "{status:#}");

    let without = Operated::start().await;
    assert!(!without.get("/metrics").await.body.contains("group"), "nobody pays for what is not there");
}

/// Those that wait, and those for whom they wait.
#[tokio::test]
async fn a_slow_client_is_seen() {
    let config = config_with(|config| config.client.queue.bytes = 64 << 20);
    let limit = config.client.queue.bytes as f64;
    let operated = Operated::start_with(config, |_| ()).await;
    let (client, mut server, conn) = operated.gateway.pair().await;
    server.send(wire::data(conn, &[1; 500_000]).repeat(40)).await;
    server.expect_nothing().await;
    let metrics = metrics(&operated).await;
    assert_eq!(value(&metrics, "fastway_blocked_sessions{side=\"client\"}"), 1.0);
    assert_eq!(value(&metrics, "fastway_blocked_sessions{side=\"server\"}"), 0.0);
    let queued = value(&metrics, "fastway_queued_bytes{side=\"client\"}");
    assert!(queued > 1e6 && queued < limit, "{queued}");
    assert_eq!(value(&metrics, "fastway_longest_queue_bytes{side=\"client\"}"), queued);
    assert_eq!(value(&metrics, "fastway_queue_limit_bytes{side=\"client\"}"), limit);
    assert_eq!(value(&metrics, "fastway_queue_limit_bytes{side=\"server\"}"), config_server_limit());
    assert!(value(&metrics, "fastway_queued_messages{side=\"client\"}") >= 2.0);
    assert!(value(&metrics, "fastway_buffered_bytes") >= queued);
    drop(client);
}

fn config_server_limit() -> f64 {
    config().server.queue.bytes as f64
}

/// As they are in force: what is shown after they were renewed.
#[tokio::test]
async fn certificates_are_told_of_until_they_are_renewed() {
    let authority = Authority::new();
    let until = |at: SystemTime| {
        let pem = authority.issue_with("gateway.internal", |params| params.not_after = at.into());
        Some(TlsAcceptor::new(pem.identity(), None).unwrap())
    };
    let soon = from_now(Duration::from_secs(3 * 24 * 3600 + 60));
    let later = date_time_ymd(3000, 1, 1);
    let old = config_with(|config| {
        (config.client.tls, config.server.tls) = (until(soon), until(later.into()));
    });
    let operated = Operated::start_with(old.clone(), |_| ()).await;
    let name = |side| format!("fastway_tls_certificate_expiration_timestamp_seconds{{side=\"{side}\"}}");
    let at = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as f64;
    let [client, server] = ["client", "server"].map(name);
    let before = metrics(&operated).await;
    assert_eq!(value(&before, &client), at);
    assert_eq!(value(&before, &server), later.unix_timestamp() as f64);
    let warnings = async || operated.get("/status").await.json()["warnings"].to_string();
    let said = warnings().await;
    assert!(said.contains("--client-tls-cert") && said.contains("expires in 3days"), "{said}");
    assert!(!said.contains("--server-tls-cert"), "{said}");

    let mut renewed = old;
    (renewed.client.tls, renewed.server.tls) = (until(later.into()), None);
    operated.gateway.handle.reconfigure(renewed).unwrap();
    let after = metrics(&operated).await;
    assert_eq!(value(&after, &client), later.unix_timestamp() as f64);
    assert!(!after.values().any(|metric| metric.values.contains_key(&server)));
    assert!(!warnings().await.contains("tls-cert"));
}
