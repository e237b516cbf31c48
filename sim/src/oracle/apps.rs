//! What applications sent and got, end to end.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{About, Found, found};
use crate::history::{AppLink, DialEnd, Event, Half, HalfEnd, LinkEnd, Phase, Run, Side, What};
use crate::net::Host;
use crate::plan::{FIRST_SERVER, Plan};
use crate::states::{State, States};

/// All applications of a world.
#[derive(Debug)]
pub(super) struct Apps<'a> {
    plan: &'a Plan,
    phase: Phase,
    /// From then on no link is dead without its endpoints' knowledge, in ms.
    healed_ms: Option<u32>,
    /// The latest run of each gateway.
    runs: FxHashMap<Host, Run>,
    links: FxHashMap<AppLink, AppSide>,
    halves: FxHashMap<Half, HalfSide>,
    probed: BTreeSet<(Host, Host, u32)>,
}

#[derive(Debug)]
struct AppSide {
    host: Host,
    gateway: Host,
    side: Side,
    run: Run,
    is_up: bool,
}

#[derive(Debug)]
struct HalfSide {
    sent: Vec<(u32, u64)>,
    got: Vec<(u32, u64)>,
    met: Option<Half>,
    end: Option<HalfEnd>,
    /// Which end of which connection it is: the gateway's run, Conn ID, whether it is the dialler's.
    place: (Run, u32, bool),
}

impl<'a> Apps<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            phase: Phase::Faults,
            healed_ms: None,
            runs: FxHashMap::default(),
            links: FxHashMap::default(),
            halves: FxHashMap::default(),
            probed: BTreeSet::new(),
        }
    }

    pub(super) fn see(&mut self, event: &Event, states: &mut States) -> Result<(), Found> {
        match event.what {
            What::Phase(phase) => {
                self.phase = phase;
                if phase == Phase::Healing {
                    // What was dead before is found out by then.
                    let silence_ms = self.plan.endpoint.idle_ms + 4 * self.plan.network.max_latency_ms;
                    self.healed_ms = Some(event.at_ms + silence_ms + 1_000);
                }
            }
            What::HostDown(host) => {
                self.links.values_mut().filter(|link| link.host == host).for_each(|link| link.is_up = false);
            }
            What::AppUp(link, host, side, gateway) => self.links_up(link, host, side, gateway, states),
            What::AppFailed(..) => states.reach(State::ConnectFailed),
            What::AppDown(link, end) => return self.link_ends(event.at_ms, link, end, states),
            What::AppDialEnds(_, _, DialEnd::Timeout) => states.reach(State::DialTimeout),
            What::GatewayUp(run, host) => drop(self.runs.insert(host, run)),
            What::HalfUp(half, link, conn, is_dialler) => {
                let place = (self.links[&link].run, conn, is_dialler);
                self.halves.insert(half, HalfSide { sent: vec![], got: vec![], met: None, end: None, place });
            }
            What::HalfSent(half, len, hash) => self.half(half).sent.push((len, hash)),
            What::HalfGot(half, len, hash) => self.half(half).got.push((len, hash)),
            What::HalfMet(half, other) => return self.meet(half, other),
            What::HalfDown(half, end) => self.half_ends(half, end, states),
            What::Probed(host, gateway, server) => drop(self.probed.insert((host, gateway, server))),
            _ => {}
        }
        Ok(())
    }

    fn half(&mut self, half: Half) -> &mut HalfSide {
        self.halves.get_mut(&half).expect("a half is up before anything happens to it")
    }

    fn links_up(&mut self, link: AppLink, host: Host, side: Side, gateway: Host, states: &mut States) {
        // Nobody can connect to a gateway that was never up.
        let run = self.runs.get(&gateway).copied().unwrap_or(Run(0));
        self.links.insert(link, AppSide { host, gateway, side, run, is_up: true });
        let of_server =
            self.links.values().filter(|link| link.is_up && link.side == Side::Server && link.host == host);
        let gateways: BTreeSet<Host> = of_server.map(|link| link.gateway).collect();
        if gateways.len() >= 3 {
            states.reach(State::ManyGateways);
        }
    }

    fn link_ends(
        &mut self,
        at_ms: u32,
        link: AppLink,
        end: LinkEnd,
        states: &mut States,
    ) -> Result<(), Found> {
        self.links.get_mut(&link).expect("a link is up before it is down").is_up = false;
        match end {
            LinkEnd::Silent => states.reach(State::EndpointSilent),
            LinkEnd::Nonsense => {
                let text = "an endpoint got from its gateway what no gateway may say";
                return Err(found("rule 10: well-formed", About::World, text));
            }
            _ => {}
        }
        let plan = self.plan;
        let (workload, side) = (&plan.workload, self.links[&link].side);
        let gateway_ping_ms =
            if side == Side::Client { plan.gateway.client_ping_ms } else { plan.gateway.server_ping_ms };
        // A gateway that pings says something in time, also to a client that it holds back, an interval after it did the last
        // time. But while an endpoint sends
        // more than a journey takes, its own pings wait behind that, and the gateway, which hears it, has none.
        let most_bytes = workload.message_bytes * workload.messages * workload.conversations;
        let is_heard = gateway_ping_ms > 0
            && gateway_ping_ms + 4 * plan.network.max_latency_ms + 200 < plan.endpoint.idle_ms
            && most_bytes as usize <= plan.network.socket_bytes;
        let is_healed = self.healed_ms.is_some_and(|healed_ms| at_ms > healed_ms);
        if is_healed && end == LinkEnd::Silent && is_heard {
            let text = "an endpoint heard nothing from its gateway although everything is healed";
            return Err(found("convergence: links stay up", About::World, text));
        }
        Ok(())
    }

    /// Messages of one connection come from one other end, and from no third one.
    fn meet(&mut self, half: Half, other: Half) -> Result<(), Found> {
        let before = self.half(half).met.replace(other);
        if before.is_some_and(|before| before != other) {
            let text = "messages of two other ends came over one connection";
            return Err(found("rule 5: nothing on another connection", About::Half(half), text));
        }
        let back = self.halves.get(&other).and_then(|other| other.met);
        if back.is_some_and(|back| back != half) {
            let text = "messages of one end came out of two connections";
            return Err(found("rule 5: nothing on another connection", About::Half(half), text));
        }
        Ok(())
    }

    fn half_ends(&mut self, half: Half, end: HalfEnd, states: &mut States) {
        self.half(half).end = Some(end);
        if end == HalfEnd::SlowReceiver {
            states.reach(State::EndpointSlow);
        }
    }

    /// The world is over. `closers` are the ends that closed their connections in good order, as the gateways saw it.
    pub(super) fn finish(&self, closers: &FxHashSet<(Run, u32, bool)>) -> Result<(), Found> {
        let mut halves: Vec<_> = self.halves.iter().collect();
        halves.sort_by_key(|(half, _)| **half);
        for (half, side) in halves {
            let Some(met) = side.met.and_then(|met| self.halves.get(&met)) else { continue };
            if met.sent.get(..side.got.len()) != Some(&side.got) {
                let text =
                    format!("it got {} messages that are not the first ones sent to it", side.got.len());
                return Err(found("rule 5: whole, once, in order", About::Half(*half), text));
            }
            // The other side closed, and this one heard so: everything sent before is here.
            let must_be_complete = side.end == Some(HalfEnd::Remote) && closers.contains(&met.place);
            if must_be_complete && side.got.len() < met.sent.len() {
                let text = format!("it got {} of {} messages before Close", side.got.len(), met.sent.len());
                return Err(found("rule 7: messages before Close", About::Half(*half), text));
            }
        }
        self.everybody_reaches_everybody()
    }

    fn everybody_reaches_everybody(&self) -> Result<(), Found> {
        if self.phase < Phase::Leaving || self.plan.gateway.client_max_conn == 0 {
            return Ok(());
        }
        let topology = &self.plan.topology;
        let (gateways, servers) = (topology.gateways as usize, topology.servers as usize);
        for client in 0..topology.client_hosts as usize {
            for gateway in 0..gateways {
                for server in 0..topology.servers {
                    let host = Host(gateways + servers + client);
                    if !self.probed.contains(&(host, Host(gateway), FIRST_SERVER + server)) {
                        let hosts = topology.hosts();
                        let text = format!(
                            "everything is healed, but {} cannot reach {} by {}",
                            hosts[host.0],
                            topology.server(server),
                            hosts[gateway]
                        );
                        return Err(found("convergence: everybody is reached", About::World, text));
                    }
                }
            }
        }
        Ok(())
    }
}
