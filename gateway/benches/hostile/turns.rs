//! Good clients, measured without and with bad ones, in turn.

use serde::Serialize;

use crate::interrupt;
use crate::report::Report;
use crate::values::Series;

/// The same value without and with them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) without: Series,
    pub(crate) with: Series,
    /// The value with them through the one that was measured just before.
    pub(crate) ratio: Series,
}

/// Measures so many rounds; `measure` is told whether the bad ones are to be there.
pub(crate) fn in_turn(
    rounds: u32,
    report: &Report<'_>,
    mut measure: impl FnMut(bool) -> anyhow::Result<f64>,
) -> anyhow::Result<Compared> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for (is_with, name, values) in [(false, "without", &mut without), (true, "with", &mut with)] {
            report.doing(format!("round {round} of {rounds}, {name}"));
            interrupt::check()?;
            values.push(measure(is_with).map_err(|error| error.context(format!("{name} them")))?);
            interrupt::check()?;
        }
    }
    let ratio = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    Ok(Compared { without: Series::new(without), with: Series::new(with), ratio: Series::new(ratio) })
}
