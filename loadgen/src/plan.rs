//! What is meant: everything that a run needs to know, checked. The same plan with the same seed sends the same messages at
//! the same times.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use fastway::frame::MaxPacket;
use fastway::net::tls::TlsConnector;
use serde::Serialize;

use crate::message::{MIN_MESSAGE_BYTES, Verify};

/// A whole run, before it begins.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Gateways. Clients are spread over them, servers connect to all.
    pub targets: Vec<Target>,
    /// What the gateways ask servers for.
    #[serde(skip)]
    pub key: Key,
    /// How clients connect over TLS; `None`: without.
    #[serde(serialize_with = "is_some")]
    pub client_tls: Option<TlsConnector>,
    /// How servers connect over TLS; `None`: without.
    #[serde(serialize_with = "is_some")]
    pub server_tls: Option<TlsConnector>,
    /// Clients in all; 0 to play servers only.
    pub clients: usize,
    /// Virtual connections that each client dials.
    pub conns_per_client: usize,
    /// Servers; 0 to play clients only.
    pub servers: usize,
    /// The IDs of servers begin here; clients dial from here on too.
    pub first_server_id: u32,
    /// How many different servers clients dial.
    pub dialled_servers: usize,
    /// How much.
    pub load: Load,
    /// How long messages are.
    pub sizes: Sizes,
    /// What is verified.
    pub verify: Verify,
    /// Sent, but not measured, before the rest.
    pub warm_up: Duration,
    /// How long to measure; `None`: until interrupted, or until `count`.
    pub duration: Option<Duration>,
    /// Messages to send in all, warm-up included.
    pub count: Option<u64>,
    /// Virtual connections that are closed and dialled again, a second.
    pub churn: f64,
    /// Links that are ended and made again, a second.
    pub reconnects: f64,
    /// Clients that are dialled by servers, a second.
    pub calls: f64,
    /// Threads of this tool.
    pub threads: usize,
    /// What is drawn, is drawn from this.
    pub seed: u64,
    /// The largest packet of the gateways.
    #[serde(serialize_with = "max_packet")]
    pub max_packet: MaxPacket,
    /// A connection, handshake included, has to be there in this time.
    pub connect_timeout: Duration,
    /// A dial has to be answered in this time.
    pub dial_timeout: Duration,
    /// What is still open when the last message was due is waited for so long.
    pub grace: Duration,
    /// How often links to a silent gateway are pinged; 0 for never.
    pub ping_interval: Duration,
    /// When nothing has been connected for so long, the run is given up.
    pub give_up: Duration,
    /// How often intermediate results are written.
    pub interval: Duration,
    /// Addresses to connect from, in turn; empty: the kernel's choice.
    pub sources: Vec<IpAddr>,
    /// The process of the gateway on this machine.
    pub target_pid: Option<i32>,
}

fn max_packet<S: serde::Serializer>(max: &MaxPacket, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(max.bytes())
}

fn is_some<T, S: serde::Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(value.is_some())
}

/// One gateway, `HOST:PORT` twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Where clients connect.
    pub client_addr: String,
    /// Where servers connect.
    pub server_addr: String,
}

/// A password that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Key(pub Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Key(empty)" } else { "Key(hidden)" })
    }
}

/// How much is sent, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Messages are due at times that do not depend on answers.
    Open {
        /// One after the other.
        stages: Vec<Stage>,
        /// How messages are spread over time.
        arrivals: ArrivalKind,
    },
    /// Each virtual connection has always so many messages under way: an answer is followed by the next question.
    Closed {
        /// How many.
        inflight: u32,
    },
}

/// A part of an open loop, in which the rate changes evenly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// How long it lasts.
    pub duration: Duration,
    /// Messages a second at its beginning.
    pub from: f64,
    /// Messages a second at its end.
    pub to: f64,
}

/// How messages are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalKind {
    /// Evenly.
    Uniform,
    /// As those of many independent senders: the gaps are exponentially distributed.
    Poisson,
}

/// How long messages are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Any length from the first to the second is as likely.
    Uniform(usize, usize),
    /// Many short ones and a few long ones: half are below `median`, one in a hundred is above `p99`.
    Lognormal {
        /// The median.
        median: usize,
        /// The 99th percentile.
        p99: usize,
    },
}

/// What makes no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to do.
    #[error("there is nothing to do: {0}")]
    Nothing(&'static str),
    /// Too short for what messages carry.
    #[error(
        "-s {size}: a message needs at least {MIN_MESSAGE_BYTES} bytes, for its time, its number and its check; use -s {MIN_MESSAGE_BYTES} or more"
    )]
    TooShort {
        /// What was asked for.
        size: usize,
    },
    /// Longer than a packet may be.
    #[error(
        "-s {size}: messages may have {max} bytes at most, since --max-packet-size is {}; raise it here and at the gateway",
        max + 4
    )]
    TooLong {
        /// What was asked for.
        size: usize,
        /// What is possible.
        max: usize,
    },
    /// A range that is none.
    #[error("{flag} {text}: {why}")]
    Flag {
        /// Which flag.
        flag: &'static str,
        /// What it says.
        text: String,
        /// What is wrong with it, and what would be right.
        why: &'static str,
    },
}

impl Default for Plan {
    /// A hundred clients with a virtual connection each, one server, messages of 64 bytes, one under way on each connection,
    /// verified, for ten seconds after one of warm-up. Only a target is missing.
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            key: Key::default(),
            client_tls: None,
            server_tls: None,
            clients: 100,
            conns_per_client: 1,
            servers: 1,
            first_server_id: 1,
            dialled_servers: 1,
            load: Load::Closed { inflight: 1 },
            sizes: Sizes::Fixed(64),
            verify: Verify::Full,
            warm_up: Duration::from_secs(1),
            duration: Some(Duration::from_secs(10)),
            count: None,
            churn: 0.0,
            reconnects: 0.0,
            calls: 0.0,
            threads: 1,
            seed: 1,
            max_packet: MaxPacket::default(),
            connect_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(5),
            grace: Duration::from_secs(2),
            ping_interval: Duration::from_secs(15),
            give_up: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            sources: Vec::new(),
            target_pid: None,
        }
    }
}

impl Sizes {
    /// The shortest and the longest.
    #[must_use]
    pub fn bounds(self) -> (usize, usize) {
        match self {
            Self::Fixed(size) => (size, size),
            Self::Uniform(low, high) => (low, high),
            Self::Lognormal { median, p99 } => (median, p99),
        }
    }
}

impl Load {
    /// The mean rate of an open loop without its warm-up, in messages a second.
    #[must_use]
    pub fn mean_rate(&self) -> Option<f64> {
        let Self::Open { stages, .. } = self else { return None };
        let seconds: f64 = stages.iter().map(|stage| stage.duration.as_secs_f64()).sum();
        let messages: f64 =
            stages.iter().map(|stage| (stage.from + stage.to) / 2.0 * stage.duration.as_secs_f64()).sum();
        Some(if seconds > 0.0 { messages / seconds } else { 0.0 })
    }
}

impl Plan {
    /// Judges whether this is a run.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, and what would be right.
    pub fn check(&self) -> Result<(), PlanError> {
        let flag = |flag, text: String, why| Err(PlanError::Flag { flag, text, why });
        if self.targets.is_empty() {
            return Err(PlanError::Nothing("no gateway was named; name one, such as 127.0.0.1:7010"));
        }
        if self.clients == 0 && self.servers == 0 {
            return Err(PlanError::Nothing("-c is 0 and --servers is 0"));
        }
        if self.clients > 0 && self.dialled_servers == 0 {
            return Err(PlanError::Nothing("there are no servers to dial; --servers must be 1 or more"));
        }
        if self.clients > 1_000_000 {
            return flag("-c", self.clients.to_string(), "one process plays 1000000 clients at most");
        }
        if self.conns_per_client == 0 || self.conns_per_client > 65_536 {
            return flag("--conns", self.conns_per_client.to_string(), "must be 1 to 65536");
        }
        let last_id = u64::from(self.first_server_id) + self.dialled_servers.max(self.servers) as u64;
        if last_id > u64::from(u32::MAX) {
            return flag(
                "--first-server-id",
                self.first_server_id.to_string(),
                "server IDs end at 4294967295",
            );
        }
        if self.threads == 0 || self.threads > 256 {
            return flag("--threads", self.threads.to_string(), "must be 1 to 256");
        }
        let (shortest, longest) = self.sizes.bounds();
        if shortest > longest {
            return flag(
                "-s",
                format!("{shortest}-{longest}"),
                "the first size must not be above the second",
            );
        }
        if shortest < MIN_MESSAGE_BYTES {
            return Err(PlanError::TooShort { size: shortest });
        }
        let max = self.max_packet.max_message_bytes();
        if longest > max {
            return Err(PlanError::TooLong { size: longest, max });
        }
        if self.interval < Duration::from_millis(50) {
            return flag("--interval", format!("{:?}", self.interval), "must be 50ms or longer");
        }
        for (name, rate) in
            [("--churn", self.churn), ("--reconnect", self.reconnects), ("--calls", self.calls)]
        {
            if !(0.0..=1e6).contains(&rate) {
                return flag(name, rate.to_string(), "must be 0 to 1m a second");
            }
        }
        match &self.load {
            Load::Closed { inflight } if *inflight == 0 || *inflight > 65_536 => {
                flag("--inflight", inflight.to_string(), "must be 1 to 65536")
            }
            Load::Open { stages, .. } => stages.iter().try_for_each(|stage| {
                if [stage.from, stage.to].iter().all(|rate| (0.0..=1e9).contains(rate)) {
                    Ok(())
                } else {
                    flag("-R", format!("{}:{}", stage.from, stage.to), "must be 0 to 1000m a second")
                }
            }),
            Load::Closed { .. } => Ok(()),
        }
    }
}
