//! The same value, measured several times.

use serde::Serialize;

/// The same value, once a round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Series {
    /// In the order of time.
    pub(crate) rounds: Vec<f64>,
    /// Half of them are not above it.
    pub(crate) median: f64,
}

impl Series {
    pub(crate) fn new(rounds: Vec<f64>) -> Self {
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
