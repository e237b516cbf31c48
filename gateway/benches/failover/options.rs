//! What can be asked for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Gateways and servers fail on hosts of their own: how long is nobody served?
#[derive(Clone, Debug, Parser)]
#[command(name = "failover", max_term_width = 110)]
pub(crate) struct Options {
    /// Clients
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub(crate) clients: u32,

    /// Servers, each a process of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=16))]
    pub(crate) servers: u32,

    /// How often each client asks
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = humantime::parse_duration)]
    pub(crate) pace: Duration,

    /// A gateway that is silent for so long is taken for dead
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) detection: Duration,

    /// Clients that lost their gateway turn to another one within so long
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) spread: Duration,

    /// --accept-rate of the gateways; more reconnects a second are a failure
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) accept_rate: u32,

    /// --drain-timeout of the gateways
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) drain_timeout: Duration,

    /// --drain-spread of the gateways
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) drain_spread: Duration,

    /// Draw it over time into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Write the tool's report into this file [default: failover.json in the target folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Another gateway than the one that was built with this bench
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_gateway"), hide_default_value = true)]
    pub(crate) gateway: PathBuf,

    /// What cargo says to every bench.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, servers, pace, detection, spread, accept_rate, .. } = self;
        write!(
            f,
            "3 gateways, {servers} servers, {clients} clients that ask every {pace:?}; detection {detection:?}, \
             spread {spread:?}, accept rate {accept_rate}/s"
        )
    }
}
