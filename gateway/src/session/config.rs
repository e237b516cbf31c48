//! What the sessions of one side and shard have in common.

use std::sync::Arc;
use std::time::Duration;

use fastway::frame::MaxPacket;
use fastway::id::Side;
use fastway::keepalive::KeepaliveConfig;

use crate::access_log::EndLog;
use crate::alarm::Alarms;
use crate::config::Config;
use crate::outbox::OutboxConfig;
use crate::rate::Rate;
use crate::refusal::Refusals;
use crate::router::Router;

/// Limits, clocks, and those whom every session has to do with.
#[derive(Clone, Debug)]
pub(crate) struct SessionConfig {
    pub(crate) max_packet: MaxPacket,
    pub(crate) keepalive: Arc<KeepaliveConfig>,
    pub(crate) max_dialled: u32,
    /// How long a peer may take nothing of what there is to write.
    pub(super) stall_timeout: Duration,
    /// A peer that acknowledges nothing for so long is dead; zero is never.
    pub(super) dead_peer_timeout: Duration,
    /// How long a frame may be on its way, if it does not come slowly but surely; zero is for ever.
    pub(super) frame_timeout: Duration,
    pub(crate) dial_rate: Option<Rate>,
    pub(crate) command_rate: Option<Rate>,
    pub(super) alarms: Arc<Alarms>,
    pub(crate) router: Arc<Router>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) outbox: Arc<OutboxConfig>,
    pub(super) ends: Arc<EndLog>,
}

impl SessionConfig {
    pub(crate) fn new(
        config: &Config,
        side: Side,
        router: Arc<Router>,
        refusals: Arc<Refusals>,
        alarms: Arc<Alarms>,
        outbox: OutboxConfig,
        ends: Arc<EndLog>,
    ) -> Self {
        let (client, server) = (&config.client, &config.server);
        let (keepalive, max_dialled) = match side {
            Side::Client => (client.keepalive, u32::try_from(client.max_conn).unwrap_or(u32::MAX)),
            Side::Server => (server.keepalive, u32::MAX),
        };
        let (stall_timeout, dead_peer_timeout) = match side {
            Side::Client => (client.stall_timeout, client.dead_peer_timeout),
            Side::Server => (server.stall_timeout, server.dead_peer_timeout),
        };
        let of_client = |per_second| Rate::new(per_second).filter(|_| side == Side::Client);
        Self {
            max_packet: config.max_packet,
            keepalive: Arc::new(keepalive),
            max_dialled,
            stall_timeout,
            dead_peer_timeout,
            frame_timeout: config.frame_timeout,
            dial_rate: of_client(client.dial_rate),
            command_rate: of_client(client.command_rate),
            alarms,
            router,
            refusals,
            outbox: Arc::new(outbox),
            ends,
        }
    }
}
