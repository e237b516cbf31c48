//! What the two ends of each connection share, and what the faults do to them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::chop::{Chop, Chopper};
use crate::seed::Seed;

/// Connections that one host may have under way or open, refused ones included for ever.
pub(super) const PORTS_PER_HOST: usize = 16_000;

/// A host, by its place in the list that [`Net::new`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub usize);

/// A connection, in the order of being established. The numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub usize);

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Connector,
    Acceptor,
}

impl End {
    fn index(self) -> usize {
        match self {
            Self::Connector => 0,
            Self::Acceptor => 1,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Connector => Self::Acceptor,
            Self::Acceptor => Self::Connector,
        }
    }
}

/// The state of the whole network that is not turmoil's: every connection, and the faults in force.
///
/// Faults are counted where they can overlap: what was held twice is free when it was released twice.
#[derive(Debug)]
pub struct Net {
    hosts: Vec<HostState>,
    /// By from and to.
    held: FxHashMap<(Host, Host), u32>,
    wires: Vec<Wire>,
    /// Connections that only one end knows of yet, by the connector's and the acceptor's address.
    half_attached: FxHashMap<(SocketAddr, SocketAddr), WireId>,
    socket_bytes: usize,
    chop: Chop,
    seed: Seed,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct HostState {
    name: String,
    ip: IpAddr,
    /// Its software reads nothing.
    stalled: u32,
    /// Its software neither reads nor writes.
    frozen: u32,
    /// Without power.
    off: bool,
    /// Its software was killed: its kernel refuses connections.
    killed: bool,
    ports_taken: usize,
}

/// One connection. What is said of each end stands at the index of that end.
#[derive(Debug)]
struct Wire {
    hosts: [Host; 2],
    /// The end exists and was not dropped.
    open: [bool; 2],
    dropped: [bool; 2],
    /// Bytes that this end has written; of those, the ones that the other end's software has read; and of those again,
    /// the ones that this end knows of, which frees its socket buffer.
    sent: [u64; 2],
    read: [u64; 2],
    acked: [u64; 2],
    readers: [Option<Waker>; 2],
    writers: [Option<Waker>; 2],
    /// This end gets a reset.
    reset: [bool; 2],
    /// After so many bytes more from this end, both get a reset.
    reset_after: [Option<u64>; 2],
    /// Nothing comes through any more, and nobody is told.
    silent: bool,
    /// The host of this end has forgotten the connection: whoever sends to it gets a reset.
    forgotten_by: [bool; 2],
}

/// What an end may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Take what has come, and look for more.
    Everything,
    /// Take what has come already.
    WhatIsHere,
    /// After what has come already, report a reset.
    Reset,
    /// Take nothing.
    Nothing,
}

/// What an end may write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// So many bytes; with `into_void`, they never arrive.
    Room {
        bytes: usize,
        into_void: bool,
    },
    /// The socket buffer is full.
    Full,
    /// The host is frozen.
    Nothing,
    Reset,
}

impl Net {
    /// A network of these hosts, with the address that turmoil has given each, whose connections buffer `socket_bytes`
    /// each way.
    #[must_use]
    pub fn new(hosts: Vec<(String, IpAddr)>, socket_bytes: usize, chop: Chop, seed: Seed) -> Self {
        let hosts = hosts
            .into_iter()
            .map(|(name, ip)| HostState {
                name,
                ip,
                stalled: 0,
                frozen: 0,
                off: false,
                killed: false,
                ports_taken: 0,
            })
            .collect();
        Self {
            hosts,
            held: FxHashMap::default(),
            wires: Vec::new(),
            half_attached: FxHashMap::default(),
            socket_bytes: socket_bytes.max(1),
            chop,
            seed,
            changed: Arc::new(Notify::new()),
        }
    }

    // ---- Faults ----

    /// Nothing comes through from `from` to `to`; it waits. New connections between them wait too.
    pub fn hold(&mut self, from: Host, to: Host) {
        *self.held.entry((from, to)).or_default() += 1;
    }

    /// Ends one [`hold`](Self::hold): everything that was held arrives.
    pub fn release(&mut self, from: Host, to: Host) {
        if let Some(count) = self.held.get_mut(&(from, to)) {
            *count = count.saturating_sub(1);
        }
        self.wake_everybody();
    }

    /// The kernels of two hosts have given up sending again: connections with bytes still on the way between them, either
    /// way, are reset.
    pub fn give_up_between(&mut self, a: Host, b: Host) {
        for wire in &mut self.wires {
            let between = wire.hosts == [a, b] || wire.hosts == [b, a];
            if between && wire.sent != wire.read {
                wire.reset = [true; 2];
            }
        }
        self.wake_everybody();
    }

    /// The software of `host` stops reading.
    pub fn stall(&mut self, host: Host) {
        self.hosts[host.0].stalled += 1;
    }

    /// Ends one [`stall`](Self::stall).
    pub fn end_stall(&mut self, host: Host) {
        let stalled = &mut self.hosts[host.0].stalled;
        *stalled = stalled.saturating_sub(1);
        self.wake_everybody();
    }

    /// The software of `host` neither reads nor writes.
    pub fn freeze(&mut self, host: Host) {
        self.hosts[host.0].frozen += 1;
    }

    /// Ends one [`freeze`](Self::freeze).
    pub fn end_freeze(&mut self, host: Host) {
        let frozen = &mut self.hosts[host.0].frozen;
        *frozen = frozen.saturating_sub(1);
        self.wake_everybody();
    }

    /// `host` loses its power: to be called before its software is ended, so that its peers learn nothing.
    pub fn lose(&mut self, host: Host) {
        self.hosts[host.0].off = true;
        for wire in self.wires.iter_mut().filter(|wire| wire.hosts.contains(&host)) {
            wire.silent = true;
        }
    }

    /// The software of `host` was killed, or runs again.
    pub fn set_killed(&mut self, host: Host, killed: bool) {
        self.hosts[host.0].killed = killed;
    }

    /// `host` has power again. Peers that still send to its earlier self get a reset; those who are silent learn nothing.
    pub fn restore(&mut self, host: Host) {
        self.hosts[host.0].off = false;
        for wire in &mut self.wires {
            for end in [0, 1] {
                if wire.hosts[end] == host && wire.silent {
                    wire.forgotten_by[end] = true;
                    let peer = 1 - end;
                    wire.reset[peer] |= wire.sent[peer] > wire.read[peer];
                }
            }
        }
        self.wake_everybody();
    }

    /// The connections of `host` that are open at both ends, in the order of their establishment.
    #[must_use]
    pub fn open_wires(&self, host: Host) -> Vec<WireId> {
        let open = |wire: &Wire| wire.open == [true; 2] && wire.reset == [false; 2] && !wire.silent;
        let of_host =
            self.wires.iter().enumerate().filter(|(_, wire)| wire.hosts.contains(&host) && open(wire));
        of_host.map(|(index, _)| WireId(index)).collect()
    }

    /// Both ends get a reset, and what is on the way is lost.
    pub fn reset(&mut self, wire: WireId) {
        self.wires[wire.0].reset = [true; 2];
        self.wake_everybody();
    }

    /// The same after the acceptor has been sent so many bytes more, at least one, and neither sooner nor later.
    pub fn reset_after(&mut self, wire: WireId, bytes: u64) {
        self.wires[wire.0].reset_after[End::Connector.index()] = Some(bytes.max(1));
    }

    /// Nothing comes through any more on this connection, either way, and nobody is told: a cable was pulled, a NAT has
    /// forgotten it.
    pub fn silence(&mut self, wire: WireId) {
        self.wires[wire.0].silent = true;
    }

    /// The kernels' patience is over: both ends of every silent connection get a reset.
    pub fn end_all_silence(&mut self) {
        self.wires.iter_mut().filter(|wire| wire.silent).for_each(|wire| wire.reset = [true; 2]);
        self.wake_everybody();
    }

    // ---- Connecting ----

    /// The host behind `HOST:PORT`; `from` means loopback.
    pub(super) fn resolve(&self, addr: &str, from: Host) -> io::Result<(Host, SocketAddr)> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no host is called {addr:?}"));
        let (name, port) = addr.rsplit_once(':').ok_or_else(unknown)?;
        let port: u16 = port.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        if let Ok(ip) = name.parse::<IpAddr>() {
            let host = if ip.is_loopback() {
                from
            } else {
                Host(self.hosts.iter().position(|host| host.ip == ip).ok_or_else(unknown)?)
            };
            return Ok((host, SocketAddr::new(ip, port)));
        }
        let host = self.hosts.iter().position(|host| host.name == name).ok_or_else(unknown)?;
        Ok((Host(host), SocketAddr::new(self.hosts[host].ip, port)))
    }

    pub(super) fn can_connect(&self, from: Host, to: Host) -> bool {
        !self.is_held(from, to)
            && !self.is_held(to, from)
            && !self.hosts[to.0].off
            && self.hosts[from.0].frozen == 0
    }

    pub(super) fn refuses(&self, host: Host) -> bool {
        self.hosts[host.0].killed
    }

    /// When any fault begins or ends.
    pub(super) fn changed(&self) -> OwnedNotified {
        self.changed.clone().notified_owned()
    }

    pub(super) fn take_port(&mut self, host: Host) -> io::Result<()> {
        let taken = &mut self.hosts[host.0].ports_taken;
        if *taken == PORTS_PER_HOST {
            let error = format!("{} has used up its {PORTS_PER_HOST} ports", self.hosts[host.0].name);
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, error));
        }
        *taken += 1;
        Ok(())
    }

    pub(super) fn give_port_back(&mut self, host: Host) {
        self.hosts[host.0].ports_taken -= 1;
    }

    /// One end of a connection is there. The first one makes the wire, the second one finds it.
    pub(super) fn attach(&mut self, end: End, host: Host, local: SocketAddr, peer: SocketAddr) -> WireId {
        let addrs = match end {
            End::Connector => (local, peer),
            End::Acceptor => (peer, local),
        };
        // An earlier connection with these addresses may have lost its connector before it was there.
        let known = self.half_attached.remove(&addrs).filter(|id| !self.wires[id.0].has_seen(end));
        let id = known.unwrap_or_else(|| {
            let id = WireId(self.wires.len());
            self.wires.push(Wire::new(host));
            self.half_attached.insert(addrs, id);
            id
        });
        let peer_host = self.hosts.iter().position(|host| host.ip == peer.ip()).map_or(host, Host);
        let wire = &mut self.wires[id.0];
        wire.hosts[end.index()] = host;
        wire.hosts[end.other().index()] = peer_host;
        wire.open[end.index()] = true;
        id
    }

    pub(super) fn chopper(&self, wire: WireId, end: End) -> Chopper {
        Chopper::new(self.chop, self.seed.bytes("chop", (wire.0 * 2 + end.index()) as u64))
    }

    // ---- Reading and writing ----

    /// What `end` may read now; `reader` is woken when that changes.
    pub(super) fn reading(&mut self, id: WireId, end: End, reader: Option<&Waker>) -> Reading {
        let (me, peer) = (end.index(), end.other().index());
        let wire = &mut self.wires[id.0];
        if let Some(reader) = reader {
            keep(&mut wire.readers[me], reader);
        }
        let (host, from) = (wire.hosts[me], wire.hosts[peer]);
        let (is_reset, is_silent) = (wire.reset[me], wire.silent);
        let host_state = &self.hosts[host.0];
        if host_state.stalled > 0 || host_state.frozen > 0 {
            Reading::Nothing
        } else if is_reset {
            Reading::Reset
        } else if is_silent || self.is_held(from, host) {
            Reading::WhatIsHere
        } else {
            Reading::Everything
        }
    }

    /// The software of `end` has read so many bytes. Whoever is to be woken for that.
    pub(super) fn has_read(&mut self, id: WireId, end: End, bytes: usize) -> Option<Waker> {
        let peer = end.other().index();
        let wire = &mut self.wires[id.0];
        wire.read[peer] += bytes as u64;
        wire.writers[peer].take()
    }

    /// What `end` may write now; `writer` is woken when that changes.
    pub(super) fn writing(&mut self, id: WireId, end: End, writer: &Waker) -> Writing {
        let (me, peer) = (end.index(), end.other().index());
        let limit = self.socket_bytes as u64;
        let hosts = self.wires[id.0].hosts;
        // Nobody hears of what was read while the way back is held.
        let deaf = self.is_held(hosts[peer], hosts[me]);
        let mute = self.is_held(hosts[me], hosts[peer]);
        let frozen = self.hosts[hosts[me].0].frozen > 0;
        let wire = &mut self.wires[id.0];
        keep(&mut wire.writers[me], writer);
        if frozen {
            return Writing::Nothing;
        }
        if wire.forgotten_by[peer] {
            wire.reset[me] = true;
        }
        if wire.reset[me] {
            return Writing::Reset;
        }
        if !deaf {
            wire.acked[me] = wire.read[me];
        }
        let room = limit - (wire.sent[me] - wire.acked[me]).min(limit);
        let room = room.min(wire.reset_after[me].unwrap_or(u64::MAX));
        if room == 0 {
            // Nobody will ever read what fills the buffer: the peer's kernel has answered it with a reset. turmoil does not
            // show that behind an end of file.
            let refused = wire.dropped[peer] && !wire.silent && !deaf && !mute;
            return if refused { Writing::Reset } else { Writing::Full };
        }
        Writing::Room { bytes: usize::try_from(room).unwrap_or(usize::MAX), into_void: wire.silent }
    }

    /// `end` has written so many bytes. Whoever is to be woken for that.
    pub(super) fn has_written(&mut self, id: WireId, end: End, bytes: usize) -> Vec<Waker> {
        let me = end.index();
        let wire = &mut self.wires[id.0];
        wire.sent[me] += bytes as u64;
        if let Some(left) = &mut wire.reset_after[me] {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                wire.reset_after = [None; 2];
                wire.reset = [true; 2];
                return wire.take_wakers();
            }
        }
        Vec::new()
    }

    /// The stream of `end` was dropped; `unread`: with bytes that its software had not read, so the kernel resets.
    pub(super) fn has_dropped(&mut self, id: WireId, end: End, unread: bool) -> Vec<Waker> {
        let (me, peer) = (end.index(), end.other().index());
        let wire = &mut self.wires[id.0];
        (wire.open[me], wire.dropped[me]) = (false, true);
        wire.readers[me] = None;
        wire.writers[me] = None;
        if unread && !wire.silent {
            wire.reset[peer] = true;
        }
        wire.take_wakers()
    }

    /// Both wakers of an end, to be woken when something has come.
    pub(super) fn take_wakers_of(&mut self, id: WireId, end: End) -> [Option<Waker>; 2] {
        let (wire, me) = (&mut self.wires[id.0], end.index());
        [wire.readers[me].take(), wire.writers[me].take()]
    }

    fn is_held(&self, from: Host, to: Host) -> bool {
        from != to && self.held.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    fn wake_everybody(&mut self) {
        self.changed.notify_waiters();
        let wakers: Vec<Waker> = self.wires.iter_mut().flat_map(Wire::take_wakers).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wire {
    fn new(host: Host) -> Self {
        Self {
            hosts: [host; 2],
            open: [false; 2],
            dropped: [false; 2],
            sent: [0; 2],
            read: [0; 2],
            acked: [0; 2],
            readers: [None, None],
            writers: [None, None],
            reset: [false; 2],
            reset_after: [None; 2],
            silent: false,
            forgotten_by: [false; 2],
        }
    }

    fn has_seen(&self, end: End) -> bool {
        self.open[end.index()] || self.dropped[end.index()]
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        let Self { readers, writers, .. } = self;
        readers.iter_mut().chain(writers).filter_map(Option::take).collect()
    }
}

fn keep(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}
