//! The binary `sim` as its user meets it: the same world in every process, and wrong input.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = sim(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Whatever is written to a file of this name in the temporary folder of the tests.
fn file(name: &str, content: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn plan_of(seed: &str) -> String {
    String::from_utf8(sim(&["run", "--seed", seed, "--plan"]).stdout).unwrap()
}

/// The meta-test: 20 seeds, two processes each, compared line by line. Everything else here rests on it.
#[test]
fn the_same_seed_is_the_same_world_in_two_processes() {
    let output = sim(&["meta", "--seeds", "0..20"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 20);
}

/// The same where clients and servers use many gateways.
#[test]
fn the_same_seed_is_the_same_failover_in_two_processes() {
    let output = sim(&["meta", "--failover", "--seeds", "0..12"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 12);
}

#[test]
fn a_seed_that_is_no_number_is_refused() {
    assert!(refused(&["run", "--seed", "many"]).contains("a seed is a number"));
    assert!(refused(&["sweep", "--seeds", "9..3"]).contains("FIRST..END"));
    assert!(refused(&["sweep", "--seeds", "0..3", "--jobs", "0"]).contains("--jobs"));
}

#[test]
fn a_schedule_of_another_version_is_refused() {
    let old = plan_of("5").replace("\"version\": 1", "\"version\": 0");
    let text = refused(&["replay", &file("old.json", &old)]);
    assert!(text.contains("version 0") && text.contains("version 1"), "{text}");
}

#[test]
fn a_schedule_that_names_an_unknown_host_is_refused() {
    let unknown = plan_of("5").replacen("gateway-1", "gateway-9", 1);
    let text = refused(&["replay", &file("unknown.json", &unknown)]);
    assert!(text.contains("gateway-9") && text.contains("gateway-1"), "{text}");
}

#[test]
fn what_is_no_schedule_is_refused() {
    assert!(refused(&["replay", "no such file"]).contains("no such file"));
    assert!(refused(&["replay", &file("cut.json", "{\"version\": 1")]).contains("not a schedule"));
    assert!(refused(&["replay", &file("empty.json", "{\"version\": 1}")]).contains("missing field"));
    assert!(refused(&["replay", &file("text.json", "hello")]).contains("not a schedule"));
    let slow = plan_of("5").replacen("\"tick_ms\": ", "\"tick_ms\": 9999", 1);
    assert!(refused(&["replay", &file("slow.json", &slow)]).contains("tick_ms"));
}

/// A schedule that was saved runs as the world it came from.
#[test]
fn a_saved_schedule_is_the_same_world() {
    let saved = file("saved.json", &plan_of("7"));
    let replayed = sim(&["replay", &saved, "--trace"]);
    let run = sim(&["run", "--seed", "7", "--trace"]);
    assert!(replayed.status.success() && !run.stdout.is_empty());
    assert!(replayed.stdout == run.stdout, "the traces differ");
}

/// One page that needs nothing else.
#[test]
fn the_trace_is_also_a_page() {
    let out = file("trace.html", "");
    assert!(sim(&["run", "--seed", "7", "--trace", "html", "--out", &out]).status.success());
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains("gateway-1") && page.ends_with("</html>\n"), "{}", page.len());
    refused(&["run", "--seed", "7", "--trace", "html", "--out", "/no such folder/trace.html"]);
}
