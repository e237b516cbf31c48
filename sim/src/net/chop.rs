//! How unkind a network is to whoever takes one read for one message.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Rates of what TCP may do at any time, and does rarely on loopback. Each is a probability for one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chop {
    /// Nothing for now, although there would be something; the task is woken at once.
    pub pending: f64,
    /// A read or a write takes [`tiny_bytes`](Self::tiny_bytes) at most.
    pub tiny: f64,
    /// What tiny means, in bytes.
    pub tiny_bytes: usize,
}

impl Chop {
    /// A network that does none of it.
    pub const OFF: Self = Self { pending: 0.0, tiny: 0.0, tiny_bytes: 1 };
}

/// One end's share of the unkindness.
#[derive(Debug)]
pub(super) struct Chopper {
    chop: Chop,
    rng: StdRng,
}

impl Chopper {
    pub(super) fn new(chop: Chop, seed: [u8; 32]) -> Self {
        Self { chop, rng: StdRng::from_seed(seed) }
    }

    /// Whether this call is put off.
    pub(super) fn puts_off(&mut self) -> bool {
        self.chop.pending > 0.0 && self.rng.random_bool(self.chop.pending)
    }

    /// How much of `bytes` this call takes: at least 1, if there is any.
    pub(super) fn part_of(&mut self, bytes: usize) -> usize {
        if bytes > 1 && self.chop.tiny > 0.0 && self.rng.random_bool(self.chop.tiny) {
            let most = self.chop.tiny_bytes.clamp(1, bytes);
            return self.rng.random_range(1..=most);
        }
        bytes
    }
}
