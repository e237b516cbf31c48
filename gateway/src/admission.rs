//! Who is let in: what is judged before a connection becomes a session.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::config::Config;
use crate::rate::{Bucket, Rate};
use crate::refusal::Refusal;

/// The rules of one gateway, and who is there already.
#[derive(Debug)]
pub(crate) struct Admission {
    rules: Mutex<Rules>,
    clients: Arc<PerAddress>,
}

#[derive(Debug)]
struct Rules {
    pace: Option<Bucket>,
    /// Clients of one address at most; 0 for any number.
    max_clients_per_ip: usize,
    proxies: Vec<IpNet>,
    server_allow: Vec<IpNet>,
}

impl Rules {
    fn new(config: &Config) -> Self {
        Self {
            pace: Rate::new(config.client.accept_rate).map(|rate| Bucket::full(rate, Instant::now())),
            max_clients_per_ip: config.client.max_clients_per_ip,
            proxies: config.client.proxy_protocol.clone(),
            server_allow: config.server.allow.clone(),
        }
    }
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self { rules: Mutex::new(Rules::new(config)), clients: Arc::default() }
    }

    /// From now on other rules are in force. Those who are there stay, and keep their places.
    pub(crate) fn set_rules(&self, config: &Config) {
        *self.rules.lock() = Rules::new(config);
    }

    /// Waits for as long as the rate of clients wants. Those who come meanwhile wait in the kernel's queue: to turn them
    /// away would only make them come again, and the sooner.
    pub(crate) async fn pace(&self) {
        let now = Instant::now();
        let at = self.rules.lock().pace.as_mut().map(|bucket| bucket.take(now));
        if let Some(at) = at.filter(|at| *at > now) {
            sleep_until(at).await;
        }
    }

    /// Whether clients have to wait for each other.
    pub(crate) fn has_pace(&self) -> bool {
        self.rules.lock().pace.is_some()
    }

    /// Whether this is a proxy that will say who the client is.
    pub(crate) fn is_proxy(&self, peer: Option<SocketAddr>) -> bool {
        is_in(&self.rules.lock().proxies, peer)
    }

    /// A client's place among those of its address, for as long as it is kept.
    pub(crate) fn client(&self, peer: Option<SocketAddr>) -> Result<Place, Refusal> {
        // Without a limit nobody is counted: ten thousand clients would pay for what nobody asked for.
        let most = self.rules.lock().max_clients_per_ip;
        if most == 0 {
            return Ok(Place::any());
        }
        // Who is gone already is found out soon enough, and belongs to nobody.
        let Some(peer) = peer else { return Ok(Place::any()) };
        let holder = holder_of(peer.ip());
        let mut clients = self.clients.0.lock();
        let count = clients.entry(holder).or_default();
        if *count >= most {
            return Err(Refusal::ClientsOfAddress);
        }
        *count += 1;
        Ok(Place(Some(Box::new(Taken { holder, clients: self.clients.clone() }))))
    }

    /// Whether this may be a server.
    pub(crate) fn server(&self, peer: Option<SocketAddr>) -> Result<(), Refusal> {
        let rules = self.rules.lock();
        if rules.server_allow.is_empty() || is_in(&rules.server_allow, peer) {
            Ok(())
        } else {
            Err(Refusal::ServerAddress)
        }
    }
}

fn is_in(nets: &[IpNet], peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| {
        let ip = peer.ip().to_canonical();
        nets.iter().any(|net| net.contains(&ip))
    })
}

/// Clients by address. Strangers choose the keys, so they may not know how these are hashed. The order is never looked at.
#[derive(Debug, Default)]
struct PerAddress(Mutex<HashMap<IpAddr, usize, RandomState>>);

/// A place of one client; none is needed without a limit. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is kept until it is dropped")] Option<Box<Taken>>);

impl Place {
    /// For whom there is no limit.
    pub(crate) fn any() -> Self {
        Self(None)
    }
}

#[derive(Debug)]
struct Taken {
    holder: IpAddr,
    clients: Arc<PerAddress>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut clients = self.clients.0.lock();
        if let Some(count) = clients.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.holder);
            }
        }
    }
}

/// To whom an address belongs: whoever has one IPv6 address has the 2^64 of its network (RFC 4291, section 2.5.1).
pub(crate) fn holder_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_what_it_is() {
        let holder = |text: &str| holder_of(text.parse().unwrap());
        assert_eq!(holder("2001:db8:1:2::1"), holder("2001:db8:1:2:ffff::9"));
        assert_ne!(holder("2001:db8:1:2::1"), holder("2001:db8:1:3::1"));
        assert_eq!(holder("::ffff:192.0.2.1"), holder("192.0.2.1"));
        assert_ne!(holder("192.0.2.2"), holder("192.0.2.1"));
    }
}
