//! The committed sweep: some hundred worlds, each of them right, and everything interesting reached.

use std::sync::Mutex;

use fastway_sim::cli::{Tally, sweep};

const SEEDS: u64 = 500;

#[test]
fn five_hundred_worlds_are_right_and_reach_every_interesting_state() {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let tally = Mutex::new(Tally::default());
    sweep(0, SEEDS, jobs, |seed, outcome| {
        tally.lock().unwrap().add(seed, outcome);
        true
    });
    let tally = tally.into_inner().unwrap();
    assert_eq!(tally.worlds, SEEDS);
    let violations: Vec<String> = tally
        .violations
        .iter()
        .map(|(seed, text)| format!("\n  cargo run --release --bin sim run --seed {seed}   # {text}"))
        .collect();
    assert!(violations.is_empty(), "{}", violations.concat());
    let missed: Vec<String> = tally.never_reached(false).map(|state| state.to_string()).collect();
    assert!(missed.is_empty(), "never reached: {}", missed.join("; "));
}
