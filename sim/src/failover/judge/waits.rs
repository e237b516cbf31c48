//! Who may be connected to, and when; and who may be turned away to.

use std::collections::BTreeMap;

use crate::failover::{Bounds, FleetNote, FleetPlan, GatewaySet, Member};
use crate::fault::Kind;
use crate::history::{Event, What};
use crate::net::Host;
use crate::oracle::{About, Found, found};
use crate::plan::Plan;

#[derive(Debug)]
pub(super) struct Waits<'a> {
    plan: &'a Plan,
    fleet: &'a FleetPlan,
    /// The clock of a host that was paused jumps: its waits are shorter than they look.
    clocks_jump: bool,
    failures: BTreeMap<(Member, Host), Failures>,
    told: BTreeMap<Member, Vec<(u32, GatewaySet)>>,
    /// When a gateway last failed, whatever has become of it since.
    last_failed: BTreeMap<(Member, Host), u32>,
    /// Those who turn away, and have not connected yet: since when.
    turning: BTreeMap<Member, u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    in_a_row: u32,
    last_ms: u32,
}

impl<'a> Waits<'a> {
    pub(super) fn new(plan: &'a Plan, fleet: &'a FleetPlan) -> Self {
        let clocks_jump = plan.faults.iter().any(|fault| matches!(fault.kind, Kind::Pause { .. }));
        Self {
            plan,
            fleet,
            clocks_jump,
            failures: BTreeMap::new(),
            told: BTreeMap::new(),
            last_failed: BTreeMap::new(),
            turning: BTreeMap::new(),
        }
    }

    pub(super) fn see(&mut self, event: &Event) -> Result<(), Found> {
        let What::Fleet(member, note) = event.what else { return Ok(()) };
        self.turns_to_one_that_is_well(event.at_ms, member, note)?;
        match note {
            FleetNote::Begins(_) | FleetNote::NoGateway => {
                self.failures.retain(|(known, _), _| *known != member);
                self.told.remove(&member);
            }
            FleetNote::Told(set) => {
                self.told.entry(member).or_default().push((event.at_ms, set));
                // Whoever comes back into the set has failed in nobody's eyes.
                self.failures.retain(|(known, gateway), _| *known != member || set.has(*gateway));
            }
            FleetNote::Connects(Some(gateway)) => {
                self.is_in_the_set(event.at_ms, member, gateway)?;
                return self.has_waited(event.at_ms, member, gateway);
            }
            FleetNote::HasConnected(Some(gateway)) => drop(self.failures.remove(&(member, gateway))),
            // Whoever has just left the set is given up, which is no failure.
            FleetNote::ConnectFails(Some(gateway)) if self.is_told(member, gateway) => {
                let failures = self.failures.entry((member, gateway)).or_default();
                *failures = Failures { in_a_row: failures.in_a_row + 1, last_ms: event.at_ms };
            }
            _ => {}
        }
        Ok(())
    }

    /// Whoever turns away from a gateway that refuses a server does so only to one that has not failed lately. So where a server is
    /// nowhere, its clients go round as slowly as failures are forgotten.
    fn turns_to_one_that_is_well(
        &mut self,
        at_ms: u32,
        member: Member,
        note: FleetNote,
    ) -> Result<(), Found> {
        let turned_ms = match note {
            FleetNote::Connects(_) => self.turning.remove(&member),
            _ => None,
        };
        match note {
            FleetNote::Begins(_) | FleetNote::NoGateway => {
                self.last_failed.retain(|(known, _), _| *known != member);
                self.turning.remove(&member);
            }
            FleetNote::Refuses(gateway) => {
                self.turning.insert(member, at_ms);
                gateway.map(|gateway| self.last_failed.insert((member, gateway), at_ms));
            }
            // A connect that is given up, since another one was faster, is no failure.
            FleetNote::Trouble(Some(gateway)) => {
                self.last_failed.insert((member, gateway), at_ms);
            }
            _ => {}
        }
        let (Some(turned_ms), FleetNote::Connects(Some(gateway))) = (turned_ms, note) else { return Ok(()) };
        let Some(failed_ms) = self.last_failed.get(&(member, gateway)) else { return Ok(()) };
        let grace_ms = 2 * self.plan.tick_ms;
        let remembered_ms = Bounds::new(self.plan, self.fleet).remembered_ms();
        // It may have had another in mind, which has left the set in between.
        let is_told = |told: &Vec<(u32, GatewaySet)>| {
            told.windows(2).any(|pair| pair[1].0 + grace_ms >= turned_ms && pair[0].1 != pair[1].1)
        };
        let is_news = self.told.get(&member).is_some_and(is_told);
        if self.clocks_jump || is_news || at_ms - failed_ms + grace_ms >= remembered_ms {
            return Ok(());
        }
        let text = format!(
            "{member} turns away to {}, which has failed {} ms ago: {remembered_ms} ms are to pass",
            self.plan.topology.gateway(gateway.0 as u32),
            at_ms - failed_ms
        );
        Err(found("no herd: who turns away goes where nothing has failed", About::Member(member), text))
    }

    fn is_told(&self, member: Member, gateway: Host) -> bool {
        self.told.get(&member).and_then(|told| told.last()).is_some_and(|(_, set)| set.has(gateway))
    }

    /// What one has just been told reaches the task that connects a little later.
    fn is_in_the_set(&self, at_ms: u32, member: Member, gateway: Host) -> Result<(), Found> {
        let grace_ms = 2 * self.plan.tick_ms;
        let told = self.told.get(&member).map_or(&[][..], Vec::as_slice);
        // An answer holds until the next one; of those that held lately one has to have the gateway.
        let until = |place: usize| told.get(place + 1).map_or(u32::MAX, |(next_ms, _)| *next_ms);
        let is_known = told.iter().enumerate().any(|(place, (_, set))| {
            set.has(gateway) && until(place) + grace_ms.min(u32::MAX - until(place)) >= at_ms
        });
        if is_known {
            return Ok(());
        }
        let text = format!(
            "{member} connects to {}, which has left the set",
            self.plan.topology.gateway(gateway.0 as u32)
        );
        Err(found("the set: who has left is not connected to", About::Member(member), text))
    }

    fn has_waited(&self, at_ms: u32, member: Member, gateway: Host) -> Result<(), Found> {
        let Some(failures) = self.failures.get(&(member, gateway)).filter(|_| !self.clocks_jump) else {
            return Ok(());
        };
        let doubled = 1_u32.checked_shl(failures.in_a_row - 1).unwrap_or(u32::MAX);
        let longest_ms = self.fleet.backoff_first_ms.saturating_mul(doubled).min(self.fleet.backoff_max_ms);
        let waited_ms = at_ms - failures.last_ms;
        if waited_ms + 2 * self.plan.tick_ms >= longest_ms / 2 {
            return Ok(());
        }
        let text = format!(
            "{member} connects to {} again {waited_ms} ms after failure {} in a row: {} to {longest_ms} ms are to be waited",
            self.plan.topology.gateway(gateway.0 as u32),
            failures.in_a_row,
            longest_ms / 2
        );
        Err(found("the backoff: a failed gateway is left alone", About::Member(member), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that turns away from the first gateway, and connects to the second so long after that one has failed.
    fn turns(after_ms: impl Fn(&Bounds) -> u32) -> Result<(), Found> {
        let is_spaced = |plan: &Plan| plan.fleet.as_ref().is_some_and(|fleet| fleet.spaced);
        let plan = (0..).map(Plan::failover).find(is_spaced).unwrap();
        let fleet = plan.fleet.as_ref().unwrap();
        let connects_ms = after_ms(&Bounds::new(&plan, fleet));
        let all = GatewaySet { present: 0b11, dead: 0 };
        let mut waits = Waits::new(&plan, fleet);
        let notes = [
            (0, FleetNote::Begins(Host(9))),
            (0, FleetNote::Told(all)),
            (0, FleetNote::Trouble(Some(Host(1)))),
            (connects_ms, FleetNote::Refuses(Some(Host(0)))),
            (connects_ms, FleetNote::Connects(Some(Host(1)))),
        ];
        notes.into_iter().try_for_each(|(at_ms, note)| {
            waits.see(&Event { at_ms, local_ms: 0, what: What::Fleet(Member::Client(0), note) })
        })
    }

    #[test]
    fn who_turns_away_may_not_go_where_something_has_failed_lately() {
        assert!(turns(Bounds::remembered_ms).is_ok());
        let found = turns(|bounds| bounds.remembered_ms() / 2).unwrap_err();
        assert_eq!(found.rule, "no herd: who turns away goes where nothing has failed");
    }
}
