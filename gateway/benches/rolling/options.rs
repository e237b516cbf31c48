//! What can be asked for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// All gateways are restarted, one after the other, while everybody talks: is a message lost?
#[derive(Clone, Debug, Parser)]
#[command(name = "rolling", max_term_width = 110)]
pub(crate) struct Options {
    /// Gateways, each a process of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    pub(crate) gateways: u32,

    /// Servers, each connected to all gateways
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) servers: u32,

    /// Clients, each connected to one gateway
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,

    /// Messages a second that all clients send together; the servers send as many back
    #[arg(short = 'R', long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,

    /// How often each gateway is restarted
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) rounds: u32,

    /// --drain-timeout of the gateways
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) drain_timeout: Duration,

    /// --drain-spread of the gateways
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) drain_spread: Duration,

    /// --threads of the gateways
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) threads: u16,

    /// Another gateway than the one that was built with this bench
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_gateway"), hide_default_value = true)]
    pub(crate) gateway: PathBuf,

    /// What cargo says to every bench.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

impl Options {
    /// So long a drain may take, by `docs/draining.md`.
    pub(crate) fn longest(&self) -> Duration {
        self.drain_timeout + self.drain_spread + Duration::from_secs(23)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateways, servers, clients, rate, drain_timeout, drain_spread, threads, .. } = self;
        let rate = crate::text::grouped(u64::from(*rate));
        write!(
            f,
            "{clients} clients, {rate} messages a second, {gateways} gateways of {threads} threads, {servers} servers; \
             drain {drain_timeout:?}, spread {drain_spread:?}"
        )
    }
}
