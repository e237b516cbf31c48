//! The world of many gateways that belongs to a seed.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::bounds::{Bounds, MOST_DEAD, NAMES_TAKE_MS};
use super::client::BEGINNING_MS;
use super::names::Flap;
use super::plan::{ChoicePlan, FleetPlan};
use crate::draw::{draw_faults, pick};
use crate::fault::{Fault, Kind};
use crate::plan::{DrainPlan, EndpointPlan, GatewayPlan, NetworkPlan, Plan, Topology};
use crate::seed::Seed;

/// A restarted gateway has this much time to stop, in ms, besides what draining takes.
const STOPPING_MS: u32 = 3_000;

/// A message with everything around it, in bytes.
const MESSAGE_BYTES: u32 = 40;

impl Plan {
    /// The world of many gateways that belongs to a seed: three of four are spaced, the others chaos.
    #[must_use]
    pub fn failover(seed: u64) -> Self {
        let labelled = Seed(seed);
        let rng = &mut labelled.rng("failover", 0);
        let spaced = rng.random_bool(0.75);
        let is_crowd = spaced && rng.random_bool(0.12);
        let mut plan = Self::from_seed(seed);
        plan.topology = draw_topology(rng, spaced, is_crowd);
        plan.tick_ms = pick(rng, &[5, 10, 10, 20]);
        let network = &mut plan.network;
        network.max_latency_ms = network.min_latency_ms + pick(rng, &[0, 5, 40]);
        plan.drain = DrainPlan {
            first: rng.random_bool(0.7),
            timeout_ms: rng.random_range(0..1_500),
            spread_ms: rng.random_range(0..1_500),
        };
        let mut fleet = FleetPlan::draw(rng, spaced, is_crowd);
        let rerouting = &mut labelled.rng("reroute", 0);
        fleet.reroute_ms = pick(rerouting, &[0, 300, 600, 1_500]);
        plan.gateway.make_room(rng, spaced);
        plan.endpoint.make_room(rng, &plan.gateway);
        plan.network.make_room(&plan.topology, &fleet, plan.tick_ms);
        let bounds = Bounds::new(&plan, &fleet);
        plan.fleet = Some(fleet);
        let rng = &mut labelled.rng("causes", 0);
        if spaced {
            plan.draw_causes(rng, &bounds);
            plan.draw_rerouting(rerouting, &bounds);
        } else {
            plan.draw_chaos(rng);
        }
        plan
    }

    /// One cause after the other, each after everything that the one before has done.
    fn draw_causes(&mut self, rng: &mut StdRng, bounds: &Bounds) {
        let mut at_ms = BEGINNING_MS + bounds.begun_ms() + bounds.calm_ms() + rng.random_range(0..500);
        self.faults.clear();
        for _ in 0..pick(rng, &[1, 2, 2, 3]) {
            let cause = self.draw_cause(rng, at_ms);
            let end_ms = cause.iter().map(Fault::end_ms).max().unwrap_or(at_ms);
            self.faults.extend(cause);
            let mut names_end_ms = at_ms;
            if bounds.every_ms > 0 && rng.random_bool(0.65) {
                let begin_ms = (at_ms + 300).saturating_sub(rng.random_range(0..2_000));
                let fault = Fault {
                    at_ms: begin_ms,
                    len_ms: rng.random_range(100..3_000),
                    kind: Kind::Names { flap: draw_flap(rng, &self.topology) },
                };
                names_end_ms = fault.end_ms();
                self.faults.push(fault);
            }
            at_ms = end_ms.max(names_end_ms) + bounds.settled_ms() + rng.random_range(0..500);
        }
        self.faults.sort_by_key(|fault| fault.at_ms);
        self.active_ms = at_ms;
    }

    fn draw_cause(&self, rng: &mut StdRng, at_ms: u32) -> Vec<Fault> {
        let topology = &self.topology;
        let gateway = topology.gateway(rng.random_range(0..topology.gateways));
        let server = topology.server(rng.random_range(0..topology.servers));
        let clients = topology.client_host(rng.random_range(0..topology.client_hosts));
        let len_ms = pick(rng, &[50, 400, 3_000, 8_000]);
        let draining_ms = if self.drain.first { self.drain.timeout_ms + self.drain.spread_ms } else { 0 };
        let one = |len_ms, kind| vec![Fault { at_ms, len_ms, kind }];
        match rng.random_range(0..14) {
            0..3 => one(len_ms, Kind::Kill { host: gateway }),
            3 | 4 => one(len_ms, Kind::PowerLoss { host: gateway }),
            5 => one(len_ms, Kind::Partition { a: gateway, b: clients }),
            6 => one(len_ms, Kind::Partition { a: gateway, b: server }),
            // From everybody.
            7 => {
                let others = topology.hosts().into_iter().skip(topology.gateways as usize);
                let cut = |other| Kind::Partition { a: gateway.clone(), b: other };
                others.map(|other| Fault { at_ms, len_ms, kind: cut(other) }).collect()
            }
            8 => one(len_ms, Kind::Kill { host: server }),
            9 => one(len_ms, Kind::PowerLoss { host: server }),
            10..12 => one(draining_ms + STOPPING_MS + len_ms, Kind::Restart { host: gateway }),
            _ => {
                let down_ms = pick(rng, &[100, 1_000]);
                let len_ms = topology.gateways * (draining_ms + STOPPING_MS + down_ms);
                one(len_ms, Kind::RollingRestart { down_ms })
            }
        }
    }

    /// Now and then, after all causes: a gateway goes without a server for longer than its clients endure, and in half of these
    /// worlds something else happens after that.
    fn draw_rerouting(&mut self, rng: &mut StdRng, bounds: &Bounds) {
        if !bounds.reroutes(0) || rng.random_bool(0.6) {
            return;
        }
        // By then nobody remembers a failure of another gateway.
        let at_ms = self.active_ms + bounds.remembered_ms();
        let a = self.topology.gateway(rng.random_range(0..self.topology.gateways));
        let b = self.topology.server(rng.random_range(0..self.topology.servers));
        let len_ms = bounds.rerouted_ms(0) + rng.random_range(500..5_000);
        let fault = Fault { at_ms, len_ms, kind: Kind::Partition { a, b } };
        self.active_ms = fault.end_ms() + bounds.settled_ms() + rng.random_range(0..500);
        self.faults.push(fault);
        if rng.random_bool(0.5) {
            let cause = self.draw_cause(rng, self.active_ms);
            let end_ms = cause.iter().map(Fault::end_ms).max().unwrap_or(self.active_ms);
            self.faults.extend(cause);
            self.active_ms = end_ms + bounds.settled_ms();
        }
    }

    fn draw_chaos(&mut self, rng: &mut StdRng) {
        let mut faults = draw_faults(rng, &self.topology, self.active_ms);
        // Somebody who takes the place of a server answers otherwise.
        faults.retain(|fault| !matches!(fault.kind, Kind::DuplicateServer { .. }));
        if self.fleet.as_ref().is_some_and(|fleet| fleet.every_ms > 0) {
            for _ in 0..rng.random_range(0..5) {
                let at_ms = rng.random_range(0..self.active_ms - 1);
                let longest_ms = (self.active_ms - at_ms).min(5_000);
                let kind = Kind::Names { flap: draw_flap(rng, &self.topology) };
                faults.push(Fault { at_ms, len_ms: rng.random_range(1..=longest_ms), kind });
            }
        }
        // Now and then nobody is left, or was there to begin with.
        if rng.random_bool(0.4) {
            let is_first = rng.random_bool(0.5);
            let at_ms = if is_first { 1 } else { rng.random_range(100..self.active_ms / 2) };
            let len_ms = if is_first { rng.random_range(4_000..8_000) } else { rng.random_range(100..4_000) };
            let len_ms = len_ms.min(self.active_ms - at_ms);
            let everybody = (0..self.topology.gateways).map(|index| self.topology.gateway(index));
            faults.extend(everybody.map(|host| Fault { at_ms, len_ms, kind: Kind::Kill { host } }));
        }
        faults.sort_by_key(|fault| fault.at_ms);
        self.faults = faults;
    }
}

fn draw_topology(rng: &mut StdRng, spaced: bool, is_crowd: bool) -> Topology {
    let clients = if is_crowd { rng.random_range(60..200) } else { rng.random_range(2..14) };
    Topology {
        gateways: pick(rng, &[2, 2, 3, 3, 4]),
        servers: if is_crowd { pick(rng, &[1, 2]) } else { pick(rng, &[1, 2, 2, 3]) },
        client_hosts: pick(rng, &[1, 1, 2]),
        clients,
        misfits: if spaced { 0 } else { pick(rng, &[0, 0, 1, 2]) },
    }
}

fn draw_flap(rng: &mut StdRng, topology: &Topology) -> Flap {
    match rng.random_range(0..10) {
        0..2 => Flap::Without { gateway: topology.gateway(rng.random_range(0..topology.gateways)) },
        2 => Flap::Dead { count: rng.random_range(1..MOST_DEAD) },
        3 | 4 => Flap::OnlyDead { count: rng.random_range(1..MOST_DEAD) },
        5 => Flap::Wrong,
        6 => Flap::Empty,
        7 => Flap::Nonsense,
        8 => Flap::Fails,
        _ => Flap::Takes { ms: rng.random_range(50..NAMES_TAKE_MS) },
    }
}

impl FleetPlan {
    fn draw(rng: &mut StdRng, spaced: bool, is_crowd: bool) -> Self {
        let backoff_first_ms = pick(rng, &[50, 100, 200]);
        Self {
            spaced,
            detection_ms: pick(rng, &[800, 1_000, 2_000, 2_000, 5_000]),
            backoff_first_ms,
            backoff_max_ms: backoff_first_ms * pick(rng, &[1, 4, 10]),
            choice: pick(rng, &[ChoicePlan::Random, ChoicePlan::RoundRobin, ChoicePlan::Nearest]),
            spread_ms: if is_crowd { pick(rng, &[500, 1_000, 2_000]) } else { pick(rng, &[100, 500, 1_000]) },
            patience_ms: if spaced { pick(rng, &[5_000, 30_000]) } else { pick(rng, &[3_000, 30_000]) },
            reroute_ms: 0,
            every_ms: pick(rng, &[0, 300, 1_000, 1_000, 2_000]),
            beat_ms: if is_crowd { 2_000 } else { pick(rng, &[100, 250, 500]) },
            talks: if is_crowd { 1 } else { pick(rng, &[1, 2, 3]) },
            calls_back: pick(rng, &[0.0, 0.3]),
        }
    }
}

impl GatewayPlan {
    /// Nobody is cut off for what everybody does here: failover is what this is about. And who is silent is found out.
    fn make_room(&mut self, rng: &mut StdRng, spaced: bool) {
        self.max_packet = self.max_packet.max(1024);
        let frame = self.max_packet as usize + 4;
        self.client_max_conn = 16;
        self.client_queue_messages = 1000;
        self.server_queue_messages = 1000;
        self.client_queue_bytes = (20 * frame).max(64 * 1024);
        self.server_queue_bytes = (20 * frame).max(64 * 1024);
        self.server_ping_ms = pick(rng, &[400, 1_000]);
        self.server_idle_ms = self.server_ping_ms * 2;
        self.client_ping_ms = pick(rng, &[1_000, 3_000]);
        self.client_idle_ms = self.client_ping_ms * 2;
        if spaced {
            self.auth_timeout_ms = self.auth_timeout_ms.max(1_500);
            self.frame_timeout_ms = 0;
        }
    }
}

impl EndpointPlan {
    fn make_room(&mut self, rng: &mut StdRng, gateway: &GatewayPlan) {
        self.connect_timeout_ms = pick(rng, &[800, 1_500]);
        self.dial_timeout_ms = pick(rng, &[800, 1_500]);
        self.send_queue_bytes = gateway.max_packet as usize * 8;
        self.recv_queue_messages = 1024;
        self.recv_queue_bytes = 1024 * 1024;
        self.accept_queue = 1024;
    }
}

impl NetworkPlan {
    /// What everybody says at once is carried.
    fn make_room(&mut self, topology: &Topology, fleet: &FleetPlan, tick_ms: u32) {
        let journey_ms = self.max_latency_ms + 2 * tick_ms;
        // Those who catch up say more at once.
        let bytes_per_second = 8 * topology.clients * fleet.talks * MESSAGE_BYTES * 1_000 / fleet.beat_ms;
        let needed = 2 * journey_ms * bytes_per_second / 1_000;
        self.socket_bytes = self.socket_bytes.max(4_096).max(needed as usize);
    }
}
