//! The header of a proxy.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use arbitrary::{Arbitrary, Unstructured};
use fastway::proxy_protocol::{Decoded, Header, HeaderError, MAX_BYTES, decode};

use crate::Bytes;

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    /// A connection that begins like this, read in these steps.
    Any { steps: Bytes<'a>, start: Start, more: Bytes<'a> },
    /// What a proxy says of a client.
    Good { addresses: Addresses, ports: [u16; 2], is_binary: bool, tlvs: Bytes<'a> },
}

/// That of the client, and that of the proxy.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Addresses {
    V4([Ipv4Addr; 2]),
    V6([Ipv6Addr; 2]),
}

/// What nobody finds by chance.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Start {
    Nothing,
    Line,
    Tcp4,
    Tcp6,
    Signature,
    Proxied,
}

impl Start {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"",
            Self::Line => b"PROXY ",
            Self::Tcp4 => b"PROXY TCP4 1.2.3.4 ",
            Self::Tcp6 => b"PROXY TCP6 ::1 ",
            Self::Signature => b"\r\n\r\n\0\r\nQUIT\n",
            Self::Proxied => b"\r\n\r\n\0\r\nQUIT\n\x21",
        }
    }
}

/// Any bytes are a header, the beginning of one, or an error in words, however they come.
pub fn proxy(data: &[u8]) {
    match Case::arbitrary(&mut Unstructured::new(data)) {
        Ok(Case::Any { steps, start, more }) => check_any(&[start.bytes(), more.0].concat(), steps.0),
        Ok(Case::Good { addresses, ports, is_binary, tlvs }) => {
            let header = if is_binary {
                binary(addresses, ports, tlvs.0)
            } else {
                line(addresses, ports).into_bytes()
            };
            let ip = match addresses {
                Addresses::V4([client, _]) => client.into(),
                Addresses::V6([client, _]) => client.into(),
            };
            let source = Some(SocketAddr::new(ip, ports[0]));
            assert_eq!(decode(&header), Ok(Decoded::Whole(Header { source, bytes: header.len() })));
            check_any(&[&header[..], tlvs.0].concat(), tlvs.0);
        }
        Err(_) => {}
    }
}

fn check_any(wire: &[u8], steps: &[u8]) {
    let at_once = decode(wire);
    match &at_once {
        Ok(Decoded::Cut { missing }) => assert!(*missing > 0 && wire.len() + missing <= MAX_BYTES),
        Ok(Decoded::Whole(header)) => assert!(header.bytes <= wire.len().min(MAX_BYTES)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let (stepwise, read) = read(wire, steps);
    assert_eq!(stepwise, at_once);
    if let Ok(Decoded::Whole(header)) = at_once {
        assert_eq!(read, header.bytes);
    }
}

/// Reads what is missing, or less if the network gives less.
fn read(wire: &[u8], steps: &[u8]) -> (Result<Decoded, HeaderError>, usize) {
    let (mut read, mut steps) = (0, steps.iter().map(|step| usize::from(*step).max(1)));
    loop {
        let decoded = decode(&wire[..read]);
        let Ok(Decoded::Cut { missing }) = decoded else { return (decoded, read) };
        if read == wire.len() {
            return (decoded, read);
        }
        read += missing.min(steps.next().unwrap_or(usize::MAX)).min(wire.len() - read);
    }
}

fn line(addresses: Addresses, [port, own_port]: [u16; 2]) -> String {
    match addresses {
        Addresses::V4([client, own]) => format!("PROXY TCP4 {client} {own} {port} {own_port}\r\n"),
        Addresses::V6([client, own]) => format!("PROXY TCP6 {client} {own} {port} {own_port}\r\n"),
    }
}

fn binary(addresses: Addresses, ports: [u16; 2], tlvs: &[u8]) -> Vec<u8> {
    let (family, addresses) = match addresses {
        Addresses::V4(both) => (0x11, both.map(|ip| ip.octets()).concat()),
        Addresses::V6(both) => (0x21, both.map(|ip| ip.octets()).concat()),
    };
    let rest = [&addresses[..], &ports.map(u16::to_be_bytes).concat(), tlvs].concat();
    let length = u16::try_from(rest.len()).expect("255 bytes of TLVs at most").to_be_bytes();
    [Start::Signature.bytes(), &[0x21, family], &length, &rest].concat()
}
