//! How a seed decides what a world is: each part of a [`Plan`] draws itself from a stream of random numbers of its own.

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::fault::{Fault, KINDS, draw_kind};
use crate::net::Chop;
use crate::plan::{
    DrainPlan, EndpointPlan, GatewayPlan, GroupPlan, NetworkPlan, Plan, Topology, VERSION, Workload,
};
use crate::seed::Seed;

/// What waits at an endpoint goes out within so many journeys there and back, each with one socket buffer: at most 22 s in
/// the slowest of networks. A megabyte over connections that buffer 256 bytes would keep everybody else waiting for longer
/// than a world lasts.
const MOST_JOURNEYS: usize = 64;

/// More clients than that are a crowd.
const CROWD: u32 = 20;

/// What one of a crowd says to its one server in a second, commands included, as far as has been seen. Connections carry
/// that for all of them, or the gateway would hold everybody back for ever.
const CROWD_BYTES_PER_SECOND: u32 = 150;

impl Plan {
    /// The world of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let labelled = Seed(seed);
        let rng = &mut labelled.rng("topology", 0);
        let topology = Topology::draw(rng);
        let tick_ms = [5, 10, 10, 20, 20][rng.random_range(0..5)];
        let active_ms = rng.random_range(8_000..20_000);
        let mut network = NetworkPlan::draw(&mut labelled.rng("network", 0));
        if topology.clients > CROWD {
            let journey_ms = 2 * (network.max_latency_ms + tick_ms);
            let crowd_bytes = topology.clients * CROWD_BYTES_PER_SECOND * journey_ms / 1000;
            network.socket_bytes = network.socket_bytes.max(crowd_bytes as usize);
        }
        let gateway = GatewayPlan::draw(&mut labelled.rng("gateway", 0));
        let mut endpoint = EndpointPlan::draw(&mut labelled.rng("endpoint", 0));
        endpoint.send_queue_bytes = endpoint.send_queue_bytes.min(MOST_JOURNEYS * network.socket_bytes);
        let rng = &mut labelled.rng("workload", 0);
        let workload = Workload::draw(rng, gateway.max_packet, network.socket_bytes, topology.clients);
        let drain = DrainPlan::draw(&mut labelled.rng("drain", 0));
        let group = GroupPlan::draw(&mut labelled.rng("group", 0));
        let faults = draw_faults(&mut labelled.rng("faults", 0), &topology, active_ms);
        Self {
            version: VERSION,
            seed,
            tick_ms,
            active_ms,
            topology,
            network,
            gateway,
            drain,
            group,
            endpoint,
            workload,
            fleet: None,
            faults,
        }
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut StdRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

impl Topology {
    fn draw(rng: &mut StdRng) -> Self {
        Self {
            gateways: pick(rng, &[1, 1, 1, 2, 2, 3, 4]),
            servers: pick(rng, &[1, 1, 2, 2, 3, 4, 6]),
            client_hosts: pick(rng, &[1, 1, 2, 3]),
            clients: match rng.random_range(0..20) {
                0 => rng.random_range(100..300),
                1..5 => rng.random_range(20..60),
                _ => rng.random_range(2..16),
            },
            misfits: pick(rng, &[0, 0, 1, 2, 4]),
        }
    }
}

impl NetworkPlan {
    fn draw(rng: &mut StdRng) -> Self {
        let min_latency_ms = pick(rng, &[0, 1, 5, 20]);
        let chop = Chop {
            pending: pick(rng, &[0.0, 0.05, 0.3]),
            tiny: pick(rng, &[0.0, 0.1, 0.5, 0.8]),
            tiny_bytes: pick(rng, &[1, 3, 9, 40]),
        };
        Self {
            min_latency_ms,
            max_latency_ms: min_latency_ms + pick(rng, &[0, 5, 40, 150]),
            socket_bytes: pick(rng, &[256, 1024, 4096, 16 * 1024, 64 * 1024]),
            chop,
        }
    }
}

impl GatewayPlan {
    fn draw(rng: &mut StdRng) -> Self {
        let max_packet = pick(rng, &[64, 100, 1024, 4096, 80 * 1024, 512 * 1024]);
        let frame = max_packet as usize + 4;
        let client_ping_ms = pick(rng, &[0, 300, 1000, 3000]);
        let server_ping_ms = pick(rng, &[0, 300, 1000, 3000]);
        Self {
            max_packet,
            client_max_conn: pick(rng, &[0, 1, 2, 16, 16]),
            client_queue_messages: pick(rng, &[1, 3, 20, 1000]),
            client_queue_bytes: frame * pick(rng, &[1, 3, 20]),
            server_queue_messages: pick(rng, &[1, 3, 20, 1000]),
            server_queue_bytes: frame * pick(rng, &[1, 3, 20]),
            client_ping_ms,
            client_idle_ms: if client_ping_ms == 0 {
                pick(rng, &[0, 2000, 6000])
            } else {
                client_ping_ms * pick(rng, &[2, 3])
            },
            server_ping_ms,
            server_idle_ms: if server_ping_ms == 0 {
                pick(rng, &[0, 2000, 6000])
            } else {
                server_ping_ms * pick(rng, &[2, 3])
            },
            auth_timeout_ms: pick(rng, &[500, 1500, 3000]),
            stall_timeout_ms: pick(rng, &[500, 2000, 5000]),
            client_stall_ms: pick(rng, &[0, 500, 3000]),
            frame_timeout_ms: pick(rng, &[0, 0, 500, 4000]),
        }
    }
}

impl GroupPlan {
    fn draw(rng: &mut StdRng) -> Self {
        pick(rng, &[Self::None, Self::None, Self::Least, Self::Client])
    }
}

impl DrainPlan {
    fn draw(rng: &mut StdRng) -> Self {
        let first = rng.random_bool(0.5);
        Self { first, timeout_ms: rng.random_range(0..2_000), spread_ms: rng.random_range(0..3_000) }
    }
}

impl EndpointPlan {
    fn draw(rng: &mut StdRng) -> Self {
        let ping_ms = pick(rng, &[400, 1000, 2000]);
        Self {
            ping_ms,
            idle_ms: ping_ms * pick(rng, &[2, 3]),
            connect_timeout_ms: pick(rng, &[800, 2000]),
            dial_timeout_ms: pick(rng, &[100, 1000, 3000]),
            send_queue_bytes: pick(rng, &[1, 500, 8 * 1024, 1024 * 1024]),
            recv_queue_messages: pick(rng, &[1, 4, 50, 1024]),
            recv_queue_bytes: pick(rng, &[100, 4096, 1024 * 1024]),
            link_waits: rng.random_bool(0.5),
            accept_queue: pick(rng, &[1, 8, 1024]),
            close_timeout_ms: pick(rng, &[500, 3000]),
            ask_client_addr: rng.random_bool(0.5),
            ask_draining: rng.random_bool(0.5),
        }
    }
}

impl Workload {
    fn draw(rng: &mut StdRng, max_packet: u32, socket_bytes: usize, clients: u32) -> Self {
        // What takes longer than an endpoint's patience with a silent gateway proves nothing: its pings wait behind it.
        let longest = (max_packet - 4).min(8 * socket_bytes as u32);
        // A world of many clients is about their number, not about what each of them does: one server has to cope with all
        // that all of them say at once.
        let is_crowded = clients > CROWD;
        let (conversations, messages, pause_ms) = if is_crowded {
            (1, pick(rng, &[3, 10]), pick(rng, &[500, 2000]))
        } else {
            (pick(rng, &[1, 2, 5]), pick(rng, &[3, 10, 40]), pick(rng, &[0, 50, 500, 2000]))
        };
        let longest = if is_crowded {
            longest.min((MOST_JOURNEYS * socket_bytes) as u32 / (clients * messages)).max(16)
        } else {
            longest
        };
        Self {
            link_ms: pick(rng, &[500, 3000, 10_000, 60_000]),
            conversations,
            messages,
            message_bytes: pick(
                rng,
                &[longest, longest.min(20_000), longest.min(2000), longest.min(2000), longest.min(200)],
            ),
            pause_ms,
            server_dials: pick(rng, &[0.0, 0.2, 0.8]),
            slow_receivers: pick(rng, &[0.0, 0.0, 0.2]),
        }
    }
}

/// Swarm: each kind is on or off in a world, and the rate of all is drawn.
pub(crate) fn draw_faults(rng: &mut StdRng, topology: &Topology, active_ms: u32) -> Vec<Fault> {
    let enabled: Vec<u32> = (0..KINDS).filter(|_| rng.random_bool(0.3)).collect();
    if enabled.is_empty() {
        return Vec::new();
    }
    let count = pick(rng, &[1, 2, 4, 8, 14]);
    let mut faults: Vec<Fault> = (0..count).map(|_| draw_fault(rng, topology, active_ms, &enabled)).collect();
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn draw_fault(rng: &mut StdRng, topology: &Topology, active_ms: u32, enabled: &[u32]) -> Fault {
    let kind = draw_kind(pick(rng, enabled), topology, rng);
    let at_ms = rng.random_range(0..active_ms - 1);
    let longest = (active_ms - at_ms).min(pick(rng, &[50, 500, 3000, 8000]));
    Fault { at_ms, len_ms: rng.random_range(1..=longest), kind }
}
