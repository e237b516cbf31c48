//! Settings of any kind: typed as flags, or made of any numbers.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use fastway::net::MemoryNetwork;
use fastway_fuzz::Bytes;
use fastway_gateway::{
    BindError, ClientConfig, Config, Gateway, MemPoolConfig, MemPoolType, QueueLimits, ServerConfig,
    ServerKey, Size, Threads, parse_flags,
};

/// Those that take a value, but for the file: a fuzzer does not open any.
pub(crate) const FLAGS: [&str; 42] = [
    "--client-addr",
    "--client-max-conn",
    "--client-buffer-size",
    "--client-ping-interval",
    "--client-idle-timeout",
    "--client-send-chan-size",
    "--client-send-queue-bytes",
    "--server-addr",
    "--server-auth-password",
    "--server-auth-timeout",
    "--server-buffer-size",
    "--server-ping-interval",
    "--server-idle-timeout",
    "--server-send-chan-size",
    "--server-send-queue-bytes",
    "--server-stall-timeout",
    "--max-packet-size",
    "--threads",
    "--mem-pool-type",
    "--mem-pool-factor",
    "--mem-pool-min-chunk",
    "--mem-pool-max-chunk",
    "--mem-pool-page-size",
    "--log-format",
    "--log-level",
    "--allow-no-auth",
    "--reuse-port",
    "--",
    "--client-stall-timeout",
    "--max-clients",
    "--max-clients-per-ip",
    "--accept-rate",
    "--dial-rate",
    "--command-rate",
    "--server-allow",
    "--frame-timeout",
    "--max-buffered-bytes",
    "--client-proxy-protocol",
    "--drain-timeout",
    "--drain-spread",
    "--client-dead-peer-timeout",
    "--server-dead-peer-timeout",
];

const UNITS: [&str; 14] = ["", "B", "K", "M", "G", "MB", "ns", "us", "ms", "s", "m", "h", "d", "y"];

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Size(Bytes<'a>),
    Flags(Vec<Flag<'a>>),
    Settings(Settings),
}

#[derive(Arbitrary, Debug)]
struct Flag<'a> {
    name: u8,
    value: Value<'a>,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Value<'a> {
    None,
    Text(Bytes<'a>),
    Number(u8, u8),
    Large(u64, u8),
    Address(IpAddr, u16),
    Port(u16),
}

impl Value<'_> {
    pub(crate) fn text(&self) -> String {
        let unit = |unit: u8| UNITS[usize::from(unit) % UNITS.len()];
        match self {
            Self::None => String::new(),
            Self::Text(Bytes(text)) => String::from_utf8_lossy(text).into_owned(),
            Self::Number(number, of) => format!("{number}{}", unit(*of)),
            Self::Large(number, of) => format!("{number}{}", unit(*of)),
            Self::Address(ip, port) => SocketAddr::new(*ip, *port).to_string(),
            Self::Port(port) => format!(":{port}"),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Settings {
    client_addr: SocketAddr,
    server_addr: SocketAddr,
    has_key: bool,
    allow_no_auth: bool,
    max_conn: Number,
    buffers: [Number; 2],
    intervals: [Interval; 6],
    queues: [(Number, Number); 2],
    max_packet: u32,
    pool: u8,
    factor: u8,
    chunks: [Number; 2],
    page: Number,
}

/// Any order of magnitude is as likely as another, and so is a number beside a round one.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Number {
    mantissa: u8,
    shift: u8,
    more: i8,
}

impl Number {
    fn get(self) -> usize {
        (usize::from(self.mantissa) << (self.shift % 57)).wrapping_add_signed(self.more.into())
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Interval {
    Seconds(Number),
    Millis(u8),
}

impl Interval {
    fn get(self) -> Duration {
        match self {
            Self::Seconds(number) => Duration::from_secs(number.get() as u64),
            Self::Millis(number) => Duration::from_millis(number.into()),
        }
    }
}

/// Any text is a setting or an error with words, any setting works or is rejected, and with what is not rejected a
/// gateway starts and stops.
pub fn config(data: &[u8]) {
    match Case::arbitrary(&mut Unstructured::new(data)) {
        Ok(Case::Size(Bytes(text))) => check_size(&String::from_utf8_lossy(text)),
        Ok(Case::Flags(flags)) => check_flags(&flags),
        Ok(Case::Settings(settings)) => check_settings(&settings),
        Err(_) => {}
    }
}

fn check_size(text: &str) {
    match text.parse::<Size>() {
        Ok(size) => assert_eq!(size.to_string().parse(), Ok(size)),
        Err(error) => assert!(!error.is_empty()),
    }
}

fn check_flags(flags: &[Flag<'_>]) {
    let args = flags.iter().map(|flag| {
        let name = FLAGS[usize::from(flag.name) % FLAGS.len()];
        match flag.value {
            Value::None => OsString::from(name),
            _ => OsString::from(format!("{name}={}", flag.value.text())),
        }
    });
    match parse_flags(std::iter::once(OsString::from("gateway")).chain(args)) {
        Ok(config) => assert_eq!(config.check(), Ok(())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_settings(settings: &Settings) {
    let keepalive = |ping_interval, idle_timeout| KeepaliveConfig { ping_interval, idle_timeout };
    let queue =
        |(messages, bytes): (Number, Number)| QueueLimits { messages: messages.get(), bytes: bytes.get() };
    let [client_ping, client_idle, server_ping, server_idle, auth_timeout, stall_timeout] =
        settings.intervals.map(Interval::get);
    let pool_types = [MemPoolType::Sync, MemPoolType::Atom, MemPoolType::Chan];
    let config = Config {
        client: ClientConfig {
            addr: settings.client_addr,
            max_conn: settings.max_conn.get(),
            buffer_bytes: settings.buffers[0].get(),
            keepalive: keepalive(client_ping, client_idle),
            queue: queue(settings.queues[0]),
            ..ClientConfig::default()
        },
        server: ServerConfig {
            addr: settings.server_addr,
            key: if settings.has_key { ServerKey::new("key") } else { ServerKey::default() },
            allow_no_auth: settings.allow_no_auth,
            auth_timeout,
            buffer_bytes: settings.buffers[1].get(),
            keepalive: keepalive(server_ping, server_idle),
            queue: queue(settings.queues[1]),
            stall_timeout,
            ..ServerConfig::default()
        },
        max_packet: MaxPacket::new(settings.max_packet).unwrap_or_default(),
        reuse_port: false,
        threads: Threads::default(),
        mem_pool: MemPoolConfig {
            pool_type: pool_types[usize::from(settings.pool) % pool_types.len()],
            factor: settings.factor.into(),
            min_chunk_bytes: settings.chunks[0].get(),
            max_chunk_bytes: settings.chunks[1].get(),
            page_bytes: settings.page.get(),
        },
        ..Config::default()
    };
    match config.check() {
        Ok(()) => start_and_stop(config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn start_and_stop(config: Config) {
    let pool = &config.mem_pool;
    if pool.page_bytes / pool.min_chunk_bytes > 10_000 {
        // The pool without locks takes the memory for so many places at once.
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let gateway = match Gateway::bind(&MemoryNetwork::new(), config, [7; 32]).await {
            Ok(gateway) => gateway,
            // The free port that was found for the one side is what was asked for on the other.
            Err(BindError::Bind { .. }) => return,
            Err(error @ BindError::Config(_)) => panic!("it was checked: {error}"),
        };
        let handle = gateway.handle();
        let running = tokio::spawn(gateway.run());
        tokio::task::yield_now().await;
        handle.stop();
        running.await.expect("no panic").expect("it ran");
    });
}
