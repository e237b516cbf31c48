//! Worlds of many gateways: a committed sweep, and those who use gateways broken on purpose, who must be caught.

use fastway_sim::failover::Sabotage;
use fastway_sim::fault::{Fault, Kind};
use fastway_sim::plan::Plan;
use fastway_sim::world;

use super::worlds::sweep_is_right;

const SEEDS: u64 = 150;

/// Worlds within which a canary has to be caught.
const CANARY_SEEDS: u64 = 40;

#[test]
fn worlds_of_many_gateways_are_right_and_reach_every_interesting_state() {
    sweep_is_right(Plan::failover, SEEDS, "--failover ", true);
}

/// Each is a world, survives being saved, and is what its seed makes of it.
#[test]
fn every_world_of_many_gateways_can_be_saved() {
    for seed in 0..300 {
        let plan = Plan::failover(seed);
        assert_eq!(plan.check(), Ok(()), "{seed}");
        assert_eq!(Plan::from_json(&plan.to_json()).as_ref(), Ok(&plan), "{seed}");
    }
}

fn is_caught(sabotage: Sabotage, rule: &str) {
    is_caught_in((0..CANARY_SEEDS).map(Plan::failover), sabotage, rule);
}

/// Runs worlds until one is caught by this rule.
fn is_caught_in(plans: impl Iterator<Item = Plan>, sabotage: Sabotage, rule: &str) {
    let mut others = Vec::new();
    for plan in plans {
        let seed = plan.seed;
        if let Some(violation) = world::run_sabotaged(&plan, sabotage).violation {
            if violation.rule.starts_with(rule) {
                return;
            }
            others.push(format!("seed {seed}: {violation}"));
        }
    }
    panic!("{sabotage:?} was not caught by {rule:?}, but: {others:#?}");
}

#[test]
fn servers_that_forget_a_gateway_are_caught() {
    is_caught(Sabotage::OneGatewayIsForgotten, "the bound: servers are linked in time");
}

#[test]
fn clients_that_do_not_spread_are_caught() {
    is_caught(Sabotage::NoSpread, "no herd: reconnects are spread");
}

#[test]
fn those_who_do_not_wait_are_caught() {
    is_caught(Sabotage::NoBackoff, "the backoff");
}

#[test]
fn those_who_do_not_notice_silence_are_caught() {
    is_caught(Sabotage::SilenceIsIgnored, "the bound");
}

#[test]
fn clients_that_endure_refusals_are_caught() {
    is_caught(Sabotage::RefusalsAreEndured, "the bound: everybody is served in time");
}

/// It takes many clients of one gateway that loses a server for long.
fn is_a_crowd_that_is_refused(plan: &Plan) -> bool {
    let is_long = |fault: &Fault| {
        matches!(&fault.kind, Kind::Partition { b, .. } if b.starts_with("server")) && fault.len_ms > 5_000
    };
    let is_spread = plan.fleet.as_ref().is_some_and(|fleet| fleet.spaced && fleet.reroute_ms >= 600);
    is_spread && plan.topology.clients > 100 && plan.faults.iter().any(is_long)
}

#[test]
fn clients_that_turn_away_at_once_are_caught() {
    let crowds = (0..).map(Plan::failover).filter(is_a_crowd_that_is_refused).take(10);
    is_caught_in(crowds, Sabotage::RefusalsAreNotEndured, "no herd: reconnects are spread");
}

#[test]
fn clients_that_keep_their_old_links_are_caught() {
    is_caught(Sabotage::OldLinksAreKept, "links: what is of no use is closed");
}

#[test]
fn clients_that_are_not_told_of_a_new_connection_are_caught() {
    is_caught(Sabotage::RenewedIsHidden, "connections: renewed means told, once");
}

#[test]
fn clients_that_are_told_twice_are_caught() {
    is_caught(Sabotage::RenewedTwice, "connections: renewed means told, once");
}

#[test]
fn a_lost_answer_is_caught() {
    is_caught(Sabotage::AnswersAreLost, "connections: in order, once, within a generation");
}

#[test]
fn those_who_use_gateways_that_have_left_are_caught() {
    is_caught(Sabotage::NamesNeverLeave, "the set");
}

#[test]
fn clients_that_do_not_resume_are_caught() {
    is_caught(Sabotage::NothingIsResumed, "resuming loses nothing");
}
