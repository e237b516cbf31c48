//! What an endpoint can be told.

use std::time::Duration;

use crate::extensions::{Extensions, Grant};
use crate::frame::MaxPacket;
use crate::id::Side;
use crate::keepalive::KeepaliveConfig;

/// Limits and times of one endpoint.
///
/// ```
/// use fastway::endpoint::{EndpointConfig, SlowReceiver};
///
/// let config = EndpointConfig { slow_receiver: SlowReceiver::LinkWaits, ..EndpointConfig::default() };
/// ```
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The largest packet either way; must be the gateway's. 512 KiB.
    pub max_packet: MaxPacket,
    /// Connecting, and for a server the handshake, must be done in this time. 10 s.
    pub connect_timeout: Duration,
    /// A dial must be answered in this time. 5 s.
    pub dial_timeout: Duration,
    /// How long the gateway may be silent. A ping after 30 s, the end of the link after 60 s.
    ///
    /// Pings of the gateway are always answered. A first-generation gateway does not answer ours: with one of
    /// those, use [`KeepaliveConfig::ANSWER_ONLY`].
    pub keepalive: KeepaliveConfig,
    /// A gateway whose machine is gone, or the way to it, is found out within this time, and about one second, where the network
    /// can do it: TCP on Linux; elsewhere only as long as the link is idle. Zero: no sooner than the keepalive finds out. Zero.
    ///
    /// It is about the network alone, and no gateway notices any of it. An idle link is asked three times within this time, which a
    /// telephone on battery should not be too often.
    pub dead_peer_timeout: Duration,
    /// Bytes that may wait to be written to the link, over all virtual connections. Beyond it, sending waits; one message is
    /// always taken. 1 MiB.
    pub send_queue_bytes: usize,
    /// Messages that may wait to be received on one virtual connection; one is always kept. 1024.
    pub recv_queue_messages: usize,
    /// Bytes of messages that may wait to be received on one virtual connection; one message is always kept. 4 MiB.
    pub recv_queue_bytes: usize,
    /// What happens when one of those two is exceeded. The connection closes.
    pub slow_receiver: SlowReceiver,
    /// Virtual connections that others opened and that may wait to be accepted; further ones are closed. 1024.
    pub accept_queue: usize,
    /// When the endpoint is closed or dropped: so long for what is queued to be sent. 10 s.
    pub close_timeout: Duration,
    /// A server asks the gateway for the addresses of its clients ([`VirtualConn::client_addr`]). No.
    ///
    /// Gateways that do not know the question refuse it and change nothing, whatever their generation. It is a question
    /// nevertheless, so that who does not ask says and gets no other bytes than the original's endpoints; and so that
    /// addresses, which are personal data in many countries, are only where somebody wants them. Clients do not ask.
    ///
    /// [`VirtualConn::client_addr`]: super::VirtualConn::client_addr
    pub ask_client_addr: bool,
    /// The endpoint, a client or a server, asks the gateway for a notice when it begins to drain
    /// ([`Client::draining`](super::Client::draining), [`Server::draining`](super::Server::draining)). No.
    ///
    /// Gateways that do not know the question ignore it or refuse it, and change nothing, whatever their generation. Who does
    /// not ask says and gets no other bytes than the original's endpoints.
    pub ask_draining: bool,
}

impl EndpointConfig {
    /// What an endpoint of this side asks for beyond the protocol: nothing where the packets are too small for the question and
    /// what comes of it.
    pub(super) fn wishes(&self, side: Side) -> Extensions {
        let wish = |is_wished, extension| if is_wished { extension } else { Extensions::NONE };
        let wishes = wish(self.ask_client_addr && side == Side::Server, Extensions::CLIENT_ADDR)
            | wish(self.ask_draining, Extensions::DRAINING);
        wish(self.max_packet.bytes() >= Grant::SMALLEST_MAX_PACKET, wishes)
    }
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            max_packet: MaxPacket::default(),
            connect_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(5),
            keepalive: KeepaliveConfig::default(),
            dead_peer_timeout: Duration::ZERO,
            send_queue_bytes: 1024 * 1024,
            recv_queue_messages: 1024,
            recv_queue_bytes: 4 * 1024 * 1024,
            slow_receiver: SlowReceiver::ConnectionCloses,
            accept_queue: 1024,
            close_timeout: Duration::from_secs(10),
            ask_client_addr: false,
            ask_draining: false,
        }
    }
}

/// Who pays when messages of one virtual connection are not received.
///
/// All virtual connections of an endpoint share one physical link, so a queue that is full leaves two choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReceiver {
    /// That virtual connection is closed, with [`CloseReason::SlowReceiver`](super::CloseReason::SlowReceiver);
    /// what waits can still be received. The others notice nothing.
    #[default]
    ConnectionCloses,
    /// Nothing more is read from the link until there is room: no message is lost, and every other virtual
    /// connection waits as well. If it lasts, the gateway's own queue for this endpoint fills up, and it cuts a client
    /// off and holds a server's clients back.
    LinkWaits,
}
