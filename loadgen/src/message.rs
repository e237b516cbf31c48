//! What a message carries, so that whoever receives it can tell when it was meant to be sent, whether it is the next one,
//! and whether it is whole.
//!
//! ```text
//! +----------+------+-----+-------+---------+
//! | intended | echo | seq | check | filler  |     little endian
//! +----------+------+-----+-------+---------+
//!   6 byte     2      4     4       the rest
//! ```
//!
//! - *intended*: when the message was meant to be sent, in ns since the run began (good for 78 hours). No send can lose
//!   it, however late.
//! - *echo*: filled in by the server: how long the message was in its hands, as a number with 11 significant bits.
//! - *seq*: counts the messages of one virtual connection and direction, from 0. An echo has the number of its question.
//! - *check*: a hash over everything but *echo* and itself, the connection ID and the length included, so that a message
//!   that arrives on another connection is known for what it is. An echo's is that of its question, inverted: a question
//!   that comes back as it was is no echo.

use fastway::frame::{HEADER_BYTES, encode_header};
use fastway::id::ConnId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::clock::Nanos;

/// Bytes before the filler: the shortest message.
pub const MIN_MESSAGE_BYTES: usize = 16;

const ECHO_AT: usize = 6;
const SEQ_AT: usize = 8;
const CHECK_AT: usize = 12;

/// Significant bits of an echo time.
const ECHO_BITS: u32 = 11;

/// How much of each message is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Nothing: messages are counted.
    Off,
    /// The first 16 bytes, the connection and the length.
    Header,
    /// Every byte.
    Full,
}

/// The bytes behind the header of every message: random ones, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Filler {
    bytes: Vec<u8>,
}

impl Filler {
    /// Where a message's filler may begin.
    const OFFSETS: usize = 64 * 1024;

    /// Filler for messages of up to so many bytes.
    pub(crate) fn new(rng: &mut impl rand::Rng, max_message_bytes: usize) -> Self {
        let mut bytes = vec![0; Self::OFFSETS + max_message_bytes];
        rng.fill_bytes(&mut bytes);
        Self { bytes }
    }

    /// Other bytes for every message of a connection, until they come round again.
    fn of(&self, seq: u32, len: usize) -> &[u8] {
        let offset = (seq as usize).wrapping_mul(61) % Self::OFFSETS;
        &self.bytes[offset..offset + len]
    }
}

/// What the header of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) intended: Nanos,
    pub(crate) echo: Nanos,
    pub(crate) seq: u32,
    check: u32,
}

/// Which way a message goes: from who opened the connection, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    There,
    Back,
}

impl Header {
    /// Reads the header of a message; `None` if it is too short to have one.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let header: &[u8; MIN_MESSAGE_BYTES] = message.first_chunk()?;
        let first = u64_at(header, 0);
        let second = u64_at(header, SEQ_AT);
        Some(Self {
            intended: first & ((1 << 48) - 1),
            echo: decode_echo((first >> 48) as u16),
            seq: second as u32,
            check: (second >> 32) as u32,
        })
    }

    /// Whether the message, which this is the header of, is the one that was sent on `conn`, this way.
    pub(crate) fn is_whole(&self, verify: Verify, conn: ConnId, way: Way, message: &[u8]) -> bool {
        let expected = match way {
            Way::There => self.check,
            Way::Back => !self.check,
        };
        verify == Verify::Off || check(verify, conn, self.intended, self.seq, message) == expected
    }
}

/// Appends the frame of a new message of `len` bytes, [`MIN_MESSAGE_BYTES`] at least.
pub(crate) fn push(
    out: &mut Vec<u8>,
    filler: &Filler,
    verify: Verify,
    conn: ConnId,
    seq: u32,
    intended: Nanos,
    len: usize,
) {
    let begin = out.len();
    out.extend_from_slice(&encode_header(conn, len));
    out.extend_from_slice(&(intended & ((1 << 48) - 1)).to_le_bytes());
    out.extend_from_slice(&u64::from(seq).to_le_bytes());
    out.extend_from_slice(filler.of(seq, len - MIN_MESSAGE_BYTES));
    if verify != Verify::Off {
        let message = &mut out[begin + HEADER_BYTES..];
        let check = check(verify, conn, intended, seq, message);
        message[CHECK_AT..MIN_MESSAGE_BYTES].copy_from_slice(&check.to_le_bytes());
    }
}

/// Appends the echo of a whole frame, and says where in `out` its time belongs ([`stamp_echo`]).
pub(crate) fn push_echo(out: &mut Vec<u8>, frame: &[u8]) -> usize {
    let message = out.len() + HEADER_BYTES;
    out.extend_from_slice(frame);
    for byte in &mut out[message + CHECK_AT..message + MIN_MESSAGE_BYTES] {
        *byte = !*byte;
    }
    message + ECHO_AT
}

/// Writes how long a message was in the hands of whoever echoes it.
pub(crate) fn stamp_echo(out: &mut [u8], at: usize, echo: Nanos) {
    out[at..at + 2].copy_from_slice(&encode_echo(echo).to_le_bytes());
}

fn check(verify: Verify, conn: ConnId, intended: Nanos, seq: u32, message: &[u8]) -> u32 {
    // Each part gets odd factors of its own (from the golden ratio and splitmix64), so that no two of them cancel out.
    let mut mix = (u64::from(conn.get()) << 32 | message.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mix = (mix ^ (mix >> 29) ^ intended).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mix = (mix ^ (mix >> 32) ^ u64::from(seq)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mix ^= mix >> 31;
    let hash = match verify {
        Verify::Full => xxh3_64_with_seed(&message[MIN_MESSAGE_BYTES..], mix),
        Verify::Header | Verify::Off => mix,
    };
    (hash ^ (hash >> 32)) as u32
}

fn u64_at(header: &[u8; MIN_MESSAGE_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes were asked for"))
}

fn encode_echo(echo: Nanos) -> u16 {
    let exponent = (64 - echo.leading_zeros()).saturating_sub(ECHO_BITS).min(31);
    let mantissa = (echo >> exponent).min((1 << ECHO_BITS) - 1);
    (exponent << ECHO_BITS) as u16 | mantissa as u16
}

fn decode_echo(echo: u16) -> Nanos {
    u64::from(echo & ((1 << ECHO_BITS) - 1)) << (echo >> ECHO_BITS)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn filler() -> Filler {
        Filler::new(&mut StdRng::seed_from_u64(7), 1000)
    }

    fn conn(number: u32) -> ConnId {
        ConnId::new(number).unwrap()
    }

    fn frame(verify: Verify, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, &filler(), verify, conn(9), 77, 123_456_789_012, len);
        out
    }

    #[test]
    fn a_message_tells_what_was_put_into_it() {
        for len in [16, 17, 64, 1000] {
            for verify in [Verify::Off, Verify::Header, Verify::Full] {
                let frame = frame(verify, len);
                assert_eq!(frame.len(), HEADER_BYTES + len);
                let header = Header::read(&frame[HEADER_BYTES..]).unwrap();
                assert_eq!((header.intended, header.seq, header.echo), (123_456_789_012, 77, 0));
                assert!(header.is_whole(verify, conn(9), Way::There, &frame[HEADER_BYTES..]));
            }
        }
        assert_eq!(Header::read(&[0; 15]), None);
    }

    #[test]
    fn an_echo_is_whole_and_carries_its_time() {
        let question = frame(Verify::Full, 64);
        let mut out = vec![1, 2, 3];
        let at = push_echo(&mut out, &question);
        stamp_echo(&mut out, at, 2047);
        let echo = &out[3 + HEADER_BYTES..];
        let header = Header::read(echo).unwrap();
        assert_eq!((header.seq, header.echo), (77, 2047));
        assert!(header.is_whole(Verify::Full, conn(9), Way::Back, echo));
        assert!(!header.is_whole(Verify::Full, conn(9), Way::There, echo), "an echo is no question");
        assert!(
            !Header::read(&question[HEADER_BYTES..]).unwrap().is_whole(
                Verify::Full,
                conn(9),
                Way::Back,
                &question[HEADER_BYTES..]
            ),
            "a question that comes back as it was is no echo"
        );
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let whole = frame(Verify::Full, 80);
        let message = &whole[HEADER_BYTES..];
        for bit in 0..message.len() * 8 {
            if (ECHO_AT * 8..SEQ_AT * 8).contains(&bit) {
                continue;
            }
            let mut flipped = message.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let header = Header::read(&flipped).unwrap();
            assert!(!header.is_whole(Verify::Full, conn(9), Way::There, &flipped), "bit {bit}");
            let is_whole = header.is_whole(Verify::Header, conn(9), Way::There, &flipped);
            assert!(!is_whole, "with another check, bit {bit}");
        }
        let header = Header::read(message).unwrap();
        assert!(!header.is_whole(Verify::Full, conn(8), Way::There, message), "another connection");
        assert!(!header.is_whole(Verify::Full, conn(9), Way::There, &message[..79]), "another length");
    }

    #[test]
    fn echo_times_keep_three_digits() {
        for echo in [0, 1, 999, 2047, 2048, 123_456, 987_654_321, 3_600_000_000_000] {
            let kept = decode_echo(encode_echo(echo));
            assert!(kept <= echo && echo - kept <= echo / 1000, "{echo} became {kept}");
        }
        assert!(decode_echo(encode_echo(u64::MAX)) > 3_600_000_000_000);
    }
}
