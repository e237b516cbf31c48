//! What can be asked of the bench.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::results::json_path;
use crate::served::GatewayOptions;

/// How close the gateway is to the floor: the least that forwarding takes with epoll on one thread.
///
/// Relative paths begin at the folder of the package, where cargo runs benches.
#[derive(Debug, Parser)]
#[command(name = "data_plane", max_term_width = 110)]
pub(crate) struct Options {
    /// How often the floor and the gateway take turns [default: 5; with --brief 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// How long a turn lasts, in seconds [default: 3; with --brief 0.5]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,

    /// Only what has this in its name
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,

    /// Where all values go, as JSON [default: data-plane.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw the growth into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) gateway: GatewayOptions,

    /// In less than a minute: short rounds, no idle clients; missed is only what is twice as much as wanted
    #[arg(long)]
    pub(crate) brief: bool,

    #[command(flatten)]
    pub(crate) role: Role,

    /// What cargo says to every bench.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

/// What this program is when the bench has started it once more.
#[derive(Debug, clap::Args)]
pub(crate) struct Role {
    /// The floor.
    #[arg(long, hide = true)]
    pub(crate) floor: bool,

    /// Idle clients: `CLIENTS,CONNS,CLIENT_ADDR,SERVER_ADDR`.
    #[arg(long, hide = true)]
    pub(crate) crowd: Option<String>,
}

impl Options {
    /// Turns of each.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.brief { 3 } else { 5 })
    }

    /// How long a turn is measured.
    pub(crate) fn turn(&self) -> Duration {
        self.seconds.unwrap_or(Duration::from_millis(if self.brief { 500 } else { 3000 }))
    }

    /// How long a turn lasts before that.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.brief { 200 } else { 300 })
    }

    /// Whether something of this name is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|text| name.contains(text))
    }

    /// Where the values go.
    pub(crate) fn json(&self) -> anyhow::Result<PathBuf> {
        json_path(self.json.as_deref(), "data-plane.json")
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "must be 0.1 to 3600".to_owned())
}
