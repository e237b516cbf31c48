//! What goes beyond the original protocol, for those who ask for it: the bytes behind the arguments of commands.
//!
//! Those bytes are ignored by every peer, so there is room for more. A server names its wishes behind a dial to client 0,
//! which no client is: a gateway that knows this module answers with what it grants behind its Refuse, any other with a
//! plain Refuse. A client names them behind a Close of connection 0, which no connection is, and gets no answer. Who did not
//! ask never sees a byte of it. The document `docs/protocol-extensions.md` of the repository has the bytes in pictures, and the
//! rules that tests name.
//!
//! ```
//! use fastway::extensions::{Extensions, Grant, ask, asked};
//! use fastway::frame::{HEADER_BYTES, MaxPacket};
//!
//! // A server asks …
//! let wire = ask(Extensions::CLIENT_ADDR);
//! let wishes = asked(&wire.as_ref()[HEADER_BYTES..]).expect("that is how one asks");
//!
//! // … and a gateway answers, before any virtual connection is open.
//! let wire = Grant::encode(wishes & Extensions::KNOWN, [], MaxPacket::default());
//! let grant = Grant::decode(&wire[HEADER_BYTES..]).expect("that is how one grants");
//! assert_eq!(grant.extensions(), Extensions::CLIENT_ADDR);
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::{BitAnd, BitOr};
use std::time::Duration;

use crate::command::{CommandFrame, ToEndpoint, ToGateway};
use crate::frame::{HEADER_BYTES, MaxPacket, header, u32_at};
use crate::id::{ConnId, RemoteId};

/// Behind a dial or a refusal of client 0, or a Close of connection 0, these four bytes say that extensions follow. Other bytes
/// there mean nothing.
const MAGIC: [u8; 4] = *b"FWX1";

/// The magic and the set.
const SET_BYTES: usize = 8;

/// Where the bytes behind Dial, Refuse and Close begin, and those behind Accept and Connect: after the type and the arguments.
const BEHIND_ONE: usize = 1 + 4;
const BEHIND_TWO: usize = 1 + 2 * 4;

/// A client that nobody is.
const NOBODY: RemoteId = RemoteId::new(0);

/// A set of extensions, as on the wire: one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions(u32);

impl Extensions {
    /// The protocol as it always was.
    pub const NONE: Self = Self(0);
    /// The address of the client, behind the arguments of every Connect and Accept that a server gets.
    pub const CLIENT_ADDR: Self = Self(1);
    /// A notice when the gateway begins to drain.
    pub const DRAINING: Self = Self(2);
    /// All that this version of the library knows. What others ask for beyond it is not granted.
    pub const KNOWN: Self = Self(Self::CLIENT_ADDR.0 | Self::DRAINING.0);

    /// Whether all of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What is in both sets.
impl BitAnd for Extensions {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What is in either set.
impl BitOr for Extensions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({:#b})", self.0)
    }
}

/// The frame by which a server asks.
#[must_use]
pub fn ask(wishes: Extensions) -> CommandFrame {
    ToGateway::Dial { remote: NOBODY }.encode().followed_by(&encode_set(wishes))
}

/// What a server asks for, if the message of its command frame is a wish. A gateway has to look at who sent it: a client's
/// wish is a dial like any other.
#[must_use]
pub fn asked(message: &[u8]) -> Option<Extensions> {
    let wishes = decode_set(message.get(BEHIND_ONE..)?)?;
    let is_dial = ToGateway::decode(message) == Ok(ToGateway::Dial { remote: NOBODY });
    is_dial.then_some(wishes)
}

/// The frame by which a client asks. For it there may be a server 0 to dial; but no connection has the number 0, so every gateway
/// ignores a Close of it.
#[must_use]
pub fn ask_as_client(wishes: Extensions) -> CommandFrame {
    ToGateway::Close { conn: None }.encode().followed_by(&encode_set(wishes))
}

/// What a client asks for, if the message of its command frame is a wish. From a server it means nothing.
#[must_use]
pub fn asked_by_client(message: &[u8]) -> Option<Extensions> {
    let wishes = decode_set(message.get(BEHIND_ONE..)?)?;
    let is_close = ToGateway::decode(message) == Ok(ToGateway::Close { conn: None });
    is_close.then_some(wishes)
}

/// A gateway's answer to a wish: what it grants from here on, and what the commands before it would have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    extensions: Extensions,
    earlier: &'a [u8],
}

impl<'a> Grant<'a> {
    /// One entry of the list: a connection, and its client's address.
    const ENTRY_BYTES: usize = 4 + ClientAddr::BYTES;

    /// The smallest limit on packets that lets a wish, its answer, a notice, and Connect and Accept with all extensions through.
    /// With a smaller one nobody asks, and nothing is granted.
    pub const SMALLEST_MAX_PACKET: u32 = MaxPacket::SMALLEST + ClientAddr::BYTES as u32;

    /// The frame that grants, with the clients' addresses of the virtual connections that are open already. If these are more
    /// than a packet holds, the server does not learn the others.
    #[must_use]
    pub fn encode(
        granted: Extensions,
        earlier: impl IntoIterator<Item = (ConnId, ClientAddr)>,
        max: MaxPacket,
    ) -> Vec<u8> {
        let refuse = ToEndpoint::Refuse { remote: NOBODY }.encode().followed_by(&encode_set(granted));
        let mut frame = refuse.as_ref().to_vec();
        let fitting = max.max_frame_bytes().saturating_sub(frame.len()) / Self::ENTRY_BYTES;
        for (conn, addr) in earlier.into_iter().take(fitting) {
            frame.extend_from_slice(&conn.get().to_le_bytes());
            frame.extend_from_slice(&addr.encode());
        }
        let header = header(None, frame.len() - HEADER_BYTES);
        frame[..HEADER_BYTES].copy_from_slice(&header);
        frame
    }

    /// What a gateway grants, if the message of its command frame is the answer of one that knows extensions.
    #[must_use]
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let is_refuse = ToEndpoint::decode(message) == Ok(ToEndpoint::Refuse { remote: NOBODY });
        let behind = message.get(BEHIND_ONE..).filter(|_| is_refuse)?;
        Some(Self { extensions: decode_set(behind)?, earlier: &behind[SET_BYTES..] })
    }

    /// What is granted.
    #[must_use]
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Virtual connections that were opened before the grant, with the addresses of their clients.
    pub fn earlier(&self) -> impl Iterator<Item = (ConnId, ClientAddr)> + use<'a> {
        let granted = self.extensions.contains(Extensions::CLIENT_ADDR);
        let entries = if granted { self.earlier } else { &[] };
        entries.chunks_exact(Self::ENTRY_BYTES).filter_map(|entry| {
            let addr = entry[4..].first_chunk().expect("an entry ends with an address");
            Some((ConnId::new(u32_at(entry, 0))?, ClientAddr::decode(addr)))
        })
    }
}

/// What a gateway says to those who asked for it when it begins to drain: it lets nobody in any more, and will close the links of
/// its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainNotice {
    /// So long from now, all clients will have been told to go.
    pub window: Duration,
}

impl DrainNotice {
    /// The frame that gives notice. The window has whole milliseconds on the wire, and 49 days at most.
    #[must_use]
    pub fn encode(self) -> CommandFrame {
        let window_ms = u32::try_from(self.window.as_millis()).unwrap_or(u32::MAX);
        let mut behind = [0; SET_BYTES + 4];
        behind[..SET_BYTES].copy_from_slice(&encode_set(Extensions::DRAINING));
        behind[SET_BYTES..].copy_from_slice(&window_ms.to_le_bytes());
        ToEndpoint::Close { conn: None }.encode().followed_by(&behind)
    }

    /// The notice that the message of a command frame gives, if it is one. It means something only to who asked for it.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        let behind = message.get(BEHIND_ONE..)?;
        let is_notice = decode_set(behind)?.contains(Extensions::DRAINING)
            && ToEndpoint::decode(message) == Ok(ToEndpoint::Close { conn: None });
        let window_ms = behind[SET_BYTES..].first_chunk().filter(|_| is_notice)?;
        Some(Self { window: Duration::from_millis(u32::from_le_bytes(*window_ms).into()) })
    }
}

/// The address of a client as a gateway tells it: where its connection comes from, or what a trusted proxy says about that.
///
/// `None` is one that the gateway does not know itself: the connection failed before it could look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub Option<SocketAddr>);

impl ClientAddr {
    /// Bytes on the wire.
    pub const BYTES: usize = 16 + 2;

    /// As sent: an IPv6 address, or an IPv4 address mapped to one, then the port, little endian. Unknown: only zeros.
    #[must_use]
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut wire = [0; Self::BYTES];
        if let Some(addr) = self.0 {
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            wire[..16].copy_from_slice(&ip.octets());
            wire[16..].copy_from_slice(&addr.port().to_le_bytes());
        }
        wire
    }

    /// As received. A mapped IPv4 address is an IPv4 address again.
    #[must_use]
    pub fn decode(wire: &[u8; Self::BYTES]) -> Self {
        let (ip, port) = wire.split_first_chunk::<16>().expect("the IP address comes first");
        let addr =
            SocketAddr::new(Ipv6Addr::from(*ip).to_canonical(), u16::from_le_bytes([port[0], port[1]]));
        Self((*wire != [0; Self::BYTES]).then_some(addr))
    }

    /// The address behind the arguments of Accept or Connect; `None` if there is none. It means something only after a grant.
    #[must_use]
    pub fn behind(message: &[u8]) -> Option<Self> {
        message.get(BEHIND_TWO..)?.first_chunk().map(Self::decode)
    }
}

impl CommandFrame {
    /// Accept or Connect, with the address of the client behind its arguments: for a server to whom that was granted.
    #[must_use]
    pub fn with_client_addr(self, addr: ClientAddr) -> Self {
        self.followed_by(&addr.encode())
    }
}

fn encode_set(set: Extensions) -> [u8; SET_BYTES] {
    let mut wire = [0; SET_BYTES];
    wire[..4].copy_from_slice(&MAGIC);
    wire[4..].copy_from_slice(&set.0.to_le_bytes());
    wire
}

fn decode_set(behind: &[u8]) -> Option<Extensions> {
    let set = behind.strip_prefix(&MAGIC)?.first_chunk()?;
    Some(Extensions(u32::from_le_bytes(*set)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV6};

    use proptest::prelude::*;

    use super::*;
    use crate::command::CommandError;
    use crate::frame::{Frame, Split, split};

    fn conn(number: u32) -> ConnId {
        ConnId::new(number).unwrap()
    }

    fn addr(text: &str) -> ClientAddr {
        ClientAddr(Some(text.parse().unwrap()))
    }

    fn message(wire: &[u8]) -> &[u8] {
        &wire[HEADER_BYTES..]
    }

    /// The pictures of docs/protocol-extensions.md, to the byte.
    #[test]
    fn the_bytes_are_those_of_the_document() {
        let wish = [17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 1, 0, 0, 0];
        assert_eq!(ask(Extensions::CLIENT_ADDR).as_ref(), wish);
        assert_eq!(asked(message(&wish)), Some(Extensions::CLIENT_ADDR));

        let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0x04, 0xd2];
        assert_eq!(addr("192.0.2.7:53764").encode(), v4, "53764 is 0xd204");
        let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x62, 0x1b];
        assert_eq!(addr("[2001:db8::9]:7010").encode(), v6);
        assert_eq!(ClientAddr(None).encode(), [0; 18]);

        let grant = [17, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 1, 0, 0, 0];
        assert_eq!(Grant::encode(Extensions::CLIENT_ADDR, [], MaxPacket::default()), grant);
        let open = [(conn(3), addr("192.0.2.7:53764")), (conn(4), ClientAddr(None))];
        let mut with_open = [&grant[..], &[3, 0, 0, 0], &v4, &[4, 0, 0, 0], &[0; 18]].concat();
        with_open[0] = 17 + 2 * 22;
        assert_eq!(Grant::encode(Extensions::CLIENT_ADDR, open, MaxPacket::default()), with_open);
        let decoded = Grant::decode(message(&with_open)).unwrap();
        assert_eq!(decoded.extensions(), Extensions::CLIENT_ADDR);
        assert_eq!(decoded.earlier().collect::<Vec<_>>(), open);

        let connect = ToEndpoint::Connect { conn: conn(3), remote: RemoteId::new(9) };
        let wire = connect.encode().with_client_addr(addr("192.0.2.7:53764"));
        let head = [31, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(wire.as_ref(), [&head[..], &v4].concat());
        assert_eq!(ClientAddr::behind(message(wire.as_ref())), Some(addr("192.0.2.7:53764")));
        assert_eq!(Grant::SMALLEST_MAX_PACKET, 31, "the largest length so far");

        let wish = [17, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 2, 0, 0, 0];
        assert_eq!(ask_as_client(Extensions::DRAINING).as_ref(), wish);
        assert_eq!(asked_by_client(message(&wish)), Some(Extensions::DRAINING));
        let notice = [&wish[..], &[0x10, 0x27, 0, 0]].concat();
        let notice = [&[21], &notice[1..]].concat();
        let window = Duration::from_secs(10);
        assert_eq!(DrainNotice { window }.encode().as_ref(), notice, "10,000 is 0x2710");
        assert_eq!(DrainNotice::decode(message(&notice)), Some(DrainNotice { window }));
    }

    /// Rule E8: the question and the answers are the commands that they always were.
    #[test]
    fn old_peers_see_what_they_know() {
        let dial = ToGateway::Dial { remote: RemoteId::new(0) };
        assert_eq!(ToGateway::decode(message(ask(Extensions::CLIENT_ADDR).as_ref())), Ok(dial));
        let grant =
            Grant::encode(Extensions::CLIENT_ADDR, [(conn(1), ClientAddr(None))], MaxPacket::default());
        assert_eq!(ToEndpoint::decode(message(&grant)), Ok(ToEndpoint::Refuse { remote: RemoteId::new(0) }));
        let accept = ToEndpoint::Accept { conn: conn(1), remote: RemoteId::new(2) };
        let wire = accept.encode().with_client_addr(ClientAddr(None));
        assert_eq!(ToEndpoint::decode(message(wire.as_ref())), Ok(accept));
        let wire = ask_as_client(Extensions::KNOWN);
        assert_eq!(ToGateway::decode(message(wire.as_ref())), Ok(ToGateway::Close { conn: None }));
        let wire = DrainNotice { window: Duration::ZERO }.encode();
        assert_eq!(ToEndpoint::decode(message(wire.as_ref())), Ok(ToEndpoint::Close { conn: None }));
    }

    #[test]
    fn only_a_whole_notice_behind_a_close_of_no_connection_is_one() {
        let notice = DrainNotice { window: Duration::from_millis(u64::from(u32::MAX)) };
        let wire = notice.encode();
        let wire = message(wire.as_ref());
        for len in 0..wire.len() {
            assert_eq!(DrainNotice::decode(&wire[..len]), None, "{len} bytes");
        }
        assert_eq!(DrainNotice::decode(&[wire, b"and more"].concat()), Some(notice));
        for at in 0..9 {
            let mut other = wire.to_vec();
            other[at] ^= 1;
            assert_eq!(DrainNotice::decode(&other), None, "byte {at} is another");
            assert_eq!(asked_by_client(&other), None, "byte {at} is another");
        }
        let mut of_something_else = wire.to_vec();
        of_something_else[9] = 5;
        assert_eq!(DrainNotice::decode(&of_something_else), None);
        let for_ever = DrainNotice { window: Duration::MAX }.encode();
        assert_eq!(DrainNotice::decode(message(for_ever.as_ref())), Some(notice));
        assert_eq!(asked(message(ask_as_client(Extensions::KNOWN).as_ref())), None);
        assert_eq!(asked_by_client(message(ask(Extensions::KNOWN).as_ref())), None);
    }

    #[test]
    fn only_a_whole_wish_behind_a_dial_to_nobody_is_one() {
        let wish = ask(Extensions::CLIENT_ADDR);
        let wish = message(wish.as_ref());
        for len in 0..wish.len() {
            assert_eq!(asked(&wish[..len]), None, "{len} bytes");
        }
        assert_eq!(asked(&[wish, b"and more"].concat()), Some(Extensions::CLIENT_ADDR));
        for at in 0..9 {
            let mut other = wish.to_vec();
            other[at] ^= 1;
            assert_eq!(asked(&other), None, "byte {at} is another");
            assert_eq!(Grant::decode(&other), None, "byte {at} is another");
        }
        let grant = Grant::encode(Extensions::CLIENT_ADDR, [], MaxPacket::default());
        for len in 0..message(&grant).len() {
            assert_eq!(Grant::decode(&message(&grant)[..len]), None, "{len} bytes");
        }
        assert_eq!(asked(message(&grant)), None);
        assert_eq!(ToGateway::decode(&[3, 0, 0, 0, 0]), Err(CommandError::WrongDirection(3)));
    }

    #[test]
    fn what_is_not_known_is_not_granted() {
        let wish = [&[0, 0, 0, 0, 0][..], b"FWX1", &[0xff; 4]].concat();
        let wishes = asked(&wish).unwrap();
        assert!(wishes.contains(Extensions::CLIENT_ADDR | Extensions::DRAINING));
        assert_eq!(wishes & Extensions::KNOWN, Extensions(3));
        assert!(!Extensions::NONE.contains(Extensions::CLIENT_ADDR));

        // A grant of something else has a list of something else.
        let grant = [&[3, 0, 0, 0, 0][..], b"FWX1", &[6, 0, 0, 0], &[7; 22]].concat();
        assert_eq!(Grant::decode(&grant).unwrap().earlier().count(), 0);
    }

    #[test]
    fn a_grant_is_no_longer_than_a_packet() {
        let open = || (1..).map(|number| (conn(number), ClientAddr(None)));
        for (max, entries) in [(31, 0), (38, 0), (39, 1), (60, 1), (61, 2), (1000, 44)] {
            let wire = Grant::encode(Extensions::CLIENT_ADDR, open().take(100), MaxPacket::new(max).unwrap());
            assert!(matches!(split(&wire, MaxPacket::new(max).unwrap()), Ok(Split::Frame(Frame { .. }, []))));
            assert_eq!(Grant::decode(message(&wire)).unwrap().earlier().count(), entries, "{max}");
        }
    }

    #[test]
    fn an_ipv4_address_is_one_however_the_gateway_has_it() {
        let mapped = SocketAddrV6::new(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(), 5, 0, 0);
        assert_eq!(ClientAddr(Some(mapped.into())).encode(), addr("192.0.2.7:5").encode());
        assert_eq!(ClientAddr::decode(&addr("192.0.2.7:5").encode()), addr("192.0.2.7:5"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_address_comes_back(ip: IpAddr, port: u16) {
            let addr = ClientAddr(Some(SocketAddr::new(ip.to_canonical(), port)));
            prop_assume!(addr.encode() != [0; 18]);
            prop_assert_eq!(ClientAddr::decode(&addr.encode()), addr);
            prop_assert_eq!(ClientAddr(Some(SocketAddr::new(ip, port))).encode(), addr.encode());
        }
    }
}
