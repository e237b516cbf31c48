//! The PROXY protocol: what a proxy says about the client whose connection it hands on.
//!
//! A header stands before everything else on such a connection: a line of text in version 1, binary in version 2 of
//! [HAProxy's specification](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), whose sections are named here.
//! Whoever can write a header can claim any address. So headers are believed of trusted proxies only; and from those they
//! must come, or a client of theirs could write its own (section 2).
//!
//! [`decode`] knows no stream. It says how many bytes are missing for certain, so nothing behind the header has to be read
//! along with it:
//!
//! ```
//! use fastway::proxy_protocol::{Decoded, decode};
//!
//! let wire = b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\nwhat the client sent";
//! let mut read = 0;
//! let source = loop {
//!     match decode(&wire[..read])? {
//!         Decoded::Cut { missing } => read += missing,
//!         Decoded::Whole(header) => break header.source,
//!     }
//! };
//! assert_eq!(source, Some("192.0.2.1:56324".parse()?));
//! assert_eq!(&wire[read..], b"what the client sent");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// With this a header of version 1 begins (section 2.1).
const LINE_START: &[u8] = b"PROXY ";

/// The shortest line, `PROXY UNKNOWN`, and the longest, both with their end.
const MIN_LINE_BYTES: usize = 15;
const MAX_LINE_BYTES: usize = 107;

/// With this a header of version 2 begins (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, the command, the address family, and the length of what follows.
const FIXED_BYTES: usize = 16;

/// Version 2 and its two commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Addresses come first in what follows: that of the client, that of the proxy, then both ports.
const IPV4_BYTES: usize = 2 * 4 + 2 * 2;
const IPV6_BYTES: usize = 2 * 16 + 2 * 2;
const UNIX_BYTES: usize = 2 * 108;

/// The longest header of version 2 that is accepted. It may announce 64 KiB; senders are to keep within a packet, but a client's
/// certificate can be among what they add. nginx accepts as much.
pub const MAX_BYTES: usize = 4096;

/// A header that is there as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The client. `None` if the proxy speaks for itself (to see whether somebody listens), or for somebody who has no address
    /// that it could tell: then the connection's own address counts.
    pub source: Option<SocketAddr>,
    /// Bytes of the header. Behind them comes what the client sent.
    pub bytes: usize,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a header.
    Cut {
        /// So many bytes more belong to it, at least; never 0.
        missing: usize,
    },
    /// A header, and perhaps more behind it.
    Whole(Header),
}

/// Bytes that are no header. A text that offends is as it was received, so it has to be escaped before it is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version begins like this.
    #[error(
        "the connection does not begin with a PROXY protocol header: let the proxy send one, or take its address out of the \
         networks from which headers come"
    )]
    NoHeader,
    /// Version 1: no end of the line.
    #[error("the PROXY line has not ended after {} bytes", MAX_LINE_BYTES)]
    EndlessLine,
    /// Version 1: a family of addresses that does not exist.
    #[error("the PROXY line says {0:?} where TCP4, TCP6 or UNKNOWN has to stand")]
    Protocol(String),
    /// Version 1: too few words, too many, or more than one space between them.
    #[error("the PROXY line has to have two addresses and two ports, each behind one space")]
    Words,
    /// Version 1: not an address, or not one of the family that was named.
    #[error("{0:?} in the PROXY line is not an address of the family that it names")]
    Address(String),
    /// Version 1: not a port.
    #[error("{0:?} in the PROXY line is not a port: a number up to 65535 without zeros in front")]
    Port(String),
    /// Version 2: a later one.
    #[error("version {0} of the PROXY protocol is not known: let the proxy send version 1 or 2")]
    Version(u8),
    /// Version 2: neither LOCAL nor PROXY.
    #[error("command {0} of the PROXY protocol does not exist")]
    Command(u8),
    /// Version 2: a family of addresses, or a transport protocol, that does not exist.
    #[error("the address family and protocol {0:#04x} of the PROXY protocol do not exist")]
    Family(u8),
    /// Version 2: the addresses do not fit into what is announced.
    #[error("a PROXY header announces {announced} bytes, where the addresses alone take {needed}")]
    TooShort {
        /// What follows the fixed part, in bytes.
        announced: usize,
        /// What the addresses of its family take.
        needed: usize,
    },
    /// Version 2: longer than [`MAX_BYTES`].
    #[error(
        "a PROXY header of {bytes} bytes is above the limit of {}: let the proxy add less to it",
        MAX_BYTES
    )]
    TooLong {
        /// The length of the whole header.
        bytes: usize,
    },
}

/// Reads the header at the beginning of `bytes`, of either version.
///
/// More bytes behind what was enough change nothing: neither a header nor an error.
///
/// # Errors
///
/// [`HeaderError`], as soon as it is certain that no header can come of this. The specification wants the connection to be
/// closed then.
pub fn decode(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    if agrees(bytes, LINE_START) {
        decode_line(bytes)
    } else if agrees(bytes, SIGNATURE) {
        decode_binary(bytes)
    } else {
        Err(HeaderError::NoHeader)
    }
}

/// Whether `bytes` are what `start` says, as far as they go.
fn agrees(bytes: &[u8], start: &[u8]) -> bool {
    let length = bytes.len().min(start.len());
    bytes[..length] == start[..length]
}

/// Version 1. Nothing in the line is looked at before its end is there (section 2.1).
fn decode_line(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    let line = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    if let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") {
        let source = parse_line(&String::from_utf8_lossy(&line[..end]))?;
        return Ok(Decoded::Whole(Header { source, bytes: end + 2 }));
    }
    let missing_end = if bytes.ends_with(b"\r") { 1 } else { 2 };
    let missing = missing_end.max(MIN_LINE_BYTES.saturating_sub(bytes.len()));
    if bytes.len() + missing > MAX_LINE_BYTES {
        return Err(HeaderError::EndlessLine);
    }
    Ok(Decoded::Cut { missing })
}

fn parse_line(line: &str) -> Result<Option<SocketAddr>, HeaderError> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // Whatever follows must be ignored.
        [_, "UNKNOWN", ..] => Ok(None),
        [_, "TCP4", ref words @ ..] => parse_source::<Ipv4Addr>(words).map(Some),
        [_, "TCP6", ref words @ ..] => parse_source::<Ipv6Addr>(words).map(Some),
        _ => Err(HeaderError::Protocol(words.get(1).copied().unwrap_or_default().to_owned())),
    }
}

/// The client, in front of the proxy's own address. That has to be right too, or who knows what the rest is.
fn parse_source<A: FromStr + Into<IpAddr>>(words: &[&str]) -> Result<SocketAddr, HeaderError> {
    let &[source, destination, source_port, destination_port] = words else {
        return Err(HeaderError::Words);
    };
    let ip = parse_address::<A>(source)?;
    parse_address::<A>(destination)?;
    let port = parse_port(source_port)?;
    parse_port(destination_port)?;
    Ok(SocketAddr::new(ip, port))
}

fn parse_address<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, HeaderError> {
    text.parse::<A>().map(Into::into).map_err(|_| HeaderError::Address(text.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, HeaderError> {
    // Rust reads +80 and 080 as 80.
    let is_canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    let port = if is_canonical { text.parse().ok() } else { None };
    port.ok_or_else(|| HeaderError::Port(text.to_owned()))
}

/// Version 2. What follows the addresses (TLVs) is skipped.
fn decode_binary(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Decoded::Cut { missing: FIXED_BYTES - bytes.len() });
    };
    let [.., command, family, high, low] = *fixed;
    let announced = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        LOCAL => true,
        PROXY => false,
        _ if command >> 4 != 2 => return Err(HeaderError::Version(command >> 4)),
        _ => return Err(HeaderError::Command(command & 0x0f)),
    };
    // With LOCAL, the family means nothing.
    let needed = if is_local { 0 } else { address_bytes(family)? };
    if announced < needed {
        return Err(HeaderError::TooShort { announced, needed });
    }
    let all = FIXED_BYTES + announced;
    if all > MAX_BYTES {
        return Err(HeaderError::TooLong { bytes: all });
    }
    let Some(rest) = rest.get(..announced) else {
        return Ok(Decoded::Cut { missing: all - bytes.len() });
    };
    let source = match family {
        _ if is_local => None,
        TCP_OVER_IPV4 => Some(source_of::<4>(rest)),
        TCP_OVER_IPV6 => Some(source_of::<16>(rest)),
        // Datagrams and local sockets exist, but did not lead here.
        _ => None,
    };
    Ok(Decoded::Whole(Header { source, bytes: all }))
}

/// What the addresses of this family and transport protocol take.
fn address_bytes(family: u8) -> Result<usize, HeaderError> {
    match (family >> 4, family & 0x0f) {
        (0, 0..=2) | (1..=3, 0) => Ok(0),
        (1, 1..=2) => Ok(IPV4_BYTES),
        (2, 1..=2) => Ok(IPV6_BYTES),
        (3, 1..=2) => Ok(UNIX_BYTES),
        _ => Err(HeaderError::Family(family)),
    }
}

/// The first of two addresses of `N` bytes, with the first of the two ports behind them.
fn source_of<const N: usize>(addresses: &[u8]) -> SocketAddr
where
    IpAddr: From<[u8; N]>,
{
    let ip: [u8; N] = addresses[..N].try_into().expect("as many as were asked for");
    let port = [addresses[2 * N], addresses[2 * N + 1]];
    SocketAddr::new(ip.into(), u16::from_be_bytes(port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    fn whole(bytes: &[u8]) -> (Option<String>, usize) {
        match decode(bytes) {
            Ok(Decoded::Whole(header)) => (header.source.map(|source| source.to_string()), header.bytes),
            other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 11, 0xdc, 0x04, 0x01, 0xbb];

    fn ipv6() -> Vec<u8> {
        let [client, proxy] =
            ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets());
        [&client[..], &proxy, &[0xdc, 0x04, 0x01, 0xbb]].concat()
    }

    /// The lines of section 2.1.
    #[test]
    fn lines_of_the_specification() {
        for (line, source) in [
            ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", Some("192.168.0.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY TCP6 2001:DB8::1 :: 1 2\r\n", Some("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", None),
            (
                "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                None,
            ),
            ("PROXY UNKNOWN  \r what\n ever \r\n", None),
        ] {
            let with_more = format!("{line}GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n");
            assert_eq!(whole(with_more.as_bytes()), (source.map(str::to_owned), line.len()), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_not_quite_one_is_an_error_with_words() {
        let address = |text: &str| HeaderError::Address(text.to_owned());
        let port = |text: &str| HeaderError::Port(text.to_owned());
        let protocol = |text: &str| HeaderError::Protocol(text.to_owned());
        for (line, error) in [
            ("GET / HTTP/1.1\r\n", HeaderError::NoHeader),
            ("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", HeaderError::NoHeader),
            ("PROXY\r\n", HeaderError::NoHeader),
            (" PROXY UNKNOWN\r\n", HeaderError::NoHeader),
            ("PROXY \r\n", protocol("")),
            ("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", protocol("")),
            ("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", protocol("TCP5")),
            ("PROXY UNKNOWNS\r\n", protocol("UNKNOWNS")),
            ("PROXY TCP4\r\n", HeaderError::Words),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", HeaderError::Words),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", HeaderError::Words),
            ("PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", HeaderError::Words),
            ("PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n", protocol("TCP4\t192.0.2.1")),
            ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", address("192.0.2.01")),
            ("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", address("192.0.2")),
            ("PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n", address("2001:db8::1")),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", address("192.0.2.1")),
            ("PROXY TCP6 fe80::1%eth0 :: 1 2\r\n", address("fe80::1%eth0")),
            ("PROXY TCP6 1:2:3:4:5:6:7 :: 1 2\r\n", address("1:2:3:4:5:6:7")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", port("65536")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", port("01")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", port("+1")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n", port("-2")),
            // A single CR or LF ends nothing.
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n", port("2\n")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rmore\r\n", port("2\rmore")),
        ] {
            assert_eq!(decode(line.as_bytes()), Err(error.clone()), "{line:?}");
            assert!(error.to_string().len() > 20, "{error}");
        }
        let bytes = [&b"PROXY TCP4 192.0.2.1 "[..], &[0xff, 0xfe], b" 1 2\r\n"].concat();
        assert_eq!(decode(&bytes), Err(address("\u{fffd}\u{fffd}")));
        assert_eq!(decode(&[0; 4]), Err(HeaderError::NoHeader), "a frame");
    }

    #[test]
    fn a_line_ends_within_107_bytes() {
        let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "f".repeat(length - 16));
        assert_eq!(whole(line(107).as_bytes()), (None, 107));
        assert_eq!(decode(line(108).as_bytes()), Err(HeaderError::EndlessLine));
        // Nobody waits for what cannot come.
        assert_eq!(decode(&line(108).as_bytes()[..106]), Err(HeaderError::EndlessLine));
        assert_eq!(decode(&line(107).as_bytes()[..106]), Ok(Decoded::Cut { missing: 1 }));
    }

    #[test]
    fn binary_headers_of_the_specification() {
        let tlvs = [0x04, 0, 2, 9, 9, 0xea, 0, 1, 7];
        let unix = [7; 216];
        let ipv6 = ipv6();
        for (command, family, addresses, source) in [
            (PROXY, 0x11, &IPV4[..], Some("192.0.2.1:56324")),
            (PROXY, 0x21, &ipv6, Some("[2001:db8::1]:56324")),
            // UDP, local sockets, and what has no name.
            (PROXY, 0x12, &IPV4, None),
            (PROXY, 0x22, &ipv6, None),
            (PROXY, 0x31, &unix, None),
            (PROXY, 0x32, &unix, None),
            (PROXY, 0x00, &[], None),
            (PROXY, 0x00, &IPV4, None),
            (PROXY, 0x10, &[], None),
            // The proxy itself, whatever else it says.
            (LOCAL, 0x00, &[], None),
            (LOCAL, 0x11, &IPV4, None),
            (LOCAL, 0x21, &[1, 2, 3], None),
            (LOCAL, 0xff, &[], None),
        ] {
            for addition in [&[][..], &tlvs] {
                let header = binary(command, family, &[addresses, addition].concat());
                let with_more = [&header[..], b"and more"].concat();
                assert_eq!(whole(&with_more), (source.map(str::to_owned), header.len()), "{header:?}");
            }
        }
    }

    #[test]
    fn a_binary_header_that_is_not_quite_one_is_an_error_with_words() {
        let too_short = |announced, needed| HeaderError::TooShort { announced, needed };
        for (header, error) in [
            (binary(0x11, 0x11, &IPV4), HeaderError::Version(1)),
            (binary(0x31, 0x11, &IPV4), HeaderError::Version(3)),
            (binary(0x22, 0x11, &IPV4), HeaderError::Command(2)),
            (binary(0x2f, 0x11, &IPV4), HeaderError::Command(15)),
            (binary(PROXY, 0x13, &IPV4), HeaderError::Family(0x13)),
            (binary(PROXY, 0x41, &IPV4), HeaderError::Family(0x41)),
            (binary(PROXY, 0xf0, &IPV4), HeaderError::Family(0xf0)),
            (binary(PROXY, 0x11, &IPV4[..11]), too_short(11, 12)),
            (binary(PROXY, 0x21, &IPV4), too_short(12, 36)),
            (binary(PROXY, 0x31, &[0; 215]), too_short(215, 216)),
            (binary(PROXY, 0x11, &[0; MAX_BYTES - 15]), HeaderError::TooLong { bytes: MAX_BYTES + 1 }),
            (binary(LOCAL, 0x00, &[0; 65_535]), HeaderError::TooLong { bytes: 65_551 }),
        ] {
            assert_eq!(decode(&header), Err(error.clone()));
            assert!(error.to_string().len() > 20, "{error}");
            // What is announced is judged before it comes.
            assert_eq!(decode(&header[..FIXED_BYTES]), Err(error));
        }
        assert_eq!(
            whole(&binary(PROXY, 0x11, &[0; MAX_BYTES - 16])),
            (Some("0.0.0.0:0".to_owned()), MAX_BYTES)
        );
        for wrong in 0..SIGNATURE.len() {
            let mut header = binary(PROXY, 0x11, &IPV4);
            header[wrong] ^= 1;
            assert_eq!(decode(&header[..=wrong]), Err(HeaderError::NoHeader), "at once");
        }
    }

    /// Reads as [`Decoded::Cut`] says, but what comes may be less.
    fn read(wire: &[u8], mut steps: impl Iterator<Item = usize>) -> (Result<Decoded, HeaderError>, usize) {
        let mut read = 0;
        loop {
            let decoded = decode(&wire[..read]);
            let Ok(Decoded::Cut { missing }) = decoded else { return (decoded, read) };
            assert_ne!(missing, 0);
            if read == wire.len() {
                return (decoded, read);
            }
            read += missing.min(steps.next().unwrap_or(usize::MAX)).min(wire.len() - read);
        }
    }

    /// Headers, what is nearly one, and anything else.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("PROXY".to_owned()),
            Just("TCP4".to_owned()),
            Just("TCP6".to_owned()),
            Just("UNKNOWN".to_owned()),
            Just(String::new()),
            Just("\r".to_owned()),
            Just("\n".to_owned()),
            any::<Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<Ipv6Addr>().prop_map(|ip| ip.to_string()),
            (0..70_000_u32).prop_map(|port| port.to_string()),
            "[ -~]{0,20}",
        ];
        let ends = prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")];
        let line = (prop::collection::vec(word, 0..8), ends);
        let any_line = line.prop_map(|(words, end)| format!("PROXY {}{end}", words.join(" ")).into_bytes());
        let good_line = (any::<[Ipv6Addr; 2]>(), any::<[u16; 2]>()).prop_map(|([source, own], ports)| {
            format!("PROXY TCP6 {source} {own} {} {}\r\n", ports[0], ports[1]).into_bytes()
        });
        let command = prop_oneof![4 => Just(PROXY), 2 => Just(LOCAL), 1 => any::<u8>()];
        let family = prop_oneof![2 => Just(0x11_u8), 2 => Just(0x21_u8), 1 => any::<u8>()];
        let rest = prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 0..60),
            1 => prop::collection::vec(any::<u8>(), 200..300),
            1 => prop::collection::vec(any::<u8>(), 4000..4200),
        ];
        let binary =
            (command, family, rest).prop_map(|(command, family, rest)| binary(command, family, &rest));
        let header = prop_oneof![any_line, good_line, binary, prop::collection::vec(any::<u8>(), 0..20)];
        (header, prop::collection::vec(any::<u8>(), 0..40), any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(header, more, cut, is_cut)| {
                let mut wire = [header, more].concat();
                if is_cut {
                    wire.truncate(cut.index(wire.len() + 1));
                }
                wire
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1000,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../proptest-regressions/proxy_protocol.txt"
            )))),
            ..ProptestConfig::default()
        })]

        /// Also byte by byte; and not a byte behind the header is read.
        #[test]
        fn any_bytes_split_anywhere_give_the_same_header_or_error(
            wire in wire(),
            steps in prop::collection::vec(1..40_usize, 0..40),
        ) {
            let at_once = decode(&wire);
            for (decoded, read) in [
                read(&wire, steps.into_iter()),
                read(&wire, std::iter::repeat(1)),
                read(&wire, std::iter::empty()),
            ] {
                prop_assert_eq!(&decoded, &at_once);
                if let Ok(Decoded::Whole(header)) = decoded {
                    prop_assert_eq!(read, header.bytes);
                    prop_assert!(read <= MAX_BYTES);
                }
            }
        }

        #[test]
        fn what_a_proxy_says_is_understood(
            sources in any::<(Ipv4Addr, Ipv6Addr)>(),
            destinations in any::<(Ipv4Addr, Ipv6Addr)>(),
            ports in any::<[u16; 2]>(),
            tlvs in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let [port, own_port] = ports;
            let line = |family, source: &dyn std::fmt::Display, own: &dyn std::fmt::Display| {
                format!("PROXY {family} {source} {own} {port} {own_port}\r\n").into_bytes()
            };
            let binary = |family, source: &[u8], own: &[u8]| {
                let ports = [port.to_be_bytes(), own_port.to_be_bytes()].concat();
                binary(PROXY, family, &[source, own, &ports, &tlvs].concat())
            };
            let ((v4, v6), (own_v4, own_v6)) = (sources, destinations);
            for (header, source) in [
                (line("TCP4", &v4, &own_v4), IpAddr::from(v4)),
                (line("TCP6", &v6, &own_v6), v6.into()),
                (binary(0x11, &v4.octets(), &own_v4.octets()), v4.into()),
                (binary(0x21, &v6.octets(), &own_v6.octets()), v6.into()),
            ] {
                let expected = Header { source: Some(SocketAddr::new(source, port)), bytes: header.len() };
                prop_assert_eq!(decode(&header), Ok(Decoded::Whole(expected)));
            }
        }
    }
}
