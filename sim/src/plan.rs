//! A world before it begins: everything that a seed decides, as a value that can be printed, saved, changed and run.

use std::time::Duration;

use fastway::endpoint::{EndpointConfig, SlowReceiver};
use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use fastway_gateway::{ClientConfig, Config, GroupPolicy, QueueLimits, ServerConfig, ServerGroup, ServerKey};
use serde::{Deserialize, Serialize};

use crate::failover::{Bounds, FleetPlan};
use crate::fault::Fault;
use crate::net::Chop;

/// The version of the saved form. A plan of another version is not run: it would be another world.
pub const VERSION: u32 = 1;

/// The key of all servers.
pub const KEY: &[u8] = b"open sesame";

/// Where there is no word for never.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// The ID of the first server; the others have the next ones.
pub const FIRST_SERVER: u32 = 100;

/// The ID that all servers serve together, if there is a group.
pub const GROUP: u32 = 1000;

/// The ports of every gateway.
pub const CLIENT_PORT: u16 = 7010;
/// The internal one.
pub const SERVER_PORT: u16 = 7020;

/// A whole world, before it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// What the actors and the network draw from.
    pub seed: u64,
    /// Simulated time advances in steps of so many ms.
    pub tick_ms: u32,
    /// How long faults may happen, in ms.
    pub active_ms: u32,
    /// Who is there.
    pub topology: Topology,
    /// How messages travel.
    pub network: NetworkPlan,
    /// The limits of the gateways.
    pub gateway: GatewayPlan,
    /// How gateways are told to end. Not in older schedules.
    #[serde(default)]
    pub drain: DrainPlan,
    /// Whether all servers serve one ID together, besides their own. Not in older schedules.
    #[serde(default)]
    pub group: GroupPlan,
    /// The limits of servers and clients.
    pub endpoint: EndpointPlan,
    /// What they do.
    pub workload: Workload,
    /// Clients and servers use many gateways. Not in older schedules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetPlan>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Gateways, each on a host of its own.
    pub gateways: u32,
    /// Servers, each on a host of its own, each with a link to every gateway.
    pub servers: u32,
    /// Hosts for clients.
    pub client_hosts: u32,
    /// Clients in all, each with a link to one gateway at a time.
    pub clients: u32,
    /// Clients that do not keep to the rules, in all.
    pub misfits: u32,
}

/// How messages travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// The shortest way, in ms.
    pub min_latency_ms: u32,
    /// The longest way, in ms.
    pub max_latency_ms: u32,
    /// Bytes that one connection buffers, each way.
    pub socket_bytes: usize,
    /// How unkind the streams are.
    pub chop: Chop,
}

/// The limits of the gateways; times in ms, 0 for never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the gateway's setting of the same name")]
pub struct GatewayPlan {
    pub max_packet: u32,
    pub client_max_conn: usize,
    pub client_queue_messages: usize,
    pub client_queue_bytes: usize,
    pub server_queue_messages: usize,
    pub server_queue_bytes: usize,
    pub client_ping_ms: u32,
    pub client_idle_ms: u32,
    pub server_ping_ms: u32,
    pub server_idle_ms: u32,
    pub auth_timeout_ms: u32,
    pub stall_timeout_ms: u32,
    /// Not in older schedules.
    #[serde(default)]
    pub client_stall_ms: u32,
    /// Not in older schedules.
    #[serde(default)]
    pub frame_timeout_ms: u32,
}

/// How gateways are told to end where they are restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainPlan {
    /// They drain first; or they stop at once.
    pub first: bool,
    /// So long they leave their clients alone, in ms.
    pub timeout_ms: u32,
    /// So long they take to tell them to go, in ms.
    pub spread_ms: u32,
}

/// Whether all servers serve the ID [`GROUP`] together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupPlan {
    /// There is no such ID.
    #[default]
    None,
    /// A client that dials it gets the server with the fewest connections.
    Least,
    /// It gets always the same server by its address.
    Client,
}

/// The limits of servers and clients; times in ms, 0 for never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the endpoint's setting of the same name")]
pub struct EndpointPlan {
    pub ping_ms: u32,
    pub idle_ms: u32,
    pub connect_timeout_ms: u32,
    pub dial_timeout_ms: u32,
    pub send_queue_bytes: usize,
    pub recv_queue_messages: usize,
    pub recv_queue_bytes: usize,
    pub link_waits: bool,
    pub accept_queue: usize,
    pub close_timeout_ms: u32,
    /// Not in older schedules.
    #[serde(default)]
    pub ask_client_addr: bool,
    /// Not in older schedules.
    #[serde(default)]
    pub ask_draining: bool,
}

/// What servers and clients do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// A client's link lasts so long at most, in ms.
    pub link_ms: u32,
    /// Conversations that a client has at the same time, at most.
    pub conversations: u32,
    /// Messages of one conversation, each way, at most.
    pub messages: u32,
    /// The longest message, in bytes.
    pub message_bytes: u32,
    /// The longest pause between messages, in ms.
    pub pause_ms: u32,
    /// The probability that a server dials a client that has dialled it.
    pub server_dials: f64,
    /// The probability that a receiver takes its time.
    pub slow_receivers: f64,
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

impl Topology {
    /// The name of a gateway's host, from 0.
    #[must_use]
    pub fn gateway(&self, index: u32) -> String {
        format!("gateway-{}", index + 1)
    }

    /// The name of a server's host, from 0.
    #[must_use]
    pub fn server(&self, index: u32) -> String {
        format!("server-{}", index + 1)
    }

    /// The name of a host of clients, from 0.
    #[must_use]
    pub fn client_host(&self, index: u32) -> String {
        format!("clients-{}", index + 1)
    }

    /// All hosts: gateways, servers, clients.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let gateways = (0..self.gateways).map(|index| self.gateway(index));
        let servers = (0..self.servers).map(|index| self.server(index));
        gateways.chain(servers).chain((0..self.client_hosts).map(|index| self.client_host(index))).collect()
    }
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It was saved by another version of this program.
    #[error(
        "the schedule is of version {found}, this program runs version {VERSION}: check out the commit it was made with"
    )]
    Version {
        /// What it says.
        found: u64,
    },
    /// It is not what a schedule looks like.
    #[error("this is not a schedule: {0}")]
    Form(String),
    /// A fault names a host that is not there.
    #[error("fault {index} names the host {host:?}, which is not in this world; its hosts are {hosts}")]
    UnknownHost {
        /// The place of the fault in the list, from 0.
        index: usize,
        /// What it says.
        host: String,
        /// What would be right.
        hosts: String,
    },
    /// A number that makes no world.
    #[error("{name} is {value}, but must be {bounds}")]
    OutOfBounds {
        /// Which.
        name: &'static str,
        /// What it says.
        value: String,
        /// What would be right.
        bounds: &'static str,
    },
}

impl Plan {
    /// Reads a saved plan and judges it.
    ///
    /// # Errors
    ///
    /// [`PlanError`], which says what is wrong.
    pub fn from_json(json: &str) -> Result<Self, PlanError> {
        let form = |error: serde_json::Error| PlanError::Form(error.to_string());
        let value: serde_json::Value = serde_json::from_str(json).map_err(form)?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            None => return Err(PlanError::Form("it has no \"version\"".to_owned())),
            Some(found) if found != u64::from(VERSION) => return Err(PlanError::Version { found }),
            Some(_) => {}
        }
        let plan: Self = serde_json::from_value(value).map_err(form)?;
        plan.check()?;
        Ok(plan)
    }

    /// The saved form.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan is plain data")
    }

    /// Judges whether this is a world that can be run.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        let t = &self.topology;
        bounds("tick_ms", self.tick_ms, 1..=100, "1 to 100")?;
        bounds("active_ms", self.active_ms, 100..=600_000, "100 to 600000")?;
        bounds("gateways", t.gateways, 1..=8, "1 to 8")?;
        bounds("servers", t.servers, 1..=8, "1 to 8")?;
        bounds("client_hosts", t.client_hosts, 1..=4, "1 to 4: worlds of more than 20 hosts are too slow")?;
        bounds("clients", t.clients, 0..=2_000, "0 to 2000")?;
        bounds("misfits", t.misfits, 0..=200, "0 to 200")?;
        bounds(
            "max_latency_ms",
            self.network.max_latency_ms,
            self.network.min_latency_ms..=10_000,
            "min_latency_ms to 10000",
        )?;
        bounds("max_packet", self.gateway.max_packet, 64..=1 << 24, "64 to 16777216")?;
        for rate in [
            self.network.chop.pending,
            self.network.chop.tiny,
            self.workload.server_dials,
            self.workload.slow_receivers,
        ] {
            if !(0.0..=0.9).contains(&rate) {
                return Err(PlanError::OutOfBounds {
                    name: "a rate",
                    value: rate.to_string(),
                    bounds: "0 to 0.9",
                });
            }
        }
        if let Some(fleet) = &self.fleet {
            fleet.check()?;
        }
        self.gateway_config().check().map_err(|error| PlanError::Form(error.to_string()))?;
        let hosts = t.hosts();
        for (index, fault) in self.faults.iter().enumerate() {
            if let Some(host) =
                fault.hosts().into_iter().find(|host| !hosts.iter().any(|known| known == host))
            {
                return Err(PlanError::UnknownHost { index, host: host.to_owned(), hosts: hosts.join(", ") });
            }
            bounds(
                "the time of a fault",
                fault.end_ms(),
                0..=self.active_ms,
                "within active_ms, its end included",
            )?;
        }
        Ok(())
    }

    /// The configuration of every gateway.
    #[must_use]
    pub fn gateway_config(&self) -> Config {
        let plan = &self.gateway;
        let any = |port| std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
        let client = ClientConfig {
            addr: any(CLIENT_PORT),
            max_conn: plan.client_max_conn,
            keepalive: KeepaliveConfig {
                ping_interval: ms(plan.client_ping_ms),
                idle_timeout: ms(plan.client_idle_ms),
            },
            queue: QueueLimits { messages: plan.client_queue_messages, bytes: plan.client_queue_bytes },
            stall_timeout: if plan.client_stall_ms == 0 { FOR_EVER } else { ms(plan.client_stall_ms) },
            ..ClientConfig::default()
        };
        let server = ServerConfig {
            addr: any(SERVER_PORT),
            key: ServerKey::new(KEY),
            auth_timeout: ms(plan.auth_timeout_ms),
            keepalive: KeepaliveConfig {
                ping_interval: ms(plan.server_ping_ms),
                idle_timeout: ms(plan.server_idle_ms),
            },
            queue: QueueLimits { messages: plan.server_queue_messages, bytes: plan.server_queue_bytes },
            stall_timeout: ms(plan.stall_timeout_ms),
            groups: self.server_group().into_iter().collect(),
            ..ServerConfig::default()
        };
        let max_packet = MaxPacket::new(plan.max_packet).unwrap_or_default();
        Config {
            client,
            server,
            max_packet,
            frame_timeout: ms(plan.frame_timeout_ms),
            drain_timeout: ms(self.drain.timeout_ms),
            drain_spread: ms(self.drain.spread_ms),
            ..Config::default()
        }
    }

    /// What all servers serve together, if anything.
    #[must_use]
    pub fn server_group(&self) -> Option<ServerGroup> {
        let policy = match self.group {
            GroupPlan::None => return None,
            GroupPlan::Least => GroupPolicy::Least,
            GroupPlan::Client => GroupPolicy::Client,
        };
        let (first, last) = (FIRST_SERVER, FIRST_SERVER + self.topology.servers - 1);
        let group = ServerGroup::new(GROUP.into(), first.into(), last.into(), policy);
        Some(group.expect("there is at least one server"))
    }

    /// The configuration of every endpoint.
    #[must_use]
    pub fn endpoint_config(&self) -> EndpointConfig {
        let plan = &self.endpoint;
        EndpointConfig {
            max_packet: MaxPacket::new(self.gateway.max_packet).unwrap_or_default(),
            connect_timeout: ms(plan.connect_timeout_ms),
            dial_timeout: ms(plan.dial_timeout_ms),
            keepalive: KeepaliveConfig { ping_interval: ms(plan.ping_ms), idle_timeout: ms(plan.idle_ms) },
            send_queue_bytes: plan.send_queue_bytes,
            recv_queue_messages: plan.recv_queue_messages,
            recv_queue_bytes: plan.recv_queue_bytes,
            slow_receiver: if plan.link_waits {
                SlowReceiver::LinkWaits
            } else {
                SlowReceiver::ConnectionCloses
            },
            accept_queue: plan.accept_queue,
            close_timeout: ms(plan.close_timeout_ms),
            ask_client_addr: plan.ask_client_addr,
            ask_draining: plan.ask_draining,
            // The simulated network is one that cannot tell.
            dead_peer_timeout: Duration::ZERO,
        }
    }

    /// After the last fault, everything that is broken is found out within this time, in ms: silence, stalls, handshakes
    /// and dials have their deadlines, and orderly ends have 10 s to write and 1 s to linger (`FLUSH_TIMEOUT`,
    /// `LINGER_TIMEOUT`). Then endpoints need one step of their backoff to connect again.
    #[must_use]
    pub fn healing_ms(&self) -> u32 {
        let (gateway, endpoint) = (&self.gateway, &self.endpoint);
        let silence = gateway.client_idle_ms.max(gateway.server_idle_ms).max(endpoint.idle_ms);
        let waits = gateway.stall_timeout_ms.max(gateway.auth_timeout_ms).max(gateway.client_stall_ms);
        let dials = endpoint.connect_timeout_ms.max(endpoint.dial_timeout_ms).max(endpoint.close_timeout_ms);
        let failover = self.fleet.as_ref().map_or(0, |fleet| Bounds::new(self, fleet).healing_ms());
        silence + waits + dials + failover + 4 * self.network.max_latency_ms + 3_000
    }
}

pub(crate) fn bounds(
    name: &'static str,
    value: u32,
    range: std::ops::RangeInclusive<u32>,
    bounds: &'static str,
) -> Result<(), PlanError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(PlanError::OutOfBounds { name, value: value.to_string(), bounds })
}
