//! Whether each server is linked to each gateway, whenever nothing excuses that it is not; and whether clients keep no links
//! that are of no use.

use super::Wrong;
use super::facts::{EVER, Facts, TalkFacts};
use super::service::{Cause, Names, causes, not_in};
use crate::failover::{Bounds, Member};
use crate::net::Host;
use crate::oracle::{About, found};
use crate::plan::Plan;

pub(super) fn servers_are_linked(plan: &Plan, facts: &Facts, bounds: &Bounds) -> Result<(), Wrong> {
    let causes = causes(plan, facts);
    let names = Names::new(plan, facts, bounds);
    for server in 0..plan.topology.servers {
        for gateway in 0..plan.topology.gateways {
            let gateway = Host(gateway as usize);
            let concerning = causes.iter().filter(|cause| {
                cause.gateway.is_none_or(|lost| lost == gateway)
                    && cause.server.is_none_or(|lost| lost == server)
            });
            let mut excused = vec![(0, bounds.relinked_ms(0) + 2 * bounds.journey_ms)];
            // A way that only clients have lost is no excuse.
            let of_servers = concerning.filter(|cause| !cause.is_of_clients());
            excused.extend(of_servers.map(|cause| excuse(facts, bounds, &names, cause, server, gateway)));
            excused.sort_unstable();
            is_linked(plan, facts, bounds, (server, gateway), &excused)?;
        }
    }
    Ok(())
}

/// When everything is healed, a client has the link that it connected last, and others only for what is open through them.
pub(super) fn clients_keep_no_other_links(plan: &Plan, facts: &Facts) -> Result<(), Wrong> {
    for place in 0..plan.topology.gateways {
        let gateway = Host(place as usize);
        let newest = facts.clients_of(gateway, facts.draining_ms).count();
        let through_it = |talk: &&TalkFacts| talk.gateway_at(facts.draining_ms) == Some(gateway);
        let open = facts.talks.values().filter(|talk| !talk.is_lost).filter(through_it).count();
        let kept = facts.kept.get(&gateway).copied().unwrap_or_default();
        if kept > newest + open {
            let text = format!(
                "everything is healed, but {} still has {kept} links of clients: {newest} connected to it last, and {open} talks go \
                 through it",
                plan.topology.gateway(place)
            );
            return Err((
                facts.draining_index,
                found("links: what is of no use is closed", About::World, text),
            ));
        }
    }
    Ok(())
}

fn excuse(
    facts: &Facts,
    bounds: &Bounds,
    names: &Names<'_>,
    cause: &Cause,
    server: u32,
    gateway: Host,
) -> (u32, u32) {
    let from_ms = cause.from_ms;
    let is_of_server = cause.gateway.is_none();
    let back_ms = if is_of_server {
        let next = facts.servers.iter().find(|life| life.server == server && life.up_ms >= from_ms);
        next.map_or(cause.until_ms, |life| life.up_ms)
    } else {
        let ended = facts.gateways.iter().find(|life| life.gateway == gateway && life.up_ms > from_ms);
        // Of a partition nothing has to be started again.
        match (facts.life_at(gateway, from_ms), ended) {
            (Some(life), Some(next))
                if life.down_ms != EVER && life.down_ms <= next.up_ms && cause.ends_lives() =>
            {
                next.up_ms
            }
            _ => cause.until_ms,
        }
    };
    // Whoever has not noticed a silent loss by then still has to.
    let noticed_ms = if cause.is_noticed_late() { from_ms + bounds.detection_ms } else { from_ms };
    let down_ms = back_ms - from_ms;
    let again_ms = 4 * bounds.journey_ms + bounds.relinked_ms(down_ms);
    let back_ms = names.right_from(back_ms.max(noticed_ms), again_ms);
    (from_ms, back_ms + again_ms)
}

fn is_linked(
    plan: &Plan,
    facts: &Facts,
    bounds: &Bounds,
    (server, gateway): (u32, Host),
    excused: &[(u32, u32)],
) -> Result<(), Wrong> {
    let links = facts.links.iter().filter(|linked| linked.server == server && linked.gateway == gateway);
    let mut before_ms = 0;
    for (from_ms, until_ms) in
        links.map(|linked| (linked.from_ms, linked.until_ms)).chain([(facts.draining_ms, EVER)])
    {
        let from_ms = from_ms.min(facts.draining_ms);
        if from_ms > before_ms {
            let not_excused_ms = not_in(before_ms, from_ms, excused);
            if not_excused_ms > bounds.slack_ms {
                let text = format!(
                    "not linked to {} from {before_ms} to {from_ms} ms; {not_excused_ms} ms of that are not excused; excused are {excused:?}",
                    plan.topology.gateway(gateway.0 as u32)
                );
                let about = About::Member(Member::Server(server));
                return Err((
                    facts.index_at(from_ms),
                    found("the bound: servers are linked in time", about, text),
                ));
            }
        }
        before_ms = before_ms.max(until_ms.min(facts.draining_ms));
    }
    Ok(())
}
