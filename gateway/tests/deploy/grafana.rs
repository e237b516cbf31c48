//! The dashboard for Grafana: what Grafana would only show when somebody looks at it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::files::read;
use super::prometheus::{ask_for_nothing_unknown, labels_of_answers};

const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/fastway.json")).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap()
}

fn is_row(panel: &Value) -> bool {
    panel["type"] == "row"
}

/// What a panel asks for, with what Grafana puts in.
fn expr(target: &Value) -> String {
    target["expr"].as_str().unwrap().replace("$__rate_interval", "5m")
}

#[test]
fn each_panel_has_an_id_a_title_a_unit_and_words_that_explain_it() {
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an ID of its own");
    for panel in panels.iter().filter(|panel| !is_row(panel)) {
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{} has no unit", title(panel));
        let description = panel["description"].as_str();
        assert!(description.is_some_and(|words| words.ends_with('.')), "{} is not explained", title(panel));
    }
}

#[test]
fn no_panel_lies_on_another_one() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= COLUMNS && w > 0 && h > 0, "{} does not fit", title(panel));
        for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another panel", title(panel));
        }
    }
}

#[test]
fn each_panel_asks_for_metrics_that_there_are() {
    let dashboard = dashboard();
    for panel in panels(&dashboard).iter().filter(|panel| !is_row(panel)) {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{} asks for nothing", title(panel));
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), targets.len(), "{}: each question has a name of its own", title(panel));
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", title(panel));
            let expr = expr(target);
            ask_for_nothing_unknown(&expr)
                .unwrap_or_else(|error| panic!("{}: {error}: {expr}", title(panel)));
        }
    }
}

/// Otherwise all lines have the same name.
#[test]
fn each_legend_names_lines_by_labels_that_they_have() {
    let dashboard = dashboard();
    for panel in panels(&dashboard).iter().filter(|panel| !is_row(panel)) {
        for target in panel["targets"].as_array().unwrap() {
            let labels = labels_of_answers(&expr(target));
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            for named in legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)) {
                assert!(
                    labels.iter().any(|label| label == named),
                    "{}: {named} is not in {labels:?}",
                    title(panel)
                );
            }
        }
    }
}

#[test]
fn each_annotation_asks_for_metrics_that_there_are() {
    let dashboard = dashboard();
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        ask_for_nothing_unknown(annotation["expr"].as_str().unwrap()).unwrap();
    }
}

/// What is asked for can be chosen at the top, and what can be chosen there is asked for.
#[test]
fn each_variable_is_used_and_each_that_is_used_is_there() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<_> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    let text = serde_json::to_string(&dashboard["panels"]).unwrap();
    let mut used = BTreeSet::new();
    for after in text.split('$').skip(1) {
        let name = after
            .trim_start_matches('{')
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .unwrap();
        if !name.starts_with("__") {
            used.insert(name);
        }
    }
    assert_eq!(used, variables);
}
