//! What was typed, and the plan that it means.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};
use fastway::frame::MaxPacket;
use fastway_gateway::Size;

use super::parse::{self, Rate};
use super::tls::{ClientTls, ServerTls};
use crate::message::Verify;
use crate::plan::{ArrivalKind, Key, Load, Plan, Sizes, Stage, Target};
use crate::threshold::Threshold;

/// Rate of an open loop unless told otherwise.
const RATE: f64 = 10_000.0;

/// Connections from one loopback address, where more of them are used on their own.
const PER_LOOPBACK_SOURCE: usize = 20_000;

/// How much, how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
#[command(group = ArgGroup::new("load").args(["rate", "stages", "inflight"]))]
pub(super) struct LoadFlags {
    /// Messages a second over all connections, whatever the answers: 500, 50k; 1k:50k is a ramp [default: 10k]
    #[arg(short = 'R', long, value_name = "RATE", value_parser = parse::rate)]
    rate: Option<Rate>,

    /// A part of the run with a rate or a ramp of its own, such as 30s@10k; one after the other
    #[arg(long = "stage", value_name = "STAGE", value_parser = parse::stage)]
    stages: Vec<Stage>,

    /// Instead of a rate: so many messages under way on each virtual connection, an answer is followed by the next
    #[arg(long, value_name = "N")]
    inflight: Option<u32>,

    /// How messages are spread over time
    #[arg(long, value_name = "KIND", default_value = "uniform")]
    arrivals: ArrivalKind,

    /// How long to measure [default: 10s, in a demo 5s]
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration, conflicts_with = "stages")]
    duration: Option<Duration>,

    /// Messages to send in all, instead of a duration; warm-up included
    #[arg(short = 'n', long, value_name = "N", value_parser = parse::count, conflicts_with_all = ["duration", "stages"])]
    count: Option<u64>,

    /// Send for so long before it is measured
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration, default_value = "1s")]
    warm_up: Duration,

    /// Length of messages: 64, uniform:16-1K, or lognormal:256:4K for a median and a 99th percentile
    #[arg(short, long, value_name = "SIZES", value_parser = parse::sizes, default_value = "64")]
    size: Sizes,

    /// Virtual connections to close and dial again, a second
    #[arg(long, value_name = "RATE", value_parser = parse::per_second, default_value = "0")]
    churn: f64,

    /// Clients to disconnect and connect again, a second
    #[arg(long, value_name = "RATE", value_parser = parse::per_second, default_value = "0")]
    reconnect: f64,
}

/// Who takes part.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
pub(super) struct ClientFlags {
    /// Clients, each with a link to one gateway
    #[arg(short, long, value_name = "N", value_parser = parse::count, default_value = "100")]
    clients: u64,

    /// Virtual connections of each client
    #[arg(long, value_name = "N", default_value = "10")]
    conns: usize,

    /// Addresses to connect from, in turn, separated by commas
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    source: Vec<IpAddr>,

    #[command(flatten)]
    tls: ClientTls,
}

/// See [`ClientFlags`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct ServerFlags {
    #[command(flatten)]
    key: KeyFlags,

    /// Clients that servers dial, a second: each gets one message, and echoes it
    #[arg(long, value_name = "RATE", value_parser = parse::per_second, default_value = "0")]
    calls: f64,

    #[command(flatten)]
    tls: ServerTls,
}

/// What servers have to know.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct KeyFlags {
    /// What the gateway asks servers for; others on this machine can read it in the process list
    #[arg(long, env = "FASTWAY_SERVER_AUTH_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// The same, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    password_file: Option<PathBuf>,
}

/// See [`ClientFlags`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers and clients")]
pub(super) struct SharedFlags {
    /// Servers
    #[arg(long, value_name = "N", default_value = "1")]
    servers: usize,

    /// Their IDs begin here
    #[arg(long, value_name = "ID", default_value = "1")]
    first_server_id: u32,

    /// What is verified of each message; servers and clients of one run have to say the same
    #[arg(long, value_name = "HOW", default_value = "full")]
    verify: Verify,

    /// The largest packet of the gateways
    #[arg(long, value_name = "SIZE", default_value = "512K")]
    max_packet_size: Size,

    /// Ping a gateway that was silent for so long, and give it up after twice that; 0 is never
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "15s")]
    ping_interval: Duration,

    /// Connecting has to be done in this time, the handshake of servers included
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    connect_timeout: Duration,

    /// A dial has to be answered in this time
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    dial_timeout: Duration,

    /// What is open at the end is waited for so long
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "2s")]
    grace: Duration,

    /// With no link up for so long, the run is given up
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    give_up: Duration,
}

/// The tool itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "This tool")]
pub(super) struct ToolFlags {
    /// Threads of this tool [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// The same seed sends the same messages at the same times
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,

    /// Report CPU and memory of this process on this machine: the gateway's
    #[arg(long, value_name = "PID")]
    target_pid: Option<i32>,
}

/// What is reported, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub(super) struct OutputFlags {
    /// Fail (exit code 3) unless this holds, such as response.p99<5ms, rate>49k, errors<1; repeatable
    #[arg(long = "threshold", value_name = "CONDITION")]
    pub(super) thresholds: Vec<Threshold>,

    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Write an HdrHistogram log (V2), in ns, by interval
    #[arg(long, value_name = "FILE")]
    pub(super) hdr: Option<PathBuf>,

    /// Write a CSV line for each interval
    #[arg(long, value_name = "FILE")]
    pub(super) timeseries: Option<PathBuf>,

    /// The length of an interval
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "1s")]
    interval: Duration,

    /// Write the report to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// No progress
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// Which sides this process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sides {
    Both,
    Servers,
    Clients,
}

/// All flags of a run.
pub(super) struct Flags<'a> {
    pub(super) sides: Sides,
    pub(super) targets: Vec<Target>,
    pub(super) load: Option<&'a LoadFlags>,
    pub(super) clients: Option<&'a ClientFlags>,
    pub(super) servers: Option<&'a ServerFlags>,
    pub(super) shared: &'a SharedFlags,
    pub(super) tool: &'a ToolFlags,
    pub(super) output: &'a OutputFlags,
    pub(super) default_duration: Option<Duration>,
}

impl Flags<'_> {
    /// The plan that they mean, checked.
    pub(super) fn plan(self) -> anyhow::Result<Plan> {
        let Self { sides, targets, shared, tool, .. } = self;
        let key = self.servers.map_or(Ok(Key::default()), |servers| servers.key.key())?;
        let duration = self.load.and_then(LoadFlags::duration).or(self.default_duration);
        let count = self.load.and_then(|load| load.count);
        let load = self.load.map_or(Load::Closed { inflight: 1 }, |load| load.load(duration));
        let clients = self.clients.map_or(0, |flags| usize::try_from(flags.clients).unwrap_or(usize::MAX));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let plan = Plan {
            client_tls: self.clients.map_or(Ok(None), |flags| flags.tls.connector())?,
            server_tls: self.servers.map_or(Ok(None), |flags| flags.tls.connector())?,
            sources: self.clients.map_or_else(Vec::new, |flags| flags.sources(&targets)),
            clients,
            conns_per_client: self.clients.map_or(1, |flags| flags.conns),
            servers: if sides == Sides::Clients { 0 } else { shared.servers },
            first_server_id: shared.first_server_id,
            dialled_servers: shared.servers,
            load,
            sizes: self.load.map_or(Sizes::Fixed(64), |load| load.size),
            verify: shared.verify,
            warm_up: self.load.map_or(Duration::ZERO, |load| load.warm_up),
            duration: if count.is_some() { None } else { duration },
            count,
            churn: self.load.map_or(0.0, |load| load.churn),
            reconnects: self.load.map_or(0.0, |load| load.reconnect),
            calls: self.servers.map_or(0.0, |servers| servers.calls),
            threads: tool.threads.unwrap_or((cores / 2).max(1)),
            seed: tool.seed,
            max_packet: max_packet(shared.max_packet_size)?,
            connect_timeout: shared.connect_timeout,
            dial_timeout: shared.dial_timeout,
            grace: shared.grace,
            ping_interval: shared.ping_interval,
            give_up: shared.give_up,
            interval: self.output.interval,
            target_pid: tool.target_pid,
            targets,
            key,
        };
        plan.check()?;
        if let Some(pid) = plan.target_pid
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            bail!("--target-pid {pid}: there is no such process on this machine");
        }
        Ok(plan)
    }
}

impl LoadFlags {
    fn duration(&self) -> Option<Duration> {
        if self.stages.is_empty() {
            self.duration
        } else {
            Some(self.stages.iter().map(|stage| stage.duration).sum())
        }
    }

    fn load(&self, duration: Option<Duration>) -> Load {
        if let Some(inflight) = self.inflight {
            return Load::Closed { inflight };
        }
        let stages = if self.stages.is_empty() {
            let Rate { from, to } = self.rate.unwrap_or(Rate { from: RATE, to: RATE });
            // With a count, the schedule goes on until it is reached.
            let duration =
                if self.count.is_some() { Duration::MAX } else { duration.unwrap_or(Duration::MAX) };
            vec![Stage { duration, from, to }]
        } else {
            self.stages.clone()
        };
        Load::Open { stages, arrivals: self.arrivals }
    }
}

impl ClientFlags {
    /// On loopback any address of 127.0.0.0/8 can be used, so that ports do not run out.
    fn sources(&self, targets: &[Target]) -> Vec<IpAddr> {
        let on_loopback = targets.iter().all(|target| target.client_addr.starts_with("127."));
        let needed = (self.clients as usize).div_ceil(PER_LOOPBACK_SOURCE);
        if !self.source.is_empty() || !on_loopback || needed < 2 {
            return self.source.clone();
        }
        let addr = |index: usize| Ipv4Addr::new(127, 0, (1 + index / 250) as u8, (1 + index % 250) as u8);
        (0..needed.min(50_000)).map(|index| IpAddr::V4(addr(index))).collect()
    }
}

impl KeyFlags {
    pub(super) fn key(&self) -> anyhow::Result<Key> {
        let Some(path) = &self.password_file else {
            return Ok(Key(self.password.clone().unwrap_or_default().into_bytes()));
        };
        let mut key = std::fs::read(path)
            .with_context(|| format!("--password-file {} cannot be read", path.display()))?;
        while key.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            key.pop();
        }
        if key.is_empty() {
            bail!("--password-file {} is empty: write the password into it", path.display());
        }
        Ok(Key(key))
    }
}

pub(super) fn max_packet(size: Size) -> anyhow::Result<MaxPacket> {
    u32::try_from(size.0).ok().and_then(MaxPacket::new).with_context(|| {
        format!("--max-packet-size is {size}, but must be from {} to 4294967295", MaxPacket::SMALLEST)
    })
}
