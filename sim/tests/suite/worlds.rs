//! The committed sweep: some hundred worlds, each of them right, and everything interesting reached.

use std::sync::Mutex;

use fastway_sim::cli::{Tally, sweep};
use fastway_sim::plan::Plan;

const SEEDS: u64 = 500;

#[test]
fn five_hundred_worlds_are_right_and_reach_every_interesting_state() {
    sweep_is_right(Plan::from_seed, SEEDS, "", false);
}

/// Runs these worlds: each is right, and all states of their kind are reached. `flag` is how a single one is run by hand.
pub(crate) fn sweep_is_right(plan_of: impl Fn(u64) -> Plan + Sync, seeds: u64, flag: &str, failover: bool) {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let tally = Mutex::new(Tally::default());
    sweep(plan_of, 0, seeds, jobs, |seed, outcome| {
        tally.lock().unwrap().add(seed, outcome);
        true
    });
    let tally = tally.into_inner().unwrap();
    assert_eq!(tally.worlds, seeds);
    let violations: Vec<String> = tally
        .violations
        .iter()
        .map(|(seed, text)| format!("\n  cargo run --release --bin sim run {flag}--seed {seed}   # {text}"))
        .collect();
    assert!(violations.is_empty(), "{}", violations.concat());
    let missed: Vec<String> = tally.never_reached(failover).map(|state| state.to_string()).collect();
    assert!(missed.is_empty(), "never reached: {}", missed.join("; "));
}
