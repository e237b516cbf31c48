//! How many clients turn to the gateways that are left at once.
//!
//! `c` clients that lose their gateway each begin to look for another at an instant of their own, drawn from `spread`. So
//! within any `window` not more of them are expected than `c × window / spread`, and their number is not far from a Poisson
//! distribution; whatever else they wait for (latencies, silence, a dead address first) only spreads them more. The bound is
//! the number that is exceeded once in a thousand million windows. And however long it takes, each client turns to one
//! gateway once; where the nearest is wanted, and none is measured yet, to each of them once.
//!
//! Where the name service knew dead addresses only, those who have looked meanwhile all hang in a connect when it knows a
//! gateway again, and turn to that one as each of these runs out of time: they are spread over the time of one connect.
//!
//! The clients of a gateway that refuses a server spread over `reroute`, but turn away with one of their dials: where the waits between
//! these are of the same length, more of them may do so at once, and twice as many are expected.

use std::collections::BTreeSet;

use super::Wrong;
use super::facts::{Arrival, Facts, TalkFacts};
use super::service::{Cause, Names, causes};
use crate::failover::{Bounds, ChoicePlan};
use crate::net::Host;
use crate::oracle::{About, found};
use crate::plan::Plan;

/// How improbable a number has to be so that it is taken for wrong.
const IMPROBABLE: f64 = 1e-9;

/// The window is this part of the spread.
const PART: u32 = 10;

pub(super) fn nobody_is_stormed(plan: &Plan, facts: &Facts, bounds: &Bounds) -> Result<(), Wrong> {
    let (causes, names) = (causes(plan, facts), Names::new(plan, facts, bounds));
    let is_moving =
        |cause: &&Cause| cause.moves_clients || (bounds.reroute_ms > 0 && cause.reroutes_clients());
    let mut moving: Vec<&Cause> = causes.iter().filter(is_moving).collect();
    moving.sort_by_key(|cause| (cause.from_ms, cause.gateway));
    // A gateway that several hosts lose at once is one cause.
    for parts in moving.chunk_by(|one, next| (one.from_ms, one.gateway) == (next.from_ms, next.gateway)) {
        is_led(plan, facts, bounds, &names, parts)?;
    }
    Ok(())
}

fn is_led(
    plan: &Plan,
    facts: &Facts,
    bounds: &Bounds,
    names: &Names<'_>,
    parts: &[&Cause],
) -> Result<(), Wrong> {
    let Some(lost) = parts[0].gateway else { return Ok(()) };
    let is_nearest = plan.fleet.as_ref().is_some_and(|fleet| fleet.choice == ChoicePlan::Nearest);
    // The clients of one that is stopped in between add to these.
    if !parts.iter().all(|cause| cause.is_alone) {
        return Ok(());
    }
    let concerns =
        |talk: &&TalkFacts| parts.iter().any(|cause| cause.concerns(talk) || cause.moves(talk, facts));
    let concerned = facts.talks.values().filter(concerns);
    let moved: BTreeSet<u32> = concerned.map(|talk| talk.client).collect();
    let until_ms =
        parts.iter().map(|cause| cause.until_ms).max().unwrap_or(0).saturating_add(bounds.settled_ms());
    let arrivals: Vec<&Arrival> = facts
        .arrivals
        .iter()
        .filter(|arrival| arrival.gateway != lost && (parts[0].from_ms..until_ms).contains(&arrival.at_ms))
        .filter(|arrival| arrival.at_ms < facts.draining_ms)
        .collect();
    // Some may not have found any gateway before.
    let begun = |client: &u32| {
        let mut talks = facts.talks.values().filter(|talk| talk.client == *client);
        talks.any(|talk| talk.gateways.first().is_some_and(|(since_ms, _)| *since_ms < parts[0].from_ms))
    };
    let beginners = facts.clients.keys().filter(|client| !begun(client)).count();
    let name = plan.topology.gateway(lost.0 as u32);
    // Whoever was refused by the one to which it came turns to one more.
    let meanwhile = |turn: &&(u32, Host)| turn.1 != lost && (parts[0].from_ms..until_ms).contains(&turn.0);
    let others = beginners + facts.turns.iter().filter(meanwhile).count();
    let cause = parts.iter().find(|cause| cause.moves_clients).unwrap_or(&parts[0]);
    let spread_ms = spread_ms(plan, bounds, cause);
    let hides_all = names.hide_all_but(plan, lost, cause.from_ms, cause.until_ms + bounds.moved_ms(0));
    let spread_ms = if hides_all { spread_ms.min(bounds.connect_ms) } else { spread_ms };
    let crowd = Crowd { name: &name, clients: moved.len(), others, spread_ms };
    let counted_together = match is_nearest {
        // Where none of them was measured yet, a client connects to all at once.
        true => (0..plan.topology.gateways).map(|gateway| of(&arrivals, Host(gateway as usize))).collect(),
        false => vec![arrivals],
    };
    counted_together.iter().try_for_each(|arrivals| crowd.comes(plan, arrivals, !cause.moves_clients))
}

fn of<'a>(arrivals: &[&'a Arrival], gateway: Host) -> Vec<&'a Arrival> {
    arrivals.iter().filter(|arrival| arrival.gateway == gateway).copied().collect()
}

/// Those who have lost a gateway.
struct Crowd<'a> {
    name: &'a str,
    clients: usize,
    /// Who may come besides.
    others: usize,
    spread_ms: u32,
}

impl Crowd<'_> {
    fn comes(&self, plan: &Plan, arrivals: &[&Arrival], is_refused: bool) -> Result<(), Wrong> {
        let Self { name, clients, others, spread_ms } = *self;
        if arrivals.len() > clients + others {
            let text =
                format!("{clients} clients lost {name}, and connected {} times to others", arrivals.len());
            return Err((
                arrivals[clients + others].index,
                found("no herd: each client connects once", About::World, text),
            ));
        }
        if spread_ms == 0 {
            return Ok(());
        }
        // Hosts look at the time once in each tick.
        let window_ms = (spread_ms / PART).max(plan.tick_ms);
        let mut expected = clients as f64 * f64::from(window_ms + plan.tick_ms) / f64::from(spread_ms);
        if is_refused {
            expected *= 2.0;
        }
        let limit = limit(expected.min(clients as f64)) + others;
        for (place, first) in arrivals.iter().enumerate() {
            let within = arrivals[place..]
                .iter()
                .take_while(|arrival| arrival.at_ms < first.at_ms + window_ms)
                .count();
            if within > limit {
                let text = format!(
                    "{clients} clients lost {name} and are to spread over {spread_ms} ms, but {within} of them connected \
                     within {window_ms} ms; {limit} may"
                );
                return Err((
                    arrivals[place + within - 1].index,
                    found("no herd: reconnects are spread", About::World, text),
                ));
            }
        }
        Ok(())
    }
}

/// Clients that are told that their gateway drains go to others in the first half of the time that it takes.
fn spread_ms(plan: &Plan, bounds: &Bounds, cause: &Cause) -> u32 {
    if !cause.moves_clients {
        return bounds.reroute_ms;
    }
    let drains = cause.is_orderly && plan.drain.first;
    let draining_ms = plan.drain.timeout_ms + plan.drain.spread_ms;
    if drains { bounds.spread_ms.min(draining_ms / 2) } else { bounds.spread_ms }
}

/// The number that a Poisson distribution of this mean exceeds with the probability [`IMPROBABLE`] at most.
fn limit(mean: f64) -> usize {
    let (mut count, mut term) = (0, (-mean).exp());
    let mut tail = 1.0 - term;
    while tail > IMPROBABLE && count < 10_000 {
        count += 1;
        term *= mean / count as f64;
        tail -= term;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_far_from_the_mean_and_not_further() {
        assert_eq!(limit(0.0), 0);
        // Tables: P(X > 9) is 1.1e-7 and P(X > 12) is 6e-11 for a mean of 1.
        assert!((10..=12).contains(&limit(1.0)), "{}", limit(1.0));
        // About the mean and six standard deviations.
        assert!((45..=52).contains(&limit(20.0)), "{}", limit(20.0));
    }
}
