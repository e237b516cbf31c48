//! The server handshake: both ends of it, as values.
//!
//! 1. gateway → server: a [`Challenge`], 8 random bytes;
//! 2. server → gateway: a [`Hello`]: `MD5(challenge ‖ key)`, 16 bytes, then the server's ID, 4 bytes;
//! 3. equal: the server is registered, and frames follow; otherwise the gateway closes the connection.
//!
//! The gateway says nothing at success. MD5 is the original's choice and part of the contract: it keeps the key
//! off the wire, but it is no encryption, and the internal port belongs on a private network.

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use crate::frame::u32_at;
use crate::id::ServerId;

const PROOF_BYTES: usize = 16;

/// The gateway's question. Whoever makes one draws its bytes from a cryptographic source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge(pub [u8; Self::BYTES]);

impl Challenge {
    /// Bytes on the wire.
    pub const BYTES: usize = 8;

    /// The server's answer: who it is, and that it knows `key`.
    #[must_use]
    pub fn answer(self, key: &[u8], id: ServerId) -> Hello {
        Hello { proof: self.proof(key), id }
    }

    fn proof(self, key: &[u8]) -> [u8; PROOF_BYTES] {
        Md5::new().chain_update(self.0).chain_update(key).finalize().into()
    }
}

/// A server's answer to a [`Challenge`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    proof: [u8; PROOF_BYTES],
    id: ServerId,
}

impl Hello {
    /// Bytes on the wire.
    pub const BYTES: usize = PROOF_BYTES + 4;

    /// Reads the answer as received.
    #[must_use]
    pub fn decode(wire: &[u8; Self::BYTES]) -> Self {
        let proof = wire[..PROOF_BYTES].try_into().expect("the proof comes first");
        Self { proof, id: ServerId::new(u32_at(wire, PROOF_BYTES)) }
    }

    /// The answer as sent.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut wire = [0; Self::BYTES];
        wire[..PROOF_BYTES].copy_from_slice(&self.proof);
        wire[PROOF_BYTES..].copy_from_slice(&self.id.get().to_le_bytes());
        wire
    }

    /// The server's ID if the answer proves that it knows `key`; compared in constant time.
    #[must_use]
    pub fn verify(&self, challenge: Challenge, key: &[u8]) -> Option<ServerId> {
        bool::from(challenge.proof(key).ct_eq(&self.proof)).then_some(self.id)
    }
}

impl std::fmt::Debug for Hello {
    /// Leaves the proof out: it is worth a dictionary attack.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge(*b"12345678");

    /// `printf 12345678secret | md5sum`
    const PROOF_OF_SECRET: [u8; 16] =
        [0x1c, 0x91, 0x69, 0xec, 0x8e, 0xe8, 0x91, 0x70, 0x9c, 0x6d, 0xb4, 0x74, 0xcd, 0xf6, 0x79, 0x2f];

    #[test]
    fn the_bytes_of_an_answer_are_those_of_the_contract() {
        let wire = CHALLENGE.answer(b"secret", ServerId::new(0x0102_0304)).encode();
        assert_eq!(wire[..16], PROOF_OF_SECRET);
        assert_eq!(wire[16..], [4, 3, 2, 1]);
    }

    #[test]
    fn only_the_right_key_and_challenge_verify() {
        let hello = Hello::decode(&CHALLENGE.answer(b"secret", ServerId::new(9)).encode());
        assert_eq!(hello.verify(CHALLENGE, b"secret"), Some(ServerId::new(9)));
        assert_eq!(hello.verify(CHALLENGE, b"Secret"), None);
        assert_eq!(hello.verify(CHALLENGE, b""), None);
        assert_eq!(hello.verify(Challenge(*b"12345679"), b"secret"), None);
    }

    #[test]
    fn the_proof_is_not_printed() {
        let hello = CHALLENGE.answer(b"secret", ServerId::new(9));
        assert_eq!(format!("{hello:?}"), "Hello { id: ServerId(9), .. }");
    }
}
