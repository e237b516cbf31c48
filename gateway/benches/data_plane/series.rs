//! The values of the floor and the gateway, which take turns.

use indicatif::ProgressBar;
use serde::Serialize;

use crate::interrupt;
use crate::pair::Pair;
use crate::served::Served;
use crate::values::Series;

/// The floor and the gateway at the same work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) floor: Series,
    pub(crate) gateway: Series,
    /// The gateway's value through the floor's that was measured just before.
    pub(crate) ratio: Series,
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
