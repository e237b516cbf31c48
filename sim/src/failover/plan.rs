//! What a seed decides of a world whose clients and servers use many gateways.

use std::time::Duration;

use fastway::fleet::{Backoff, Choice, FleetConfig};
use serde::{Deserialize, Serialize};

use super::sabotage::Sabotage;
use crate::plan::{Plan, PlanError, bounds};

/// How clients and servers use many gateways; times in ms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetPlan {
    /// The causes of failover are so far apart that the bound of each one is checked; or they may happen at any time, with
    /// any other fault, and it is checked what is left in the end.
    pub spaced: bool,
    /// The setting of the same name.
    pub detection_ms: u32,
    /// The first wait before a gateway is tried again.
    pub backoff_first_ms: u32,
    /// The longest.
    pub backoff_max_ms: u32,
    /// The setting of the same name.
    pub choice: ChoicePlan,
    /// The setting of the same name.
    pub spread_ms: u32,
    /// The setting of the same name.
    pub patience_ms: u32,
    /// The setting of the same name; 0: never.
    #[serde(default)]
    pub reroute_ms: u32,
    /// The name of the gateways is looked up so often; 0: they are in a list, and never change.
    pub every_ms: u32,
    /// Each talk has something new to say so often.
    pub beat_ms: u32,
    /// The servers that one client talks to, at most.
    pub talks: u32,
    /// The probability that a server calls a client back that has opened a connection.
    pub calls_back: f64,
}

/// [`Choice`], as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the choice of the same name")]
pub enum ChoicePlan {
    Random,
    RoundRobin,
    Nearest,
}

impl FleetPlan {
    /// Judges whether this can be run.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        bounds("detection_ms", self.detection_ms, 200..=60_000, "200 to 60000")?;
        bounds("backoff_first_ms", self.backoff_first_ms, 1..=60_000, "1 to 60000")?;
        bounds(
            "backoff_max_ms",
            self.backoff_max_ms,
            self.backoff_first_ms..=60_000,
            "backoff_first_ms to 60000",
        )?;
        bounds("spread_ms", self.spread_ms, 0..=60_000, "0 to 60000")?;
        bounds("patience_ms", self.patience_ms, 1_000..=600_000, "1000 to 600000")?;
        bounds("reroute_ms", self.reroute_ms, 0..=60_000, "0 to 60000")?;
        bounds("every_ms", self.every_ms, 0..=600_000, "0 to 600000")?;
        bounds("beat_ms", self.beat_ms, 10..=60_000, "10 to 60000")?;
        bounds("talks", self.talks, 1..=8, "1 to 8")?;
        if !(0.0..=0.9).contains(&self.calls_back) {
            return Err(PlanError::OutOfBounds {
                name: "calls_back",
                value: self.calls_back.to_string(),
                bounds: "0 to 0.9",
            });
        }
        Ok(())
    }

    /// The configuration of one client or server, which draws from `seed`.
    pub(super) fn config(&self, plan: &Plan, seed: u64, sabotage: Sabotage) -> FleetConfig {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let backoff = Backoff { first: ms(self.backoff_first_ms), max: ms(self.backoff_max_ms) };
        let mut config = FleetConfig {
            endpoint: plan.endpoint_config(),
            detection: ms(self.detection_ms),
            backoff,
            redial: backoff,
            choice: match self.choice {
                ChoicePlan::Random => Choice::Random,
                ChoicePlan::RoundRobin => Choice::RoundRobin,
                ChoicePlan::Nearest => Choice::Nearest,
            },
            reroute: ms(self.reroute_ms),
            spread: ms(self.spread_ms),
            patience: ms(self.patience_ms),
            seed: Some(seed),
        };
        match sabotage {
            Sabotage::NoSpread => config.spread = Duration::ZERO,
            Sabotage::NoBackoff => {
                config.backoff = Backoff { first: ms(1), max: ms(1) };
                config.redial = config.backoff;
            }
            Sabotage::RefusalsAreEndured => config.reroute = Duration::ZERO,
            Sabotage::RefusalsAreNotEndured => config.reroute = ms(1),
            Sabotage::SilenceIsIgnored => config.detection = Duration::from_secs(24 * 3600),
            _ => {}
        }
        config
    }
}
