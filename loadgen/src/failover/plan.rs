//! What is meant: who takes part, how often they ask, what is told to the library. Checked once.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use fastway::fleet::{Choice, FindError, FleetConfig, GatewayAddr, Gateways};
use fastway::id::ServerId;
use fastway::net::tls::TlsConnector;
use serde::Serialize;

use super::message::MIN_BYTES;
use crate::plan::{Key, PlanError, Target};

/// Which sides this process plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Play {
    /// Servers and clients.
    #[default]
    Both,
    /// Servers, for clients of another process.
    Servers,
    /// Clients, for servers of other processes.
    Clients,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// What reports call it; `None`: by its public address.
    pub name: Option<String>,
    /// Where it is.
    #[serde(flatten)]
    pub target: Target,
}

/// A whole run, before it begins.
#[derive(Clone, Debug)]
pub struct FailoverPlan {
    /// Gateways: clients are connected to one of them, servers to all. One that is listed twice counts once.
    pub targets: Vec<Gateway>,
    /// The addresses of the only target are names: all that they resolve to are gateways, asked again so often.
    pub resolve: Option<Duration>,
    /// Which sides.
    pub play: Play,
    /// How clients connect over TLS; `None`: without.
    pub client_tls: Option<TlsConnector>,
    /// How servers connect over TLS; `None`: without.
    pub server_tls: Option<TlsConnector>,
    /// Clients in all.
    pub clients: usize,
    /// Virtual connections of each.
    pub conns_per_client: usize,
    /// Servers.
    pub servers: usize,
    /// Their IDs begin here.
    pub first_server_id: u32,
    /// Questions a second, over all virtual connections.
    pub rate: f64,
    /// Bytes of a question.
    pub message_bytes: usize,
    /// How long; `None`: until the marks end, or until interrupted.
    pub duration: Option<Duration>,
    /// Lines on standard input are marks.
    pub marks: bool,
    /// What servers must know.
    pub key: Key,
    /// What is told to the library.
    pub fleet: FleetConfig,
    /// A question that waited for longer was an outage, although its connection was not lost.
    pub stall: Duration,
    /// An outage that began so long after every other one belongs to another failure.
    pub apart: Duration,
    /// What is open at the end is waited for so long.
    pub grace: Duration,
    /// If not everybody has had an answer after so long, there is nothing to measure.
    pub give_up: Duration,
}

impl Gateway {
    /// Its public address, as the library spells it.
    fn addr(&self) -> Option<String> {
        GatewayAddr::new(&self.target.client_addr).ok().map(|addr| addr.to_string())
    }
}

impl From<Target> for Gateway {
    /// Without a name.
    fn from(target: Target) -> Self {
        Self { name: None, target }
    }
}

impl Default for FailoverPlan {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            resolve: None,
            play: Play::Both,
            client_tls: None,
            server_tls: None,
            clients: 100,
            conns_per_client: 1,
            servers: 1,
            first_server_id: 1,
            rate: 500.0,
            message_bytes: 64,
            duration: Some(Duration::from_secs(60)),
            marks: false,
            key: Key::default(),
            fleet: FleetConfig::default(),
            stall: Duration::from_secs(1),
            apart: Duration::from_secs(1),
            grace: Duration::from_secs(2),
            give_up: Duration::from_secs(30),
        }
    }
}

impl FailoverPlan {
    /// Whether it can be carried out.
    ///
    /// # Errors
    ///
    /// [`PlanError`], with the flag.
    pub fn check(&self) -> Result<(), PlanError> {
        let flag = |flag, text: String, why| Err(PlanError::Flag { flag, text, why });
        if self.targets.is_empty() {
            return Err(PlanError::Nothing(
                "no gateway was named; name all of them, such as gw1:7010 gw2:7010",
            ));
        }
        self.check_targets()?;
        if !(1..=1_000_000).contains(&self.clients) {
            return flag("-c", self.clients.to_string(), "must be 1 to 1000000");
        }
        if !(1..=65_536).contains(&self.conns_per_client) {
            return flag("--conns", self.conns_per_client.to_string(), "must be 1 to 65536");
        }
        if self.servers == 0 {
            return flag("--servers", "0".to_owned(), "must be 1 or more");
        }
        if u64::from(self.first_server_id) + self.servers as u64 > u64::from(u32::MAX) {
            let first = self.first_server_id.to_string();
            return flag("--first-server-id", first, "server IDs end at 4294967295");
        }
        if !(0.001..=1e6).contains(&self.rate) {
            return flag("-R", self.rate.to_string(), "must be 0.001 to 1m questions a second");
        }
        let longest = self.fleet.endpoint.max_packet.max_message_bytes();
        if !(MIN_BYTES..=longest).contains(&self.message_bytes) {
            let bytes = self.message_bytes.to_string();
            return flag("-s", bytes, "must be 16 or more, and fit into --max-packet-size");
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<(), PlanError> {
        let flag = |flag, text: &str, why| Err(PlanError::Flag { flag, text: text.to_owned(), why });
        if let (Some(_), [_, second, ..]) = (self.resolve, &self.targets[..]) {
            let why = "with --resolve there is one target, whose name stands for all gateways";
            return flag("TARGET", &second.target.client_addr, why);
        }
        let mut addrs = BTreeMap::new();
        for (name, addr) in
            self.targets.iter().filter_map(|gateway| Some((gateway.name.as_ref()?, gateway.addr()?)))
        {
            if self.resolve.is_some() {
                return flag(
                    "TARGET",
                    name,
                    "with --resolve a target is more than one gateway, and has no name of its own",
                );
            }
            if addrs.insert(name, addr.clone()).is_some_and(|other| other != addr) {
                return flag("TARGET", name, "two gateways have this name; give each its own");
            }
        }
        Ok(())
    }

    /// Virtual connections in all.
    #[must_use]
    pub fn conns(&self) -> usize {
        self.clients * self.conns_per_client
    }

    /// How often each virtual connection asks.
    #[must_use]
    pub fn pace(&self) -> Duration {
        Duration::from_secs_f64(self.conns() as f64 / self.rate)
    }

    /// The server that a virtual connection is dialled to: one after the other.
    pub(super) fn server_of(&self, conn: usize) -> ServerId {
        self.server(conn % self.servers)
    }

    /// A server by its place.
    pub(super) fn server(&self, index: usize) -> ServerId {
        ServerId::new(self.first_server_id + index as u32)
    }

    /// The gateways' public addresses as the library spells them, and their names, as far as they are known. Each once.
    pub(super) fn known(&self) -> Vec<(String, String)> {
        let mut known: Vec<(String, String)> = Vec::new();
        for gateway in self.targets.iter().filter(|_| self.resolve.is_none()) {
            let Some(addr) = gateway.addr() else { continue };
            match known.iter_mut().find(|(other, _)| *other == addr) {
                Some((_, name)) => {
                    if let Some(given) = &gateway.name {
                        name.clone_from(given);
                    }
                }
                None => known.push((addr.clone(), gateway.name.clone().unwrap_or(addr))),
            }
        }
        known
    }

    /// Where clients find gateways.
    pub(super) fn public(&self) -> Result<Gateways, FindError> {
        self.gateways(|gateway| &gateway.target.client_addr)
    }

    /// Where servers find them.
    pub(super) fn internal(&self) -> Result<Gateways, FindError> {
        self.gateways(|gateway| &gateway.target.server_addr)
    }

    fn gateways(&self, addr: fn(&Gateway) -> &String) -> Result<Gateways, FindError> {
        match (self.resolve, &self.targets[..]) {
            (Some(every), [name]) => Gateways::dns(addr(name), every),
            (_, targets) => Gateways::list(targets.iter().map(addr)),
        }
    }

    /// What the library is told for one client or server; each draws its own lots.
    pub(super) fn fleet_of(&self, number: usize) -> FleetConfig {
        let seed = self.fleet.seed.map(|seed| seed.wrapping_add(number as u64));
        // What the library has to say has to be heard before all is given up.
        let patience = self.fleet.patience.min(self.give_up / 2);
        FleetConfig { seed, patience, ..self.fleet.clone() }
    }

    /// In the words of the flag.
    pub(super) const fn choice(&self) -> &'static str {
        match self.fleet.choice {
            Choice::Random => "random",
            Choice::RoundRobin => "round-robin",
            Choice::Nearest => "nearest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(name: Option<&str>, host: &str) -> Gateway {
        let target = Target { client_addr: format!("{host}:7010"), server_addr: format!("{host}:7020") };
        Gateway { name: name.map(str::to_owned), target }
    }

    fn plan(change: impl FnOnce(&mut FailoverPlan)) -> FailoverPlan {
        let targets = vec![gateway(None, "a"), gateway(None, "b")];
        let mut plan = FailoverPlan { targets, ..FailoverPlan::default() };
        change(&mut plan);
        plan
    }

    #[test]
    fn everybody_asks_in_turn_so_that_all_together_keep_the_rate() {
        let plan = plan(|plan| (plan.clients, plan.conns_per_client, plan.rate) = (500, 2, 5000.0));
        assert_eq!(plan.check(), Ok(()));
        assert_eq!((plan.conns(), plan.pace()), (1000, Duration::from_millis(200)));
    }

    #[test]
    fn connections_are_dealt_to_servers() {
        let plan = plan(|plan| (plan.servers, plan.first_server_id) = (3, 7));
        let dialled: Vec<_> = (0..5).map(|conn| plan.server_of(conn)).collect();
        assert_eq!(dialled, [7, 8, 9, 7, 8].map(ServerId::new));
    }

    #[test]
    fn a_gateway_that_is_listed_twice_is_one_by_the_name_that_one_of_them_has() {
        let targets = vec![
            gateway(None, "a"),
            gateway(None, "b"),
            gateway(Some("gw1"), "A"),
            gateway(Some("gw1"), "a"),
        ];
        let plan = plan(|plan| plan.targets = targets);
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(
            plan.known(),
            [("a:7010", "gw1"), ("b:7010", "b:7010")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn what_cannot_work_is_said_with_the_flag() {
        type Change = fn(&mut FailoverPlan);
        let wrong: [(Change, &str); 9] = [
            (|plan| plan.targets.clear(), "no gateway"),
            (
                |plan| plan.resolve = Some(Duration::from_secs(5)),
                "b:7010: with --resolve there is one target",
            ),
            (
                |plan| {
                    plan.resolve = Some(Duration::from_secs(5));
                    plan.targets = vec![gateway(Some("gw"), "a")];
                },
                "gw: with --resolve",
            ),
            (
                |plan| plan.targets = vec![gateway(Some("gw"), "a"), gateway(Some("gw"), "b")],
                "gw: two gateways",
            ),
            (|plan| plan.clients = 0, "-c 0"),
            (|plan| plan.conns_per_client = 0, "--conns 0"),
            (|plan| plan.servers = 0, "--servers 0"),
            (|plan| plan.rate = 0.0, "-R 0"),
            (|plan| plan.message_bytes = 8, "-s 8"),
        ];
        for (change, words) in wrong {
            let error = plan(change).check().unwrap_err().to_string();
            assert!(error.contains(words), "{words:?} is not in {error:?}");
        }
    }
}
