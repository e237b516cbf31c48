//! What a client knows of each gateway: whether it is in the set, how it did, when it may be tried again. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::Instant;

use super::choice::Candidate;
use crate::fleet::backoff::Backoff;
use crate::fleet::config::{Choice, FleetConfig};
use crate::fleet::event::{GatewayState, GatewayStatus, Trouble};
use crate::fleet::gateways::GatewayAddr;

/// A failure counts for so many of the longest waits. Until then every gateway that did not fail comes before the one that
/// did: its next failure may cost a whole connect timeout. After that it is like any other, so that it gets its share again.
const REMEMBERED_WAITS: u32 = 10;

/// How near a gateway is stays known for so long after it has left the set: a name that flaps would have all measured anew.
const KEPT: Duration = Duration::from_secs(600);

/// No clock runs over, whatever the waits are.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// All gateways of a set.
///
/// *Inputs*: [`update`](Self::update) when the set changes, then what happened to which gateway. *Output*:
/// [`pick`](Self::pick), which says whom to try.
#[derive(Debug)]
pub(super) struct Health {
    backoff: Backoff,
    /// How long a failure counts.
    remembered: Duration,
    choice: Choice,
    gateways: BTreeMap<GatewayAddr, Record>,
    /// The last that was picked.
    last: Option<GatewayAddr>,
    /// The serial number of the last link.
    newest: u64,
}

/// One gateway.
#[derive(Debug, Default)]
struct Record {
    in_set: bool,
    left_at: Option<Instant>,
    connecting: bool,
    link: Option<Link>,
    failures: u32,
    failed: Option<Failed>,
    last_trouble: Option<Trouble>,
    connect_time: Option<Duration>,
}

/// The newest link to a gateway.
#[derive(Clone, Copy, Debug)]
struct Link {
    serial: u64,
    since: Instant,
    drains: bool,
    /// Something has failed since.
    has_failures: bool,
}

/// The last failure.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// When the gateway may be tried again.
    waits_until: Instant,
    /// When it is like any other.
    forgotten_at: Instant,
}

/// What a client that needs a gateway should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// Connect to these now, side by side; the first to answer is enough.
    Try(Vec<GatewayAddr>),
    /// All have failed just now: pick again then.
    Wait(Instant),
    /// Nobody is in the set.
    Nobody,
}

/// What became of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) found: Vec<GatewayAddr>,
    pub(super) gone: Vec<GatewayAddr>,
}

impl Health {
    pub(super) fn new(config: &FleetConfig) -> Self {
        Self {
            backoff: config.backoff,
            // A search begins after the spread, and one try may take its whole time. The gateway that was just lost is not to
            // have its turn meanwhile.
            remembered: config
                .backoff
                .max
                .saturating_mul(REMEMBERED_WAITS)
                .max(config.spread.saturating_add(config.endpoint.connect_timeout).saturating_mul(2))
                .min(A_DAY),
            choice: config.choice,
            gateways: BTreeMap::new(),
            last: None,
            newest: 0,
        }
    }

    /// From now on these are in the set. One that is not is kept for as long as it matters: it may come back.
    pub(super) fn update(&mut self, set: &BTreeSet<GatewayAddr>, now: Instant) -> Changes {
        let mut changes = Changes::default();
        for gateway in set {
            let record = self.gateways.entry(gateway.clone()).or_default();
            if !std::mem::replace(&mut record.in_set, true) {
                changes.found.push(gateway.clone());
            }
        }
        for (gateway, record) in &mut self.gateways {
            if !set.contains(gateway) && std::mem::take(&mut record.in_set) {
                record.left_at = Some(now);
                changes.gone.push(gateway.clone());
            }
        }
        self.gateways.retain(|_, record| record.matters(now));
        changes
    }

    /// Whom to try, in this order: those that did not fail lately; those whose wait is over, whoever failed last after the others;
    /// whoever's wait is over first.
    /// A gateway that drains comes only if there is nobody else: behind its address there may be others.
    /// Nor does one that there is a link to already, unless it was turned away from.
    pub(super) fn pick(&mut self, now: Instant, rng: &mut StdRng) -> Pick {
        let in_set = || self.gateways.iter().filter(|(_, record)| record.in_set);
        let mut candidates: Vec<_> = in_set().filter(|(_, record)| !record.is_taken(self.newest)).collect();
        if candidates.is_empty() {
            candidates = in_set().filter(|(_, record)| record.drains()).collect();
        }
        let Some(soonest) = candidates.iter().map(|(_, record)| record.waits_until(now)).min() else {
            return Pick::Nobody;
        };
        if soonest > now {
            return Pick::Wait(soonest);
        }
        candidates.retain(|(_, record)| record.waits_until(now) <= now);
        if candidates.iter().any(|(_, record)| !record.failed_lately(now)) {
            candidates.retain(|(_, record)| !record.failed_lately(now));
        } else {
            // All have failed. The others have had more time to come back than the last of them, which may hang.
            let failed_at = |record: &Record| record.failed.map(|failed| failed.forgotten_at);
            let last = candidates.iter().map(|(_, record)| failed_at(record)).max().flatten();
            if candidates.iter().any(|(_, record)| failed_at(record) != last) {
                candidates.retain(|(_, record)| failed_at(record) != last);
            }
        }
        let candidates: Vec<_> = candidates
            .into_iter()
            .map(|(gateway, record)| Candidate { gateway, connect_time: record.connect_time })
            .collect();
        let picked: Vec<_> =
            self.choice.of(&candidates, self.last.as_ref(), rng).into_iter().cloned().collect();
        self.last = picked.last().cloned();
        for (gateway, record) in &mut self.gateways {
            // Whoever was being connected to until now is not any more.
            record.connecting = picked.contains(gateway);
        }
        Pick::Try(picked)
    }

    /// There is a link. Whether the gateway is well is seen when it has lasted.
    pub(super) fn connected(&mut self, gateway: &GatewayAddr, serial: u64, took: Duration, now: Instant) {
        self.newest = serial;
        self.measured(gateway, took);
        self.record(gateway).link = Some(Link { serial, since: now, drains: false, has_failures: false });
    }

    /// There could have been a link, after so long.
    pub(super) fn measured(&mut self, gateway: &GatewayAddr, took: Duration) {
        let record = self.record(gateway);
        record.connecting = false;
        record.connect_time = Some(took);
    }

    /// There is none. Returns how long the gateway waits.
    pub(super) fn failed(
        &mut self,
        gateway: &GatewayAddr,
        trouble: Trouble,
        now: Instant,
        rng: &mut StdRng,
    ) -> Duration {
        let (backoff, remembered) = (self.backoff, self.remembered);
        let record = self.record(gateway);
        record.connecting = false;
        // Failures while there is a link, to a gateway that drains say, are a row of their own.
        if let Some(link) = &mut record.link {
            if !link.has_failures && now - link.since >= backoff.max {
                record.failures = 0;
            }
            link.has_failures = true;
        }
        record.failures = record.failures.saturating_add(1);
        record.last_trouble = Some(trouble);
        let wait = backoff.after(record.failures, rng);
        let forgotten_at = now + remembered;
        record.failed = Some(Failed { waits_until: now + wait.min(A_DAY), forgotten_at });
        wait
    }

    /// The link will end soon.
    pub(super) fn drains(&mut self, gateway: &GatewayAddr, serial: u64) {
        if let Some(link) = self.record(gateway).link.as_mut().filter(|link| link.serial == serial) {
            link.drains = true;
        }
    }

    /// A link has ended. Returns how long the gateway waits; not at all if there is a newer link to it.
    ///
    /// One that lasted less than the longest wait counts with the failures before it: a gateway that takes everybody and
    /// keeps nobody is tried ever more rarely.
    pub(super) fn lost(
        &mut self,
        gateway: &GatewayAddr,
        serial: u64,
        trouble: Trouble,
        now: Instant,
        rng: &mut StdRng,
    ) -> Duration {
        if self.record(gateway).link.is_none_or(|link| link.serial != serial) {
            return Duration::ZERO;
        }
        let wait = self.failed(gateway, trouble, now, rng);
        self.record(gateway).link = None;
        wait
    }

    /// This side has closed a link, which is nobody's failure.
    pub(super) fn left(&mut self, gateway: &GatewayAddr, serial: u64) {
        self.record(gateway).link.take_if(|link| link.serial == serial);
    }

    /// Whether another gateway can be turned to, which has not failed lately.
    pub(super) fn has_another(&self, now: Instant) -> bool {
        let is_fit =
            |record: &Record| record.in_set && !record.is_taken(self.newest) && !record.failed_lately(now);
        self.gateways.values().any(is_fit)
    }

    /// It had been well before: its link had lasted.
    pub(super) fn is_first_failure(&self, gateway: &GatewayAddr) -> bool {
        self.gateways.get(gateway).is_some_and(|record| record.failures == 1)
    }

    pub(super) fn is_in_set(&self, gateway: &GatewayAddr) -> bool {
        self.gateways.get(gateway).is_some_and(|record| record.in_set)
    }

    /// How each of them is: those in the set, and those that there is a link to.
    pub(super) fn status(&self, now: Instant) -> Vec<GatewayStatus> {
        let shown = self.gateways.iter().filter(|(_, record)| record.in_set || record.link.is_some());
        shown.map(|(gateway, record)| record.status(gateway, self.backoff, now)).collect()
    }

    fn record(&mut self, gateway: &GatewayAddr) -> &mut Record {
        self.gateways.entry(gateway.clone()).or_default()
    }
}

impl Record {
    fn matters(&self, now: Instant) -> bool {
        let is_kept = self.connect_time.is_some() && self.left_at.is_some_and(|at| now - at < KEPT);
        self.in_set || self.connecting || self.link.is_some() || self.failed_lately(now) || is_kept
    }

    /// Another link to it is of no use. Older links than the newest are those that drain, and those that were turned away from:
    /// they stay for what is open through them.
    fn is_taken(&self, newest: u64) -> bool {
        self.link.is_some_and(|link| link.drains || link.serial == newest)
    }

    fn drains(&self) -> bool {
        self.link.is_some_and(|link| link.drains)
    }

    fn failed_lately(&self, now: Instant) -> bool {
        self.failed.is_some_and(|failed| failed.forgotten_at > now)
    }

    fn waits_until(&self, now: Instant) -> Instant {
        self.failed.map_or(now, |failed| failed.waits_until.max(now))
    }

    fn status(&self, gateway: &GatewayAddr, backoff: Backoff, now: Instant) -> GatewayStatus {
        let has_lasted = self.link.is_some_and(|link| now - link.since >= backoff.max);
        let state = match self.link {
            _ if self.connecting => GatewayState::Connecting,
            Some(Link { since, drains: true, .. }) => GatewayState::Draining(since),
            Some(Link { since, .. }) => GatewayState::Connected(since),
            None if self.waits_until(now) > now => GatewayState::Waiting(self.waits_until(now)),
            None => GatewayState::Idle,
        };
        GatewayStatus {
            gateway: gateway.clone(),
            state,
            failures: if has_lasted { 0 } else { self.failures },
            last_trouble: self.last_trouble.clone(),
            connect_time: self.connect_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::endpoint::{EndpointConfig, LinkError};

    const MS: Duration = Duration::from_millis(1);

    struct World {
        health: Health,
        rng: StdRng,
        now: Instant,
        serial: u64,
    }

    impl World {
        fn of(names: &[&str]) -> Self {
            let config = FleetConfig {
                endpoint: EndpointConfig { connect_timeout: 1000 * MS, ..EndpointConfig::default() },
                backoff: Backoff { first: 100 * MS, max: 1000 * MS },
                choice: Choice::RoundRobin,
                ..FleetConfig::default()
            };
            let (health, rng) = (Health::new(&config), StdRng::seed_from_u64(7));
            let mut world = Self { health, rng, now: Instant::now(), serial: 0 };
            world.update(names);
            world
        }

        fn update(&mut self, names: &[&str]) -> Changes {
            self.health.update(&names.iter().map(|name| addr(name)).collect(), self.now)
        }

        fn pick(&mut self) -> Pick {
            self.health.pick(self.now, &mut self.rng)
        }

        fn fail(&mut self, name: &str) -> Duration {
            self.health.failed(
                &addr(name),
                Trouble::Link(LinkError::ClosedByGateway),
                self.now,
                &mut self.rng,
            )
        }

        fn connect(&mut self, name: &str) -> u64 {
            self.serial += 1;
            self.health.connected(&addr(name), self.serial, MS, self.now);
            self.serial
        }

        fn lose(&mut self, name: &str, serial: u64) -> Duration {
            let trouble = Trouble::Link(LinkError::ClosedByGateway);
            self.health.lost(&addr(name), serial, trouble, self.now, &mut self.rng)
        }

        fn state(&self, name: &str) -> Option<GatewayState> {
            let status = self.health.status(self.now);
            status.iter().find(|status| status.gateway == addr(name)).map(|status| status.state)
        }
    }

    fn addr(name: &str) -> GatewayAddr {
        GatewayAddr::new(&format!("{name}:1")).unwrap()
    }

    fn a_try(name: &str) -> Pick {
        Pick::Try(vec![addr(name)])
    }

    #[test]
    fn a_failed_gateway_waits_and_the_first_to_be_ready_is_next() {
        let mut world = World::of(&["a", "b"]);
        let (of_a, of_b) = (world.fail("a"), world.fail("b"));
        assert!(of_a >= 50 * MS && of_a <= 100 * MS, "{of_a:?}");
        assert_ne!(of_a, of_b);
        assert_eq!(world.pick(), Pick::Wait(world.now + of_a.min(of_b)));
        world.now += of_a.min(of_b);
        assert_eq!(world.pick(), a_try(if of_a < of_b { "a" } else { "b" }));
        let mut world = World::of(&["a"]);
        assert!(world.fail("a") <= 100 * MS && world.fail("a") >= 100 * MS && world.fail("a") >= 200 * MS);
    }

    #[test]
    fn who_failed_lately_comes_last_and_is_forgiven_later() {
        let mut world = World::of(&["a", "b", "c"]);
        world.fail("b");
        world.now += 9999 * MS;
        for _ in 0..4 {
            assert_ne!(world.pick(), a_try("b"), "others are well");
        }
        for name in ["a", "c"] {
            world.fail(name);
        }
        assert_eq!(world.pick(), a_try("b"), "the others wait");
        let mut world = World::of(&["a", "b"]);
        world.fail("b");
        world.now += 10_000 * MS;
        let picks = [world.pick(), world.pick()];
        assert!(picks.contains(&a_try("b")), "{picks:?}");
    }

    #[test]
    fn a_loss_is_remembered_until_the_search_for_another_gateway_begins() {
        let mut world = World::of(&["a", "b"]);
        let config = FleetConfig {
            backoff: Backoff { first: 10 * MS, max: 10 * MS },
            choice: Choice::Nearest,
            spread: 1000 * MS,
            ..FleetConfig::default()
        };
        world.health = Health::new(&config);
        world.update(&["a", "b"]);
        world.health.measured(&addr("b"), 5 * MS);
        let serial = world.connect("a");
        world.lose("a", serial);
        world.now += 1000 * MS;
        assert_eq!(world.pick(), a_try("b"), "it is further than a was");
    }

    #[test]
    fn where_all_have_failed_the_last_of_them_comes_after_the_others() {
        let mut world = World::of(&["a", "b", "c"]);
        for name in ["b", "c", "a"] {
            world.fail(name);
            world.now += 10 * MS;
        }
        world.now += 100 * MS;
        for _ in 0..4 {
            assert_ne!(world.pick(), a_try("a"));
        }
        // Alone, it is better than nothing.
        world.update(&["a"]);
        assert_eq!(world.pick(), a_try("a"));
    }

    #[test]
    fn a_link_that_lasts_makes_up_for_failures_and_a_short_one_is_one_more() {
        let mut world = World::of(&["a"]);
        for _ in 0..9 {
            world.fail("a");
        }
        let serial = world.connect("a");
        world.now += 999 * MS;
        assert!(world.lose("a", serial) >= 500 * MS, "as after ten failures");
        let serial = world.connect("a");
        world.now += 1000 * MS;
        assert_eq!(world.health.status(world.now)[0].failures, 0);
        assert!(world.lose("a", serial) <= 100 * MS, "as after one failure");
    }

    /// It drains, and there is no other: what is tried beside its link fails.
    #[test]
    fn the_end_of_a_link_that_has_lasted_does_not_make_up_for_what_failed_beside_it() {
        let mut world = World::of(&["a"]);
        let serial = world.connect("a");
        world.now += 5000 * MS;
        world.health.drains(&addr("a"), serial);
        for longest in [100, 200, 400] {
            let wait = world.fail("a");
            assert!(wait >= longest / 2 * MS && wait <= longest * MS, "{wait:?} of {longest}");
        }
        assert!(world.lose("a", serial) >= 400 * MS, "as after four failures");
    }

    #[test]
    fn a_draining_gateway_is_for_those_who_have_no_other() {
        let mut world = World::of(&["a", "b"]);
        let serial = world.connect("a");
        world.health.drains(&addr("a"), serial);
        for _ in 0..3 {
            assert_eq!(world.pick(), a_try("b"));
        }
        world.fail("b");
        assert!(matches!(world.pick(), Pick::Wait(_)));
        world.update(&["a"]);
        assert_eq!(world.pick(), a_try("a"));
        // Behind the same address somebody else has answered. The end of the older link is nothing to that.
        let newer = world.connect("a");
        assert_eq!(world.lose("a", serial), Duration::ZERO);
        assert_eq!(world.state("a"), Some(GatewayState::Connected(world.now)));
        assert!(world.lose("a", newer) > Duration::ZERO);
    }

    #[test]
    fn who_leaves_the_set_is_not_tried_and_what_is_known_of_it_stays_for_a_while() {
        let mut world = World::of(&["a", "b"]);
        world.fail("a");
        let serial = world.connect("b");
        let changes = world.update(&["c"]);
        assert_eq!(changes, Changes { found: vec![addr("c")], gone: vec![addr("a"), addr("b")] });
        assert_eq!(world.pick(), a_try("c"));
        assert_eq!((world.state("a"), world.state("b").is_some()), (None, true));
        world.update(&["a"]);
        assert!(matches!(world.pick(), Pick::Wait(_)), "its failure is remembered");
        world.lose("b", serial);
        world.fail("c");
        world.now += 10_000 * MS;
        world.update(&[]);
        assert_eq!(world.pick(), Pick::Nobody);
        assert_eq!(world.health.gateways.keys().collect::<Vec<_>>(), [&addr("b")], "it was measured");
        world.now += KEPT;
        world.update(&[]);
        assert!(world.health.gateways.is_empty(), "nothing is kept for ever");
    }
}
