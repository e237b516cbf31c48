//! How long everything may take in a world of many gateways, computed from its configuration.
//!
//! All bounds are made of the same few parts:
//!
//! | part | is | why |
//! |---|---|---|
//! | `journey` | the longest latency and two ticks | one way through the network; the hosts look at their connections once in each tick |
//! | `detection` | the setting | a silent gateway is taken for dead |
//! | `spread` | the setting | a client that lost its gateway begins to look for another at any instant within it |
//! | `dead × connect` | addresses without a gateway, times the deadline of one connect | so many may be tried before one that works |
//! | `noticing` | the idle timeout of servers at a gateway | a gateway takes a silent server for dead |
//! | `parting` | 100 ms | a connection that was closed waits so long for the end of its link, before it has ended for good |
//! | `reroute` | the setting | a client whose gateway refuses it a server turns to another at any instant between this and twice this |
//! | `step(down)` | the smaller of the longest wait, and the first wait and twice `down` | the wait that is under way when a gateway comes back after `down`: each is at least half of what it may be, so the last of the waits that fit into `down` is not longer |
//!
//! So a client whose gateway is gone talks again after
//!
//! `detection + spread + dead × connect + 9 journeys` (connecting 2, dialling 2, a question and its answer 4, and one for the
//! end of the old connection), without `detection` where the end can be seen;
//!
//! and after a gateway or a server is back, the server is linked again after `step(down) + 4 journeys` (connecting 2, challenge,
//! answer). A client whose dial was refused meanwhile dials again `step(down)` later.
//!
//! A client whose gateway has lost a server that others have talks with it again after
//!
//! `noticing + parting + 2 reroute + step(2 reroute) + dead × connect + 15 journeys` (the news of the end 1, the first refusal 2,
//! the one that is too many 2, connecting 2, another refusal by the old gateway that may be under way 2, dialling 2, a question and
//! its answer 4), however long the gateway goes without the server.

use super::plan::FleetPlan;
use crate::plan::Plan;

/// The longest time that the name service takes in a drawn world, in ms.
pub(super) const NAMES_TAKE_MS: u32 = 1_000;

/// Addresses of nobody in a drawn world, at most, those of gateways that cannot be reached not counted.
pub(super) const MOST_DEAD: u32 = 3;

/// Timers look at a clock of 1 ms, and tasks at the time in ticks: so many more for a chain of them.
const TICKS: u32 = 5;

/// `parting`.
const PARTING_MS: u32 = 100;

/// A failure of a gateway counts for so many of the longest waits: nobody turns away to it meanwhile.
const REMEMBERED_WAITS: u32 = 10;

/// The bounds of one world, in ms.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the table of this module says what they are")]
pub struct Bounds {
    pub journey_ms: u32,
    pub detection_ms: u32,
    pub spread_ms: u32,
    pub noticing_ms: u32,
    pub reroute_ms: u32,
    pub patience_ms: u32,
    pub connect_ms: u32,
    pub first_ms: u32,
    pub max_ms: u32,
    pub every_ms: u32,
    pub beat_ms: u32,
    pub slack_ms: u32,
    gateways: u32,
}

impl Bounds {
    /// Those of this plan.
    #[must_use]
    pub fn new(plan: &Plan, fleet: &FleetPlan) -> Self {
        Self {
            journey_ms: plan.network.max_latency_ms + 2 * plan.tick_ms,
            detection_ms: fleet.detection_ms,
            spread_ms: fleet.spread_ms,
            noticing_ms: plan.gateway.server_idle_ms,
            reroute_ms: fleet.reroute_ms,
            patience_ms: fleet.patience_ms,
            connect_ms: plan.endpoint.connect_timeout_ms,
            first_ms: fleet.backoff_first_ms,
            max_ms: fleet.backoff_max_ms,
            every_ms: fleet.every_ms,
            beat_ms: fleet.beat_ms,
            slack_ms: TICKS * plan.tick_ms,
            gateways: plan.topology.gateways,
        }
    }

    /// `step(down)`.
    #[must_use]
    pub fn step_ms(&self, down_ms: u32) -> u32 {
        self.max_ms.min(self.first_ms.saturating_add(down_ms.saturating_mul(2)))
    }

    /// From the loss of a gateway that can be seen to the first answer through another one.
    #[must_use]
    pub fn moved_ms(&self, dead: u32) -> u32 {
        self.spread_ms + dead * self.connect_ms + 9 * self.journey_ms + self.slack_ms
    }

    /// From the return of a gateway, or of a way to it, to the link of each server.
    #[must_use]
    pub fn relinked_ms(&self, down_ms: u32) -> u32 {
        self.step_ms(down_ms) + 4 * self.journey_ms + self.slack_ms
    }

    /// From the return of a server to the first answer of it to a client that was refused meanwhile.
    #[must_use]
    pub fn redialled_ms(&self, down_ms: u32) -> u32 {
        PARTING_MS.max(self.step_ms(down_ms)) + 6 * self.journey_ms + self.slack_ms
    }

    /// From the instant in which a gateway loses a server to the first answer of it through another gateway.
    #[must_use]
    pub fn rerouted_ms(&self, dead: u32) -> u32 {
        self.noticing_ms + self.redirected_ms(dead)
    }

    /// Of that, what comes after the gateway has noticed it.
    fn redirected_ms(&self, dead: u32) -> u32 {
        let refused_ms = 2 * self.reroute_ms;
        let again_ms = self.step_ms(refused_ms + 2 * self.journey_ms);
        PARTING_MS + refused_ms + again_ms + dead * self.connect_ms + 15 * self.journey_ms + self.slack_ms
    }

    /// Whether clients are sure to turn away: each dial counts for itself how long it is refused, and has to last that long.
    #[must_use]
    pub fn reroutes(&self, dead: u32) -> bool {
        self.reroute_ms > 0 && self.redirected_ms(dead) <= self.patience_ms
    }

    /// For so long a gateway that has failed is not turned away to: ten of the longest waits, and two searches at least.
    #[must_use]
    pub fn remembered_ms(&self) -> u32 {
        (REMEMBERED_WAITS * self.max_ms).max(2 * (self.spread_ms + self.connect_ms))
    }

    /// From the beginning of a world, or of a client, to the first answer.
    #[must_use]
    pub fn begun_ms(&self) -> u32 {
        self.relinked_ms(0) + 2 * self.journey_ms + self.redialled_ms(self.relinked_ms(0))
    }

    /// From one answer to the next where nothing has happened.
    #[must_use]
    pub fn calm_ms(&self) -> u32 {
        self.beat_ms + 4 * self.journey_ms + self.slack_ms
    }

    /// From the end of a fault to the time at which nobody feels anything of it any more.
    pub(super) fn settled_ms(&self) -> u32 {
        let names = self.every_ms + NAMES_TAKE_MS;
        let moved = self.detection_ms + self.moved_ms(MOST_DEAD);
        names + moved + self.relinked_ms(u32::MAX) + self.redialled_ms(u32::MAX) + self.calm_ms()
    }

    /// The same for any faults at all: every gateway may have to be tried twice.
    pub(crate) fn healing_ms(&self) -> u32 {
        self.settled_ms() + 2 * self.gateways * self.connect_ms + 2 * self.max_ms
    }
}
