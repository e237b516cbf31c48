//! What was meant: every setting with its default and its bounds.
//!
//! [`Config::check`] is the one place where a setting is judged. A gateway that runs has passed it; nothing
//! changes a configuration afterwards, though another one can take its place (`reconfigure.rs`), and nothing else decides
//! what a gateway does.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use fastway::net::tls::TlsAcceptor;
use ipnet::IpNet;

use crate::access_log::AccessLog;
use crate::groups::{GroupsError, ServerGroup};
use crate::size::Size;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// More than that for one peer is a slip of the pen, and what waits is counted in 32 bits.
const LARGEST_QUEUE: usize = 2048 * MIB;

/// Everything a gateway can be told.
///
/// ```
/// use fastway_gateway::{ClientConfig, Config};
///
/// let config = Config {
///     client: ClientConfig { max_conn: 4, ..ClientConfig::default() },
///     ..Config::default()
/// };
/// config.check()?;
/// # Ok::<(), fastway_gateway::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The public port and those who connect there.
    pub client: ClientConfig,
    /// The internal port and those who connect there.
    pub server: ServerConfig,
    /// The largest Length of a frame, on both sides. 512 KiB.
    pub max_packet: MaxPacket,
    /// Share both ports with other processes, and let the kernel spread connections. Off.
    pub reuse_port: bool,
    /// Shards: threads that serve sessions.
    pub threads: Threads,
    /// A frame that has begun to arrive, from either side, must be there as a whole within this time, and a second more
    /// for each KiB of it that has come; 0 is for ever. What the gateway itself holds back does not count. 60 s.
    pub frame_timeout: Duration,
    /// Bytes that may wait in the whole gateway: in all send queues, and as frames that have not arrived as a whole. At nine
    /// tenths of it no more clients are let in; at all of it, those who owe the most are cut off. The memory that it takes can
    /// be twice as much. 0 is no limit. 0 here; the binary takes a quarter of the machine's memory, or of its cgroup's.
    pub max_buffered_bytes: usize,
    /// A gateway that drains lets in nobody new; those who are there go on for so long. 5 s.
    pub drain_timeout: Duration,
    /// Afterwards it tells its clients to go, spread evenly over so long. 5 s: with that and the timeout it ends within the 30 s
    /// that Kubernetes gives, also if a client takes as long as it may.
    pub drain_spread: Duration,
    /// Where buffers come from.
    pub mem_pool: MemPoolConfig,
    /// Which sessions get a line in the log when they end. Off.
    pub access_log: AccessLog,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client: ClientConfig::default(),
            server: ServerConfig::default(),
            max_packet: MaxPacket::default(),
            reuse_port: false,
            threads: Threads::default(),
            frame_timeout: Duration::from_secs(60),
            max_buffered_bytes: 0,
            drain_timeout: Duration::from_secs(5),
            drain_spread: Duration::from_secs(5),
            mem_pool: MemPoolConfig::default(),
            access_log: AccessLog::default(),
        }
    }
}

/// The public port.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where clients connect. 0.0.0.0:7010; port 0 is any free one.
    pub addr: SocketAddr,
    /// Virtual connections that one client may hold open by its own dialling. 16.
    pub max_conn: usize,
    /// When a session has something to send, it takes a buffer as large as it needed the last time, up to so many bytes. It
    /// holds none while it has nothing to send. 2 KiB.
    pub buffer_bytes: usize,
    /// How long a client may be silent. Ping after 30 s, end after 60 s.
    pub keepalive: KeepaliveConfig,
    /// What may wait for one client; beyond it the client is cut off. 1000 messages, 1 MiB.
    pub queue: QueueLimits,
    /// A client that takes nothing at all of what waits for it for so long is closed. 60 s.
    pub stall_timeout: Duration,
    /// A client is closed if nothing comes from it for so long, not even what its kernel sends by itself, although it was asked.
    /// Zero is never. Zero: a telephone is without a network for longer than that in a tunnel, and comes back; and to ask an idle
    /// one every few seconds would empty its battery. The keepalive finds out after its own time.
    pub dead_peer_timeout: Duration,
    /// Clients that may be connected; one more is turned away. 0 is any number. 0.
    pub max_clients: usize,
    /// Clients of one address that may be connected; one more is turned away. An IPv6 address stands for its whole network of
    /// 64 bits. 0 is any number. 0.
    pub max_clients_per_ip: usize,
    /// Clients that are accepted in a second; more wait in the kernel's queue. After a quiet second, a second's worth is
    /// accepted at once. 0 is any number. 0.
    pub accept_rate: u32,
    /// Dials of one client in a second; more are refused. After a quiet second, a second's worth is let through at once. 0 is any
    /// number. 0.
    pub dial_rate: u32,
    /// Commands (dials, closes and pings) of one client in a second; who sends more is cut off. After a quiet second, a
    /// second's worth is let through at once. 0 is any number. 0.
    pub command_rate: u32,
    /// Networks of trusted proxies. A connection from there has to begin with a header of the PROXY protocol, in which the proxy
    /// says whose it is; from elsewhere, a header is worth nothing. Empty is none. Empty.
    pub proxy_protocol: Vec<IpNet>,
    /// Clients come over TLS, behind the header of a proxy if there is one. Without it they come over plain TCP. None.
    pub tls: Option<TlsAcceptor>,
    /// The whole TLS handshake of a client must be done in this time. 10 s.
    pub tls_timeout: Duration,
}

/// The internal port.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where servers connect. 127.0.0.1:7020; port 0 is any free one.
    pub addr: SocketAddr,
    /// What servers must know.
    pub key: ServerKey,
    /// Accept an empty key on an address that other machines can reach. No.
    pub allow_no_auth: bool,
    /// The whole handshake must be done in this time, TLS included. 3 s.
    pub auth_timeout: Duration,
    /// The same as for clients. 64 KiB.
    pub buffer_bytes: usize,
    /// How long a server may be silent. Ping after 30 s, end after 60 s.
    pub keepalive: KeepaliveConfig,
    /// What may wait for one server; beyond it, its clients are held back. 100,000 messages, 64 MiB.
    pub queue: QueueLimits,
    /// A server that takes nothing at all for so long is closed. 30 s.
    pub stall_timeout: Duration,
    /// The same as for clients. 5 s: within a data centre nothing is silent for so long that is still there.
    pub dead_peer_timeout: Duration,
    /// From which networks servers may come; nobody else is even sent a challenge. Empty is from anywhere. Empty.
    pub allow: Vec<IpNet>,
    /// IDs that stand for several servers each: a client that dials one gets one of these servers. None.
    pub groups: Vec<ServerGroup>,
    /// Servers come over TLS, and prove inside of it that they know the key. Without it they come over plain TCP. None.
    pub tls: Option<TlsAcceptor>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7010)),
            max_conn: 16,
            buffer_bytes: 2 * KIB,
            keepalive: KeepaliveConfig::default(),
            queue: QueueLimits { messages: 1000, bytes: MIB },
            stall_timeout: Duration::from_secs(60),
            dead_peer_timeout: Duration::ZERO,
            max_clients: 0,
            max_clients_per_ip: 0,
            accept_rate: 0,
            dial_rate: 0,
            command_rate: 0,
            proxy_protocol: Vec::new(),
            tls: None,
            tls_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 7020)),
            key: ServerKey::default(),
            allow_no_auth: false,
            auth_timeout: Duration::from_secs(3),
            buffer_bytes: 64 * KIB,
            keepalive: KeepaliveConfig::default(),
            queue: QueueLimits { messages: 100_000, bytes: 64 * MIB },
            stall_timeout: Duration::from_secs(30),
            dead_peer_timeout: Duration::from_secs(5),
            allow: Vec::new(),
            groups: Vec::new(),
            tls: None,
        }
    }
}

/// The bounds of one send queue. Both count what the kernel has not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Frames.
    pub messages: usize,
    /// Bytes of frames, headers included.
    pub bytes: usize,
}

/// The number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(usize);

impl Threads {
    /// The most threads that make sense anywhere.
    pub const MAX: usize = 1024;

    /// So many shards; `None` for 0 or beyond [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(count: usize) -> Option<Self> {
        if count == 0 || count > Self::MAX { None } else { Some(Self(count)) }
    }

    /// How many.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Default for Threads {
    /// One shard, on the runtime that runs the gateway. It needs no threads of its own, so it can be simulated.
    fn default() -> Self {
        Self(1)
    }
}

/// The shared secret of the server handshake. It shows itself to nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServerKey(Vec<u8>);

impl ServerKey {
    /// A key of these bytes.
    pub fn new(key: impl Into<Vec<u8>>) -> Self {
        Self(key.into())
    }

    /// An empty key lets everybody register as any server.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "ServerKey(empty)" } else { "ServerKey(…)" })
    }
}

/// The buffer pool: where memory comes from that is kept between turns of a session.
///
/// Buffers have sizes of a few classes, from the smallest to the largest. What is larger comes from the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemPoolConfig {
    /// How threads share the pool.
    pub pool_type: MemPoolType,
    /// Each size class is so many times the one before. 2.
    pub factor: usize,
    /// The smallest size class in bytes. 64.
    pub min_chunk_bytes: usize,
    /// The largest size class in bytes. 64 KiB.
    pub max_chunk_bytes: usize,
    /// Bytes of each class that are kept for reuse at most; more goes back to the allocator. 1 MiB.
    pub page_bytes: usize,
}

impl Default for MemPoolConfig {
    fn default() -> Self {
        Self {
            pool_type: MemPoolType::Sync,
            factor: 2,
            min_chunk_bytes: 64,
            max_chunk_bytes: 64 * KIB,
            page_bytes: MIB,
        }
    }
}

/// The kinds of buffer pool that the original knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MemPoolType {
    /// A cache for each thread, and a shared list through which they exchange what they have too much of.
    Sync,
    /// Shared, without locks.
    Atom,
    /// A shared list with a lock.
    Chan,
}

/// A setting that cannot work: which one, its value, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number outside its bounds.
    #[error("{setting} is {value}, but must be {bounds}")]
    OutOfBounds {
        /// The flag.
        setting: &'static str,
        /// Its value as the user would write it.
        value: String,
        /// What would be right.
        bounds: String,
    },
    /// Both sides have the same port.
    #[error(
        "--client-addr {client} and --server-addr {server} are the same port: clients and servers need one each"
    )]
    SamePort {
        /// The public address.
        client: SocketAddr,
        /// The internal address.
        server: SocketAddr,
    },
    /// Anybody on the network could register as any server.
    #[error(
        "--server-auth-password is empty while --server-addr {addr} can be reached from other machines: set a \
         password, listen on a loopback address, or say --allow-no-auth if the network itself keeps strangers out"
    )]
    NoAuth {
        /// The internal address.
        addr: SocketAddr,
    },
    /// Groups that cannot be there together.
    #[error(transparent)]
    Groups(#[from] GroupsError),
}

impl Config {
    /// Judges every setting.
    ///
    /// # Errors
    ///
    /// The first one that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (client, server) = (&self.client, &self.server);
        let overlap = client.addr.ip() == server.addr.ip()
            || client.addr.ip().is_unspecified()
            || server.addr.ip().is_unspecified();
        if overlap && client.addr.port() == server.addr.port() && client.addr.port() != 0 {
            return Err(ConfigError::SamePort { client: client.addr, server: server.addr });
        }
        if server.key.is_empty() && !server.addr.ip().is_loopback() && !server.allow_no_auth {
            return Err(ConfigError::NoAuth { addr: server.addr });
        }
        self.check_queue("--client-send-chan-size", "--client-send-queue-bytes", client.queue)?;
        self.check_queue("--server-send-chan-size", "--server-send-queue-bytes", server.queue)?;
        check_buffer("--client-buffer-size", client.buffer_bytes)?;
        check_buffer("--server-buffer-size", server.buffer_bytes)?;
        check_duration("--client-ping-interval", client.keepalive.ping_interval)?;
        check_keepalive("--client-idle-timeout", client.keepalive)?;
        check_duration("--server-ping-interval", server.keepalive.ping_interval)?;
        check_keepalive("--server-idle-timeout", server.keepalive)?;
        not_zero("--server-auth-timeout", server.auth_timeout)?;
        not_zero("--client-tls-timeout", client.tls_timeout)?;
        not_zero("--client-stall-timeout", client.stall_timeout)?;
        not_zero("--server-stall-timeout", server.stall_timeout)?;
        check_dead_peer("--client-dead-peer-timeout", client.dead_peer_timeout)?;
        check_dead_peer("--server-dead-peer-timeout", server.dead_peer_timeout)?;
        check_duration("--frame-timeout", self.frame_timeout)?;
        check_duration("--drain-timeout", self.drain_timeout)?;
        check_duration("--drain-spread", self.drain_spread)?;
        ServerGroup::check_all(&server.groups)?;
        self.check_budget()?;
        self.mem_pool.check()
    }

    /// What one peer may let wait must be nothing special for the whole gateway, or one would push out everybody else.
    fn check_budget(&self) -> Result<(), ConfigError> {
        let largest = self.client.queue.bytes.max(self.server.queue.bytes);
        if self.max_buffered_bytes == 0 || self.max_buffered_bytes >= largest {
            return Ok(());
        }
        let bounds =
            format!("at least {}, which may wait for a single peer; or 0 for no limit", Size(largest));
        Err(out_of_bounds("--max-buffered-bytes", Size(self.max_buffered_bytes), bounds))
    }

    /// A frame of the largest size must fit into an empty queue, or it could never be sent.
    fn check_queue(
        &self,
        messages: &'static str,
        bytes: &'static str,
        limits: QueueLimits,
    ) -> Result<(), ConfigError> {
        if limits.messages == 0 {
            return Err(out_of_bounds(messages, limits.messages, "at least 1 message"));
        }
        let frame = self.max_packet.max_frame_bytes();
        if limits.bytes < frame {
            let bounds = format!(
                "at least {frame} bytes, the largest frame: --max-packet-size ({}) and its 4 bytes of length",
                Size(self.max_packet.bytes() as usize)
            );
            return Err(out_of_bounds(bytes, Size(limits.bytes), bounds));
        }
        if limits.bytes > LARGEST_QUEUE {
            return Err(out_of_bounds(bytes, Size(limits.bytes), format!("at most {}", Size(LARGEST_QUEUE))));
        }
        Ok(())
    }
}

impl MemPoolConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { factor, min_chunk_bytes: min, max_chunk_bytes: max, page_bytes: page, .. } = *self;
        if !(2..=16).contains(&factor) {
            return Err(out_of_bounds("--mem-pool-factor", factor, "2 to 16"));
        }
        if !(16..=MIB).contains(&min) {
            return Err(out_of_bounds("--mem-pool-min-chunk", Size(min), "16 to 1M"));
        }
        if max < min || max > 64 * MIB {
            let bounds = format!("from --mem-pool-min-chunk ({}) to 64M", Size(min));
            return Err(out_of_bounds("--mem-pool-max-chunk", Size(max), bounds));
        }
        if page < max || page > 1024 * MIB {
            let bounds = format!("from --mem-pool-max-chunk ({}) to 1G", Size(max));
            return Err(out_of_bounds("--mem-pool-page-size", Size(page), bounds));
        }
        Ok(())
    }
}

/// A kernel asks every second at most, and waits for 32767 of them.
fn check_dead_peer(setting: &'static str, timeout: Duration) -> Result<(), ConfigError> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(9 * 3600);
    if timeout.is_zero() || bounds.contains(&timeout) {
        return Ok(());
    }
    let value = humantime::format_duration(timeout);
    Err(out_of_bounds(setting, value, "1s to 9h, or 0 for never"))
}

fn check_buffer(setting: &'static str, bytes: usize) -> Result<(), ConfigError> {
    if bytes > 64 * MIB { Err(out_of_bounds(setting, Size(bytes), "at most 64M")) } else { Ok(()) }
}

/// A longer one is a slip of the pen, and clocks can only count so far.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

fn check_duration(setting: &'static str, duration: Duration) -> Result<(), ConfigError> {
    if duration <= LONGEST {
        return Ok(());
    }
    Err(out_of_bounds(setting, humantime::format_duration(duration), "a year at most"))
}

fn check_keepalive(setting: &'static str, keepalive: KeepaliveConfig) -> Result<(), ConfigError> {
    check_duration(setting, keepalive.idle_timeout)?;
    let KeepaliveConfig { ping_interval, idle_timeout } = keepalive;
    if !idle_timeout.is_zero() && idle_timeout <= ping_interval {
        let value = humantime::format_duration(idle_timeout);
        let interval = humantime::format_duration(ping_interval);
        let bounds =
            format!("longer than the ping interval ({interval}), or nobody could answer; or 0 for never");
        return Err(out_of_bounds(setting, value, bounds));
    }
    Ok(())
}

fn not_zero(setting: &'static str, duration: Duration) -> Result<(), ConfigError> {
    check_duration(setting, duration)?;
    if duration.is_zero() { Err(out_of_bounds(setting, "0", "longer than 0, such as 3s")) } else { Ok(()) }
}

fn out_of_bounds(setting: &'static str, value: impl ToString, bounds: impl Into<String>) -> ConfigError {
    ConfigError::OutOfBounds { setting, value: value.to_string(), bounds: bounds.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        config.check().expect("the default works");
        change(&mut config);
        config.check().expect_err("the change does not").to_string()
    }

    #[test]
    fn an_empty_key_is_for_loopback_only() {
        let mut config = Config::default();
        config.server.addr = "10.0.0.1:7020".parse().unwrap();
        assert!(matches!(config.check(), Err(ConfigError::NoAuth { .. })));
        config.server.allow_no_auth = true;
        assert_eq!(config.check(), Ok(()));
        config.server.allow_no_auth = false;
        config.server.key = ServerKey::new("secret");
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn the_largest_frame_must_fit_into_every_queue() {
        let error = error_of(|config| config.client.queue.bytes = 512 * KIB);
        assert!(error.contains("--client-send-queue-bytes is 512K") && error.contains("524292"), "{error}");
        let error = error_of(|config| config.max_packet = MaxPacket::new(65 * 1024 * 1024).unwrap());
        assert!(error.contains("--client-send-queue-bytes is 1M"), "{error}");
        let error = error_of(|config| config.server.queue.bytes = 5 << 30);
        assert!(error.contains("--server-send-queue-bytes is 5G, but must be at most 2G"), "{error}");
        let error = error_of(|config| config.server.queue.messages = 0);
        assert!(error.contains("--server-send-chan-size is 0"), "{error}");
    }

    #[test]
    fn the_other_bounds_are_named_with_their_flags() {
        let same = error_of(|config| config.client.addr.set_port(7020));
        assert!(same.contains("--client-addr 0.0.0.0:7020 and --server-addr 127.0.0.1:7020"), "{same}");
        let idle = error_of(|config| config.server.keepalive.idle_timeout = Duration::from_secs(30));
        assert!(idle.contains("--server-idle-timeout is 30s"), "{idle}");
        let auth = error_of(|config| config.server.auth_timeout = Duration::ZERO);
        assert!(auth.contains("--server-auth-timeout is 0"), "{auth}");
        let year = error_of(|config| config.server.stall_timeout = Duration::from_secs(u64::MAX));
        assert!(year.contains("--server-stall-timeout is") && year.contains("a year at most"), "{year}");
        let pool = error_of(|config| config.mem_pool.max_chunk_bytes = 32);
        assert!(pool.contains("--mem-pool-max-chunk is 32"), "{pool}");
        let pool = error_of(|config| config.mem_pool.factor = 1);
        assert!(pool.contains("--mem-pool-factor is 1, but must be 2 to 16"), "{pool}");
    }

    #[test]
    fn the_key_is_not_printed() {
        let config = Config {
            server: ServerConfig { key: ServerKey::new("secret"), ..ServerConfig::default() },
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("secret"));
    }
}
