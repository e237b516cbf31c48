//! The server handshake.

use arbitrary::{Arbitrary, Unstructured};
use fastway::handshake::{Challenge, Hello};
use fastway::id::ServerId;

use crate::Bytes;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    challenge: [u8; Challenge::BYTES],
    wire: [u8; Hello::BYTES],
    id: u32,
    /// Which bit of the right proof is wrong.
    bit: u8,
    key: Bytes<'a>,
}

/// Any 20 bytes are an answer, and only the right proof verifies.
pub fn handshake(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let (challenge, key, id) = (Challenge(case.challenge), case.key.0, ServerId::new(case.id));

    let right = challenge.answer(key, id).encode();
    assert_eq!(Hello::decode(&right).verify(challenge, key), Some(id));

    let mut wrong = right;
    wrong[usize::from(case.bit / 8 % 16)] ^= 1 << (case.bit % 8);
    assert_eq!(Hello::decode(&wrong).verify(challenge, key), None);

    let any = Hello::decode(&case.wire);
    assert_eq!(any.encode(), case.wire);
    let verified = any.verify(challenge, key);
    assert_eq!(verified.is_some(), case.wire[..16] == right[..16]);
}
