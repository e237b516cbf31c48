//! Schedules of faults: drawn and shrunk by proptest, and those that once failed, as saved.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use fastway_sim::fault::{Fault, KINDS, Kind, draw_kind};
use fastway_sim::plan::Plan;
use fastway_sim::seed::Seed;
use fastway_sim::{shrink, world};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestError, TestRunner};

/// How long faults may happen in these worlds, in ms.
const ACTIVE_MS: u32 = 8_000;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A small world, so that a failure is easy to read: the faults are what matters.
fn small_world(seed: u64) -> Plan {
    let mut plan = Plan::from_seed(seed);
    plan.active_ms = ACTIVE_MS;
    plan.topology.clients = plan.topology.clients.min(8);
    plan.topology.gateways = plan.topology.gateways.min(2);
    plan.topology.servers = plan.topology.servers.min(2);
    plan.faults.clear();
    plan
}

prop_compose! {
    /// When, how long and how many shrink; what exactly a fault hits comes from a number that does not.
    fn fault()(
        at_ms in 0..ACTIVE_MS - 1,
        len_ms in 1..4_000_u32,
        number in 0..KINDS,
        details in any::<u64>().no_shrink(),
    ) -> (u32, u32, u32, u64) {
        (at_ms, len_ms, number, details)
    }
}

fn with_faults(seed: u64, drawn: &[(u32, u32, u32, u64)]) -> Plan {
    let mut plan = small_world(seed);
    plan.faults = drawn
        .iter()
        .map(|&(at_ms, len_ms, number, details)| {
            let kind = draw_kind(number, &plan.topology, &mut Seed(details).rng("fault", 0));
            Fault { at_ms, len_ms: len_ms.min(ACTIVE_MS - at_ms), kind }
        })
        .collect();
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan
}

#[test]
fn no_schedule_of_faults_breaks_a_rule() {
    let file = project().join("proptest-regressions/sim_schedules.txt");
    let file: &'static str = Box::leak(file.to_str().unwrap().to_owned().into_boxed_str());
    let config = Config {
        cases: 48,
        // The same schedules every time; finding new ones is the work of a sweep.
        rng_seed: RngSeed::Fixed(1),
        max_shrink_iters: 300,
        max_shrink_time: 120_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..Config::default()
    };
    let schedules = (any::<u64>().no_shrink(), proptest::collection::vec(fault(), 0..8));
    // Shrinking must not slip to another failure: only the first one's rule counts.
    let first_rule = RefCell::new(None);
    let outcome = TestRunner::new(config).run(&schedules, |(seed, drawn)| {
        let Some(violation) = world::run(&with_faults(seed, &drawn)).violation else { return Ok(()) };
        let rule = first_rule.borrow_mut().get_or_insert_with(|| violation.rule.clone()).clone();
        if rule == violation.rule { Err(TestCaseError::fail(violation.to_string())) } else { Ok(()) }
    });
    if let Err(TestError::Fail(reason, (seed, drawn))) = outcome {
        panic!("{reason}\nkeep this schedule in sim/schedules:\n{}", with_faults(seed, &drawn).to_json());
    }
}

/// Each was a bug once; the name of its file says which.
#[test]
fn saved_schedules_break_no_rule() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(project().join("sim/schedules"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let plan = Plan::from_json(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let violation = world::run(&plan).violation;
        assert_eq!(violation, None, "{}", file.display());
    }
}

#[test]
fn a_schedule_is_shrunk_to_what_matters_and_fails_by_the_same_rule() {
    let drawn: Vec<_> = (0..12).map(|number| (number * 100, 2_000, number, 7)).collect();
    let plan = with_faults(3, &drawn);
    // Fails by one rule if there is a power loss, and by another one too if there is a pause.
    let run = |plan: &Plan| {
        let has = |wanted: fn(&Kind) -> bool| plan.faults.iter().any(|fault| wanted(&fault.kind));
        let is_lost = has(|kind| matches!(kind, Kind::PowerLoss { .. }));
        let is_paused = has(|kind| matches!(kind, Kind::Pause { .. }));
        let rule = if is_lost { Some("lost") } else { is_paused.then_some("paused") };
        rule.map(str::to_owned)
    };
    let small = shrink::shrink(&plan, "lost", run, |_| {});
    assert!(matches!(small.faults.as_slice(), [Fault { len_ms: 1, kind: Kind::PowerLoss { .. }, .. }]));
    assert_eq!((small.topology.clients, small.topology.misfits, small.topology.gateways), (0, 0, 1));
    assert_eq!(small.check(), Ok(()));
}

/// Schedules of proptest are subsets of each other: each one has to be a world.
#[test]
fn every_schedule_is_a_world_and_survives_being_saved() {
    for seed in 0..500 {
        let plan = Plan::from_seed(seed);
        assert_eq!(plan.check(), Ok(()), "{seed}");
        assert_eq!(Plan::from_json(&plan.to_json()).as_ref(), Ok(&plan), "{seed}");
    }
}
