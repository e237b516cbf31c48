//! What one session counts for itself, and the address of its peer. Parts of its outbox, where others find them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Traffic;
use crate::clock::Moment;
use crate::sync::AtomicU32;

#[derive(Debug)]
pub(crate) struct SessionStats {
    pub(crate) received: TrafficCount,
    pub(crate) sent: TrafficCount,
    pub(crate) since: Moment,
}

impl SessionStats {
    pub(crate) fn new(since: Moment) -> Self {
        Self { received: TrafficCount::default(), sent: TrafficCount::default(), since }
    }
}

/// Only the session stores, and it is one task: a load and a store are enough.
#[derive(Debug, Default)]
pub(crate) struct TrafficCount {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl TrafficCount {
    pub(crate) fn add(&self, traffic: Traffic) {
        let Traffic { messages, bytes } = self.get();
        self.messages.store(messages + traffic.messages, Ordering::Relaxed);
        self.bytes.store(bytes + traffic.bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Traffic {
        Traffic { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// A number that goes up and down. One thread at a time may change it.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU32);

impl Gauge {
    pub(crate) fn increment(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed) as usize
    }
}

/// The address of a peer in 18 bytes: the standard library's takes 32. Zeros are nobody's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    ip: [u8; 16],
    port: [u8; 2],
}

impl From<Option<SocketAddr>> for Peer {
    fn from(peer: Option<SocketAddr>) -> Self {
        let ip = match peer.map(|peer| peer.ip()) {
            Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
            Some(IpAddr::V6(ip)) => ip,
            None => Ipv6Addr::UNSPECIFIED,
        };
        Self { ip: ip.octets(), port: peer.map_or(0, |peer| peer.port()).to_ne_bytes() }
    }
}

impl Peer {
    /// An IPv4 address is one, also if it came as a mapped one.
    pub(crate) fn addr(self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.ip);
        (!ip.is_unspecified()).then(|| SocketAddr::new(ip.to_canonical(), u16::from_ne_bytes(self.port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_in_18_bytes() {
        assert_eq!(size_of::<Peer>(), 18);
        let kept = |text: &str| Peer::from(Some(text.parse().unwrap())).addr().unwrap().to_string();
        for text in ["10.1.2.3:4", "[2001:db8::1]:65535", "255.255.255.255:0"] {
            assert_eq!(kept(text), text);
        }
        assert_eq!(kept("[::ffff:192.0.2.1]:7"), "192.0.2.1:7");
        assert_eq!(Peer::from(None).addr(), None);
    }
}
