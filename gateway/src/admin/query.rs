//! Which sessions are asked for: the parameters of `/sessions` and `/servers`.

use std::cmp::Reverse;
use std::net::IpAddr;

use fastway::id::Side;
use ipnet::IpNet;

use super::reply::Refused;
use crate::size::Size;
use crate::stats::SessionInfo;

/// Lists that may be under way at a time: each keeps what it has not sent yet.
pub(super) const LISTS: usize = 4;

/// Sessions in a list, unless it is asked for more.
const DEFAULT_LIMIT: usize = 1000;

/// The parameters of a request, as they came.
pub(super) type Pairs = Vec<(String, String)>;

/// Some sessions, in some order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    side: Option<Side>,
    id: Option<u32>,
    peer: Option<IpNet>,
    blocked: Option<bool>,
    min_queued_bytes: usize,
    sort: Sort,
    limit: Option<usize>,
}

/// The largest first, but for the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    /// Clients first, and the smallest ID.
    #[default]
    Id,
    Queued,
    Age,
    Received,
    Sent,
    Conns,
}

const SORTS: [(&str, Sort); 6] = [
    ("id", Sort::Id),
    ("queued", Sort::Queued),
    ("age", Sort::Age),
    ("received", Sort::Received),
    ("sent", Sort::Sent),
    ("conns", Sort::Conns),
];

/// What it may be, and an example that says so.
const PARAMETERS: [(&str, &str); 7] = [
    ("side", "client or server"),
    ("id", "a number from 0 to 4294967295"),
    ("peer", "an address such as 10.0.0.7, or a network such as 10.0.0.0/8"),
    ("blocked", "true or false"),
    ("min_queued", "a number of bytes, or one with K, M or G, such as 64K"),
    ("sort", "one of id, queued, age, received, sent, conns"),
    ("limit", "a number of sessions; 0 is any number"),
];

impl Filter {
    /// What is asked for; of this side alone, if there is one, which is no parameter then.
    pub(super) fn parse(pairs: &Pairs, side: Option<Side>) -> Result<Self, Refused> {
        let mut filter = Self { side, ..Self::default() };
        let known = || PARAMETERS.iter().filter(|(name, _)| side.is_none() || *name != "side");
        for (index, (name, value)) in pairs.iter().enumerate() {
            let Some((name, expected)) = known().find(|(known, _)| known == name) else {
                let names: Vec<_> = known().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                return Err(Refused::bad_request(format!("there is no parameter {name}: there are {names}")));
            };
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refused::bad_request(format!("{name} is there twice: leave one of them out")));
            }
            filter.set(name, value).ok_or_else(|| {
                Refused::bad_request(format!("{name} is {value:?}, but has to be {expected}"))
            })?;
        }
        Ok(filter)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        match name {
            "side" => self.side = Some(side(value)?),
            "id" => self.id = Some(value.parse().ok()?),
            "peer" => self.peer = Some(network(value)?),
            "blocked" => self.blocked = Some(value.parse().ok()?),
            "min_queued" => self.min_queued_bytes = value.parse::<Size>().ok()?.0,
            "sort" => self.sort = SORTS.iter().find(|(name, _)| *name == value)?.1,
            "limit" => self.limit = Some(value.parse().ok()?),
            other => unreachable!("{other} is no parameter"),
        }
        Some(())
    }

    /// How many there are of those that are asked for; and they themselves, as many of them as are wanted.
    pub(super) fn apply(&self, mut sessions: Vec<SessionInfo>) -> (usize, Vec<SessionInfo>) {
        sessions.retain(|session| self.wants(session));
        let matched = sessions.len();
        self.sort.apply(&mut sessions);
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            0 => {}
            limit => sessions.truncate(limit),
        }
        (matched, sessions)
    }

    fn wants(&self, session: &SessionInfo) -> bool {
        let is_from =
            |network: IpNet| session.peer.is_some_and(|peer| network.contains(&peer.ip().to_canonical()));
        self.side.is_none_or(|side| session.side == side)
            && self.id.is_none_or(|id| session.id == id)
            && self.peer.is_none_or(is_from)
            && self.blocked.is_none_or(|blocked| session.blocked == blocked)
            && session.queued_bytes >= self.min_queued_bytes
    }
}

impl Sort {
    /// Those that are equal are in the order of their IDs.
    fn apply(self, sessions: &mut [SessionInfo]) {
        let by_id = |session: &SessionInfo| (session.side == Side::Server, session.id);
        match self {
            Self::Id => sessions.sort_unstable_by_key(by_id),
            Self::Queued => sessions.sort_unstable_by_key(|s| (Reverse(s.queued_bytes), by_id(s))),
            Self::Age => sessions.sort_unstable_by_key(|s| (Reverse(s.age), by_id(s))),
            Self::Received => sessions.sort_unstable_by_key(|s| (Reverse(s.received.bytes), by_id(s))),
            Self::Sent => sessions.sort_unstable_by_key(|s| (Reverse(s.sent.bytes), by_id(s))),
            Self::Conns => sessions.sort_unstable_by_key(|s| (Reverse(s.conns), by_id(s))),
        }
    }
}

/// As paths and parameters have it.
pub(super) fn side(text: &str) -> Option<Side> {
    [Side::Client, Side::Server].into_iter().find(|side| side.to_string() == text)
}

/// A network, or a single address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip.to_canonical())))
}
