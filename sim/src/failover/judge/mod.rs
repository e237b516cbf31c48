//! Was failover right? Reads the history of a world of many gateways.
//!
//! - `talks.rs`: what a virtual connection that is renewed promises, and that an application which resumes loses nothing.
//! - `waits.rs`: who may be connected to, and when: the backoff, and the set of gateways.
//! - `service.rs`: who is without service, for how long, and why; in spaced worlds only.
//! - `links.rs`: whether servers are linked to gateways in time, and clients to no more than they use; in spaced worlds only.
//! - `herd.rs`: how many turn to a gateway at once; in spaced worlds only.
//! - `facts.rs`: what these three know of a history.

mod facts;
mod herd;
mod links;
mod service;
mod talks;
mod waits;

use crate::failover::{Bounds, FleetPlan};
use crate::history::{Event, Phase, What};
use crate::oracle::{self, Found, Violation};
use crate::plan::Plan;
use crate::states::States;

use self::facts::Facts;

/// What is wrong, and the place of the event that shows it.
type Wrong = (usize, Found);

/// The first thing that was wrong, if anything was; and the interesting states with those of failover.
pub(crate) fn judge(plan: &Plan, events: &[Event], mut states: States) -> (Option<Violation>, States) {
    let Some(fleet) = &plan.fleet else { return (None, states) };
    let wrong = look(plan, fleet, events, &mut states).err();
    let violation = wrong.map(|(index, found)| oracle::quote(plan, events, index, &found));
    (violation, states)
}

fn look(plan: &Plan, fleet: &FleetPlan, events: &[Event], states: &mut States) -> Result<(), Wrong> {
    let bounds = Bounds::new(plan, fleet);
    let passed = pass(plan, fleet, events, states);
    let facts = Facts::collect(plan, events, states);
    let mut verdicts = Vec::new();
    // That a world has not come to its end is what is wrong with it then.
    if events.iter().any(|event| event.what == What::Phase(Phase::Leaving)) {
        if fleet.spaced {
            verdicts.push(service::everybody_is_served(plan, &facts, &bounds, states));
            verdicts.push(links::servers_are_linked(plan, &facts, &bounds));
            verdicts.push(links::clients_keep_no_other_links(plan, &facts));
            verdicts.push(herd::nobody_is_stormed(plan, &facts, &bounds));
        }
        verdicts.push(service::nobody_is_left_behind(plan, &facts, &bounds));
    }
    verdicts.push(passed);
    // What was wrong first may be the reason of the rest.
    let first = verdicts.into_iter().filter_map(Result::err).min_by_key(|(index, _)| *index);
    first.map_or(Ok(()), Err)
}

/// Event by event.
fn pass(plan: &Plan, fleet: &FleetPlan, events: &[Event], states: &mut States) -> Result<(), Wrong> {
    let mut talks = talks::Talks::default();
    let mut waits = waits::Waits::new(plan, fleet);
    for (index, event) in events.iter().enumerate() {
        let found = talks.see(event, states).and_then(|()| waits.see(event));
        found.map_err(|found| (index, found))?;
    }
    Ok(())
}
