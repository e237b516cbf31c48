//! What a server or a client of many gateways can be told.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};

use super::backoff::Backoff;
use crate::endpoint::EndpointConfig;
use crate::keepalive::KeepaliveConfig;

/// Times and limits over many gateways.
///
/// ```
/// use std::time::Duration;
/// use fastway::fleet::{Choice, FleetConfig};
///
/// let config = FleetConfig { choice: Choice::Nearest, detection: Duration::from_secs(3), ..FleetConfig::default() };
/// ```
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Of every single link. Its `keepalive` is replaced by what [`detection`](Self::detection) says, its `connect_timeout`
    /// and `dial_timeout` are the deadlines of one try, and `ask_draining` is always on.
    pub endpoint: EndpointConfig,
    /// A gateway from which nothing came for so long is taken for dead; it is asked after half of it. 5 s.
    ///
    /// Zero leaves the `keepalive` of [`endpoint`](Self::endpoint) as it is: for gateways of the first generation, which do
    /// not answer.
    pub detection: Duration,
    /// How long to wait before a gateway is tried again.
    pub backoff: Backoff,
    /// How long to wait before a client dials a server again that its gateway does not know. 100 ms, then up to 1 s: a server that
    /// comes back is dialled by everybody within that time. A gateway pays some 10 µs for each dial in vain.
    pub redial: Backoff,
    /// A client whose gateway has refused it a server for so long turns to another gateway, which may know that server, at an
    /// instant that is drawn from as long again: this one may have lost its servers, or have another key than they have. What is
    /// open through it goes on. 5 s, which is more than a server takes to come back; zero: never. Each dial counts for itself:
    /// with twice this above [`patience`](Self::patience) it may never come to that.
    pub reroute: Duration,
    /// Which gateway a client takes. A server takes all.
    pub choice: Choice,
    /// A client that lost its gateway begins to look for another at an instant that is drawn from so long: the clients of a
    /// gateway that failed do not reach the others as one wave. 500 ms.
    pub spread: Duration,
    /// How long `Client::connect` goes on trying, and a dial, over all gateways. 30 s.
    pub patience: Duration,
    /// What everything that is drawn by lot comes from; `None`: from the operating system. A simulation sets it.
    pub seed: Option<u64>,
}

/// Which gateway a client turns to first. After a failure it is the next best of those that have not just failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Any.
    #[default]
    Random,
    /// One after the other, in the order of their addresses, beginning anywhere.
    RoundRobin,
    /// The one that was connected to in the shortest time. As long as that is not known of any, up to eight are connected to at
    /// once: the first to answer is taken, the others are left again as soon as they have been measured.
    Nearest,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            endpoint: EndpointConfig { connect_timeout: Duration::from_secs(5), ..EndpointConfig::default() },
            detection: Duration::from_secs(5),
            backoff: Backoff::default(),
            redial: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) },
            reroute: Duration::from_secs(5),
            choice: Choice::default(),
            spread: Duration::from_millis(500),
            patience: Duration::from_secs(30),
            seed: None,
        }
    }
}

impl FleetConfig {
    /// The configuration of one link.
    pub(super) fn of_a_link(&self) -> EndpointConfig {
        let mut config = EndpointConfig { ask_draining: true, ..self.endpoint.clone() };
        if !self.detection.is_zero() {
            config.keepalive =
                KeepaliveConfig { ping_interval: self.detection / 2, idle_timeout: self.detection };
        }
        config
    }

    /// Where what is drawn by lot comes from.
    pub(super) fn rng(&self) -> StdRng {
        match self.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng).expect("the operating system has random numbers"),
        }
    }
}
