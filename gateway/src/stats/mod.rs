//! What the gateway counts: for each session while it lives, and for all of them since it began.
//!
//! A session counts for itself, in its outbox ([`session`]), and once more where its shard counts ([`shard`]). So the totals
//! ([`Handle::totals`](crate::Handle::totals)) are sums over a few shards, however many sessions there are, and forget none that
//! has ended. Every number has one thread that writes it, by a load and a store: nothing is locked for a message, and no two
//! cores write to one cache line. Whoever reads may miss the last few messages of a shard that is busy.

use std::net::SocketAddr;
use std::time::Duration;

use fastway::id::Side;

mod ended;
mod histogram;
mod sampler;
mod session;
mod shard;

pub use self::ended::Ended;
pub use self::histogram::Histogram;
pub(crate) use self::session::{Gauge, Peer, SessionStats};
pub(crate) use self::shard::{ShardStats, Tally};

use crate::refusal::Refusal;

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages of virtual connections. Commands are none.
    pub messages: u64,
    /// Bytes on the wire: headers, commands and frames that are cut off included, but not a server's handshake nor a proxy's
    /// header, which come before the session.
    pub bytes: u64,
}

/// One session at one moment.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Whose it is.
    pub side: Side,
    /// The number of the client or server.
    pub id: u32,
    /// The address of the client or server; behind a proxy, the one that the proxy named. `None` if it was gone before anybody
    /// could ask.
    pub peer: Option<SocketAddr>,
    /// Since it was registered.
    pub age: Duration,
    /// What has come from the peer.
    pub received: Traffic,
    /// What the kernel has taken for the peer.
    pub sent: Traffic,
    /// Virtual connections that are open, whoever dialled them.
    pub conns: usize,
    /// Virtual connections that were ever opened, whoever dialled them.
    pub opened: u64,
    /// Frames that wait to be sent to the peer.
    pub queued_messages: usize,
    /// Bytes that wait to be sent to the peer.
    pub queued_bytes: usize,
    /// Bytes from the peer that wait for the rest of their frame, or are held back.
    pub kept_bytes: usize,
    /// The peer's socket took nothing more when it was last written to.
    pub blocked: bool,
}

/// What one side has come to, since the gateway began.
#[derive(Clone, Debug, Default)]
pub struct SideTotals {
    /// Sessions that have begun.
    pub begun: u64,
    /// What has come from this side.
    pub received: Traffic,
    /// What the kernel has taken for this side.
    pub sent: Traffic,
    /// Virtual connections that this side has opened, by dialling the other one.
    pub opened: u64,
    ended: [u64; Ended::ALL.len()],
}

impl SideTotals {
    /// Sessions that have ended for this reason.
    #[must_use]
    pub fn ended(&self, reason: Ended) -> u64 {
        self.ended[reason as usize]
    }
}

/// What all of a gateway has come to, since it began.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Clients.
    pub client: SideTotals,
    /// Servers.
    pub server: SideTotals,
    /// How long messages took, from where they were read to where the kernel had taken them for the receiver: of a sample of them,
    /// without those for receivers whose sockets take nothing.
    pub forwarding_delay: Histogram,
    /// How long the sessions lasted that have ended, of both sides.
    pub session_life: Histogram,
    refusals: [u64; Refusal::ALL.len()],
}

impl Totals {
    pub(crate) fn of<'a>(
        shards: impl IntoIterator<Item = &'a ShardStats>,
        refusals: [u64; Refusal::ALL.len()],
    ) -> Self {
        let mut totals = Self {
            client: SideTotals::default(),
            server: SideTotals::default(),
            forwarding_delay: Histogram::new(&shard::FORWARDING_DELAY),
            session_life: Histogram::new(&shard::SESSION_LIFE),
            refusals,
        };
        shards.into_iter().for_each(|shard| shard.add_to(&mut totals));
        totals
    }

    /// One of the sides.
    #[must_use]
    pub fn side(&self, side: Side) -> &SideTotals {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut SideTotals {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// How often something was refused for this reason. Dials are among them.
    #[must_use]
    pub fn refusals(&self, kind: Refusal) -> u64 {
        self.refusals[kind as usize]
    }
}
