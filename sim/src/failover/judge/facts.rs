//! What happened in a world of many gateways, sorted by whom it happened to.

use std::collections::BTreeMap;

use crate::failover::{FleetNote, Member, Talk, TalkNote};
use crate::history::{Event, Link, Note, Phase, Run, Side, What};
use crate::net::Host;
use crate::plan::Plan;
use crate::states::{State, States};

/// Time that is not over.
pub(super) const EVER: u32 = u32::MAX;

/// So many clients lose their gateway at once where it is a herd that has to be led.
const HERD: usize = 50;

/// Everything that the rules need to know.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) talks: BTreeMap<Talk, TalkFacts>,
    pub(super) gateways: Vec<Life>,
    pub(super) servers: Vec<ServerLife>,
    /// Begin and end of each fault, by its place.
    pub(super) faults: BTreeMap<u16, (u32, u32)>,
    pub(super) links: Vec<Linked>,
    /// Clients that connected: when, to which gateway.
    pub(super) arrivals: Vec<Arrival>,
    /// Clients that turned away from a gateway that refused a server: when, from which gateway.
    pub(super) turns: Vec<(u32, Host)>,
    /// When which gateway failed, in the eyes of which client.
    failures: BTreeMap<u32, Vec<(u32, Host)>>,
    /// Since when each client had its newest link to which gateway.
    pub(super) newest: BTreeMap<u32, Vec<(u32, Option<Host>)>>,
    /// The links of clients that are left at each gateway when everything is healed.
    pub(super) kept: BTreeMap<Host, usize>,
    /// The clients that are there, and how many talks each has begun.
    pub(super) clients: BTreeMap<u32, u32>,
    pub(super) draining_ms: u32,
    pub(super) draining_index: usize,
    /// When what happened, to find the place of an event.
    times: Vec<u32>,
}

/// One talk.
#[derive(Debug)]
pub(super) struct TalkFacts {
    pub(super) client: u32,
    pub(super) server: u32,
    pub(super) client_host: Host,
    pub(super) begun_ms: u32,
    /// Since when it went through which gateway.
    pub(super) gateways: Vec<(u32, Option<Host>)>,
    /// When it was answered, and the places of these events.
    pub(super) answers: Vec<(u32, usize)>,
    /// When the server closed its connection, and the places of these events.
    pub(super) ends: Vec<(u32, usize)>,
    /// The host of its client went down.
    pub(super) is_lost: bool,
    pub(super) is_done: bool,
}

/// One run of a gateway.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) run: Run,
    pub(super) gateway: Host,
    pub(super) up_ms: u32,
    /// It was told to stop, or to drain.
    pub(super) stops_ms: u32,
    pub(super) down_ms: u32,
}

/// One run of a server.
#[derive(Debug)]
pub(super) struct ServerLife {
    pub(super) server: u32,
    pub(super) up_ms: u32,
    pub(super) down_ms: u32,
}

/// A server's link at a gateway, from its answer to the challenge.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) server: u32,
    pub(super) gateway: Host,
    link: Link,
    run: Run,
    pub(super) from_ms: u32,
    pub(super) until_ms: u32,
}

/// A client that connected.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) at_ms: u32,
    pub(super) index: usize,
    pub(super) gateway: Host,
}

impl TalkFacts {
    /// The gateway through which it went just before that time.
    pub(super) fn gateway_at(&self, at_ms: u32) -> Option<Host> {
        at(&self.gateways, at_ms)
    }

    /// Whether it went through this gateway at any time between these two.
    pub(super) fn used(&self, gateway: Host, from_ms: u32, to_ms: u32) -> bool {
        within(&self.gateways, gateway, from_ms, to_ms)
    }
}

/// The last of these just before that time.
fn at(gateways: &[(u32, Option<Host>)], at_ms: u32) -> Option<Host> {
    gateways.iter().rev().find(|(since_ms, _)| *since_ms <= at_ms).and_then(|(_, gateway)| *gateway)
}

/// Whether it was this gateway at any time between these two.
fn within(gateways: &[(u32, Option<Host>)], gateway: Host, from_ms: u32, to_ms: u32) -> bool {
    let until = |place: usize| gateways.get(place + 1).map_or(EVER, |(next_ms, _)| *next_ms);
    let mut uses = gateways.iter().enumerate();
    uses.any(|(place, (since_ms, by))| *by == Some(gateway) && *since_ms <= to_ms && until(place) >= from_ms)
}

impl Facts {
    pub(super) fn collect(plan: &Plan, events: &[Event], states: &mut States) -> Self {
        let mut collector = Collector {
            plan,
            states,
            facts: Self { draining_ms: EVER, ..Self::default() },
            hosts: BTreeMap::new(),
            runs: BTreeMap::new(),
            peers: BTreeMap::new(),
            moving: BTreeMap::new(),
            clients: BTreeMap::new(),
            left: BTreeMap::new(),
        };
        for (index, event) in events.iter().enumerate() {
            collector.see(index, event);
        }
        collector.facts.times = events.iter().map(|event| event.at_ms).collect();
        collector.facts
    }

    /// The place of the last event up to that time.
    pub(super) fn index_at(&self, at_ms: u32) -> usize {
        self.times.partition_point(|time_ms| *time_ms <= at_ms).saturating_sub(1)
    }

    /// Whether this client has seen a failure of that gateway between these two.
    pub(super) fn has_failed(&self, client: u32, gateway: Host, from_ms: u32, to_ms: u32) -> bool {
        let failures = self.failures.get(&client).map_or(&[][..], Vec::as_slice);
        failures.iter().any(|(at_ms, failed)| *failed == gateway && (from_ms..=to_ms).contains(at_ms))
    }

    /// The clients that had their newest link to this gateway just before that time.
    pub(super) fn clients_of(&self, gateway: Host, at_ms: u32) -> impl Iterator<Item = u32> {
        let of = move |links: &[(u32, Option<Host>)]| at(links, at_ms) == Some(gateway);
        self.newest.iter().filter(move |(_, links)| of(links)).map(|(client, _)| *client)
    }

    /// Whether the newest link of this client was to that gateway at any time between these two.
    pub(super) fn was_at(&self, client: u32, gateway: Host, from_ms: u32, to_ms: u32) -> bool {
        self.newest.get(&client).is_some_and(|links| within(links, gateway, from_ms, to_ms))
    }

    /// The run of a gateway at that time.
    pub(super) fn life_at(&self, gateway: Host, at_ms: u32) -> Option<&Life> {
        self.gateways.iter().rev().find(|life| life.gateway == gateway && life.up_ms <= at_ms)
    }
}

struct Collector<'a> {
    plan: &'a Plan,
    states: &'a mut States,
    facts: Facts,
    hosts: BTreeMap<Member, Host>,
    runs: BTreeMap<Run, Host>,
    peers: BTreeMap<Link, Run>,
    /// Clients that are on their way to a gateway.
    moving: BTreeMap<u32, Host>,
    /// The links of clients, as gateways see them.
    clients: BTreeMap<Link, Run>,
    /// The gateway that each client has turned away from.
    left: BTreeMap<u32, Host>,
}

impl Collector<'_> {
    fn see(&mut self, index: usize, event: &Event) {
        let at_ms = event.at_ms;
        match event.what {
            What::Phase(Phase::Draining) => {
                self.facts.draining_ms = at_ms;
                self.facts.draining_index = index;
                for run in self.clients.values() {
                    *self.facts.kept.entry(self.runs[run]).or_default() += 1;
                }
            }
            What::FaultBegins(fault) => drop(self.facts.faults.insert(fault, (at_ms, EVER))),
            What::FaultEnds(fault) => {
                self.facts.faults.entry(fault).and_modify(|(_, end_ms)| *end_ms = at_ms);
            }
            What::GatewayUp(run, gateway) => {
                self.runs.insert(run, gateway);
                let life = Life { run, gateway, up_ms: at_ms, stops_ms: EVER, down_ms: EVER };
                self.facts.gateways.push(life);
            }
            What::GatewayStops(run) => {
                if let Some(life) = self.life(run) {
                    life.stops_ms = life.stops_ms.min(at_ms);
                }
            }
            What::GatewayDown(run) => self.gateway_ends(at_ms, run),
            What::HostDown(host) => self.host_ends(at_ms, host),
            What::Opened(link, run, side, ..) => {
                self.peers.insert(link, run);
                let gateway = self.runs[&run];
                if side == Side::Client {
                    self.clients.insert(link, run);
                    self.facts.arrivals.push(Arrival { at_ms, index, gateway });
                }
            }
            What::In(link, Note::Hello { id, valid: true }) => self.server_links(at_ms, link, id),
            What::Out(_, Note::Refuse { remote }) => {
                let mut elsewhere = self.facts.links.iter().filter(|linked| linked.until_ms == EVER);
                if remote >= 100 && elsewhere.any(|linked| linked.server == remote - 100) {
                    self.states.reach(State::RefusedAtOne);
                }
            }
            What::Dropped(link, _) => {
                self.clients.remove(&link);
                let of_link = self.facts.links.iter_mut().filter(|linked| linked.link == link);
                of_link.for_each(|linked| linked.until_ms = linked.until_ms.min(at_ms));
            }
            What::Fleet(member, note) => self.member(at_ms, member, note),
            What::Talk(talk, note) => self.talk(at_ms, index, talk, note),
            _ => {}
        }
    }

    fn life(&mut self, run: Run) -> Option<&mut Life> {
        self.facts.gateways.iter_mut().find(|life| life.run == run)
    }

    fn gateway_ends(&mut self, at_ms: u32, run: Run) {
        if let Some(life) = self.life(run) {
            life.down_ms = life.down_ms.min(at_ms);
        }
        self.clients.retain(|_, of| *of != run);
        let of_run = self.facts.links.iter_mut().filter(|linked| linked.run == run);
        of_run.for_each(|linked| linked.until_ms = linked.until_ms.min(at_ms));
        let is_busy = self.facts.draining_ms == EVER;
        if is_busy && self.facts.gateways.iter().all(|life| life.down_ms != EVER) {
            self.states.reach(State::AllDown);
        }
    }

    fn host_ends(&mut self, at_ms: u32, host: Host) {
        let talks = self.facts.talks.values_mut();
        let mut lost = 0;
        for talk in talks.filter(|talk| !talk.is_done) {
            talk.is_lost |= talk.client_host == host;
            lost += usize::from(talk.gateway_at(at_ms) == Some(host));
        }
        let Self { facts, hosts, .. } = self;
        facts.clients.retain(|client, _| hosts.get(&Member::Client(*client)) != Some(&host));
        if lost >= HERD {
            self.states.reach(State::Herd);
        }
        if self.moving.values().any(|gateway| *gateway == host) {
            self.states.reach(State::KilledWhileMovedTo);
        }
        let is_server = |member: &Member| matches!(member, Member::Server(_));
        let server = self.hosts.iter().find(|(member, at)| **at == host && is_server(member));
        if let Some((Member::Server(number), _)) = server {
            let number = *number;
            if self.facts.talks.values().any(|talk| talk.server == number && !talk.answers.is_empty()) {
                self.states.reach(State::ServerKilled);
            }
            let lives = self.facts.servers.iter_mut().filter(|life| life.server == number);
            lives.for_each(|life| life.down_ms = life.down_ms.min(at_ms));
        }
    }

    fn server_links(&mut self, at_ms: u32, link: Link, id: u32) {
        let Some(server) = id.checked_sub(100).filter(|server| *server < self.plan.topology.servers) else {
            return;
        };
        let run = self.peers[&link];
        let gateway = self.runs[&run];
        let before = self.facts.links.iter_mut();
        before
            .filter(|linked| linked.server == server && linked.run == run)
            .for_each(|linked| linked.until_ms = linked.until_ms.min(at_ms));
        let linked = Linked { server, gateway, link, run, from_ms: at_ms, until_ms: EVER };
        self.facts.links.push(linked);
    }

    fn member(&mut self, at_ms: u32, member: Member, note: FleetNote) {
        if let Member::Client(client) = member {
            self.client(at_ms, client, note);
        }
        match (member, note) {
            (Member::Server(server), FleetNote::Begins(host)) => {
                self.hosts.insert(member, host);
                self.facts.servers.push(ServerLife { server, up_ms: at_ms, down_ms: EVER });
            }
            (Member::Client(client), FleetNote::Begins(host)) => {
                self.hosts.insert(member, host);
                self.facts.clients.insert(client, 0);
            }
            (Member::Client(client), FleetNote::Connects(Some(gateway))) => {
                self.moving.insert(client, gateway);
            }
            (Member::Client(client), FleetNote::ConnectFails(_)) => drop(self.moving.remove(&client)),
            (Member::Client(client), FleetNote::Connects(None)) => {
                self.states.reach(State::NobodyTried);
                // Somebody who is served needs no gateway.
                let mut served = self.facts.talks.values().filter(|talk| talk.client == client);
                if served.any(|talk| !talk.answers.is_empty()) {
                    self.states.reach(State::LeftWithoutGateway);
                }
            }
            (Member::Client(_), FleetNote::Refuses(_)) => self.states.reach(State::TurnedAway),
            (Member::Client(_), FleetNote::Draining(_)) => self.states.reach(State::ClientToldOfDrain),
            (Member::Server(_), FleetNote::Draining(_)) => self.states.reach(State::ServerToldOfDrain),
            (_, FleetNote::Gone(Some(_))) => self.states.reach(State::SetShrank),
            (_, FleetNote::NotFound) => self.states.reach(State::NamesFailed),
            (_, FleetNote::NoGateway) => self.states.reach(State::PatienceOver),
            (_, FleetNote::CalledBack(true)) => self.states.reach(State::CalledBack),
            _ => {}
        }
    }

    /// What a client remembers.
    fn client(&mut self, at_ms: u32, client: u32, note: FleetNote) {
        let Self { facts, left, .. } = self;
        match note {
            FleetNote::Begins(_) | FleetNote::NoGateway => {
                facts.newest.entry(client).or_default().push((at_ms, None));
                left.remove(&client);
            }
            FleetNote::Connected(gateway) => facts.newest.entry(client).or_default().push((at_ms, gateway)),
            FleetNote::Refuses(Some(gateway)) => {
                facts.turns.push((at_ms, gateway));
                left.insert(client, gateway);
            }
            _ => {}
        }
        if let FleetNote::ConnectFails(Some(gateway))
        | FleetNote::Trouble(Some(gateway))
        | FleetNote::Refuses(Some(gateway)) = note
        {
            facts.failures.entry(client).or_default().push((at_ms, gateway));
        }
    }

    fn talk(&mut self, at_ms: u32, index: usize, talk: Talk, note: TalkNote) {
        if let TalkNote::Begins { client, server } = note {
            let facts = TalkFacts {
                client,
                server,
                client_host: self.hosts[&Member::Client(client)],
                begun_ms: at_ms,
                gateways: Vec::new(),
                answers: Vec::new(),
                ends: Vec::new(),
                is_lost: false,
                is_done: false,
            };
            self.facts.talks.insert(talk, facts);
            *self.facts.clients.entry(client).or_default() += 1;
            return;
        }
        // Probes are talks that nobody begins.
        let Some(facts) = self.facts.talks.get_mut(&talk) else { return };
        match note {
            TalkNote::Opens { gateway, .. } | TalkNote::Renewed { gateway, .. } => {
                let before = facts.gateways.last().and_then(|(_, gateway)| *gateway);
                facts.gateways.push((at_ms, gateway));
                self.moving.remove(&facts.client);
                if before.is_some() && gateway.is_some() && before != gateway {
                    self.states.reach(State::Moved);
                    let stops = |life: &Life| Some(life.gateway) == before && life.stops_ms <= at_ms;
                    if self.plan.drain.first
                        && self
                            .facts
                            .gateways
                            .iter()
                            .rev()
                            .find(|life| Some(life.gateway) == before)
                            .is_some_and(stops)
                    {
                        self.states.reach(State::MovedByDrain);
                    }
                }
            }
            TalkNote::Gets { .. } => {
                facts.answers.push((at_ms, index));
                let old = self.left.get(&facts.client).copied();
                let by = facts.gateway_at(at_ms);
                let newest = self.facts.newest.get(&facts.client).map_or(&[][..], Vec::as_slice);
                if by.is_some() && by == old && by != at(newest, at_ms) {
                    self.states.reach(State::ServedByOld);
                }
            }
            TalkNote::Ends { by_remote: true } => facts.ends.push((at_ms, index)),
            TalkNote::Done { .. } => facts.is_done = true,
            TalkNote::DialFails => self.states.reach(State::DialFailed),
            _ => {}
        }
    }
}
