//! What can go wrong, as values: a schedule of faults, each with its own end.
//!
//! Any subset of a schedule is a schedule, which lets a failing one be shrunk.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::failover::Flap;
use crate::plan::Topology;

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins, in ms of simulated time.
    pub at_ms: u32,
    /// How long it lasts, in ms.
    pub len_ms: u32,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of fault. Hosts are called by their names: `gateway-1`, `server-1`, `clients-1`, and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// The host's software is killed; its kernel closes its connections. At the end it is started again.
    Kill {
        /// Which.
        host: String,
    },
    /// The host loses its power, and nobody is told. At the end it has power again.
    PowerLoss {
        /// Which.
        host: String,
    },
    /// A gateway is told to stop, in good order, or to drain. At the end it is started again.
    Restart {
        /// Which.
        host: String,
    },
    /// Every gateway is restarted, one after the other, each down for `down_ms` at least.
    RollingRestart {
        /// In ms.
        down_ms: u32,
    },
    /// What two hosts send to each other waits, and arrives at the end.
    Hold {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// Two hosts do not reach each other. At the end their connections are reset where bytes were on the way.
    Partition {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// What one host sends to another waits, not what it gets. At the end all of it arrives, or, if the kernels have
    /// `given_up`, the connections are reset.
    OneWay {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
        /// Reset at the end.
        given_up: bool,
    },
    /// One of the host's connections is reset, after `after_bytes` more.
    Reset {
        /// Which.
        host: String,
        /// Which of its connections, modulo their number.
        nth: u32,
        /// From the side that connected.
        after_bytes: u32,
    },
    /// One of the host's connections goes silent: nothing comes through, nobody is told. At the end it is reset.
    HalfOpen {
        /// Which.
        host: String,
        /// Which of its connections, modulo their number.
        nth: u32,
    },
    /// The host's software does not read.
    StalledReader {
        /// Which.
        host: String,
    },
    /// Every segment between two hosts takes so long.
    SlowLink {
        /// One.
        a: String,
        /// The other.
        b: String,
        /// In ms.
        latency_ms: u32,
    },
    /// The host does nothing; then its clock finds that `jump_ms` have passed.
    Pause {
        /// Which.
        host: String,
        /// In ms, on its clock.
        jump_ms: u32,
    },
    /// Many connect to one gateway at once; some say something.
    ConnectStorm {
        /// Whom.
        gateway: String,
        /// How many.
        count: u32,
    },
    /// Somebody else registers with the ID of a server, and leaves at the end.
    DuplicateServer {
        /// Where.
        gateway: String,
        /// By its place among the servers.
        server: u32,
    },
    /// Somebody sends to a port of the gateway what no peer may send.
    Malformed {
        /// Whom.
        gateway: String,
        /// The internal port, after the handshake; or the public one.
        as_server: bool,
    },
    /// Whoever asks where the gateways are gets another answer. Only in worlds of [many gateways](crate::failover).
    Names {
        /// What is wrong with it.
        flap: Flap,
    },
}

impl Fault {
    /// When it ends, in ms of simulated time.
    #[must_use]
    pub fn end_ms(&self) -> u32 {
        self.at_ms.saturating_add(self.len_ms)
    }

    /// The hosts that it names.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Kill { host }
            | Kind::PowerLoss { host }
            | Kind::Restart { host }
            | Kind::Reset { host, .. }
            | Kind::HalfOpen { host, .. }
            | Kind::StalledReader { host }
            | Kind::Pause { host, .. } => vec![host],
            Kind::Hold { a, b } | Kind::Partition { a, b } | Kind::SlowLink { a, b, .. } => vec![a, b],
            Kind::OneWay { from, to, .. } => vec![from, to],
            Kind::ConnectStorm { gateway, .. }
            | Kind::DuplicateServer { gateway, .. }
            | Kind::Malformed { gateway, .. } => vec![gateway],
            Kind::Names { flap: Flap::Without { gateway } } => vec![gateway],
            Kind::RollingRestart { .. } | Kind::Names { .. } => vec![],
        }
    }
}

/// How many kinds [`draw_kind`] knows: all that can be in any world.
pub const KINDS: u32 = 15;

/// A fault of the kind with this number, below [`KINDS`], for hosts of this topology.
pub fn draw_kind(number: u32, topology: &Topology, rng: &mut StdRng) -> Kind {
    let gateway = |rng: &mut StdRng| topology.gateway(rng.random_range(0..topology.gateways));
    let server = |rng: &mut StdRng| topology.server(rng.random_range(0..topology.servers));
    let clients = |rng: &mut StdRng| topology.client_host(rng.random_range(0..topology.client_hosts));
    let any = |rng: &mut StdRng| topology.hosts()[rng.random_range(0..topology.hosts().len())].clone();
    let peer = |rng: &mut StdRng| if rng.random_bool(0.5) { server(rng) } else { clients(rng) };
    match number {
        0 => Kind::Kill { host: if rng.random_bool(0.5) { gateway(rng) } else { server(rng) } },
        1 => Kind::PowerLoss { host: any(rng) },
        2 => Kind::Restart { host: gateway(rng) },
        3 => Kind::RollingRestart { down_ms: rng.random_range(10..2000) },
        4 => Kind::Hold { a: gateway(rng), b: peer(rng) },
        5 => Kind::Partition { a: gateway(rng), b: peer(rng) },
        6 => {
            let (a, b, given_up) = (gateway(rng), peer(rng), rng.random_bool(0.5));
            let (from, to) = if rng.random_bool(0.5) { (a, b) } else { (b, a) };
            Kind::OneWay { from, to, given_up }
        }
        7 => {
            let after_bytes =
                if rng.random_bool(0.5) { rng.random_range(1..40) } else { rng.random_range(1..4000) };
            Kind::Reset { host: any(rng), nth: rng.random_range(0..1000), after_bytes }
        }
        8 => Kind::HalfOpen { host: any(rng), nth: rng.random_range(0..1000) },
        9 => Kind::StalledReader { host: peer(rng) },
        10 => Kind::SlowLink { a: gateway(rng), b: peer(rng), latency_ms: rng.random_range(100..3000) },
        11 => Kind::Pause { host: any(rng), jump_ms: rng.random_range(100..20_000) },
        12 => Kind::ConnectStorm { gateway: gateway(rng), count: rng.random_range(5..60) },
        13 => Kind::DuplicateServer { gateway: gateway(rng), server: rng.random_range(0..topology.servers) },
        _ => Kind::Malformed { gateway: gateway(rng), as_server: rng.random_bool(0.5) },
    }
}
