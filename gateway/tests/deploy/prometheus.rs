//! The alert rules for Prometheus: they parse, and speak of nothing that the gateway does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use fastway_gateway::{Ended, Refusal};
use promql_parser::parser::{AggregateExpr, Expr, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde_json::Value;

use super::files::{is_installed, path, read, yaml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[expect(dead_code, reason = "it has to be there")]
    name: String,
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    alert: String,
    expr: String,
    r#for: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn alerts() -> Vec<Alert> {
    let rules: Vec<Rules> = yaml("deploy/prometheus/rules.yaml");
    rules.into_iter().flat_map(|rules| rules.groups).flat_map(|group| group.rules).collect()
}

/// What an expression asks for: each metric, with the labels that it names and their values, and the labels by which it is grouped.
#[derive(Default)]
struct Asked {
    metrics: Vec<(String, Vec<(String, String)>)>,
    grouped_by: Vec<String>,
}

impl ExprVisitor for Asked {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.add(selector)?,
            Expr::MatrixSelector(selector) => self.add(&selector.vs)?,
            Expr::Aggregate(AggregateExpr { modifier: Some(labels), .. }) => {
                self.grouped_by.extend(labels.labels().labels.clone());
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Asked {
    fn add(&mut self, selector: &VectorSelector) -> Result<(), String> {
        let name = selector.name.clone().ok_or("a selector names its metric")?;
        let matchers = &selector.matchers.matchers;
        let labels = matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone()));
        self.metrics.push((name, labels.collect()));
        Ok(())
    }
}

/// The names in the table in `docs/metrics.md`, and the labels of each.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|(name, row)| (name.to_owned(), row.split(" | ").nth(1).map(names).unwrap_or_default()))
        .collect()
}

/// Whether this metric has this value of a label; those that Prometheus adds can be anything.
fn has(name: &str, label: &str, value: &str) -> bool {
    match (name, label) {
        ("fastway_refusals_total", "reason") => Refusal::ALL.iter().any(|refusal| refusal.name() == value),
        ("fastway_sessions_ended_total", "reason") => Ended::ALL.iter().any(|ended| ended.name() == value),
        (_, "side") => ["client", "server"].contains(&value),
        (_, "job" | "instance" | "le") => true,
        _ => false,
    }
}

/// Its row; that of a histogram for what Prometheus makes of it.
fn row<'a, T>(name: &str, documented: &'a BTreeMap<String, T>) -> Option<&'a T> {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    parts.chain([name]).find_map(|name| documented.get(name))
}

/// `up` is Prometheus' own, and the labels that it adds are as well.
pub(crate) fn ask_for_nothing_unknown(expr: &str) -> Result<(), String> {
    let mut asked = Asked::default();
    walk_expr(&mut asked, &parse(expr)?)?;
    let documented = documented();
    let mut labels_there = BTreeSet::from(["job", "instance", "le"]);
    for (name, labels) in asked.metrics {
        match row(&name, &documented) {
            Some(labels) => labels_there.extend(labels.iter().map(String::as_str)),
            None if name == "up" => {}
            None => return Err(format!("{name} is not in docs/metrics.md")),
        }
        for (label, values) in labels {
            if let Some(value) = values.split('|').find(|value| !has(&name, &label, value)) {
                return Err(format!("{name} has no {label}={value:?}"));
            }
        }
    }
    match asked.grouped_by.iter().find(|label| !labels_there.contains(&label[..])) {
        Some(label) => Err(format!("nothing that is asked for has a label {label}")),
        None => Ok(()),
    }
}

/// The labels that tell the answers to this question apart.
pub(crate) fn labels_of_answers(expr: &str) -> Vec<String> {
    match parse(expr).unwrap() {
        Expr::Aggregate(AggregateExpr { modifier, .. }) => {
            modifier.map_or(Vec::new(), |labels| labels.labels().labels.clone())
        }
        _ => ["job", "instance"].map(str::to_owned).into(),
    }
}

#[test]
fn each_alert_can_be_asked_for_says_how_grave_it_is_and_what_to_do() {
    let alerts = alerts();
    assert!(alerts.len() >= 8);
    let names: BTreeSet<_> = alerts.iter().map(|alert| &alert.alert).collect();
    assert_eq!(names.len(), alerts.len(), "each has a name of its own");
    for Alert { alert, expr, r#for, labels, annotations } in &alerts {
        ask_for_nothing_unknown(expr).unwrap_or_else(|error| panic!("{alert}: {error}"));
        assert!(humantime::parse_duration(r#for).is_ok_and(|time| time.as_secs() >= 60), "{alert}: {for}", for = r#for);
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{alert}: {severity:?}");
        let said: Vec<_> = annotations.keys().map(String::as_str).collect();
        assert_eq!(said, ["action", "summary"], "{alert}");
        for text in annotations.values() {
            assert!(text.trim().ends_with('.'), "{alert}: {text:?} is no sentence");
        }
    }
}

/// With Prometheus' own tool: what it thinks of the files, and whether each alert rings when it should.
#[test]
fn prometheus_takes_the_rules_and_they_ring() {
    if !is_installed("promtool") {
        return;
    }
    let folder = path("deploy/prometheus");
    for args in [
        &["check", "config", "--syntax-only", "prometheus.yaml"][..],
        &["check", "rules", "--lint-fatal", "rules.yaml"],
        &["test", "rules", "rules-test.yaml"],
    ] {
        let output = Command::new("promtool").args(args).current_dir(&folder).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}

/// An alert that never rang in a test may never ring at all.
#[test]
fn each_alert_has_a_test_in_which_it_rings() {
    let tests: Vec<Value> = yaml("deploy/prometheus/rules-test.yaml");
    let tests = tests[0]["tests"].as_array().unwrap().iter();
    let expectations = tests.flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let ringing = expectations.filter(|expected| expected["exp_alerts"].is_array());
    let ringing: BTreeSet<_> = ringing.map(|expected| expected["alertname"].as_str().unwrap()).collect();
    for Alert { alert, .. } in alerts() {
        assert!(ringing.contains(&alert[..]), "{alert} rings in none of rules-test.yaml");
    }
}
