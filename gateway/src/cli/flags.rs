//! What can be typed: every flag with its variable in the environment, its default, and how its text is read; and what
//! can be asked for besides a gateway.
//!
//! Where else a value can come from is in `sources`, what it means in `meaning`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args as _, Command, CommandFactory as _, Parser, ValueEnum};
use ipnet::IpNet;

use crate::access_log::AccessLog;
use crate::config::MemPoolType;
use crate::groups::ServerGroup;
use crate::size::Size;

/// fastway: one public gateway for many servers and very many clients.
///
/// Clients connect to the public port, servers to the internal one. Over its one physical connection a client opens
/// virtual connections to any server by ID, and a server to any client.
///
/// Sizes are bytes, or 1024-based with K, M, G: 512K. Durations have a unit: 30s, 500ms, 2m.
/// Every flag can also be set in the environment, or in a file.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, max_term_width = 110)]
pub(super) struct Cli {
    /// A TOML file with settings by the names of the flags: client-max-conn = 16. A flag counts more than the environment, and
    /// that more than the file
    #[arg(id = "config", long = "config", env = "FASTWAY_CONFIG", value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) client: ClientFlags,
    #[command(flatten)]
    pub(super) server: ServerFlags,
    #[command(flatten)]
    pub(super) shared: SharedFlags,
    #[command(flatten)]
    pub(super) mem_pool: MemPoolFlags,
    #[command(flatten)]
    pub(super) process: ProcessFlags,
    #[command(flatten)]
    pub(super) admin: AdminFlags,
    #[command(flatten)]
    pub(super) log: LogFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Clients (public port)")]
pub(super) struct ClientFlags {
    /// Where clients connect: IP:PORT, or :PORT for all addresses; port 0 is any free one [original: ClientAddr]
    #[arg(long, env = "FASTWAY_CLIENT_ADDR", value_name = "ADDR", default_value = "0.0.0.0:7010", value_parser = addr)]
    pub(super) client_addr: SocketAddr,

    /// Virtual connections that one client may hold open by dialling [original: ClientMaxConn]
    #[arg(long, env = "FASTWAY_CLIENT_MAX_CONN", value_name = "COUNT", default_value = "16", allow_negative_numbers = true, value_parser = count)]
    pub(super) client_max_conn: usize,

    /// The largest first buffer for what is sent to a client; it is as large as was needed the last time [original:
    /// ClientBufferSize]
    #[arg(long, env = "FASTWAY_CLIENT_BUFFER_SIZE", value_name = "SIZE", default_value = "2K")]
    pub(super) client_buffer_size: Size,

    /// Ping a client that was silent for so long; 0 is never [original: ClientPingInterval]
    #[arg(long, env = "FASTWAY_CLIENT_PING_INTERVAL", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) client_ping_interval: Duration,

    /// Close a client that was silent for so long; 0 is never [default: twice the ping interval] [original: ClientIdleTimeout]
    #[arg(long, env = "FASTWAY_CLIENT_IDLE_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub(super) client_idle_timeout: Option<Duration>,

    /// Messages that may wait for one client; one more, and it is cut off [original: ClientSendChanSize]
    #[arg(long, env = "FASTWAY_CLIENT_SEND_CHAN_SIZE", value_name = "COUNT", default_value = "1000", allow_negative_numbers = true, value_parser = count)]
    pub(super) client_send_chan_size: usize,

    /// Bytes that may wait for one client; more, and it is cut off
    #[arg(long, env = "FASTWAY_CLIENT_SEND_QUEUE_BYTES", value_name = "SIZE", default_value = "1M")]
    pub(super) client_send_queue_bytes: Size,

    /// Close a client that takes nothing of what waits for it for so long
    #[arg(long, env = "FASTWAY_CLIENT_STALL_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) client_stall_timeout: Duration,

    /// Close a client from which nothing came for so long, not even an acknowledgement, although it was asked; 0 is never
    #[arg(long, env = "FASTWAY_CLIENT_DEAD_PEER_TIMEOUT", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(super) client_dead_peer_timeout: Duration,

    /// Clients that may be connected; one more is turned away; 0 is any number
    #[arg(long, env = "FASTWAY_MAX_CLIENTS", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = count)]
    pub(super) max_clients: usize,

    /// Clients of one address that may be connected; an IPv6 address stands for its network of 64 bits; 0 is any number
    #[arg(long, env = "FASTWAY_MAX_CLIENTS_PER_IP", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = count)]
    pub(super) max_clients_per_ip: usize,

    /// Clients that are accepted in a second, and at once after a quiet one; more wait in the kernel's queue; 0 is any number
    #[arg(long, env = "FASTWAY_ACCEPT_RATE", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = rate)]
    pub(super) accept_rate: u32,

    /// Dials of one client in a second, and at once after a quiet one; more are refused; 0 is any number
    #[arg(long, env = "FASTWAY_DIAL_RATE", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = rate)]
    pub(super) dial_rate: u32,

    /// Commands (dials, closes, pings) of one client in a second, and at once after a quiet one; who sends more is cut off; 0 is
    /// any number
    #[arg(long, env = "FASTWAY_COMMAND_RATE", value_name = "COUNT", default_value = "0", allow_negative_numbers = true, value_parser = rate)]
    pub(super) command_rate: u32,

    /// From where proxies come that say in front of each connection whose it is (PROXY protocol, version 1 or 2): networks such as
    /// 10.0.0.0/8, or single addresses, separated by commas. Who comes from there without a header is turned away [default: from
    /// nowhere]
    #[arg(long, env = "FASTWAY_CLIENT_PROXY_PROTOCOL", value_name = "CIDR,…", value_delimiter = ',', value_parser = network)]
    pub(super) client_proxy_protocol: Vec<IpNet>,

    /// Clients come over TLS: the certificate of the gateway, and behind it those that lead to its CA (PEM). Takes the key too
    #[arg(long, env = "FASTWAY_CLIENT_TLS_CERT", value_name = "FILE")]
    pub(super) client_tls_cert: Option<PathBuf>,

    /// The private key of that certificate (PEM, without a password)
    #[arg(long, env = "FASTWAY_CLIENT_TLS_KEY", value_name = "FILE")]
    pub(super) client_tls_key: Option<PathBuf>,

    /// The TLS handshake of a client must be done in this time
    #[arg(long, env = "FASTWAY_CLIENT_TLS_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(super) client_tls_timeout: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Servers (internal port)")]
pub(super) struct ServerFlags {
    /// Where servers connect: IP:PORT, or :PORT for all addresses; port 0 is any free one [original: ServerAddr]
    #[arg(long, env = "FASTWAY_SERVER_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7020", value_parser = addr)]
    pub(super) server_addr: SocketAddr,

    /// What servers must know to register. Other users of this machine can read it in the list of processes:
    /// prefer the file, or the environment [default: empty] [original: ServerAuthPassword]
    #[arg(long, env = "FASTWAY_SERVER_AUTH_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub(super) server_auth_password: Option<String>,

    /// The same, read from a file; one line end at its end does not count
    #[arg(long, env = "FASTWAY_SERVER_AUTH_PASSWORD_FILE", value_name = "FILE")]
    pub(super) server_auth_password_file: Option<PathBuf>,

    /// Accept an empty password although other machines can reach the internal port
    #[arg(long, env = "FASTWAY_ALLOW_NO_AUTH", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = switch)]
    pub(super) allow_no_auth: bool,

    /// A server must have proved itself in this time, TLS handshake included [original: ServerAuthTimeout]
    #[arg(long, env = "FASTWAY_SERVER_AUTH_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = duration)]
    pub(super) server_auth_timeout: Duration,

    /// The largest first buffer for what is sent to a server; it is as large as was needed the last time [original:
    /// ServerBufferSize]
    #[arg(long, env = "FASTWAY_SERVER_BUFFER_SIZE", value_name = "SIZE", default_value = "64K")]
    pub(super) server_buffer_size: Size,

    /// Ping a server that was silent for so long; 0 is never [original: ServerPingInterval]
    #[arg(long, env = "FASTWAY_SERVER_PING_INTERVAL", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) server_ping_interval: Duration,

    /// Close a server that was silent for so long; 0 is never [default: twice the ping interval]
    #[arg(long, env = "FASTWAY_SERVER_IDLE_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub(super) server_idle_timeout: Option<Duration>,

    /// Messages that may wait for one server; at that, its clients are held back [original: ServerSendChanSize]
    #[arg(long, env = "FASTWAY_SERVER_SEND_CHAN_SIZE", value_name = "COUNT", default_value = "100000", allow_negative_numbers = true, value_parser = count)]
    pub(super) server_send_chan_size: usize,

    /// Bytes that may wait for one server; at that, its clients are held back
    #[arg(long, env = "FASTWAY_SERVER_SEND_QUEUE_BYTES", value_name = "SIZE", default_value = "64M")]
    pub(super) server_send_queue_bytes: Size,

    /// Close a server that takes nothing of what waits for it for so long
    #[arg(long, env = "FASTWAY_SERVER_STALL_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) server_stall_timeout: Duration,

    /// Close a server from which nothing came for so long, not even an acknowledgement, although it was asked; 0 is never
    #[arg(long, env = "FASTWAY_SERVER_DEAD_PEER_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(super) server_dead_peer_timeout: Duration,

    /// From where servers may come: networks such as 10.0.0.0/8 or fd00::/8, or single addresses, separated by commas
    /// [default: from anywhere]
    #[arg(long, env = "FASTWAY_SERVER_ALLOW", value_name = "CIDR,…", value_delimiter = ',', value_parser = network)]
    pub(super) server_allow: Vec<IpNet>,

    /// Several servers serve one ID: ID=FIRST-LAST, such as 1000=1001-1010, separated by commas. A client that dials 1000 gets a
    /// server that is there, by the policy behind it: 1000=1001-1010:least, the one with the fewest virtual connections, which
    /// goes without saying, or :client, always the same one by the client's address [default: none]
    #[arg(long, env = "FASTWAY_SERVER_GROUPS", value_name = "GROUP,…", value_delimiter = ',')]
    pub(super) server_groups: Vec<ServerGroup>,

    /// Servers come over TLS: the certificate of the gateway, and behind it those that lead to its CA (PEM). Takes the key too
    #[arg(long, env = "FASTWAY_SERVER_TLS_CERT", value_name = "FILE")]
    pub(super) server_tls_cert: Option<PathBuf>,

    /// The private key of that certificate (PEM, without a password)
    #[arg(long, env = "FASTWAY_SERVER_TLS_KEY", value_name = "FILE")]
    pub(super) server_tls_key: Option<PathBuf>,

    /// Servers must show a certificate themselves, of one of these CAs (PEM); they still have to know the password
    #[arg(long, env = "FASTWAY_SERVER_TLS_CLIENT_CA", value_name = "FILE")]
    pub(super) server_tls_client_ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Both sides")]
pub(super) struct SharedFlags {
    /// The largest packet: connection ID and message, without the length field [original: MaxPacketSize]
    #[arg(long, env = "FASTWAY_MAX_PACKET_SIZE", value_name = "SIZE", default_value = "512K")]
    pub(super) max_packet_size: Size,

    /// Share both ports with other gateways on this machine; the kernel spreads connections [original: ReusePort]
    #[arg(long, env = "FASTWAY_REUSE_PORT", value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = switch)]
    pub(super) reuse_port: bool,

    /// A frame that has begun to arrive must be there as a whole in this time, and a second more for each KiB that has come, or its
    /// sender is closed; 0 is for ever
    #[arg(long, env = "FASTWAY_FRAME_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) frame_timeout: Duration,

    /// Bytes that may wait in the whole gateway. At nine tenths of it no more clients are let in, at all of it those who owe the
    /// most are cut off; 0 is no limit [default: a quarter of the machine's memory, or of its cgroup's]
    #[arg(long, env = "FASTWAY_MAX_BUFFERED_BYTES", value_name = "SIZE")]
    pub(super) max_buffered_bytes: Option<Size>,

    /// Threads that serve connections [default: the number of cores]
    #[arg(long, env = "FASTWAY_THREADS", value_name = "COUNT", allow_negative_numbers = true, value_parser = count)]
    pub(super) threads: Option<usize>,

    /// When told to end by SIGTERM, no more clients are let in, and those who are there go on for so long
    #[arg(long, env = "FASTWAY_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(super) drain_timeout: Duration,

    /// Then clients are told to go one by one, spread evenly over so long, so that other gateways have time for each of them
    #[arg(long, env = "FASTWAY_DRAIN_SPREAD", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(super) drain_spread: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Buffer pool (for cut-off and large frames and for what waits to be sent)")]
pub(super) struct MemPoolFlags {
    /// How threads share the pool: a cache for each (sync, the fastest and the default), without locks (atom), a list with a
    /// lock (chan) [original: MemPoolType, atom]
    #[arg(long, env = "FASTWAY_MEM_POOL_TYPE", value_name = "TYPE", default_value = "sync")]
    pub(super) mem_pool_type: MemPoolType,

    /// Each size class is so many times the one before [original: MemPoolFactor]
    #[arg(long, env = "FASTWAY_MEM_POOL_FACTOR", value_name = "NUMBER", default_value = "2", allow_negative_numbers = true, value_parser = count)]
    pub(super) mem_pool_factor: usize,

    /// The smallest size class [original: MemPoolMinChunk]
    #[arg(long, env = "FASTWAY_MEM_POOL_MIN_CHUNK", value_name = "SIZE", default_value = "64")]
    pub(super) mem_pool_min_chunk: Size,

    /// The largest size class; what is larger comes from the allocator [original: MemPoolMaxChunk]
    #[arg(long, env = "FASTWAY_MEM_POOL_MAX_CHUNK", value_name = "SIZE", default_value = "64K")]
    pub(super) mem_pool_max_chunk: Size,

    /// What each size class keeps for reuse at most; it keeps less when it is idle [original: MemPoolPageSize]
    #[arg(long, env = "FASTWAY_MEM_POOL_PAGE_SIZE", value_name = "SIZE", default_value = "1M")]
    pub(super) mem_pool_page_size: Size,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub(super) struct ProcessFlags {
    /// A file for the ID of the process: written when both ports are bound, removed at an orderly end. One that a process has left
    /// behind is replaced; while that process runs, there is no second one
    #[arg(long, env = "FASTWAY_PID_FILE", value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Admin server (HTTP)")]
pub(super) struct AdminFlags {
    /// Where metrics, a status page and controls are served over HTTP: IP:PORT, or :PORT for all addresses; port 0 is any free
    /// one. Beyond loopback it needs a token [default: nowhere]
    #[arg(long, env = "FASTWAY_ADMIN_ADDR", value_name = "ADDR", value_parser = addr)]
    pub(super) admin_addr: Option<SocketAddr>,

    /// What whoever asks has to know; all but /live and /ready. Other users of this machine can read it in the list of processes:
    /// prefer the file, or the environment
    #[arg(long, env = "FASTWAY_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) admin_token: Option<String>,

    /// The same, read from a file; one line end at its end does not count
    #[arg(long, env = "FASTWAY_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub(super) admin_token_file: Option<PathBuf>,

    /// Names by which it may be asked besides localhost and addresses, separated by commas: by another one, a web page could have
    /// a browser ask [default: none]
    #[arg(long, env = "FASTWAY_ADMIN_HOST", value_name = "NAME,…", value_delimiter = ',', value_parser = host)]
    pub(super) admin_host: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log (on standard error)")]
pub(super) struct LogFlags {
    /// For people, or one JSON object a line
    #[arg(long, env = "FASTWAY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,

    /// What is worth a line, and everything graver
    #[arg(long, env = "FASTWAY_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: LogLevel,

    /// A line for each session when it ends, with all that was counted of it: off, all, or 1/N for one in N of the clients that just
    /// leave; servers, and clients that were cut off, are never left out
    #[arg(long, env = "FASTWAY_ACCESS_LOG", value_name = "WHICH", default_value = "off")]
    pub(super) access_log: AccessLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What the process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// To be a gateway.
    Run,
    /// To say whether the settings can work.
    Check,
    /// To say what the settings are.
    Config,
}

const CHECK: &str = "check";
const CONFIG: &str = "config";

impl Action {
    /// What the name of a subcommand stands for.
    pub(super) fn of(subcommand: &str) -> Self {
        match subcommand {
            CHECK => Self::Check,
            CONFIG => Self::Config,
            other => unreachable!("there is no subcommand {other}"),
        }
    }
}

/// Everything that can be typed. The subcommands have all the flags that the gateway has.
pub(super) fn command() -> Command {
    Cli::command()
        .args_conflicts_with_subcommands(true)
        .subcommand(subcommand(CHECK, "Says whether a gateway would start with these settings; starts none"))
        .subcommand(subcommand(
            CONFIG,
            "Prints the settings in effect as a file, each with where it comes from",
        ))
}

fn subcommand(name: &'static str, about: &'static str) -> Command {
    Cli::augment_args(Command::new(name)).about(about).long_about(None)
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

/// A name, without a port.
fn host(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a name has no port and no slash: gateway-1.example".to_owned())
    }
}

/// On or off, in the words that are usual in environments.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("a switch is true or false".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "a duration is a number with a unit, such as 30s, 500ms or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_by_its_own_name() {
        for arg in Cli::command().get_arguments() {
            let long = arg.get_long().expect("flags have names");
            let expected = format!("FASTWAY_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(expected.as_str()));
        }
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
    fn switches_may_have_a_value() {
        let switched = |args: &[&str]| {
            Cli::try_parse_from([&["gateway"], args].concat()).map(|cli| cli.shared.reuse_port).ok()
        };
        for (args, on) in [
            (&[][..], Some(false)),
            (&["--reuse-port"], Some(true)),
            (&["--reuse-port=no"], Some(false)),
            (&["--reuse-port=ON"], Some(true)),
            (&["--reuse-port", "no"], None),
            (&["--reuse-port=perhaps"], None),
            (&["--reuse-port="], None),
        ] {
            assert_eq!(switched(args), on, "{args:?}");
        }
    }
}
