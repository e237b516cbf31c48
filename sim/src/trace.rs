//! A history as text: one line for each event, the same for the same seed, to the byte.

use rustc_hash::FxHashMap;

use crate::failover::{FleetNote, Member, Talk, TalkNote};
use crate::history::{AppLink, Event, Half, Link, Run, Side, What};
use crate::net::Host;
use crate::oracle::{About, link_of};
use crate::plan::Plan;

/// What the numbers in a history stand for.
#[derive(Debug)]
pub struct Names {
    hosts: Vec<String>,
    faults: Vec<String>,
    runs: FxHashMap<Run, Host>,
    links: FxHashMap<Link, (Run, Side, Host)>,
    app_links: FxHashMap<AppLink, (Host, Host)>,
    halves: FxHashMap<Half, AppLink>,
    members: FxHashMap<Member, Host>,
    talks: FxHashMap<Talk, (Member, Member)>,
}

impl Names {
    /// The names in a history of this plan.
    #[must_use]
    pub fn new(plan: &Plan, events: &[Event]) -> Self {
        let faults = plan.faults.iter().map(|fault| format!("{:?}", fault.kind)).collect();
        let mut names = Self {
            hosts: plan.topology.hosts(),
            faults,
            runs: FxHashMap::default(),
            links: FxHashMap::default(),
            app_links: FxHashMap::default(),
            halves: FxHashMap::default(),
            members: FxHashMap::default(),
            talks: FxHashMap::default(),
        };
        for event in events {
            match event.what {
                What::GatewayUp(run, host) => drop(names.runs.insert(run, host)),
                What::Opened(link, run, side, host, _) => drop(names.links.insert(link, (run, side, host))),
                What::AppUp(link, host, _, gateway) => drop(names.app_links.insert(link, (host, gateway))),
                What::HalfUp(half, link, ..) => drop(names.halves.insert(half, link)),
                What::Fleet(member, FleetNote::Begins(host)) => drop(names.members.insert(member, host)),
                What::Talk(talk, TalkNote::Begins { client, server }) => {
                    let ends = (Member::Client(client), Member::Server(server));
                    names.talks.insert(talk, ends);
                }
                _ => {}
            }
        }
        names
    }

    /// One event as one line, without its line end.
    #[must_use]
    pub fn line(&self, event: &Event) -> String {
        let (place, text) = self.place_and_text(event);
        format!("{:>10.3}  {place:<24}  {text}", f64::from(event.at_ms) / 1000.0)
    }

    /// The hosts of an event: where it happened, and who was at the other end, if anybody was.
    #[must_use]
    pub fn hosts_of(&self, event: &Event) -> (Option<Host>, Option<Host>) {
        match event.what {
            What::HostDown(host) | What::HostUp(host) | What::GatewayUp(_, host) => (Some(host), None),
            What::GatewayStops(run) | What::GatewayDrains(run) | What::GatewayDown(run) => {
                (self.runs.get(&run).copied(), None)
            }
            What::AppUp(_, host, _, gateway) | What::AppFailed(host, _, gateway) => {
                (Some(host), Some(gateway))
            }
            What::AppDown(link, _) | What::AppDials(link, _) | What::AppDialEnds(link, ..) => {
                self.app_hosts(link)
            }
            What::HalfUp(half, ..)
            | What::HalfSent(half, ..)
            | What::HalfGot(half, ..)
            | What::HalfMet(half, _)
            | What::HalfDown(half, _) => {
                self.halves.get(&half).map_or((None, None), |link| self.app_hosts(*link))
            }
            What::Probed(host, gateway, _) => (Some(host), Some(gateway)),
            What::Fleet(member, _) => (self.members.get(&member).copied(), None),
            What::Talk(talk, note) => {
                let host = |member: &Member| self.members.get(member).copied();
                let ends = self.talks.get(&talk).map(|(client, server)| (host(client), host(server)));
                let (client, server) = ends.unwrap_or_default();
                if matches!(note, TalkNote::Serves { .. }) { (server, client) } else { (client, server) }
            }
            what => {
                let link = link_of(&what).and_then(|link| self.links.get(&link));
                link.map_or((None, None), |(run, _, peer)| (self.runs.get(run).copied(), Some(*peer)))
            }
        }
    }

    /// What happened, in words.
    #[must_use]
    pub fn text(&self, event: &Event) -> String {
        self.place_and_text(event).1
    }

    /// The name of a host.
    #[must_use]
    pub fn host(&self, host: Host) -> &str {
        self.hosts.get(host.0).map_or("nowhere", String::as_str)
    }

    fn app_hosts(&self, link: AppLink) -> (Option<Host>, Option<Host>) {
        self.app_links.get(&link).map_or((None, None), |(host, gateway)| (Some(*host), Some(*gateway)))
    }

    fn place_and_text(&self, event: &Event) -> (String, String) {
        let (place, _) = self.hosts_of(event);
        let place = place.map_or("world", |host| self.host(host)).to_owned();
        let fault = |index: u16| self.faults.get(index as usize).map_or("", String::as_str);
        let app = |link: AppLink| format!("endpoint {}", link.0);
        let half = |half: Half| format!("end {}", half.0);
        let text = match event.what {
            What::Phase(phase) => format!("---- {phase:?} ----"),
            What::FaultBegins(index) => format!("fault {index} begins: {}", fault(index)),
            What::FaultEnds(index) => format!("fault {index} ends"),
            What::HostDown(_) => "down".to_owned(),
            What::HostUp(_) => "up".to_owned(),
            What::GatewayUp(run, _) => format!("run {} serves", run.0),
            What::GatewayStops(run) => format!("run {} is told to stop", run.0),
            What::GatewayDrains(run) => format!("run {} is told to drain", run.0),
            What::GatewayDown(run) => format!("run {} has ended", run.0),
            What::Opened(link, _, side, host, addr) => {
                format!("{side} link {} from {} ({addr})", link.0, self.host(host))
            }
            What::In(link, note) => format!("{} <- {note}", self.link(link)),
            What::InWaiting(link, false) => format!("{} waits", self.link(link)),
            What::InWaiting(link, true) => format!("{} waits for the rest of a frame", self.link(link)),
            What::InEof(link, false) => format!("{} <- end of file", self.link(link)),
            What::InEof(link, true) => format!("{} <- end of file inside a frame", self.link(link)),
            What::InFailed(link, _) => format!("{} <- reset", self.link(link)),
            What::Out(link, note) => format!("{} -> {note}", self.link(link)),
            What::OutBlocked(link) => format!("{} -> takes no more", self.link(link)),
            What::OutFlowing(link) => format!("{} -> takes again", self.link(link)),
            What::OutFailed(link) => format!("{} -> failed", self.link(link)),
            What::OutEof(link) => format!("{} -> end of file", self.link(link)),
            What::Dropped(link, _) => format!("{} dropped", self.link(link)),
            What::AppUp(link, _, side, gateway) => {
                format!("{} of a {side} is up, to {}", app(link), self.host(gateway))
            }
            What::AppFailed(_, side, gateway) => format!("a {side} cannot connect to {}", self.host(gateway)),
            What::AppDown(link, end) => format!("{} is down: {end:?}", app(link)),
            What::AppDials(link, remote) => format!("{} dials {remote}", app(link)),
            What::AppDialEnds(link, remote, end) => format!("{} dialled {remote}: {end:?}", app(link)),
            What::HalfUp(this, link, conn, true) => {
                format!("{} is up: #{conn} of {}, dialled", half(this), app(link))
            }
            What::HalfUp(this, link, conn, false) => {
                format!("{} is up: #{conn} of {}", half(this), app(link))
            }
            What::HalfSent(this, len, hash) => {
                format!("{} sends {len} bytes ({:04x})", half(this), hash & 0xffff)
            }
            What::HalfGot(this, len, hash) => {
                format!("{} gets {len} bytes ({:04x})", half(this), hash & 0xffff)
            }
            What::HalfMet(this, other) => format!("{} is joined with {}", half(this), half(other)),
            What::HalfDown(this, end) => format!("{} has ended: {end:?}", half(this)),
            What::Probed(_, gateway, server) => format!("reaches {server} by {}", self.host(gateway)),
            What::Fleet(member, note) => format!("{member} {}", note.text(|host| self.host(host))),
            What::Talk(talk, note) => format!("talk {} {}", talk.0, note.text(|host| self.host(host))),
        };
        (place, text)
    }

    fn link(&self, link: Link) -> String {
        let peer = self.links.get(&link).map_or("nowhere", |(.., host)| self.host(*host));
        format!("link {} {peer}", link.0)
    }

    /// Whether a violation about this is better understood with that event.
    pub(crate) fn concerns(&self, about: About, event: &Event) -> bool {
        use crate::history::Note;
        let link = link_of(&event.what);
        let run = link.and_then(|link| self.links.get(&link)).map(|(run, ..)| *run);
        match about {
            _ if matches!(event.what, What::Phase(_) | What::FaultBegins(_) | What::FaultEnds(_)) => true,
            About::World => {
                let is_busy = matches!(event.what, What::HalfSent(..) | What::HalfGot(..) | What::Talk(..));
                link.is_none() && !is_busy
            }
            About::Talk(talk) => match event.what {
                What::Talk(other, _) => other == talk,
                What::Fleet(member, _) => self
                    .talks
                    .get(&talk)
                    .is_some_and(|(client, server)| member == *client || member == *server),
                What::HostDown(_) | What::HostUp(_) | What::GatewayUp(..) => true,
                What::GatewayStops(_) | What::GatewayDown(_) => true,
                _ => false,
            },
            About::Member(member) => {
                matches!(event.what, What::Fleet(other, _) if other == member)
                    || matches!(event.what, What::HostDown(_) | What::HostUp(_) | What::GatewayUp(..))
            }
            About::Link(_, about) => link == Some(about),
            About::Conn(about, conn) => {
                let of_conn = match event.what {
                    What::In(_, note) | What::Out(_, note) => match note {
                        Note::Data { conn, .. }
                        | Note::Accept { conn, .. }
                        | Note::Connect { conn, .. }
                        | Note::Told { conn, .. }
                        | Note::Close { conn } => Some(conn),
                        _ => None,
                    },
                    _ => None,
                };
                run == Some(about) && of_conn == Some(conn)
            }
            About::Half(about) => match event.what {
                What::HalfUp(half, ..)
                | What::HalfSent(half, ..)
                | What::HalfGot(half, ..)
                | What::HalfDown(half, _) => half == about,
                What::HalfMet(half, other) => half == about || other == about,
                _ => false,
            },
        }
    }

    /// What a violation is about, in words.
    pub(crate) fn subject(&self, about: About) -> String {
        let gateway = |run: Run| self.runs.get(&run).map_or("nowhere", |host| self.host(*host));
        match about {
            About::World => "the world".to_owned(),
            About::Link(run, link) => format!("{} at {}", self.link(link), gateway(run)),
            About::Conn(run, conn) => format!("connection #{conn} at {} (run {})", gateway(run), run.0),
            About::Half(half) => format!("end {} of a virtual connection", half.0),
            About::Member(member) => member.to_string(),
            About::Talk(talk) => match self.talks.get(&talk) {
                Some((client, server)) => format!("talk {} of {client} with {server}", talk.0),
                None => format!("talk {}", talk.0),
            },
        }
    }
}
