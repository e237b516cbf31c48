//! Failover: worlds whose clients and servers use many gateways ([`fastway::fleet`]), and what becomes of them when gateways,
//! servers, the network or the name service fail.
//!
//! They are worlds like the others ([`crate::world`]): the same network, faults, gateways, taps, and the same oracle over the
//! gateways. Only the endpoints differ: servers are linked to every gateway, each client to one, and where the gateways are
//! they learn from a list or from a name service, which may [flap](Flap). Each client has a *talk* with each of its servers,
//! which goes on over as many virtual connections as it takes: whenever it gets a new one, client and server say how far they
//! are, and go on from there.
//!
//! Such a world is of one of two kinds ([`FleetPlan::spaced`]):
//!
//! - *Spaced*: gateways are killed, lose their power, are partitioned, are restarted in good order, servers as well; but each
//!   cause has the world to itself until its [bound](Bounds) has passed. So each bound is checked: who is concerned talks again
//!   in time, nobody else notices anything, and nobody storms the gateways that are left.
//! - *Chaos*: any fault at any time. There the end is checked: everybody talks to everybody.
//!
//! In both, the judge (`judge/`) checks what a virtual connection promises, that resuming loses nothing, that gateways that
//! failed are left alone for as long as the backoff says, and those that have left the set for good.

mod bounds;
mod client;
mod draw;
mod events;
pub(crate) mod judge;
mod names;
mod network;
mod note;
mod plan;
mod probe;
mod sabotage;
mod server;
mod words;

use std::collections::BTreeMap;

use parking_lot::Mutex;

pub use bounds::Bounds;
pub(crate) use client::client;
pub use names::Flap;
pub(crate) use names::NameService;
pub use note::{FleetNote, GatewaySet, Member, Talk, TalkNote};
pub use plan::{ChoicePlan, FleetPlan};
pub(crate) use probe::probe;
pub use sabotage::Sabotage;
pub(crate) use server::server;

/// What everybody of such a world shares.
#[derive(Debug, Default)]
pub(crate) struct Backstage {
    pub(crate) names: Mutex<NameService>,
    pub(crate) sabotage: Sabotage,
    /// How many messages of each talk its server has: it keeps that where a restart does not reach it.
    taken: Mutex<BTreeMap<u32, u32>>,
}

impl Backstage {
    pub(crate) fn new(sabotage: Sabotage) -> Self {
        Self { sabotage, ..Self::default() }
    }

    /// The server has got this message of a talk: how many it has now.
    fn take(&self, talk: u32, number: Option<u32>) -> u32 {
        let mut all = self.taken.lock();
        let taken = all.entry(talk).or_default();
        if number == Some(*taken) {
            *taken += 1;
        }
        *taken
    }
}
