//! Values of several rounds, the floor's and the gateway's next to each other.

use indicatif::ProgressBar;
use serde::Serialize;

use crate::interrupt;
use crate::served::{Pair, Served};

/// The same value, once a round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Series {
    /// In the order of time.
    pub(crate) rounds: Vec<f64>,
    /// Half of them are not above it.
    pub(crate) median: f64,
}

/// The floor and the gateway at the same work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) floor: Series,
    pub(crate) gateway: Series,
    /// The gateway's value through the floor's that was measured just before.
    pub(crate) ratio: Series,
}

impl Series {
    fn new(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (below, above) = ((sorted.len() - 1) / 2, sorted.len() / 2);
        Self { median: (sorted[below] + sorted[above]) / 2.0, rounds }
    }

    /// The lowest and the highest.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        let fold = |start, pick: fn(f64, f64) -> f64| self.rounds.iter().copied().fold(start, pick);
        (fold(f64::INFINITY, f64::min), fold(0.0, f64::max))
    }
}

/// Lets the floor and the gateway take turns, in so many rounds.
pub(crate) fn in_turn(
    rounds: u32,
    bar: &ProgressBar,
    pair: &Pair,
    mut measure: impl FnMut(&Served) -> anyhow::Result<f64>,
) -> anyhow::Result<Compared> {
    let (mut floor, mut gateway) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for (name, served, values) in
            [("floor", &pair.floor, &mut floor), ("gateway", &pair.gateway, &mut gateway)]
        {
            bar.set_prefix(format!("round {round} of {rounds}, {name}"));
            bar.tick();
            interrupt::check()?;
            values.push(measure(served).map_err(|error| error.context(format!("against the {name}")))?);
            interrupt::check()?;
        }
    }
    let ratio = gateway.iter().zip(&floor).map(|(gateway, floor)| gateway / floor).collect();
    Ok(Compared { floor: Series::new(floor), gateway: Series::new(gateway), ratio: Series::new(ratio) })
}
