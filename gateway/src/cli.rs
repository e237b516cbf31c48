//! What was typed: flags and environment, parsed into a [`Config`], and the process around a gateway.
//!
//! Exit codes: 0 stopped in good order, 1 could not run (a port is taken), 2 wrong usage or configuration, found
//! before anything is bound, 130 or 143 ended at once by a second signal.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::builder::BoolishValueParser;
use clap::{Parser, ValueEnum};
use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use fastway::net::TcpNetwork;
use ipnet::IpNet;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sysinfo::ProcessesToUpdate;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};

use crate::config::{
    ClientConfig, Config, MemPoolConfig, MemPoolType, QueueLimits, ServerConfig, ServerKey, Threads,
};
use crate::gateway::{BindError, Gateway, Handle};
use crate::size::Size;

const USAGE_ERROR: u8 = 2;

/// fastway: one public gateway for many servers and very many clients.
///
/// Clients connect to the public port, servers to the internal one. Over its one physical connection a client opens
/// virtual connections to any server by ID, and a server to any client.
///
/// Sizes are bytes, or 1024-based with K, M, G: 512K. Durations have a unit: 30s, 500ms, 2m.
/// Every flag can also be set in the environment.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    client: ClientFlags,
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    shared: SharedFlags,
    #[command(flatten)]
    mem_pool: MemPoolFlags,
    #[command(flatten)]
    log: LogFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Clients (public port)")]
struct ClientFlags {
    /// Where clients connect: IP:PORT, or :PORT for all addresses; port 0 is any free one [original: ClientAddr]
    #[arg(long, env = "FASTWAY_CLIENT_ADDR", value_name = "ADDR", default_value = "0.0.0.0:7010", value_parser = addr)]
    client_addr: SocketAddr,

    /// Virtual connections that one client may hold open by dialling [original: ClientMaxConn]
    #[arg(long, env = "FASTWAY_CLIENT_MAX_CONN", value_name = "COUNT", default_value = "16", allow_negative_numbers = true, value_parser = count)]
    client_max_conn: usize,

    /// The largest first buffer for what is sent to a client; it is as large as was needed the last time [original:
    /// ClientBufferSize]
    #[arg(long, env = "FASTWAY_CLIENT_BUFFER_SIZE", value_name = "SIZE", default_value = "2K")]
    client_buffer_size: Size,

    /// Ping a client that was silent for so long; 0 is never [original: ClientPingInterval]
    #[arg(long, env = "FASTWAY_CLIENT_PING_INTERVAL", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    client_ping_interval: Duration,

    /// Close a client that was silent for so long; 0 is never [default: twice the ping interval] [original: ClientIdleTimeout]
    #[arg(long, env = "FASTWAY_CLIENT_IDLE_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    client_idle_timeout: Option<Duration>,

    /// Messages that may wait for one client; one more, and it is cut off [original: ClientSendChanSize]
    #[arg(long, env = "FASTWAY_CLIENT_SEND_CHAN_SIZE", value_name = "COUNT", default_value = "1000", allow_negative_numbers = true, value_parser = count)]
    client_send_chan_size: usize,

    /// Bytes that may wait for one client; more, and it is cut off
    #[arg(long, env = "FASTWAY_CLIENT_SEND_QUEUE_BYTES", value_name = "SIZE", default_value = "1M")]
    client_send_queue_bytes: Size,

    /// Close a client that takes nothing of what waits for it for so long
    #[arg(long, env = "FASTWAY_CLIENT_STALL_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    client_stall_timeout: Duration,

    /// Clients that may be connected; one more is turned away; 0 is any number
    #[arg(long, env = "FASTWAY_MAX_CLIENTS", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = count)]
    max_clients: usize,

    /// Clients of one address that may be connected; an IPv6 address stands for its network of 64 bits; 0 is any number
    #[arg(long, env = "FASTWAY_MAX_CLIENTS_PER_IP", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = count)]
    max_clients_per_ip: usize,

    /// Clients that are accepted in a second, and at once after a quiet one; more wait in the kernel's queue; 0 is any number
    #[arg(long, env = "FASTWAY_ACCEPT_RATE", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = rate)]
    accept_rate: u32,

    /// Dials of one client in a second, and at once after a quiet one; more are refused; 0 is any number
    #[arg(long, env = "FASTWAY_DIAL_RATE", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = rate)]
    dial_rate: u32,

    /// Commands (dials, closes, pings) of one client in a second, and at once after a quiet one; who sends more is cut off; 0 is
    /// any number
    #[arg(long, env = "FASTWAY_COMMAND_RATE", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = rate)]
    command_rate: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Servers (internal port)")]
struct ServerFlags {
    /// Where servers connect: IP:PORT, or :PORT for all addresses; port 0 is any free one [original: ServerAddr]
    #[arg(long, env = "FASTWAY_SERVER_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7020", value_parser = addr)]
    server_addr: SocketAddr,

    /// What servers must know to register. Other users of this machine can read it in the list of processes:
    /// prefer the file, or the environment [default: empty] [original: ServerAuthPassword]
    #[arg(long, env = "FASTWAY_SERVER_AUTH_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    server_auth_password: Option<String>,

    /// The same, read from a file; one line end at its end does not count
    #[arg(
        long,
        env = "FASTWAY_SERVER_AUTH_PASSWORD_FILE",
        value_name = "FILE",
        conflicts_with = "server_auth_password"
    )]
    server_auth_password_file: Option<PathBuf>,

    /// Accept an empty password although other machines can reach the internal port
    #[arg(long, env = "FASTWAY_ALLOW_NO_AUTH", value_parser = BoolishValueParser::new())]
    allow_no_auth: bool,

    /// A server must have proved itself in this time [original: ServerAuthTimeout]
    #[arg(long, env = "FASTWAY_SERVER_AUTH_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = duration)]
    server_auth_timeout: Duration,

    /// The largest first buffer for what is sent to a server; it is as large as was needed the last time [original:
    /// ServerBufferSize]
    #[arg(long, env = "FASTWAY_SERVER_BUFFER_SIZE", value_name = "SIZE", default_value = "64K")]
    server_buffer_size: Size,

    /// Ping a server that was silent for so long; 0 is never [original: ServerPingInterval]
    #[arg(long, env = "FASTWAY_SERVER_PING_INTERVAL", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    server_ping_interval: Duration,

    /// Close a server that was silent for so long; 0 is never [default: twice the ping interval]
    #[arg(long, env = "FASTWAY_SERVER_IDLE_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    server_idle_timeout: Option<Duration>,

    /// Messages that may wait for one server; at that, its clients are held back [original: ServerSendChanSize]
    #[arg(long, env = "FASTWAY_SERVER_SEND_CHAN_SIZE", value_name = "COUNT", default_value = "100000", allow_negative_numbers = true, value_parser = count)]
    server_send_chan_size: usize,

    /// Bytes that may wait for one server; at that, its clients are held back
    #[arg(long, env = "FASTWAY_SERVER_SEND_QUEUE_BYTES", value_name = "SIZE", default_value = "64M")]
    server_send_queue_bytes: Size,

    /// Close a server that takes nothing of what waits for it for so long
    #[arg(long, env = "FASTWAY_SERVER_STALL_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    server_stall_timeout: Duration,

    /// From where servers may come: networks such as 10.0.0.0/8 or fd00::/8, or single addresses, separated by commas
    /// [default: from anywhere]
    #[arg(long, env = "FASTWAY_SERVER_ALLOW", value_name = "CIDR,…", value_delimiter = ',', value_parser = network)]
    server_allow: Vec<IpNet>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Both sides")]
struct SharedFlags {
    /// The largest packet: connection ID and message, without the length field [original: MaxPacketSize]
    #[arg(long, env = "FASTWAY_MAX_PACKET_SIZE", value_name = "SIZE", default_value = "512K")]
    max_packet_size: Size,

    /// Share both ports with other gateways on this machine; the kernel spreads connections [original: ReusePort]
    #[arg(long, env = "FASTWAY_REUSE_PORT", value_parser = BoolishValueParser::new())]
    reuse_port: bool,

    /// A frame that has begun to arrive must be there as a whole in this time, and a second more for each KiB that has come, or its
    /// sender is closed; 0 is for ever
    #[arg(long, env = "FASTWAY_FRAME_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    frame_timeout: Duration,

    /// Bytes that may wait in the whole gateway. At nine tenths of it no more clients are let in, at all of it those who owe the
    /// most are cut off; 0 is no limit [default: a quarter of the machine's memory, or of its cgroup's]
    #[arg(long, env = "FASTWAY_MAX_BUFFERED_BYTES", value_name = "SIZE")]
    max_buffered_bytes: Option<Size>,

    /// Threads that serve connections [default: the number of cores]
    #[arg(long, env = "FASTWAY_THREADS", value_name = "COUNT", allow_negative_numbers = true, value_parser = count)]
    threads: Option<usize>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Buffer pool (for cut-off and large frames and for what waits to be sent)")]
struct MemPoolFlags {
    /// How threads share the pool: a cache for each (sync, the fastest and the default), without locks (atom), a list with a
    /// lock (chan) [original: MemPoolType, atom]
    #[arg(long, env = "FASTWAY_MEM_POOL_TYPE", value_name = "TYPE", default_value = "sync")]
    mem_pool_type: MemPoolType,

    /// Each size class is so many times the one before [original: MemPoolFactor]
    #[arg(long, env = "FASTWAY_MEM_POOL_FACTOR", value_name = "NUMBER", default_value = "2", allow_negative_numbers = true, value_parser = count)]
    mem_pool_factor: usize,

    /// The smallest size class [original: MemPoolMinChunk]
    #[arg(long, env = "FASTWAY_MEM_POOL_MIN_CHUNK", value_name = "SIZE", default_value = "64")]
    mem_pool_min_chunk: Size,

    /// The largest size class; what is larger comes from the allocator [original: MemPoolMaxChunk]
    #[arg(long, env = "FASTWAY_MEM_POOL_MAX_CHUNK", value_name = "SIZE", default_value = "64K")]
    mem_pool_max_chunk: Size,

    /// What each size class keeps for reuse at most; it keeps less when it is idle [original: MemPoolPageSize]
    #[arg(long, env = "FASTWAY_MEM_POOL_PAGE_SIZE", value_name = "SIZE", default_value = "1M")]
    mem_pool_page_size: Size,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log (on standard error)")]
struct LogFlags {
    /// For people, or one JSON object a line
    #[arg(long, env = "FASTWAY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// What is worth a line, and everything graver
    #[arg(long, env = "FASTWAY_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Runs the process: parses, checks, binds, serves, stops.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.log);
    let config = match cli.config() {
        Ok(config) => config,
        Err(error) => return fail(USAGE_ERROR, &error),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

/// What these arguments mean, the first of which is the name of the program. Reads the environment too.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Config> {
    Cli::try_parse_from(args)?.config()
}

/// The one sentence that says why there is no gateway.
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    // If nobody reads it, there is still the exit code.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(code)
}

fn run(config: Config) -> anyhow::Result<()> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).context("the operating system gives no random bytes for challenges")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let no_auth = config.server.key.is_empty();
        let max_buffered_bytes = config.max_buffered_bytes;
        let gateway = Gateway::bind(&TcpNetwork::new(), config, seed).await.map_err(|error| match error {
            BindError::Config(error) => unreachable!("it was checked before: {error}"),
            error @ BindError::Bind { .. } => anyhow!(error),
        })?;
        // Before anybody is told that it runs: whoever reads the next line may send a signal at once.
        stop_on_signals(gateway.handle()).context("cannot watch for signals")?;
        info!(side = "client", addr = %gateway.client_addr(), "listening");
        info!(side = "server", addr = %gateway.server_addr(), "listening");
        if max_buffered_bytes > 0 {
            info!(max_buffered_bytes = %Size(max_buffered_bytes), "what may wait in all queues together");
        }
        if no_auth {
            warn!("no password is set: whoever reaches the internal port can register as any server");
        }
        gateway.run().await.context("cannot start a thread")?;
        info!("stopped");
        Ok(())
    })
}

/// The first SIGINT or SIGTERM stops the gateway in good order, the second ends the process.
fn stop_on_signals(gateway: Handle) -> std::io::Result<()> {
    for (kind, name, exit_code) in
        [(SignalKind::interrupt(), "SIGINT", 130), (SignalKind::terminate(), "SIGTERM", 143)]
    {
        let (mut signals, gateway) = (signal(kind)?, gateway.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if gateway.is_stopping() {
                    error!(signal = name, "second signal: exiting at once");
                    std::process::exit(exit_code);
                }
                info!(
                    signal = name,
                    "stopping: sending what is queued, 10 s at most; a second signal exits at once"
                );
                gateway.stop();
            }
        });
    }
    Ok(())
}

fn start_log(flags: &LogFlags) {
    let level = match flags.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Whoever reads the log may go away. By default that is reported on standard error, which panics then.
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match flags.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

impl Cli {
    fn config(self) -> anyhow::Result<Config> {
        let Self { client, server, shared, mem_pool, .. } = self;
        let queues = [client.client_send_queue_bytes.0, server.server_send_queue_bytes.0];
        let max_buffered_bytes = match shared.max_buffered_bytes {
            Some(size) => size.0,
            None => a_quarter_of_memory(&queues)?,
        };
        let config = Config {
            client: ClientConfig {
                addr: client.client_addr,
                max_conn: client.client_max_conn,
                buffer_bytes: client.client_buffer_size.0,
                keepalive: keepalive(client.client_ping_interval, client.client_idle_timeout),
                queue: QueueLimits {
                    messages: client.client_send_chan_size,
                    bytes: client.client_send_queue_bytes.0,
                },
                stall_timeout: client.client_stall_timeout,
                max_clients: client.max_clients,
                max_clients_per_ip: client.max_clients_per_ip,
                accept_rate: client.accept_rate,
                dial_rate: client.dial_rate,
                command_rate: client.command_rate,
            },
            server: ServerConfig {
                addr: server.server_addr,
                key: server.key()?,
                allow_no_auth: server.allow_no_auth,
                auth_timeout: server.server_auth_timeout,
                buffer_bytes: server.server_buffer_size.0,
                keepalive: keepalive(server.server_ping_interval, server.server_idle_timeout),
                queue: QueueLimits {
                    messages: server.server_send_chan_size,
                    bytes: server.server_send_queue_bytes.0,
                },
                stall_timeout: server.server_stall_timeout,
                allow: server.server_allow,
            },
            max_packet: max_packet(shared.max_packet_size)?,
            reuse_port: shared.reuse_port,
            threads: threads(shared.threads)?,
            frame_timeout: shared.frame_timeout,
            max_buffered_bytes,
            mem_pool: MemPoolConfig {
                pool_type: mem_pool.mem_pool_type,
                factor: mem_pool.mem_pool_factor,
                min_chunk_bytes: mem_pool.mem_pool_min_chunk.0,
                max_chunk_bytes: mem_pool.mem_pool_max_chunk.0,
                page_bytes: mem_pool.mem_pool_page_size.0,
            },
        };
        config.check()?;
        Ok(config)
    }
}

impl ServerFlags {
    fn key(&self) -> anyhow::Result<ServerKey> {
        let Some(path) = &self.server_auth_password_file else {
            return Ok(ServerKey::new(self.server_auth_password.clone().unwrap_or_default()));
        };
        let mut key = std::fs::read(path)
            .with_context(|| format!("--server-auth-password-file {} cannot be read", path.display()))?;
        if key.ends_with(b"\n") {
            key.pop();
        }
        if key.ends_with(b"\r") {
            key.pop();
        }
        if key.is_empty() {
            bail!("--server-auth-password-file {} is empty: write the password into it", path.display());
        }
        Ok(ServerKey::new(key))
    }
}

fn keepalive(ping_interval: Duration, idle_timeout: Option<Duration>) -> KeepaliveConfig {
    let every = KeepaliveConfig::every(ping_interval);
    KeepaliveConfig { idle_timeout: idle_timeout.unwrap_or(every.idle_timeout), ..every }
}

fn max_packet(size: Size) -> anyhow::Result<MaxPacket> {
    u32::try_from(size.0).ok().and_then(MaxPacket::new).ok_or_else(|| {
        let smallest = MaxPacket::SMALLEST;
        anyhow!(
            "--max-packet-size is {size}, but must be from {smallest}, for the longest command, to 4294967295"
        )
    })
}

fn threads(count: Option<usize>) -> anyhow::Result<Threads> {
    let count = match count {
        Some(count) => count,
        None => std::thread::available_parallelism().map_or(1, usize::from).min(Threads::MAX),
    };
    let max = Threads::MAX;
    Threads::new(count).ok_or_else(|| anyhow!("--threads is {count}, but must be 1 to {max}"))
}

/// `IP:PORT`, `localhost:PORT`, or `:PORT` for all IPv4 addresses. Names would have to be resolved before there is
/// a network to ask.
fn addr(text: &str) -> Result<SocketAddr, String> {
    let expected =
        || "an address is IP:PORT, [IPV6]:PORT, localhost:PORT, or :PORT for all addresses".to_owned();
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().map_err(|_| expected())?;
    match host {
        "" => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        "localhost" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        _ => Err(expected()),
    }
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "a count is a whole number, such as 16".to_owned())
}

fn rate(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "a rate is a whole number, such as 100".to_owned())
}

/// A network, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
    text.parse().or_else(|_| single()).map_err(|_| {
        "a network is ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8, or a single address".to_owned()
    })
}

/// What may wait in a gateway that was not told: room for the other half of the memory that buffers take, for the kernel's own,
/// and for everything else. A machine that is too small for that still lets a single queue fill up.
fn a_quarter_of_memory(queues: &[usize]) -> anyhow::Result<usize> {
    let memory = memory_bytes().context(
        "--max-buffered-bytes is not set, and how much memory there is cannot be found out: set it, to 0 for no limit",
    )?;
    // A whole number of megabytes is easier to read.
    let quarter = usize::try_from(((memory / 4) >> 20) << 20).unwrap_or(usize::MAX);
    Ok(queues.iter().copied().fold(quarter, usize::max))
}

/// What this process may use: the memory of the machine, or of the control group that it is in.
fn memory_bytes() -> anyhow::Result<u64> {
    let pid = sysinfo::get_current_pid().map_err(|error| anyhow!(error))?;
    let mut system = sysinfo::System::new()?;
    system.refresh_memory();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
    let process = system.process(pid).and_then(|process| process.cgroup_limits());
    let cgroups = [system.cgroup_limits(), process].into_iter().flatten().map(|cgroup| cgroup.total_memory);
    Ok(cgroups.fold(system.total_memory(), u64::min))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "a duration is a number with a unit, such as 30s, 500ms or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn config(args: &[&str]) -> anyhow::Result<Config> {
        parse([&["gateway"], args].concat().into_iter().map(OsString::from))
    }

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_by_its_own_name() {
        for arg in Cli::command().get_arguments() {
            let long = arg.get_long().expect("flags have names");
            let expected = format!("FASTWAY_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(expected.as_str()));
        }
    }

    /// Somebody who sets nothing gets the same from the flags as from the library.
    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_library() {
        let typed = config(&["--threads", "1", "--max-buffered-bytes", "0"]).unwrap();
        assert_eq!(format!("{typed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_idle_timeout_follows_the_ping_interval() {
        let typed = config(&["--client-ping-interval", "5s", "--server-ping-interval", "0"]).unwrap();
        assert_eq!(typed.client.keepalive.idle_timeout, Duration::from_secs(10));
        assert_eq!(typed.server.keepalive, KeepaliveConfig::ANSWER_ONLY);
        let typed = config(&["--client-ping-interval", "0", "--client-idle-timeout", "90s"]).unwrap();
        assert_eq!(typed.client.keepalive.idle_timeout, Duration::from_secs(90));
    }

    #[test]
    fn addresses_may_leave_out_the_host() {
        for (text, parsed) in [
            (":0", "0.0.0.0:0"),
            (":7010", "0.0.0.0:7010"),
            ("localhost:1", "127.0.0.1:1"),
            ("10.1.2.3:4", "10.1.2.3:4"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(addr(text).unwrap().to_string(), parsed);
        }
        for text in ["", "7010", "host:1", "1.2.3.4", "1.2.3.4:65536", "::1:5:x"] {
            assert!(addr(text).unwrap_err().contains("an address is IP:PORT"), "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_said_with_flag_value_and_remedy() {
        for (args, words) in [
            (&["--max-packet-size", "12"][..], &["--max-packet-size", "12", "13"][..]),
            (&["--max-packet-size", "4G"], &["--max-packet-size", "4G", "4294967295"]),
            (&["--max-packet-size", "12x"], &["--max-packet-size", "12x", "512K"]),
            (&["--client-ping-interval", "30"], &["--client-ping-interval", "30", "30s"]),
            (&["--client-addr", "nowhere"], &["--client-addr", "nowhere", "IP:PORT"]),
            (&["--threads", "0"], &["--threads", "0", "1 to"]),
            (&["--threads", "two"], &["--threads", "two", "a whole number"]),
            (&["--client-max-conn", "-1"], &["--client-max-conn", "-1", "a whole number"]),
            (&["--mem-pool-type", "slab"], &["--mem-pool-type", "slab", "sync, atom, chan"]),
            (&["--server-addr", "0.0.0.0:1"], &["--server-auth-password", "0.0.0.0:1", "--allow-no-auth"]),
            (&["--server-allow", "10.0.0.0/33"], &["--server-allow", "10.0.0.0/33", "10.0.0.0/8"]),
            (&["--max-buffered-bytes", "1M"], &["--max-buffered-bytes", "1M", "at least 64M"]),
            (&["--dial-rate", "fast"], &["--dial-rate", "fast", "a whole number"]),
            (&["--frame-timeout", "60"], &["--frame-timeout", "60", "30s"]),
            (&["--server-auth-password-file", "/no/such"], &["--server-auth-password-file", "/no/such"]),
        ] {
            let error = format!("{:#}", config(args).expect_err("it cannot work"));
            for word in words {
                assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
            }
        }
    }
}
