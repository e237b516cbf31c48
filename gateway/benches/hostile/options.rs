//! What can be asked of the bench.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use fastway_loadgen::Plan;

use crate::results::json_path;
use crate::served::GatewayOptions;

/// What peers that mean no good can do to the gateway, and to those who share it with them.
///
/// Relative paths begin at the folder of the package, where cargo runs benches.
#[derive(Debug, Parser)]
#[command(name = "hostile", max_term_width = 110)]
pub(crate) struct Options {
    /// How often good clients are measured without and with the bad ones [default: 7; with --brief 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Only what has this in its name
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,

    /// Where all values go, as JSON [default: hostile.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// What is drawn at random, is drawn from this
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    #[command(flatten)]
    pub(crate) gateway: GatewayOptions,

    /// In less than a minute: a tenth of everything; missed is only what is twice as much as wanted, and what needs time is
    /// not judged
    #[arg(long)]
    pub(crate) brief: bool,

    /// What this program is when the bench has started it once more: a peer that is to be killed.
    #[arg(long, hide = true)]
    pub(crate) restless: Option<String>,

    /// What cargo says to every bench.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

impl Options {
    /// Turns without and with bad peers.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.brief { 2 } else { 7 })
    }

    /// What good clients do in a turn.
    pub(crate) fn plan(&self, clients: usize) -> Plan {
        Plan {
            clients,
            warm_up: Duration::from_millis(500),
            duration: Some(Duration::from_millis(if self.brief { 1000 } else { 3000 })),
            ..Plan::default()
        }
    }

    /// So many, or a tenth of them.
    pub(crate) fn scaled(&self, count: usize) -> usize {
        if self.brief { count / 10 } else { count }
    }

    /// Whether something of this name is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|text| name.contains(text))
    }

    /// Where the values go.
    pub(crate) fn json(&self) -> anyhow::Result<PathBuf> {
        json_path(self.json.as_deref(), "hostile.json")
    }
}
