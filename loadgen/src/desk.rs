//! What the frames of one link mean: answers to dials, echoes, questions to be echoed. And what is to be written.

use std::collections::VecDeque;

use fastway::command::{CommandError, ToEndpoint, ToGateway};
use fastway::frame::Frame;
use fastway::id::{ConnId, RemoteId, Side};
use fastway::keepalive::Keepalive;
use rustc_hash::FxHashMap;

use crate::book::OUTSIDE;
use crate::clock::Nanos;
use crate::lane::{Kind, State};
use crate::ledger::{Fault, Incoming, Place};
use crate::message::{self, Header, Way};
use crate::stats::ErrorKind;
use crate::work::Work;

/// Connections that a link remembers to have been closed, to know what comes after close.
const CLOSED: usize = 32;

/// Clients that a server's link knows to be there, to dial one of them.
const CALLERS: usize = 256;

/// Of a link, besides its stream.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) side: Side,
    /// The number of the client, from 1, or the ID of the server.
    pub(crate) number: u64,
    /// The address of its gateway.
    pub(crate) target: usize,
    /// Its place in its thread.
    pub(crate) index: u32,
    /// The lanes of a client.
    pub(crate) lanes: Vec<u32>,
    conns: FxHashMap<ConnId, Role>,
    /// Dials without an answer, the oldest first, with their lanes and when they were sent.
    pub(crate) dials: VecDeque<(RemoteId, u32, Nanos)>,
    closed: VecDeque<ConnId>,
    /// Clients that have dialled this server.
    pub(crate) callers: Vec<RemoteId>,
    pub(crate) keepalive: Keepalive,
    /// The gateway has answered a server's ping: it is registered.
    pub(crate) is_confirmed: bool,
    /// When the link was meant to be made; until its first echo.
    pub(crate) first_byte_from: Option<Nanos>,
    has_asked: bool,
    /// Frames to be written, and how much of them is.
    pub(crate) out: Vec<u8>,
    pub(crate) written: usize,
    /// Bytes that were ever put into `out`, and that the socket has taken.
    queued: u64,
    taken: u64,
    /// Questions that the socket has not taken yet: where they end, their lanes and the generations of those.
    unaccepted: VecDeque<(u64, u32, u32)>,
    /// Echoes in `out` that still need their time: where it belongs, and since when it runs.
    unstamped: Vec<(usize, Nanos)>,
}

/// What this side is to a virtual connection.
#[derive(Debug)]
enum Role {
    /// It has opened it, and asks.
    Asks(u32),
    /// It was dialled, and echoes.
    Echoes(Incoming),
}

impl Desk {
    pub(crate) fn new(side: Side, number: u64, target: usize, index: u32, keepalive: Keepalive) -> Self {
        Self {
            side,
            number,
            target,
            index,
            lanes: Vec::new(),
            conns: FxHashMap::default(),
            dials: VecDeque::new(),
            closed: VecDeque::new(),
            callers: Vec::new(),
            keepalive,
            is_confirmed: false,
            first_byte_from: None,
            has_asked: false,
            out: Vec::new(),
            written: 0,
            queued: 0,
            taken: 0,
            unaccepted: VecDeque::new(),
            unstamped: Vec::new(),
        }
    }

    /// As reports name it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.side, self.number)
    }

    fn name_of(&self, conn: ConnId) -> String {
        format!("{}, connection {conn}", self.name())
    }

    // ---- Frames in ----

    pub(crate) fn handle(&mut self, frame: &Frame<'_>, work: &mut Work) -> Result<(), CommandError> {
        match frame.conn() {
            Some(conn) => self.message(conn, frame, work),
            None => self.command(ToEndpoint::decode(frame.message())?, work),
        }
        Ok(())
    }

    fn message(&mut self, conn: ConnId, frame: &Frame<'_>, work: &mut Work) {
        match self.conns.get_mut(&conn) {
            Some(Role::Asks(lane)) => {
                let lane = *lane;
                self.echo(conn, lane, frame.message(), work);
            }
            Some(Role::Echoes(_)) => self.question(conn, frame, work),
            None => {
                let fault = if self.closed.contains(&conn) { Fault::AfterClose } else { Fault::Misrouted };
                let text = || {
                    let (name, message) = (self.name_of(conn), frame.message());
                    match Header::read(message) {
                        Some(header) => format!("{name}: message {}, {} bytes", header.seq, message.len()),
                        None => format!("{name}: {} bytes", message.len()),
                    }
                };
                match self.side {
                    Side::Client => work.book.fault_back(fault, 1, text),
                    Side::Server => work.book.fault_there(fault, 1, text),
                }
            }
        }
    }

    fn echo(&mut self, conn: ConnId, lane: u32, message: &[u8], work: &mut Work) {
        let name = || self.name_of(conn);
        let header = Header::read(message);
        let whole = header.filter(|header| header.is_whole(work.verify, conn, Way::Back, message));
        let Some(header) = whole else {
            let is_of = |conn: &ConnId| {
                header.is_some_and(|header| header.is_whole(work.verify, *conn, Way::Back, message))
            };
            let lanes = &mut work.lanes;
            if let Some(of) = lanes.iter().filter_map(|lane| lane.conn).find(is_of) {
                let seq = header.map_or(0, |header| header.seq);
                let text = || format!("{}: message {seq} of connection {of}", self.name_of(conn));
                work.book.fault_back(Fault::Misrouted, 1, text);
            } else {
                lanes[lane as usize].garbled(&mut work.book, name);
            }
            return;
        };
        let asked = &mut work.lanes[lane as usize];
        asked.answered(&mut work.book, &header, name);
        let now = work.book.read_at();
        if let Some(from) = self.first_byte_from.take() {
            work.book.interval.metrics.first_byte.record(now.saturating_sub(from));
        }
        match (asked.kind, asked.state) {
            (Kind::Call, _) => {
                work.book.interval.metrics.call.record(now.saturating_sub(asked.meant));
                self.close(lane, work);
            }
            (Kind::Client, State::Retiring)
                if asked.under_way() == 0 && !work.is_ending[self.index as usize] =>
            {
                self.close(lane, work);
            }
            (Kind::Client, State::Open) if header.intended != OUTSIDE && work.may_follow_up() => {
                self.ask(lane, now, now, work);
            }
            _ => {}
        }
    }

    fn question(&mut self, conn: ConnId, frame: &Frame<'_>, work: &mut Work) {
        let message = frame.message();
        let header = Header::read(message);
        let whole = header.filter(|header| header.is_whole(work.verify, conn, Way::There, message));
        let Some(header) = whole else {
            let is_of = |conn: &&ConnId| {
                header.is_some_and(|header| header.is_whole(work.verify, **conn, Way::There, message))
            };
            let of = self.conns.keys().find(is_of).copied();
            let mut next = 0;
            if let (None, Some(Role::Echoes(incoming))) = (of, self.conns.get_mut(&conn)) {
                incoming.corrupt();
                next = incoming.next();
                work.book.there.received += 1;
            }
            let name = self.name_of(conn);
            let seq = header.map_or(0, |header| header.seq);
            return match of {
                Some(of) => work
                    .book
                    .fault_there(Fault::Misrouted, 1, || format!("{name}: message {seq} of connection {of}")),
                None => work.book.fault_there(Fault::Corrupt, 1, || {
                    format!("{name}: in place of message {next}, or a later one: {} bytes", message.len())
                }),
            };
        };
        let Some(Role::Echoes(incoming)) = self.conns.get_mut(&conn) else { return };
        let place = incoming.arrives(header.seq);
        let seq = header.seq;
        work.book.there.received += u64::from(place != Place::Again);
        match place {
            Place::Next => {}
            Place::AfterGap { missing, corrupt } => {
                if missing > corrupt {
                    let name = self.name_of(conn);
                    let before = seq.wrapping_sub(missing).wrapping_sub(1);
                    work.book.fault_there(Fault::Lost, missing - corrupt, || {
                        format!("{name}: after message {before} came {seq}")
                    });
                }
            }
            Place::Late => {
                let name = self.name_of(conn);
                work.book.there.found_again();
                work.book.fault_there(Fault::Reordered, 1, || {
                    format!("{name}: message {seq} came after a later one")
                });
            }
            Place::Again => {
                let name = self.name_of(conn);
                return work
                    .book
                    .fault_there(Fault::Duplicated, 1, || format!("{name}: message {seq} came again"));
            }
        }
        let at = message::push_echo(&mut self.out, frame.as_bytes());
        self.queued += frame.as_bytes().len() as u64;
        self.unstamped.push((at, work.book.read_at()));
    }

    fn command(&mut self, command: ToEndpoint, work: &mut Work) {
        match command {
            ToEndpoint::Accept { conn, remote } => self.accepted(conn, remote, work),
            ToEndpoint::Connect { conn, remote } => {
                self.conns.insert(conn, Role::Echoes(Incoming::default()));
                if self.side == Side::Server && self.callers.len() < CALLERS {
                    self.callers.push(remote);
                }
            }
            ToEndpoint::Refuse { remote } => self.refused(remote, work),
            ToEndpoint::Close { conn } => {
                if let Some(conn) = conn {
                    self.closed_by_gateway(conn, work);
                }
            }
            ToEndpoint::Ping => {
                let now = work.book.read_at();
                if self.keepalive.should_echo(work.instant(now)) {
                    self.command_out(ToGateway::Ping);
                } else {
                    self.is_confirmed = true;
                }
            }
        }
    }

    fn answered_dial(&mut self, remote: RemoteId) -> Option<u32> {
        let index = self.dials.iter().position(|(dialled, ..)| *dialled == remote)?;
        self.dials.remove(index).map(|(_, lane, _)| lane)
    }

    fn accepted(&mut self, conn: ConnId, remote: RemoteId, work: &mut Work) {
        let Some(lane) = self.answered_dial(remote) else {
            // It was given up in the meantime.
            return self.command_out(ToGateway::Close { conn: Some(conn) });
        };
        let now = work.book.read_at();
        let dialled = &mut work.lanes[lane as usize];
        dialled.open(conn);
        self.conns.insert(conn, Role::Asks(lane));
        match dialled.kind {
            Kind::Client => {
                work.open_lanes += 1;
                work.book.interval.metrics.dial.record(now.saturating_sub(dialled.meant));
                // One message at once over each link, whatever the load, for the time to its first byte.
                if self.first_byte_from.is_some() && !std::mem::replace(&mut self.has_asked, true) {
                    self.ask(lane, OUTSIDE, now, work);
                }
                for _ in 0..work.inflight() {
                    self.ask(lane, now, now, work);
                }
            }
            Kind::Call => self.ask(lane, OUTSIDE, now, work),
        }
    }

    fn refused(&mut self, remote: RemoteId, work: &mut Work) {
        let Some(lane) = self.answered_dial(remote) else { return };
        work.lanes[lane as usize].state = State::Down;
        match work.lanes[lane as usize].kind {
            Kind::Client => {
                work.book.interval.tally.refused += 1;
                let name = self.name();
                work.book.error(ErrorKind::DialRefused, || {
                    format!(
                        "{name} dialled server {remote}: nobody by that ID is registered, or the client holds as many \
                         connections as the gateway's --client-max-conn allows"
                    )
                });
                work.dial_again(lane);
            }
            Kind::Call => work.end_call(lane),
        }
    }

    fn closed_by_gateway(&mut self, conn: ConnId, work: &mut Work) {
        let Some(role) = self.conns.remove(&conn) else { return };
        if self.closed.len() == CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(conn);
        let Role::Asks(lane) = role else { return };
        let now = work.book.read_at();
        let asked = &mut work.lanes[lane as usize];
        let was = asked.state;
        asked.give_up(&mut work.book, now);
        match asked.kind {
            Kind::Call => return work.end_call(lane),
            Kind::Client if was == State::Closing => work.book.interval.tally.churned += 1,
            Kind::Client => {
                work.open_lanes -= 1;
                let name = self.name_of(conn);
                work.book.error(ErrorKind::ConnClosed, || {
                    format!("{name} was closed: its server has gone, or has closed it")
                });
                return work.dial_again(lane);
            }
        }
        self.dial(lane, now, work);
    }

    // ---- Frames out ----

    /// Dials for a lane that is down.
    pub(crate) fn dial(&mut self, lane: u32, meant: Nanos, work: &mut Work) {
        let dialled = &mut work.lanes[lane as usize];
        dialled.state = State::Dialling;
        dialled.meant = meant;
        let remote = dialled.remote;
        match dialled.kind {
            Kind::Client => work.book.interval.tally.dials += 1,
            Kind::Call => work.book.interval.tally.calls += 1,
        }
        self.dials.push_back((remote, lane, work.book.clock.now()));
        self.command_out(ToGateway::Dial { remote });
    }

    /// Sends the next question of a lane that is open, meant to be sent at `intended`, or [`OUTSIDE`] of the load.
    pub(crate) fn ask(&mut self, lane: u32, intended: Nanos, now: Nanos, work: &mut Work) {
        let Work { book, lanes, filler, verify, lens, .. } = work;
        let asked = &mut lanes[lane as usize];
        let Some(conn) = asked.conn else { return };
        if intended != OUTSIDE {
            work.asked += 1;
            if work.closed_loop.is_some() {
                book.due(intended);
            }
        }
        book.sent(intended, now);
        let seq = asked.ask(intended, now);
        let len = lens.of(lane, asked.generation, seq);
        let before = self.out.len();
        message::push(&mut self.out, filler, *verify, conn, seq, intended, len);
        self.queued += (self.out.len() - before) as u64;
        self.unaccepted.push_back((self.queued, lane, asked.generation));
    }

    /// Closes the connection of a lane, in good order.
    pub(crate) fn close(&mut self, lane: u32, work: &mut Work) {
        let asked = &mut work.lanes[lane as usize];
        if asked.kind == Kind::Client {
            work.open_lanes -= 1;
        }
        asked.state = State::Closing;
        self.command_out(ToGateway::Close { conn: asked.conn });
    }

    pub(crate) fn command_out(&mut self, command: ToGateway) {
        self.push(command.encode().as_ref());
    }

    /// Has these bytes written behind the others.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len() - self.written
    }

    /// Echoes are about to be written: they have been in our hands until now.
    pub(crate) fn stamp(&mut self, now: Nanos) {
        for (at, since) in self.unstamped.drain(..) {
            message::stamp_echo(&mut self.out, at, now.saturating_sub(since));
        }
    }

    /// Whether echoes wait for their time.
    pub(crate) fn has_unstamped(&self) -> bool {
        !self.unstamped.is_empty()
    }

    /// The socket has taken so many bytes.
    pub(crate) fn took(&mut self, bytes: usize, work: &mut Work) {
        self.written += bytes;
        self.taken += bytes as u64;
        work.book.interval.tally.bytes_sent += bytes as u64;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if self.unaccepted.front().is_none_or(|(end, ..)| *end > self.taken) {
            return;
        }
        let now = work.book.clock.now();
        while let Some((end, lane, generation)) = self.unaccepted.front().copied() {
            if end > self.taken {
                break;
            }
            self.unaccepted.pop_front();
            let asked = &mut work.lanes[lane as usize];
            if asked.generation == generation {
                asked.accepted(&mut work.book, now);
            }
        }
    }

    /// Gives back memory that is not needed while nothing happens.
    pub(crate) fn release_spare(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
            self.unstamped = Vec::new();
        }
        if self.unaccepted.is_empty() {
            self.unaccepted = VecDeque::new();
        }
        if self.dials.is_empty() {
            self.dials = VecDeque::new();
        }
    }

    /// The link is gone, and all that was on it.
    pub(crate) fn clear(&mut self, now: Nanos, work: &mut Work) {
        let asking: Vec<u32> = self
            .conns
            .drain()
            .filter_map(|(_, role)| match role {
                Role::Asks(lane) => Some(lane),
                Role::Echoes(_) => None,
            })
            .collect();
        for lane in asking.into_iter().chain(self.dials.drain(..).map(|(_, lane, _)| lane)) {
            let asked = &mut work.lanes[lane as usize];
            if asked.kind == Kind::Client && matches!(asked.state, State::Open | State::Retiring) {
                work.open_lanes -= 1;
            }
            asked.give_up(&mut work.book, now);
            if asked.kind == Kind::Call {
                work.end_call(lane);
            }
        }
        let fresh = Self::new(self.side, self.number, self.target, self.index, self.keepalive.clone());
        let lanes = std::mem::take(&mut self.lanes);
        *self = Self { lanes, ..fresh };
    }
}
