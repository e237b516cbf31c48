//! What can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Everything at once, for as long as you like: is anything left behind, does anything grow, is anything lost?
///
/// Relative paths begin at the folder of the package, where cargo runs benches.
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 110)]
pub(crate) struct Options {
    /// How long, such as 10m or 2h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) time: Duration,

    /// What is drawn at random, is drawn from this
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Draw memory, open files and sessions over time into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,

    /// Threads of the gateway
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,

    /// What this program is when it has started itself once more: the gateway.
    #[arg(long, hide = true)]
    pub(crate) gateway: bool,

    /// What cargo says to every bench.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

/// Twenty seconds are enough to see whether it works, and not enough for anything else.
const SHORTEST: Duration = Duration::from_secs(20);

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < SHORTEST { Err(format!("must be {SHORTEST:?} or longer")) } else { Ok(time) }
}
