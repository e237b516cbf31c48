//! What the oracle knows of one run of one gateway.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use fastway_gateway::ServerGroup;
use rustc_hash::FxHashMap;

use super::addresses::Extensions;
use super::notices::Notices;
use super::owed::Owed;
use super::pings::Pings;
use crate::history::{Link, Run, Side};

/// One run of one gateway.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) run: Run,
    /// What several servers serve together.
    group: Option<ServerGroup>,
    pub(super) links: BTreeMap<Link, Physical>,
    pub(super) conns: FxHashMap<u32, Virtual>,
    /// Connections of which only one end has been told yet: the other end's Accept or Connect is in a queue, and what this
    /// end says waits behind it.
    pub(super) half_told: Vec<u32>,
    /// The newest registration of each server ID.
    pub(super) servers: FxHashMap<u32, Link>,
    pub(super) owed: VecDeque<Owed>,
    /// Told to stop: what was owed is no longer.
    pub(super) stopping: bool,
    /// Told to drain, which is also to stop in the end.
    pub(super) draining: bool,
    /// Who may have to be told so, and since when, in ms.
    pub(super) notices_due: VecDeque<(u32, Link)>,
    /// Servers that take nothing right now, and until when one did, in ms.
    pub(super) blocked_servers: usize,
    pub(super) server_blocked_ms: Option<u32>,
    /// The gateway's clock minus the world's, in ms, as of the last event.
    pub(super) clock_ahead_ms: Option<i64>,
    /// When the gateway's clock jumped last, in ms of the world.
    pub(super) jumped_ms: Option<u32>,
    pub(super) recent_opens: VecDeque<u32>,
    /// The end of a connection that the last event closed in good order: its Conn ID, and whether it is the dialler's.
    pub(super) closed: Option<(u32, bool)>,
}

/// A physical connection at the gateway's end.
#[derive(Debug)]
pub(super) struct Physical {
    pub(super) side: Side,
    /// Where it comes from.
    pub(super) addr: SocketAddr,
    /// What it asked for, and what it gets, beyond the protocol.
    pub(super) extensions: Extensions,
    pub(super) notices: Notices,
    /// The event at which it was accepted.
    pub(super) opened_at: usize,
    /// A server's ID; a client's, when somebody was told.
    pub(super) id: Option<u32>,
    /// Always for clients; after the handshake for servers.
    pub(super) registered: bool,
    /// The event at which another one took over.
    pub(super) superseded: Option<usize>,
    pub(super) opened_local_ms: u32,
    /// The gateway reads, and nothing is there.
    pub(super) waiting: bool,
    /// When it was last read from, in ms of the world and of the gateway.
    pub(super) read_ms: u32,
    pub(super) heard_local_ms: u32,
    /// Since when it has been inside a frame.
    pub(super) inside_local_ms: Option<u32>,
    /// The gateway's clock was set forward since then.
    pub(super) heard_jumped: bool,
    /// Until when it was not read from, the last time, in ms of the world.
    pub(super) held_until_ms: Option<u32>,
    /// The event since which its ID is known for certain.
    pub(super) known_at: usize,
    pub(super) blocked_local_ms: Option<u32>,
    /// Until when it was blocked, in ms of the world.
    pub(super) was_blocked_ms: Option<u32>,
    /// When it took nothing while its queue was full, the last time, in ms of the world.
    pub(super) was_full_ms: Option<u32>,
    /// Why nothing more comes from the peer.
    pub(super) over: Option<Over>,
    /// The gateway writes nothing more, or cannot.
    pub(super) out_over: bool,
    pub(super) dropped: bool,
    pub(super) dials: VecDeque<Dial>,
    pub(super) dials_seen: u64,
    /// Closes that answer what was sent on connections of others: at most, and so far.
    pub(super) foreign: FxHashMap<u32, Foreign>,
    pub(super) pings: Pings,
    /// Its virtual connections.
    pub(super) conns: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Eof,
    Failed,
    Malformed,
    /// The handshake failed.
    WrongKey,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Foreign {
    pub(super) at_least: u32,
    pub(super) at_most: u32,
    pub(super) got: u32,
}

/// A dial that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub(super) remote: u32,
    /// The event at which it was read.
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// A virtual connection: the dialler's end, then the other one.
#[derive(Debug, Default)]
pub(super) struct Virtual {
    pub(super) ends: [End; 2],
    /// What Accept said was dialled, and where in the history that dial was read.
    pub(super) accepted: Option<(u32, usize)>,
    /// What Connect said had dialled.
    pub(super) connected: Option<u32>,
    /// Where its server was told that the client comes from.
    pub(super) told: Option<SocketAddr>,
}

#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) link: Option<Link>,
    /// It has sent Close.
    pub(super) closed: bool,
    /// Closes that it was sent, and that it may be sent besides the one.
    pub(super) closes: u32,
    pub(super) late_at_least: u32,
    pub(super) late_at_most: u32,
    /// Messages from it that were not written to the other end yet: length and hash.
    pub(super) pending: VecDeque<(u32, u64)>,
    /// Messages from it that were.
    pub(super) forwarded: u64,
}

impl Model {
    pub(super) fn new(run: Run, group: Option<ServerGroup>) -> Self {
        Self {
            run,
            group,
            links: BTreeMap::new(),
            conns: FxHashMap::default(),
            half_told: Vec::new(),
            servers: FxHashMap::default(),
            owed: VecDeque::new(),
            stopping: false,
            draining: false,
            notices_due: VecDeque::new(),
            blocked_servers: 0,
            server_blocked_ms: None,
            clock_ahead_ms: None,
            jumped_ms: None,
            recent_opens: VecDeque::new(),
            closed: None,
        }
    }

    /// Whether somebody of this side who dials this ID means whoever has that ID: it is the same, or the ID of a group that
    /// a server is a member of.
    pub(super) fn means(&self, dialler: Side, dialled: u32, id: u32) -> bool {
        let is_group = |group: &&ServerGroup| dialler == Side::Client && group.id().get() == dialled;
        let group = self.group.as_ref().filter(is_group);
        dialled == id || group.is_some_and(|group| group.serves(id.into()))
    }

    /// Which end of `conn` this link has.
    pub(super) fn end_of(&self, conn: u32, link: Link) -> Option<usize> {
        self.conns.get(&conn)?.ends.iter().position(|end| end.link == Some(link))
    }

    /// Whether the gateway can still say something to this link.
    pub(super) fn is_reachable(&self, link: Link) -> bool {
        self.links.get(&link).is_some_and(|link| !link.out_over && !link.dropped)
    }

    /// Whether nothing has ended this link, as far as can be seen from outside.
    pub(super) fn is_alive(&self, link: Link) -> bool {
        self.links.get(&link).is_some_and(|link| {
            link.registered
                && link.over.is_none()
                && !link.out_over
                && !link.dropped
                && link.superseded.is_none()
        })
    }

    /// Connections that `link` dialled and that count: at least, and at most.
    pub(super) fn dialled_by(&self, link: Link) -> (usize, usize) {
        let Some(physical) = self.links.get(&link) else { return (0, 0) };
        let of_link = physical.conns.iter().filter_map(|conn| self.conns.get(conn));
        let mut counts = (0, 0);
        for conn in of_link.filter(|conn| conn.ends[0].link == Some(link)) {
            let [near, far] = &conn.ends;
            if near.closes > 0 {
                continue;
            }
            counts.1 += 1;
            let far_is_there = far.link.is_none_or(|far| self.is_alive(far));
            counts.0 += usize::from(!near.closed && !far.closed && far_is_there);
        }
        counts
    }

    /// What waits to be written to this link, as far as can be seen: messages, and bytes with their headers.
    pub(super) fn pending_for(&self, link: Link) -> (usize, usize) {
        let Some(physical) = self.links.get(&link) else { return (0, 0) };
        let of_link = physical.conns.iter().filter_map(|conn| self.conns.get(conn)).flat_map(|conn| {
            let [near, far] = &conn.ends;
            [(near, far), (far, near)]
                .into_iter()
                .filter(|(to, _)| to.link == Some(link))
                .map(|(_, from)| from)
        });
        let untold =
            self.half_told.iter().filter_map(|conn| self.end_that_talks_to(&self.conns[conn], physical));
        let mut pending = (0, 0);
        for from in of_link.chain(untold) {
            pending.0 += from.pending.len();
            pending.1 += from.pending.iter().map(|(len, _)| *len as usize + 8).sum::<usize>();
        }
        pending
    }

    /// Closes that may wait to be written to this link: answers to what it sent on connections that were closed before.
    pub(super) fn late_for(&self, link: Link) -> u32 {
        let Some(physical) = self.links.get(&link) else { return 0 };
        let ends = physical.conns.iter().filter_map(|conn| self.conns.get(conn)).flat_map(|conn| &conn.ends);
        ends.filter(|end| end.link == Some(link))
            .map(|end| end.late_at_most.saturating_sub(end.closes.saturating_sub(1)))
            .sum()
    }

    /// Somebody who takes nothing may have delayed this since `since_ms`: `link` itself, or a server that holds back.
    pub(super) fn may_be_delayed(&self, link: Link, since_ms: u32) -> bool {
        let own = self.links.get(&link).is_some_and(|link| link.was_blocked_since(since_ms));
        own || self.servers_blocked_since(since_ms)
    }

    pub(super) fn servers_blocked_since(&self, since_ms: u32) -> bool {
        self.blocked_servers > 0 || self.server_blocked_ms.is_some_and(|until| until >= since_ms)
    }

    /// The end that has been told, if the one that has not is `to`; of a group, it may be any member.
    fn end_that_talks_to<'a>(&self, conn: &'a Virtual, to: &Physical) -> Option<&'a End> {
        let [dialler, dialled] = &conn.ends;
        let (told, other) = match (dialler.link, dialled.link) {
            (Some(_), None) => (dialler, conn.accepted.map(|(remote, _)| remote)),
            (None, Some(_)) => (dialled, conn.connected),
            _ => return None,
        };
        let side = self.links[&told.link?].side;
        let is_meant = match (other, to.id) {
            (Some(other), Some(id)) => self.means(side, other, id),
            (other, id) => other == id,
        };
        (is_meant && side != to.side).then_some(told)
    }
}

impl Physical {
    pub(super) fn new(side: Side, addr: SocketAddr, opened_at: usize, now_ms: u32, local_ms: u32) -> Self {
        Self {
            side,
            addr,
            extensions: Extensions::default(),
            notices: Notices::default(),
            opened_at,
            id: None,
            registered: side == Side::Client,
            superseded: None,
            opened_local_ms: local_ms,
            waiting: false,
            read_ms: now_ms,
            heard_local_ms: local_ms,
            inside_local_ms: None,
            heard_jumped: false,
            held_until_ms: None,
            known_at: usize::MAX,
            blocked_local_ms: None,
            was_blocked_ms: None,
            was_full_ms: None,
            over: None,
            out_over: false,
            dropped: false,
            dials: VecDeque::new(),
            dials_seen: 0,
            foreign: FxHashMap::default(),
            pings: Pings::default(),
            conns: Vec::new(),
        }
    }

    pub(super) fn was_blocked_since(&self, since_ms: u32) -> bool {
        self.blocked_local_ms.is_some() || self.was_blocked_ms.is_some_and(|until| until >= since_ms)
    }
}
