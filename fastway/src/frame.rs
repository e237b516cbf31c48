//! Bytes ↔ frames: pure, incremental, without copying.
//!
//! ```text
//! +--------+---------+-------------+
//! | Length | Conn ID |   Message   |   Length = 4 + len(Message); it does not count itself
//! +--------+---------+-------------+
//!   4 byte   4 byte    Length - 4       little endian
//! ```
//!
//! A frame with a Conn ID carries a message of that virtual connection; one with Conn ID 0 carries a command
//! ([`crate::command`]). [`split`] takes the first frame off a byte slice. The length is judged from its four
//! bytes alone, before there is a body. Reading from a stream is the work of [`crate::reader`].

use std::borrow::Cow;

use crate::id::ConnId;

/// Bytes before the message: Length and Conn ID.
pub const HEADER_BYTES: usize = 8;

/// Bytes of the Length field, which does not count itself.
pub const LENGTH_BYTES: usize = 4;

/// Bytes of the Conn ID field, which Length counts.
const CONN_ID_BYTES: usize = 4;

/// The largest Length that is accepted, in bytes: the original's `MaxPacketSize`.
///
/// Length counts the Conn ID, so the longest message is 4 bytes shorter ([`max_message_bytes`]).
/// Both ends of a link check this same number.
///
/// [`max_message_bytes`]: MaxPacket::max_message_bytes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPacket(u32);

impl MaxPacket {
    /// The smallest limit that lets every command through: Conn ID, type, and two arguments.
    pub const SMALLEST: u32 = 13;

    /// A limit of so many bytes; `None` below [`SMALLEST`](Self::SMALLEST).
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes < Self::SMALLEST { None } else { Some(Self(bytes)) }
    }

    /// The limit in bytes, as compared with Length.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The longest message that fits, in bytes.
    #[must_use]
    pub const fn max_message_bytes(self) -> usize {
        self.0 as usize - CONN_ID_BYTES
    }

    /// The longest frame that fits, in bytes, with its Length field.
    #[must_use]
    pub const fn max_frame_bytes(self) -> usize {
        self.0 as usize + LENGTH_BYTES
    }
}

impl Default for MaxPacket {
    /// 512 KiB, like the original.
    fn default() -> Self {
        Self(512 * 1024)
    }
}

/// A length field that no frame may have. It ends the physical connection that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Length does not even cover the Conn ID.
    #[error("malformed frame: a length of {length} is below 4, the size of the connection ID it counts")]
    TooShort {
        /// The Length field as received.
        length: u32,
    },
    /// Length is above the limit.
    #[error(
        "frame too large: a length of {length} is above the limit of {max} bytes; \
         raise the maximal packet size on both ends or send less at once"
    )]
    TooLarge {
        /// The Length field as received.
        length: u32,
        /// The limit that was in force.
        max: u32,
    },
}

/// One whole frame: borrowed from what was read, or owning its bytes when it is too large for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    bytes: Cow<'a, [u8]>,
}

impl<'a> Frame<'a> {
    /// A frame around bytes that are exactly one frame.
    pub(crate) fn whole(bytes: Cow<'a, [u8]>) -> Self {
        debug_assert!(bytes.len() >= HEADER_BYTES, "a frame has a header");
        Self { bytes }
    }

    /// The virtual connection it belongs to; `None` if the message is a command.
    #[must_use]
    pub fn conn(&self) -> Option<ConnId> {
        ConnId::new(u32_at(&self.bytes, LENGTH_BYTES))
    }

    /// The message, or the command with its type byte. May be empty.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The frame as it is on the wire, header included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the frame as it is on the wire, header included, without copying what is already owned.
    /// The frame is an empty shell afterwards, to be used no more.
    #[must_use]
    pub fn take_bytes(&mut self) -> Cow<'a, [u8]> {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }
}

/// What [`split`] found at the front of a byte slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A whole frame, and what follows it.
    Frame(Frame<'a>, &'a [u8]),
    /// The frame is not whole. `total` is its size on the wire once its Length is known.
    Incomplete {
        /// Bytes of the whole frame, header included; `None` while fewer than four bytes are there.
        total: Option<usize>,
    },
}

/// Takes the first frame off `bytes`, borrowing it.
///
/// # Errors
///
/// [`FrameError`] as soon as the four bytes of Length are there and no valid frame can follow.
///
/// # Example
///
/// ```
/// use fastway::frame::{MaxPacket, Split, split};
///
/// let wire = [6, 0, 0, 0, 9, 0, 0, 0, b'h', b'i', 5, 0];
/// let Split::Frame(frame, rest) = split(&wire, MaxPacket::default())? else { panic!("it is whole") };
/// assert_eq!(frame.conn().map(|id| id.get()), Some(9));
/// assert_eq!(frame.message(), b"hi");
/// assert_eq!(split(rest, MaxPacket::default())?, Split::Incomplete { total: None });
/// # Ok::<(), fastway::frame::FrameError>(())
/// ```
pub fn split(bytes: &[u8], max: MaxPacket) -> Result<Split<'_>, FrameError> {
    if bytes.len() < LENGTH_BYTES {
        return Ok(Split::Incomplete { total: None });
    }
    let length = u32_at(bytes, 0);
    if (length as usize) < CONN_ID_BYTES {
        return Err(FrameError::TooShort { length });
    }
    if length > max.0 {
        return Err(FrameError::TooLarge { length, max: max.0 });
    }
    let total = LENGTH_BYTES + length as usize;
    if bytes.len() < total {
        return Ok(Split::Incomplete { total: Some(total) });
    }
    let (frame, rest) = bytes.split_at(total);
    Ok(Split::Frame(Frame::whole(Cow::Borrowed(frame)), rest))
}

/// Where each of the frames at the front of `bytes` ends, by their length fields; the last one may end beyond `bytes`.
///
/// The lengths are not judged: this is for frames that [`split`] has found whole.
pub fn frame_ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut end = 0;
    std::iter::from_fn(move || {
        let length: [u8; LENGTH_BYTES] = *bytes.get(end..)?.first_chunk()?;
        end += LENGTH_BYTES + u32::from_le_bytes(length) as usize;
        Some(end)
    })
}

/// Appends the frame that carries `message` on `conn`.
///
/// The length is not checked against any limit: compare with [`MaxPacket::max_message_bytes`] first.
///
/// # Panics
///
/// If the message is 4 GiB or longer, which no limit allows.
pub fn encode(conn: ConnId, message: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES + message.len());
    out.extend_from_slice(&encode_header(conn, message.len()));
    out.extend_from_slice(message);
}

/// The eight bytes of a frame before its message of `message_bytes` bytes, for whoever writes the message itself.
///
/// The length is not checked against any limit: compare with [`MaxPacket::max_message_bytes`] first.
///
/// # Panics
///
/// If the message is 4 GiB or longer, which no limit allows.
#[must_use]
pub fn encode_header(conn: ConnId, message_bytes: usize) -> [u8; HEADER_BYTES] {
    header(Some(conn), message_bytes)
}

/// The eight bytes before a message of `message_bytes` bytes; without a connection, before a command.
pub(crate) fn header(conn: Option<ConnId>, message_bytes: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(message_bytes + CONN_ID_BYTES).expect("messages are bounded by MaxPacket");
    let mut header = [0; HEADER_BYTES];
    header[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    header[LENGTH_BYTES..].copy_from_slice(&conn.map_or(0, ConnId::get).to_le_bytes());
    header
}

/// The little-endian integer that starts at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes were asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: MaxPacket = MaxPacket(100);

    fn length_only(length: u32) -> Result<Option<usize>, FrameError> {
        match split(&length.to_le_bytes(), MAX)? {
            Split::Frame(..) => unreachable!("four bytes are no frame"),
            Split::Incomplete { total } => Ok(total),
        }
    }

    #[test]
    fn the_bytes_of_a_data_frame_are_those_of_the_contract() {
        let mut out = Vec::new();
        encode(ConnId::new(0x0403_0201).unwrap(), b"hello", &mut out);
        assert_eq!(out, [9, 0, 0, 0, 1, 2, 3, 4, b'h', b'e', b'l', b'l', b'o']);
    }

    #[test]
    fn an_empty_message_is_a_frame() {
        let mut out = Vec::new();
        encode(ConnId::new(7).unwrap(), b"", &mut out);
        assert_eq!(out, [4, 0, 0, 0, 7, 0, 0, 0]);
        let Split::Frame(frame, rest) = split(&out, MAX).unwrap() else { panic!("whole") };
        assert_eq!((frame.conn(), frame.message(), rest), (ConnId::new(7), &b""[..], &b""[..]));
    }

    #[test]
    fn lengths_are_judged_from_four_bytes() {
        for length in 0..4 {
            assert_eq!(length_only(length), Err(FrameError::TooShort { length }));
        }
        assert_eq!(length_only(4), Ok(Some(8)));
        assert_eq!(length_only(100), Ok(Some(104)), "exactly the maximum is legal");
        assert_eq!(length_only(101), Err(FrameError::TooLarge { length: 101, max: 100 }));
        assert_eq!(length_only(u32::MAX), Err(FrameError::TooLarge { length: u32::MAX, max: 100 }));
    }

    #[test]
    fn the_longest_message_makes_the_longest_frame() {
        let mut out = Vec::new();
        encode(ConnId::new(1).unwrap(), &vec![0; MAX.max_message_bytes()], &mut out);
        assert_eq!(out.len(), MAX.max_frame_bytes());
        assert!(matches!(split(&out, MAX), Ok(Split::Frame(..))));
    }

    #[test]
    fn a_limit_below_the_longest_command_does_not_exist() {
        assert_eq!(MaxPacket::new(MaxPacket::SMALLEST - 1), None);
        assert!(MaxPacket::new(MaxPacket::SMALLEST).is_some());
    }
}
