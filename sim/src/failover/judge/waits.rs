//! Who may be connected to, and when.

use std::collections::BTreeMap;

use crate::failover::{FleetNote, FleetPlan, GatewaySet, Member};
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
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    in_a_row: u32,
    last_ms: u32,
}

impl<'a> Waits<'a> {
    pub(super) fn new(plan: &'a Plan, fleet: &'a FleetPlan) -> Self {
        let clocks_jump = plan.faults.iter().any(|fault| matches!(fault.kind, Kind::Pause { .. }));
        Self { plan, fleet, clocks_jump, failures: BTreeMap::new(), told: BTreeMap::new() }
    }

    pub(super) fn see(&mut self, event: &Event) -> Result<(), Found> {
        let What::Fleet(member, note) = event.what else { return Ok(()) };
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
