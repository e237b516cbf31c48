//! What each frame of one session means: its own table of virtual connections, and the commands.
//!
//! The table changes only by the news in the session's outbox, which are collected before any byte that could
//! depend on them is written to the peer. So the session needs no lock to look into it.

use std::sync::Arc;

use fastway::command::{ToEndpoint, ToGateway};
use fastway::extensions::{Extensions, Grant, asked, asked_by_client};
use fastway::frame::HEADER_BYTES;
use fastway::id::{ConnId, RemoteId, Side};
use fastway::keepalive::Keepalive;
use fastway::reader::Flow;
use fastway::run::Run;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::conn::{Conn, ConnTable};
use crate::outbox::{Cut, News, Outbox, Push};
use crate::rate::Bucket;
use crate::refusal::Refusal;
use crate::router::Dialled;
use crate::session::{End, SessionConfig};

/// What one client may do, as far as there are limits.
#[derive(Debug)]
struct Rates {
    dials: Option<Bucket>,
    commands: Option<Bucket>,
}

/// One session's view of the gateway.
#[derive(Debug)]
pub(crate) struct Dispatch {
    outbox: Arc<Outbox>,
    config: Arc<SessionConfig>,
    side: Side,
    conns: ConnTable,
    /// Open connections that this session dialled.
    dialled: u32,
    /// Only where there are limits.
    rates: Option<Box<Rates>>,
    pub(crate) keepalive: Keepalive,
}

impl Dispatch {
    pub(crate) fn new(outbox: Arc<Outbox>, config: Arc<SessionConfig>, now: Instant) -> Self {
        let keepalive = Keepalive::new(config.keepalive.clone(), now);
        let side = outbox.owner().side();
        let [dials, commands] =
            [config.dial_rate, config.command_rate].map(|rate| Some(Bucket::full(rate?, now)));
        let is_limited = dials.is_some() || commands.is_some();
        let rates = is_limited.then(|| Box::new(Rates { dials, commands }));
        Self { outbox, config, side, conns: ConnTable::default(), dialled: 0, rates, keepalive }
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Takes the news from the outbox, and what is to be written if there is a `batch` and it is done.
    pub(crate) fn collect(&mut self, batch: Option<&mut Batch>) -> Option<Cut> {
        let Self { outbox, conns, side, dialled, .. } = self;
        outbox.collect(batch, |news| match news {
            News::Opened(conn) => {
                *dialled += u32::from(conn.dialler() == *side);
                conns.insert(conn);
            }
            News::Closed(conn) => {
                if conns.remove(conn.id()).is_some() {
                    *dialled -= u32::from(conn.dialler() == *side);
                }
            }
        })
    }

    /// Forwards messages or obeys a command.
    pub(crate) fn handle(&mut self, run: &mut Run<'_>) -> Result<Flow, End> {
        match run.conn() {
            Some(conn) => Ok(self.forward(conn, run)),
            // A command comes alone.
            None => {
                let message = &run.as_bytes()[HEADER_BYTES..];
                let command = ToGateway::decode(message)?;
                match self.side {
                    Side::Client => self.hear_wishes(message),
                    Side::Server => {
                        if let Some(wishes) = asked(message) {
                            return Ok(self.grant(wishes));
                        }
                    }
                }
                self.obey(command)
            }
        }
    }

    /// Rules 5, 6 and 15.
    fn forward(&mut self, id: ConnId, run: &mut Run<'_>) -> Flow {
        let pushed = match self.conns.get(id) {
            Some(conn) => self.push(conn, run),
            None => {
                // It may have opened since the turn began, by this very batch of frames perhaps. The answer would come behind
                // the news of that, and be taken for the end of it.
                self.collect(None);
                self.conns.get(id).map_or(Push::Gone, |conn| self.push(conn, run))
            }
        };
        match pushed {
            Push::Done => Flow::Next,
            Push::Full => Flow::Hold,
            Push::Gone => self.refuse_messages(id, run),
        }
    }

    fn push(&self, conn: &Conn, run: &mut Run<'_>) -> Push {
        conn.outbox(self.side.other()).forward(conn, run, &self.outbox)
    }

    /// The other end is closed. If this one has not been told yet, this is how it learns; if it has, it sent the
    /// messages on a connection that is not its own any more, and each is answered (rule 6).
    fn refuse_messages(&mut self, id: ConnId, run: &mut Run<'_>) -> Flow {
        while run.frames() > 0 {
            let told = self.conns.get(id).is_some_and(|conn| self.outbox.close(conn));
            if !told && self.reply(ToEndpoint::Close { conn: Some(id) }) == Flow::Hold {
                return Flow::Hold;
            }
            drop(run.take(1));
        }
        Flow::Next
    }

    fn obey(&mut self, command: ToGateway) -> Result<Flow, End> {
        if self.is_above(|rates| &mut rates.commands) {
            self.config.refusals.count(Refusal::CommandRate);
            return Err(End::CommandRate);
        }
        let flow = match command {
            ToGateway::Dial { remote } => self.dial(remote),
            ToGateway::Close { conn } => {
                // Only what is in this session's own table can be closed (rule 8).
                if let Some(conn) = conn.and_then(|id| self.conns.get(id)) {
                    conn.close();
                }
                Flow::Next
            }
            ToGateway::Ping if self.outbox.has_room(&self.outbox) => {
                if self.keepalive.should_echo(Instant::now()) {
                    self.outbox.reply(ToEndpoint::Ping);
                }
                Flow::Next
            }
            ToGateway::Ping => Flow::Hold,
        };
        // A command that is held back is offered again, and counts once.
        if flow == Flow::Next {
            self.spend(|rates| &mut rates.commands);
        }
        Ok(flow)
    }

    fn is_above(&mut self, limit: fn(&mut Rates) -> &mut Option<Bucket>) -> bool {
        let bucket = self.rates.as_deref_mut().and_then(|rates| limit(rates).as_mut());
        bucket.is_some_and(|bucket| !bucket.has_token(Instant::now()))
    }

    fn spend(&mut self, limit: fn(&mut Rates) -> &mut Option<Bucket>) {
        if let Some(bucket) = self.rates.as_deref_mut().and_then(|rates| limit(rates).as_mut()) {
            bucket.take(Instant::now());
        }
    }

    /// Rules 1 to 3.
    fn dial(&mut self, remote: RemoteId) -> Flow {
        if !self.outbox.has_room(&self.outbox) {
            return Flow::Hold;
        }
        if self.is_above(|rates| &mut rates.dials) {
            self.config.refusals.count(Refusal::DialRate);
            return self.reply(ToEndpoint::Refuse { remote });
        }
        // What was closed since the turn began, by this very batch of frames perhaps, frees its place.
        self.collect(None);
        if self.dialled >= self.config.max_dialled {
            self.config.refusals.count(Refusal::DialQuota);
            return self.reply(ToEndpoint::Refuse { remote });
        }
        let flow = match self.config.router.dial(&self.outbox, remote) {
            Dialled::Open => {
                self.config.outbox.tally.opened();
                Flow::Next
            }
            Dialled::Nobody => {
                self.config.refusals.count(Refusal::DialNobody);
                self.reply(ToEndpoint::Refuse { remote })
            }
            Dialled::Full => Flow::Hold,
        };
        if flow == Flow::Next {
            self.spend(|rates| &mut rates.dials);
        }
        flow
    }

    /// A server asks for more than the protocol has (rules E1 to E4 and E10 of docs/protocol-extensions.md).
    fn grant(&self, wishes: Extensions) -> Flow {
        let max = self.config.max_packet;
        if !self.allows_extensions() {
            return self.reply(ToEndpoint::Refuse { remote: RemoteId::new(0) });
        }
        if !self.outbox.has_room(&self.outbox) {
            return Flow::Hold;
        }
        let granted = wishes & Extensions::KNOWN;
        self.outbox.grant(granted, |news| {
            let in_table = self.conns.iter().filter(|_| news.is_some());
            let opened = news.into_iter().flatten().filter_map(|news| match news {
                News::Opened(conn) => Some(conn),
                News::Closed(_) => None,
            });
            let earlier = in_table.chain(opened).map(|conn| (conn.id(), conn.client_addr()));
            Grant::encode(granted, earlier, max)
        });
        if granted.contains(Extensions::DRAINING) {
            self.config.router.wants_notice(&self.outbox);
        }
        Flow::Next
    }

    /// A client that asks for more than the protocol has gets no answer (rule E10); to the rest of the gateway its question is the
    /// Close of no connection that it was.
    fn hear_wishes(&self, message: &[u8]) {
        let wishes = asked_by_client(message).filter(|_| self.allows_extensions());
        if wishes.is_some_and(|wishes| wishes.contains(Extensions::DRAINING)) {
            self.config.router.wants_notice(&self.outbox);
        }
    }

    /// Where Connect with an address would not get through, there are none at all.
    fn allows_extensions(&self) -> bool {
        self.config.max_packet.bytes() >= Grant::SMALLEST_MAX_PACKET
    }

    /// Answers the session's own peer, who has to take answers if it wants more.
    fn reply(&self, command: ToEndpoint) -> Flow {
        if !self.outbox.has_room(&self.outbox) {
            return Flow::Hold;
        }
        self.outbox.reply(command);
        Flow::Next
    }

    /// The session is going to end: nobody finds it any more.
    pub(crate) fn unregister(&self) {
        self.config.router.unregister(&self.outbox);
    }

    /// The session ends: out of the router, nothing more comes in. Afterwards [`close_some`](Self::close_some)
    /// tells the others.
    pub(crate) fn leave(&mut self, batch: &mut Batch) {
        self.unregister();
        for news in self.outbox.shut(batch) {
            if let News::Opened(conn) = news {
                self.conns.insert(conn);
            }
        }
    }

    /// Closes up to `limit` of the session's connections (rule 9). `false` when none are left.
    pub(crate) fn close_some(&mut self, limit: usize) -> bool {
        self.conns.remove_some(limit).iter().for_each(Conn::close);
        !self.conns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use fastway::id::ServerId;

    use super::*;
    use crate::alarm::{Alarms, Grain};
    use crate::config::Config;
    use crate::outbox::OutboxConfig;
    use crate::router::Router;

    /// Rule 3, also for the dials of a client that is gone already, and that are only read to their end.
    #[test]
    fn a_client_dials_no_more_than_it_may() {
        for is_broken_off in [false, true] {
            let router = Arc::new(Router::new(0));
            let outbox = OutboxConfig::with_limits(1000, 100_000);
            let client = router.register_client(&outbox, None).unwrap();
            let _server = router.register_server(ServerId::new(5), &outbox, None).unwrap();
            let alarms = Arc::new(Alarms::new(Grain::of(&Config::default())));
            let outbox = Arc::into_inner(OutboxConfig::with_limits(1000, 100_000)).unwrap();
            let config = SessionConfig::new(
                &Config::default(),
                Side::Client,
                router.clone(),
                Arc::default(),
                alarms,
                outbox,
                Arc::default(),
            );
            let mut dispatch = Dispatch::new(client.clone(), config.into(), Instant::now());
            if is_broken_off {
                client.break_off(&mut Batch::default());
            }
            for _ in 0..100 {
                assert_eq!(dispatch.dial(RemoteId::new(5)), Flow::Next);
            }
            assert_eq!(router.counts().conns, 16);
        }
    }
}
