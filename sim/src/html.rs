//! A history as a picture: one page, which loads nothing, with hosts as lanes and messages as arrows.

use serde::Serialize;

use crate::fault::Kind;
use crate::history::{Event, Note, What};
use crate::net::Host;
use crate::oracle::{Violation, link_of};
use crate::plan::Plan;
use crate::trace::Names;
use crate::world::Outcome;

/// Events on a page, besides those of the world itself.
const MOST_EVENTS: usize = 20_000;
/// Intervals of connections that took no more, on a page.
const MOST_BLOCKED: usize = 5_000;
/// Parts of the whole time whose events are counted for the overview.
const BUCKETS: usize = 400;

/// The page about a world: what happened, where, and what was violated, if anything was.
///
/// `command` runs the world again.
#[must_use]
pub fn page(title: &str, command: &str, plan: &Plan, outcome: &Outcome) -> String {
    let data = serde_json::to_string(&Picture::new(plan, outcome)).expect("a picture is plain data");
    let data = data.replace("</", "<\\/").replace("<!--", "<\\u0021--");
    let violation = outcome.violation.as_ref().map_or_else(String::new, violation_box);
    let parts = [
        ("title", escape(title)),
        ("command", escape(command)),
        ("violation", violation),
        ("css", include_str!("html/page.css").to_owned()),
        ("js", include_str!("html/page.js").to_owned()),
        ("data", data),
    ];
    fill(include_str!("html/page.html"), &parts)
}

/// In one pass, so that what is filled in is never taken for a place to fill.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut pieces = template.split("{{");
    let mut page = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        page.push_str(parts.iter().find(|(known, _)| *known == name).map_or("", |(_, part)| part));
        page.push_str(rest);
    }
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn violation_box(violation: &Violation) -> String {
    let seconds = f64::from(violation.at_ms) / 1000.0;
    let last =
        violation.last.iter().map(|line| format!("<span>{}</span>\n", escape(line))).collect::<String>();
    let list = if last.is_empty() { String::new() } else { format!("<pre id=\"last\">{last}</pre>") };
    format!(
        "<details id=\"violation\" open><summary>Violated: <b>{}</b> at {seconds:.3} s, {}</summary>\n\
         <p>{}</p>{list}</details>",
        escape(&violation.rule),
        escape(&violation.subject),
        escape(&violation.text),
    )
}

/// What the script of the page draws.
#[derive(Serialize)]
struct Picture {
    hosts: Vec<Lane>,
    tick_ms: u32,
    end_ms: u32,
    phases: Vec<(Place, String)>,
    faults: Vec<Band>,
    down: Vec<(usize, Place, Place)>,
    blocked: Vec<(usize, Place, Place, u32)>,
    density: Vec<u32>,
    violation: Option<Place>,
    events: Vec<Row>,
    left_out: LeftOut,
}

/// A host: its name, and 0 for servers, 1 for gateways, 2 for clients.
#[derive(Serialize)]
struct Lane(String, u32);

/// A time in ms, and the place in the history.
#[derive(Clone, Copy, Serialize)]
struct Place(u32, usize);

/// A fault, or as much of it as happened.
#[derive(Serialize)]
struct Band {
    from: Place,
    to: Place,
    text: String,
    hosts: Vec<usize>,
}

/// An event: its place, time, kind, direction (1 to the gateway, 2 from it), hosts, link and text.
#[derive(Serialize)]
struct Row(usize, u32, &'static str, u32, Option<usize>, Option<usize>, Option<u32>, String);

/// What is not on the page.
#[derive(Default, Serialize)]
struct LeftOut {
    total: usize,
    waits: usize,
    before: usize,
    after: usize,
    blocked: usize,
    /// The time that has all its events, in ms.
    from_ms: u32,
    to_ms: u32,
}

impl Picture {
    fn new(plan: &Plan, outcome: &Outcome) -> Self {
        let events = &outcome.events;
        let names = Names::new(plan, events);
        let end_ms = outcome.simulated_ms.max(events.last().map_or(0, |event| event.at_ms)).max(1);
        let end = Place(end_ms, events.len());
        let (kept, mut left_out) = choose(events, outcome.violation.as_ref(), end_ms);
        let rows = kept.into_iter().map(|index| row(&names, index, &events[index])).collect();
        let mut blocked = blocked(&names, events, end);
        if blocked.len() > MOST_BLOCKED {
            left_out.blocked = blocked.len() - MOST_BLOCKED;
            blocked.sort_by_key(|(_, from, to, _)| std::cmp::Reverse(to.0 - from.0));
            blocked.truncate(MOST_BLOCKED);
        }
        let mut density = vec![0; BUCKETS];
        for event in events {
            density[(event.at_ms as usize * BUCKETS / (end_ms as usize + 1)).min(BUCKETS - 1)] += 1;
        }
        let phases = events.iter().enumerate().filter_map(|(index, event)| match event.what {
            What::Phase(phase) => Some((Place(event.at_ms, index), format!("{phase:?}"))),
            _ => None,
        });
        let violation = outcome.violation.as_ref();
        Self {
            hosts: lanes(plan),
            tick_ms: plan.tick_ms,
            end_ms,
            phases: phases.collect(),
            faults: bands(plan, events, end),
            down: down(&names, events, end, plan.topology.hosts().len()),
            blocked,
            density,
            violation: violation.map(|found| Place(found.at_ms, found.index.unwrap_or(usize::MAX >> 12))),
            events: rows,
            left_out,
        }
    }
}

fn lanes(plan: &Plan) -> Vec<Lane> {
    let topology = &plan.topology;
    let (gateways, servers) = (topology.gateways as usize, topology.servers as usize);
    let kind = |index| match index {
        _ if index < gateways => 1,
        _ if index < gateways + servers => 0,
        _ => 2,
    };
    topology.hosts().into_iter().enumerate().map(|(index, name)| Lane(name, kind(index))).collect()
}

/// The events of the page by their places: all of the world, and of the others those around the violation, or
/// the first.
fn choose(events: &[Event], violation: Option<&Violation>, end_ms: u32) -> (Vec<usize>, LeftOut) {
    let is_world = |index: &usize| kind(&events[*index].what).0 == "world";
    let (mut kept, mut others): (Vec<usize>, Vec<usize>) = (0..events.len()).partition(is_world);
    let mut left_out = LeftOut { total: events.len(), to_ms: end_ms, ..LeftOut::default() };
    if others.len() > MOST_EVENTS {
        let all = others.len();
        others.retain(|index| !matches!(events[*index].what, What::InWaiting(..)));
        left_out.waits = all - others.len();
    }
    if others.len() > MOST_EVENTS {
        let middle = violation.map_or(0, |found| match found.index {
            Some(at) => others.partition_point(|index| *index <= at),
            None => others.partition_point(|index| events[*index].at_ms <= found.at_ms),
        });
        // What led to it is before it.
        let begin = middle.saturating_sub(MOST_EVENTS / 4 * 3).min(others.len() - MOST_EVENTS);
        left_out.before = begin;
        left_out.after = others.len() - begin - MOST_EVENTS;
        others.drain(..begin);
        others.truncate(MOST_EVENTS);
        let at = |index: Option<&usize>| index.map_or(0, |index| events[*index].at_ms);
        left_out.from_ms = if left_out.before > 0 { at(others.first()) } else { 0 };
        left_out.to_ms = if left_out.after > 0 { at(others.last()) } else { end_ms };
    }
    kept.append(&mut others);
    kept.sort_unstable();
    (kept, left_out)
}

fn row(names: &Names, index: usize, event: &Event) -> Row {
    let (at, peer) = names.hosts_of(event);
    let (kind, direction) = kind(&event.what);
    let link = link_of(&event.what).map(|link| link.0);
    let number = |host: Host| host.0;
    Row(index, event.at_ms, kind, direction, at.map(number), peer.map(number), link, names.text(event))
}

/// How an event looks, and whether it goes to the gateway (1) or from it (2).
fn kind(what: &What) -> (&'static str, u32) {
    let of_note = |note: &Note| match note {
        Note::Data { .. } => "data",
        Note::Dial { .. } => "dial",
        Note::Accept { .. } => "accept",
        Note::Connect { .. } => "connect",
        Note::Refuse { .. } => "refuse",
        Note::Asks { .. }
        | Note::Grants { .. }
        | Note::Told { .. }
        | Note::BehindClose { .. }
        | Note::Extra => "extra",
        Note::Close { .. } => "close",
        Note::Ping => "ping",
        Note::Malformed => "malformed",
        Note::Challenge | Note::Hello { .. } => "hello",
    };
    match what {
        What::Phase(_) | What::FaultBegins(_) | What::FaultEnds(_) => ("world", 0),
        What::HostDown(_) | What::HostUp(_) => ("world", 0),
        What::GatewayUp(..) | What::GatewayStops(_) | What::GatewayDrains(_) | What::GatewayDown(_) => {
            ("world", 0)
        }
        What::In(_, note) => (of_note(note), 1),
        What::Out(_, note) => (of_note(note), 2),
        What::Opened(..) => ("open", 1),
        What::InEof(..) => ("eof", 1),
        What::OutEof(_) => ("eof", 2),
        What::InFailed(..) => ("failed", 1),
        What::OutFailed(_) => ("failed", 2),
        What::Dropped(..) => ("drop", 0),
        What::InWaiting(..) | What::OutBlocked(_) | What::OutFlowing(_) => ("wait", 0),
        What::AppUp(..)
        | What::AppFailed(..)
        | What::AppDown(..)
        | What::AppDials(..)
        | What::AppDialEnds(..) => ("app", 0),
        What::HalfUp(..)
        | What::HalfSent(..)
        | What::HalfGot(..)
        | What::HalfMet(..)
        | What::HalfDown(..) => ("app", 0),
        What::Probed(..) | What::Fleet(..) | What::Talk(..) => ("app", 0),
    }
}

fn bands(plan: &Plan, events: &[Event], end: Place) -> Vec<Band> {
    let hosts = plan.topology.hosts();
    let mut bands: Vec<(u16, Band)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let here = Place(event.at_ms, place);
        match event.what {
            What::FaultBegins(index) => {
                let Some(fault) = plan.faults.get(index as usize) else { continue };
                let named = fault.hosts();
                let hosts = (0..hosts.len()).filter(|host| named.contains(&hosts[*host].as_str())).collect();
                bands.push((index, Band { from: here, to: end, text: words(&fault.kind), hosts }));
            }
            What::FaultEnds(ended) => {
                bands.iter_mut().filter(|(index, _)| *index == ended).for_each(|(_, band)| band.to = here);
            }
            _ => {}
        }
    }
    bands.into_iter().map(|(_, band)| band).collect()
}

/// Where a host, or the gateway on it, did not run.
fn down(names: &Names, events: &[Event], end: Place, hosts: usize) -> Vec<(usize, Place, Place)> {
    let mut since: Vec<Option<Place>> = vec![None; hosts];
    let mut down = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let here = Place(event.at_ms, place);
        let Some(Host(host)) = names.hosts_of(event).0.filter(|host| host.0 < hosts) else { continue };
        match event.what {
            What::HostDown(_) | What::GatewayDown(_) => drop(since[host].get_or_insert(here)),
            What::HostUp(_) | What::GatewayUp(..) => {
                down.extend(since[host].take().map(|from| (host, from, here)))
            }
            _ => {}
        }
    }
    down.extend(since.into_iter().enumerate().filter_map(|(host, from)| from.map(|from| (host, from, end))));
    down
}

/// Where the network took nothing from a gateway for longer than a tick, and on which link.
fn blocked(names: &Names, events: &[Event], end: Place) -> Vec<(usize, Place, Place, u32)> {
    let mut since = rustc_hash::FxHashMap::default();
    let mut blocked = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let here = Place(event.at_ms, place);
        match event.what {
            What::OutBlocked(link) => drop(since.entry(link).or_insert((here, event))),
            What::OutFlowing(link) | What::OutFailed(link) | What::Dropped(link, _) => {
                blocked.extend(since.remove(&link).map(|(from, event)| (from, here, link, event)));
            }
            _ => {}
        }
    }
    let mut open: Vec<_> = since.into_iter().map(|(link, (from, event))| (from, end, link, event)).collect();
    open.sort_by_key(|(from, ..)| from.1);
    blocked.append(&mut open);
    let lasting = blocked.into_iter().filter(|(from, to, ..)| to.0 > from.0);
    lasting
        .filter_map(|(from, to, link, event)| Some((names.hosts_of(event).0?.0, from, to, link.0)))
        .collect()
}

/// A fault in words.
fn words(kind: &Kind) -> String {
    match kind {
        Kind::Kill { host } => format!("{host} is killed"),
        Kind::PowerLoss { host } => format!("{host} has no power"),
        Kind::Restart { host } => format!("{host} is restarted in good order"),
        Kind::RollingRestart { down_ms } => format!("gateways are restarted in turn, {down_ms} ms each"),
        Kind::Hold { a, b } => format!("{a} and {b}: all waits"),
        Kind::Partition { a, b } => format!("{a} and {b} do not reach each other"),
        Kind::OneWay { from, to, given_up: false } => format!("{from} to {to}: all waits"),
        Kind::OneWay { from, to, given_up: true } => format!("{from} to {to}: all waits, then reset"),
        Kind::Reset { host, after_bytes, .. } => {
            format!("{host}: a connection is reset after {after_bytes} bytes")
        }
        Kind::HalfOpen { host, .. } => format!("{host}: a connection goes silent"),
        Kind::StalledReader { host } => format!("{host} does not read"),
        Kind::SlowLink { a, b, latency_ms } => format!("{a} and {b}: {latency_ms} ms each way"),
        Kind::Pause { host, jump_ms } => format!("{host} stands still, its clock jumps {jump_ms} ms"),
        Kind::ConnectStorm { gateway, count } => format!("{count} connect to {gateway} at once"),
        Kind::DuplicateServer { gateway, server } => {
            format!("{gateway}: somebody takes the ID of server-{}", server + 1)
        }
        Kind::Malformed { gateway, as_server: true } => format!("{gateway}: nonsense on the internal port"),
        Kind::Malformed { gateway, as_server: false } => format!("{gateway}: nonsense on the public port"),
        Kind::Names { flap } => format!("the name service: {flap}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    fn failed(mut outcome: Outcome) -> Outcome {
        let index = outcome.events.len() * 2 / 3;
        let at_ms = outcome.events[index].at_ms;
        outcome.violation = Some(Violation {
            rule: "rule 7: <order>".to_owned(),
            at_ms,
            subject: "link 4 & more".to_owned(),
            text: "</script><b>\"lost\"</b>".to_owned(),
            last: vec!["     1.000  gateway-1  link 4 clients-1 <- Dial(1)".to_owned()],
            index: Some(index),
        });
        outcome
    }

    #[test]
    fn a_page_loads_nothing_and_shows_the_violation_as_text() {
        let plan = Plan::from_seed(3);
        let outcome = world::run(&plan);
        let page = page("Seed <3>", "sim run 3 && true", &plan, &failed(outcome));
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("<title>Seed &lt;3&gt;</title>") && page.contains("sim run 3 &amp;&amp; true"));
        assert!(page.contains("rule 7: &lt;order&gt;") && page.contains("link 4 &amp; more"));
        assert!(page.contains("&lt;/script&gt;&lt;b&gt;&quot;lost&quot;&lt;/b&gt;"));
        assert!(page.contains("link 4 clients-1 &lt;- Dial(1)"));
        assert!(!page.contains("{{") && page.matches("</script>").count() == 2);
        for host in plan.topology.hosts() {
            assert!(page.contains(&format!("[\"{host}\",")), "{host}");
        }
    }

    #[test]
    fn of_too_many_events_those_around_the_violation_are_kept() {
        let event = |at_ms, what| Event { at_ms, local_ms: 0, what };
        let link = crate::history::Link(1);
        let mut events = vec![event(0, What::HostDown(Host(0)))];
        events.extend((1..=60_000).map(|at_ms| event(at_ms, What::In(link, Note::Ping))));
        let mut violation = Violation::of_world("rule", 50_000, String::new());
        violation.index = Some(50_000);
        let (kept, left_out) = choose(&events, Some(&violation), 60_000);
        assert_eq!((kept.len(), kept[0], kept[1], kept[MOST_EVENTS]), (MOST_EVENTS + 1, 0, 35_001, 55_000));
        assert_eq!((left_out.before, left_out.after), (35_000, 5_000));
        let (kept, left_out) = choose(&events, None, 60_000);
        assert_eq!(
            (kept[1], left_out.before, left_out.after, left_out.to_ms),
            (1, 0, 40_000, MOST_EVENTS as u32)
        );
    }
}
