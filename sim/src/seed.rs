//! Labelled streams of random numbers.
//!
//! Everything random in a world comes from its seed through a label: the plan, each actor, each end of each connection.
//! So a change in one (a client that draws once more) does not disturb the others.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Where all randomness of a world comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The 32 bytes that belong to `label` and `number`.
    #[must_use]
    pub fn bytes(self, label: &str, number: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..24].copy_from_slice(&fnv(label.as_bytes()).to_le_bytes());
        bytes
    }

    /// The random numbers that belong to `label` and `number`.
    #[must_use]
    pub fn rng(self, label: &str, number: u64) -> StdRng {
        StdRng::from_seed(self.bytes(label, number))
    }
}

/// FNV-1a: the same in every process and every version, as saved schedules need it.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_START, |hash, byte| fnv_byte(hash, *byte))
}

pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

pub(crate) fn fnv_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}
