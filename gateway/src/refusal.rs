//! What the gateway refuses, by kind, and how often it did.

use std::array::from_fn;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why somebody, or something, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A client, since `--max-clients` are there.
    Clients,
    /// A client, since `--max-clients-per-ip` came from its address.
    ClientsOfAddress,
    /// Somebody in a network of `--client-proxy-protocol` who did not begin with the header of a proxy in time.
    ProxyHeader,
    /// Somebody with whom there was no TLS: a failed handshake, or none in time, on either port.
    Tls,
    /// A client, since nine tenths of `--max-buffered-bytes` are used.
    BuffersTight,
    /// Whoever owed the most was cut off, since all of `--max-buffered-bytes` were used.
    Debt,
    /// Somebody on the internal port whose address is not in `--server-allow`.
    ServerAddress,
    /// A server that did not prove in time that it knows the password.
    Handshake,
    /// A dial to an ID that nobody has.
    DialNobody,
    /// A dial beyond `--client-max-conn`.
    DialQuota,
    /// A dial beyond `--dial-rate`.
    DialRate,
    /// A client that sent more than `--command-rate`, and was cut off.
    CommandRate,
}

impl Refusal {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::Clients,
        Self::ClientsOfAddress,
        Self::ProxyHeader,
        Self::Tls,
        Self::BuffersTight,
        Self::Debt,
        Self::ServerAddress,
        Self::Handshake,
        Self::DialNobody,
        Self::DialQuota,
        Self::DialRate,
        Self::CommandRate,
    ];

    /// A name for machines, which stays the same when the words change.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::ClientsOfAddress => "clients_of_address",
            Self::ProxyHeader => "proxy_header",
            Self::Tls => "tls",
            Self::BuffersTight => "buffers_tight",
            Self::Debt => "debt",
            Self::ServerAddress => "server_address",
            Self::Handshake => "handshake",
            Self::DialNobody => "dial_nobody",
            Self::DialQuota => "dial_quota",
            Self::DialRate => "dial_rate",
            Self::CommandRate => "command_rate",
        }
    }
}

/// What is said of it in a log.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clients => "as many clients are connected as --max-clients allows",
            Self::ClientsOfAddress => {
                "as many clients of its address are connected as --max-clients-per-ip allows"
            }
            Self::ProxyHeader => {
                "its address is in --client-proxy-protocol, and it did not begin with a PROXY protocol header"
            }
            Self::Tls => "its TLS handshake failed",
            Self::BuffersTight => "nine tenths of --max-buffered-bytes are used",
            Self::Debt => "all of --max-buffered-bytes was used, and it owed the most",
            Self::ServerAddress => "its address is not in --server-allow",
            Self::Handshake => "it did not prove that it knows the password",
            Self::DialNobody => "it dials an ID that nobody has",
            Self::DialQuota => "it has dialled as many connections as --client-max-conn allows",
            Self::DialRate => "it dials more often than --dial-rate allows",
            Self::CommandRate => "it sends more commands than --command-rate allows",
        })
    }
}

/// How often each kind happened since the gateway began.
#[derive(Debug)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self(from_fn(|_| AtomicU64::new(0)))
    }
}

impl Refusals {
    pub(crate) fn count(&self, kind: Refusal) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, kind: Refusal) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn all(&self) -> [u64; Refusal::ALL.len()] {
        Refusal::ALL.map(|kind| self.get(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_number_of_its_own() {
        let refusals = Refusals::default();
        for (times, kind) in Refusal::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| refusals.count(kind));
        }
        for (times, kind) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusals.get(kind), times as u64, "{kind}");
        }
    }
}
