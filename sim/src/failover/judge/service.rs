//! Who was without service, for how long, and why.
//!
//! A talk is served while its questions are answered. From one answer to the next there may be no more than a beat and the way
//! there and back; except that each cause excuses those whom it concerns, and nobody else, until its bound has passed.

use super::Wrong;
use super::facts::{EVER, Facts, TalkFacts};
use crate::failover::names::Flap;
use crate::failover::{Bounds, Talk};
use crate::fault::{Fault, Kind};
use crate::net::Host;
use crate::oracle::{About, found};
use crate::plan::Plan;
use crate::states::{State, States};

/// Where anything may have happened before, the last answer may be so much older than where nothing has, in ms.
const AFTER_CHAOS_MS: u32 = 2_000;

/// Why some are without service.
#[derive(Debug)]
pub(super) struct Cause {
    /// Through this gateway, if not all of them.
    pub(super) gateway: Option<Host>,
    /// With this server, if not all of them.
    pub(super) server: Option<u32>,
    /// From this host, if not all of them.
    client_host: Option<Host>,
    pub(super) from_ms: u32,
    /// The end of it; of a gateway that was restarted in good order: when it had stopped.
    pub(super) until_ms: u32,
    /// The network does not tell those whom it concerns.
    is_silent: bool,
    /// The gateway ends in good order: whoever uses it may be told at any time until then.
    pub(super) is_orderly: bool,
    /// Clients turn to other gateways.
    pub(super) moves_clients: bool,
    /// No other cause of its kind follows before it is over.
    pub(super) is_alone: bool,
}

impl Cause {
    /// Whether this talk is without service for it.
    pub(super) fn concerns(&self, talk: &TalkFacts) -> bool {
        let uses = |gateway| match self.is_orderly {
            true => talk.used(gateway, self.from_ms, self.until_ms),
            false => talk.gateway_at(self.from_ms) == Some(gateway),
        };
        self.gateway.is_none_or(uses)
            && self.server.is_none_or(|server| talk.server == server)
            && self.client_host.is_none_or(|host| talk.client_host == host)
    }

    /// Whether the client of this talk loses its newest link for it, be anything open through that or not.
    pub(super) fn moves(&self, talk: &TalkFacts, facts: &Facts) -> bool {
        let to_ms = if self.is_orderly { self.until_ms } else { self.from_ms };
        self.moves_clients
            && self.gateway.is_some_and(|gateway| facts.was_at(talk.client, gateway, self.from_ms, to_ms))
            && self.client_host.is_none_or(|host| talk.client_host == host)
    }

    /// Only clients feel it.
    pub(super) fn is_of_clients(&self) -> bool {
        self.client_host.is_some()
    }

    /// Of all gateways only this one has lost the server.
    pub(super) fn reroutes_clients(&self) -> bool {
        self.gateway.is_some() && self.server.is_some()
    }

    /// The gateway has to be started again.
    pub(super) fn ends_lives(&self) -> bool {
        self.gateway.is_some() && self.server.is_none() && self.client_host.is_none()
    }

    /// The other end has to find out for itself.
    pub(super) fn is_noticed_late(&self) -> bool {
        self.is_silent && self.gateway.is_some()
    }
}

/// A time for which a talk is excused.
#[derive(Clone, Copy, Debug)]
struct Excuse {
    from_ms: u32,
    to_ms: u32,
    /// And of this at most so much, in one piece.
    longest_ms: u32,
}

fn host(plan: &Plan, name: &str) -> Host {
    Host(plan.topology.hosts().iter().position(|known| known == name).expect("the plan was checked"))
}

/// The server on this host.
fn server_on(plan: &Plan, host: Host) -> Option<u32> {
    let place = (host.0 as u32).checked_sub(plan.topology.gateways)?;
    (place < plan.topology.servers).then_some(place)
}

fn is_gateway(plan: &Plan, host: Host) -> bool {
    host.0 < plan.topology.gateways as usize
}

/// All causes of a world, in the order of their beginning.
pub(super) fn causes(plan: &Plan, facts: &Facts) -> Vec<Cause> {
    let in_force = plan.faults.iter().enumerate().filter_map(|(index, fault)| {
        let (from_ms, until_ms) = *facts.faults.get(&(index as u16))?;
        Some((fault, from_ms, until_ms))
    });
    let mut causes: Vec<Cause> = in_force
        .flat_map(|(fault, from_ms, until_ms)| causes_of(plan, facts, fault, from_ms, until_ms))
        .collect();
    causes.sort_by_key(|cause| cause.from_ms);
    causes
}

fn causes_of(plan: &Plan, facts: &Facts, fault: &Fault, from_ms: u32, until_ms: u32) -> Vec<Cause> {
    let cause = Cause {
        gateway: None,
        server: None,
        client_host: None,
        from_ms,
        until_ms,
        is_silent: false,
        is_orderly: false,
        moves_clients: false,
        is_alone: true,
    };
    let lost = |host: Host, is_silent: bool| match server_on(plan, host) {
        Some(server) => Cause { server: Some(server), is_silent, ..cause },
        None => Cause { gateway: Some(host), is_silent, moves_clients: true, ..cause },
    };
    match &fault.kind {
        Kind::Kill { host: name } => vec![lost(host(plan, name), false)],
        Kind::PowerLoss { host: name } => vec![lost(host(plan, name), true)],
        Kind::Partition { a, b } => {
            let (a, b) = (host(plan, a), host(plan, b));
            let (gateway, other) = if is_gateway(plan, a) { (a, b) } else { (b, a) };
            let cause = Cause { gateway: Some(gateway), is_silent: true, ..cause };
            match server_on(plan, other) {
                Some(server) => vec![Cause { server: Some(server), ..cause }],
                None => vec![Cause { client_host: Some(other), moves_clients: true, ..cause }],
            }
        }
        Kind::Restart { .. } | Kind::RollingRestart { .. } => {
            let stopped = facts.gateways.iter().filter(|life| (from_ms..=until_ms).contains(&life.stops_ms));
            let is_alone = matches!(fault.kind, Kind::Restart { .. });
            let orderly = stopped.map(|life| Cause {
                gateway: Some(life.gateway),
                from_ms: life.stops_ms,
                until_ms: life.down_ms,
                is_orderly: true,
                moves_clients: true,
                is_alone,
                ..cause
            });
            orderly.collect()
        }
        _ => vec![],
    }
}

/// What the name service did, and for how long that has an effect.
#[derive(Debug)]
pub(super) struct Names<'a> {
    flaps: Vec<(&'a Flap, u32, u32)>,
}

impl<'a> Names<'a> {
    pub(super) fn new(plan: &'a Plan, facts: &Facts, bounds: &Bounds) -> Self {
        let mut flaps = Vec::new();
        let mut takes_ms = 0;
        for (index, fault) in plan.faults.iter().enumerate() {
            let Some((from_ms, until_ms)) = facts.faults.get(&(index as u16)) else { continue };
            let Kind::Names { flap } = &fault.kind else { continue };
            if let Flap::Takes { ms } = flap {
                takes_ms = takes_ms.max(*ms);
            }
            flaps.push((flap, *from_ms, *until_ms));
        }
        for (.., until_ms) in &mut flaps {
            *until_ms += bounds.every_ms + takes_ms + bounds.slack_ms;
        }
        flaps.sort_by_key(|(_, from_ms, _)| *from_ms);
        Self { flaps }
    }

    /// Those that have an effect at any time between these two.
    fn within(&self, from_ms: u32, to_ms: u32) -> impl Iterator<Item = &(&'a Flap, u32, u32)> {
        self.flaps.iter().filter(move |(_, begin_ms, end_ms)| *begin_ms <= to_ms && *end_ms >= from_ms)
    }

    /// The time from which on everybody knows all gateways, if it is needed within `longest_ms` from `at_ms`.
    pub(super) fn right_from(&self, at_ms: u32, longest_ms: u32) -> u32 {
        self.flaps.iter().fold(at_ms, |at_ms, (_, begin_ms, end_ms)| {
            if *begin_ms <= at_ms + longest_ms && *end_ms >= at_ms { *end_ms } else { at_ms }
        })
    }

    fn dead(&self, from_ms: u32, to_ms: u32) -> u32 {
        let count = |flap: &Flap| match flap {
            Flap::Dead { count } | Flap::OnlyDead { count } => *count,
            Flap::Wrong => 1,
            _ => 0,
        };
        self.within(from_ms, to_ms).map(|(flap, ..)| count(flap)).sum()
    }

    fn may_hide(&self, gateway: &str, from_ms: u32, to_ms: u32) -> bool {
        let hides = |flap: &Flap| match flap {
            Flap::Without { gateway: hidden } => hidden == gateway,
            Flap::OnlyDead { .. } => true,
            _ => false,
        };
        self.within(from_ms, to_ms).any(|(flap, ..)| hides(flap))
    }

    /// Whether it may be that everybody who has lost this gateway knows of no other one.
    pub(super) fn hide_all_but(&self, plan: &Plan, lost: Host, from_ms: u32, to_ms: u32) -> bool {
        let mut others = (0..plan.topology.gateways).filter(|place| Host(*place as usize) != lost);
        others.all(|place| self.may_hide(&plan.topology.gateway(place), from_ms, to_ms))
    }
}

struct Court<'a> {
    plan: &'a Plan,
    facts: &'a Facts,
    bounds: &'a Bounds,
    causes: Vec<Cause>,
    names: Names<'a>,
}

impl Court<'_> {
    fn excuses(&self, talk: &TalkFacts) -> Vec<Excuse> {
        let concerning = self.causes.iter().filter(|cause| cause.concerns(talk));
        let mut excuses: Vec<Excuse> = concerning.map(|cause| self.excuse(talk, cause)).collect();
        excuses.sort_by_key(|excuse| excuse.from_ms);
        let mut merged: Vec<Excuse> = Vec::new();
        for excuse in excuses {
            match merged.last_mut().filter(|last| last.to_ms >= excuse.from_ms) {
                Some(last) => {
                    last.to_ms = last.to_ms.max(excuse.to_ms);
                    last.longest_ms += excuse.longest_ms;
                }
                None => merged.push(excuse),
            }
        }
        merged
    }

    fn excuse(&self, talk: &TalkFacts, cause: &Cause) -> Excuse {
        let Cause { from_ms, until_ms, .. } = *cause;
        let (noticed_ms, to_ms) = match cause.gateway.filter(|_| cause.moves_clients) {
            Some(gateway) => {
                let noticed_ms = match (cause.is_orderly, cause.is_silent) {
                    (true, _) => until_ms,
                    (false, true) => from_ms + self.bounds.detection_ms,
                    (false, false) => from_ms,
                };
                (noticed_ms, self.moved(talk, cause, gateway, noticed_ms))
            }
            None => {
                let back_ms = self.server_is_back(cause);
                (until_ms, self.rerouted(talk, cause).map_or(back_ms, |to_ms| to_ms.min(back_ms)))
            }
        };
        let longest_ms = if cause.is_orderly { to_ms - noticed_ms } else { to_ms - from_ms };
        Excuse { from_ms, to_ms, longest_ms }
    }

    /// When a client that has noticed the loss of its gateway is served by another one.
    fn moved(&self, talk: &TalkFacts, cause: &Cause, lost: Host, noticed_ms: u32) -> u32 {
        let bounds = self.bounds;
        let from_ms = cause.from_ms;
        let mut to_ms = noticed_ms + bounds.moved_ms(0);
        let (mut dead, mut reachable) = (self.names.dead(from_ms, to_ms), 0);
        for place in 0..self.plan.topology.gateways {
            let gateway = Host(place as usize);
            let is_cut = self.causes.iter().any(|other| {
                other.gateway == Some(gateway)
                    && other.moves_clients
                    && other.client_host.is_none_or(|host| host == talk.client_host)
                    && other.from_ms <= to_ms
                    && other.until_ms >= from_ms
            });
            if gateway == lost {
                continue;
            }
            dead += u32::from(is_cut);
            let name = self.plan.topology.gateway(place);
            reachable += u32::from(!is_cut && !self.names.may_hide(&name, from_ms, to_ms));
        }
        to_ms = noticed_ms + bounds.moved_ms(dead);
        if reachable == 0 {
            // Until the name service tells of one; and then the try that is under way, and a wait, come first.
            let told_ms = self.names.right_from(noticed_ms, to_ms - noticed_ms);
            let back_ms = told_ms.max(self.back_ms(noticed_ms));
            let again_ms = (dead + 1) * bounds.connect_ms + bounds.step_ms(back_ms - noticed_ms);
            to_ms = to_ms.max(back_ms + again_ms + bounds.moved_ms(dead));
        }
        // Whoever turns to a gateway that has just come back waits for its servers.
        for (back_ms, down_ms) in self.returns() {
            if back_ms <= to_ms && back_ms + self.linked_again_ms(down_ms) >= from_ms {
                let linked_ms = self.names.right_from(back_ms, bounds.relinked_ms(down_ms))
                    + self.linked_again_ms(down_ms);
                to_ms = to_ms.max(linked_ms + bounds.redialled_ms(self.linked_again_ms(down_ms)));
            }
        }
        to_ms
    }

    /// When a client whose gateway has lost a server is served through another one. `None` if there may be none to turn to.
    fn rerouted(&self, talk: &TalkFacts, cause: &Cause) -> Option<u32> {
        let bounds = self.bounds;
        let (lost, from_ms) = (cause.gateway.filter(|_| cause.reroutes_clients())?, cause.from_ms);
        let dead = self.names.dead(from_ms, from_ms + bounds.rerouted_ms(0));
        let to_ms = from_ms + bounds.rerouted_ms(dead);
        let is_alone = || {
            let meanwhile = |other: &&Cause| other.from_ms <= to_ms && other.until_ms >= from_ms;
            self.causes.iter().filter(meanwhile).count() == 1
        };
        let is_fit = |place: u32| {
            let (gateway, name) = (Host(place as usize), self.plan.topology.gateway(place));
            let remembered_ms = from_ms.saturating_sub(bounds.remembered_ms());
            gateway != lost
                && !self.names.may_hide(&name, from_ms, to_ms)
                && !self.facts.has_failed(talk.client, gateway, remembered_ms, to_ms)
        };
        let reroutes = bounds.reroutes(dead) && is_alone();
        (reroutes && (0..self.plan.topology.gateways).any(is_fit)).then_some(to_ms)
    }

    /// When the next gateway that was cut off is back.
    fn back_ms(&self, at_ms: u32) -> u32 {
        self.returns().map(|(back_ms, _)| back_ms).filter(|back_ms| *back_ms >= at_ms).min().unwrap_or(at_ms)
    }

    /// When gateways came back, or a way to them, and after how long.
    fn returns(&self) -> impl Iterator<Item = (u32, u32)> {
        self.causes.iter().filter_map(|cause| {
            let gateway = cause.gateway?;
            let back_ms = match self.facts.life_at(gateway, cause.from_ms) {
                Some(life)
                    if life.down_ms < EVER
                        && life.down_ms >= cause.from_ms
                        && life.down_ms <= cause.until_ms =>
                {
                    self.facts
                        .gateways
                        .iter()
                        .find(|next| next.gateway == gateway && next.up_ms >= life.down_ms)?
                        .up_ms
                }
                _ => cause.until_ms,
            };
            Some((back_ms, back_ms - cause.from_ms))
        })
    }

    /// After the return of a gateway, or of a way to it: a connect that hung meanwhile may run out of time first.
    fn linked_again_ms(&self, down_ms: u32) -> u32 {
        4 * self.bounds.journey_ms + self.bounds.relinked_ms(down_ms)
    }

    /// When those who were refused by every gateway, or one, reach their server again.
    fn server_is_back(&self, cause: &Cause) -> u32 {
        let back_ms = match (cause.gateway, cause.server) {
            (None, Some(server)) => {
                let next = self
                    .facts
                    .servers
                    .iter()
                    .find(|life| life.server == server && life.up_ms >= cause.until_ms);
                next.map_or(cause.until_ms, |life| life.up_ms)
            }
            _ => cause.until_ms,
        };
        let down_ms = back_ms - cause.from_ms;
        let linked = self.linked_again_ms(down_ms);
        self.names.right_from(back_ms, linked) + linked + self.bounds.redialled_ms(down_ms + linked)
    }
}

/// Those of `from_ms..to_ms` that are in none of these.
pub(super) fn not_in(from_ms: u32, to_ms: u32, spans: &[(u32, u32)]) -> u32 {
    let (mut rest_ms, mut at_ms) = (0, from_ms);
    for (begin_ms, end_ms) in spans.iter().filter(|(begin_ms, end_ms)| *end_ms > from_ms && *begin_ms < to_ms)
    {
        rest_ms += begin_ms.saturating_sub(at_ms);
        at_ms = at_ms.max(*end_ms);
    }
    rest_ms + to_ms.saturating_sub(at_ms)
}

pub(super) fn everybody_is_served(
    plan: &Plan,
    facts: &Facts,
    bounds: &Bounds,
    states: &mut States,
) -> Result<(), Wrong> {
    let (causes, names) = (causes(plan, facts), Names::new(plan, facts, bounds));
    let court = Court { plan, facts, bounds, causes, names };
    for (talk, of_talk) in facts.talks.iter().filter(|(_, talk)| !talk.is_lost) {
        is_served(&court, *talk, of_talk, states)?;
        is_renewed(&court, *talk, of_talk)?;
    }
    Ok(())
}

/// A connection ends for good only if its server has, or the way to it from a gateway that goes on; otherwise it is renewed.
fn is_renewed(court: &Court<'_>, talk: Talk, of_talk: &TalkFacts) -> Result<(), Wrong> {
    for (at_ms, index) in &of_talk.ends {
        let of_server = court.causes.iter().filter(|cause| cause.server.is_some() && cause.concerns(of_talk));
        let mut excuses = of_server.map(|cause| court.excuse(of_talk, cause));
        if !excuses.any(|excuse| (excuse.from_ms..=excuse.to_ms).contains(at_ms)) {
            let text = "it has ended for good, although its server has not";
            return Err((
                *index,
                found("connections: renewed when the gateway goes", About::Talk(talk), text),
            ));
        }
    }
    Ok(())
}

fn is_served(court: &Court<'_>, talk: Talk, of_talk: &TalkFacts, states: &mut States) -> Result<(), Wrong> {
    let (facts, bounds) = (court.facts, court.bounds);
    let wrong =
        |index, text| Err((index, found("the bound: everybody is served in time", About::Talk(talk), text)));
    let mut excuses = vec![Excuse {
        from_ms: 0,
        to_ms: of_talk.begun_ms + bounds.begun_ms(),
        longest_ms: of_talk.begun_ms + bounds.begun_ms(),
    }];
    excuses.extend(court.excuses(of_talk));
    let spans: Vec<(u32, u32)> = excuses.iter().map(|excuse| (excuse.from_ms, excuse.to_ms)).collect();
    let answers = of_talk.answers.iter().filter(|(at_ms, _)| *at_ms < facts.draining_ms);
    let mut before_ms = of_talk.begun_ms;
    for (at_ms, index) in answers.copied().chain([(facts.draining_ms, facts.draining_index)]) {
        let gap_ms = at_ms - before_ms;
        let not_excused_ms = not_in(before_ms, at_ms, &spans);
        let meant = excuses.iter().filter(|excuse| excuse.to_ms > before_ms && excuse.from_ms < at_ms);
        let longest_ms: u32 = meant.map(|excuse| excuse.longest_ms).sum();
        if not_excused_ms > bounds.calm_ms() {
            let text = format!(
                "no answer from {before_ms} to {at_ms} ms; {not_excused_ms} ms of that are not excused, {} may be; excused are {spans:?}",
                bounds.calm_ms()
            );
            return wrong(index, text);
        }
        if gap_ms > longest_ms + bounds.calm_ms() {
            let text = format!(
                "no answer from {before_ms} to {at_ms} ms, that is {gap_ms}, and {} may be at a time",
                longest_ms + bounds.calm_ms()
            );
            return wrong(index, text);
        }
        if longest_ms > 0 && gap_ms > bounds.calm_ms() {
            states.reach(State::Interruption);
        }
        before_ms = at_ms;
    }
    Ok(())
}

/// At the end, whatever has happened: everybody is served, and every server is linked to every gateway.
pub(super) fn nobody_is_left_behind(plan: &Plan, facts: &Facts, bounds: &Bounds) -> Result<(), Wrong> {
    const RULE: &str = "nobody is left behind";
    let draining_ms = facts.draining_ms;
    let index = facts.draining_index;
    for (client, talks) in &facts.clients {
        if *talks == 0 {
            return Err((
                index,
                found(RULE, About::World, format!("client {client} has never found a gateway")),
            ));
        }
    }
    let calm_ms = bounds.calm_ms() + AFTER_CHAOS_MS;
    for (talk, of_talk) in facts.talks.iter().filter(|(_, talk)| !talk.is_lost) {
        let before = of_talk.answers.iter().rev().find(|(at_ms, _)| *at_ms <= draining_ms);
        let last_ms = before.map_or(of_talk.begun_ms, |(at_ms, _)| *at_ms);
        if draining_ms - last_ms > calm_ms {
            let text =
                format!("everything is healed, but the last answer is {} ms old", draining_ms - last_ms);
            return Err((index, found(RULE, About::Talk(*talk), text)));
        }
    }
    for server in 0..plan.topology.servers {
        for gateway in 0..plan.topology.gateways {
            let is_linked = facts.links.iter().any(|linked| {
                let is_it = linked.server == server && linked.gateway == Host(gateway as usize);
                is_it && linked.from_ms <= draining_ms && linked.until_ms > draining_ms
            });
            if !is_linked {
                let (server, gateway) = (plan.topology.server(server), plan.topology.gateway(gateway));
                let text = format!("everything is healed, but {server} is not linked to {gateway}");
                return Err((index, found(RULE, About::World, text)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_excused_is_counted_once() {
        assert_eq!(not_in(100, 200, &[]), 100);
        assert_eq!(not_in(100, 200, &[(0, 150)]), 50);
        assert_eq!(not_in(100, 200, &[(0, 120), (110, 130), (180, 300)]), 50);
        assert_eq!(not_in(100, 200, &[(100, 200)]), 0);
        assert_eq!(not_in(100, 200, &[(0, 100), (200, 300)]), 100);
    }
}
