//! Every gateway against the rules, event by event.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::{Dial, Model, Over, Physical};
use super::owed::{BOUND_MS, Debt};
use super::pings::Meaning;
use super::{About, Found, found, link_of};
use crate::history::{Event, Link, Note, Run, Side, What};
use crate::plan::Plan;
use crate::states::{State, States};

/// All runs of all gateways.
#[derive(Debug)]
pub(super) struct Gateways<'a> {
    plan: &'a Plan,
    runs: BTreeMap<Run, Model>,
    run_of: FxHashMap<Link, Run>,
    /// Ends of connections, by run, Conn ID, and whether it is the dialler's, that closed them while both sides were
    /// there: everything they had sent has to arrive.
    pub(super) closers: FxHashSet<(Run, u32, bool)>,
}

/// One event on its way through one model.
struct Step<'a> {
    plan: &'a Plan,
    index: usize,
    event: Event,
    link: Link,
    states: &'a mut States,
}

impl<'a> Gateways<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, runs: BTreeMap::new(), run_of: FxHashMap::default(), closers: FxHashSet::default() }
    }

    pub(super) fn see(&mut self, index: usize, event: &Event, states: &mut States) -> Result<(), Found> {
        match event.what {
            What::GatewayUp(run, _) => {
                self.runs.insert(run, Model::new(run));
            }
            What::GatewayStops(run) => {
                if let Some(model) = self.runs.get_mut(&run) {
                    model.note_end(true, states);
                    model.stopping = true;
                    // What it had read and not yet passed on may be lost now.
                    for (id, conn) in &model.conns {
                        if conn.ends.iter().any(|end| end.closes == 0 || !end.pending.is_empty()) {
                            self.closers.remove(&(run, *id, true));
                            self.closers.remove(&(run, *id, false));
                        }
                    }
                }
            }
            What::GatewayDown(run) => {
                if let Some(model) = self.runs.remove(&run).filter(|model| !model.stopping) {
                    model.note_end(false, states);
                }
            }
            what => {
                let Some(link) = link_of(&what) else { return Ok(()) };
                if let What::Opened(link, run, ..) = what {
                    self.run_of.insert(link, run);
                }
                let Some(model) = self.run_of.get(&link).and_then(|run| self.runs.get_mut(run)) else {
                    return Ok(());
                };
                let mut step = Step { plan: self.plan, index, event: *event, link, states };
                model.see(&mut step)?;
                if let Some((conn, is_dialler)) = model.closed.take() {
                    self.closers.insert((model.run, conn, is_dialler));
                }
                if !model.stopping {
                    model.collect_debts(event.at_ms)?;
                }
            }
        }
        Ok(())
    }
}

impl Step<'_> {
    fn ping_ms(&self, side: Side) -> u32 {
        let plan = &self.plan.gateway;
        if side == Side::Client { plan.client_ping_ms } else { plan.server_ping_ms }
    }

    fn idle_ms(&self, side: Side) -> u32 {
        let plan = &self.plan.gateway;
        if side == Side::Client { plan.client_idle_ms } else { plan.server_idle_ms }
    }

    /// Deadlines are rounded up to a grain of 1/64 of the shortest interval, and seen at the world's next tick.
    fn slack_ms(&self) -> u32 {
        100 + 2 * self.plan.tick_ms
    }

    fn now(&self) -> u32 {
        self.event.at_ms
    }
}

impl Model {
    fn about(&self, step: &Step<'_>) -> About {
        About::Link(self.run, step.link)
    }

    fn note_end(&self, orderly: bool, states: &mut States) {
        let is_open =
            |conn: &super::model::Virtual| conn.ends.iter().all(|end| end.closes == 0 && !end.closed);
        if self.conns.values().any(is_open) {
            states.reach(if orderly { State::StopWithConns } else { State::KilledWithConns });
        }
        if orderly && self.conns.values().any(|conn| conn.ends.iter().any(|end| !end.pending.is_empty())) {
            states.reach(State::StopWithQueue);
        }
    }

    fn see(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        if let What::Opened(link, _, side, _) = step.event.what {
            self.links.insert(link, Physical::new(side, step.index, step.now(), step.event.local_ms));
            self.count_open(step);
            return Ok(());
        }
        self.look_at_clock(step);
        if !self.links.contains_key(&step.link) {
            return Ok(());
        }
        match step.event.what {
            What::In(_, note) => {
                self.has_read(step)?;
                self.incoming(step, note)
            }
            What::InWaiting(_) => {
                self.has_read(step)?;
                self.physical(step).waiting = true;
                Ok(())
            }
            What::InEof(_, mid_frame) => {
                self.has_read(step)?;
                if mid_frame {
                    step.states.reach(State::EofMidFrame);
                }
                self.over(step, Over::Eof);
                Ok(())
            }
            What::InFailed(_, mid_frame) => {
                if mid_frame {
                    step.states.reach(State::ResetMidFrame);
                }
                if !self.physical(step).waiting {
                    self.look_at_hold(step)?;
                }
                self.over(step, Over::Failed);
                Ok(())
            }
            What::Out(_, note) => self.outgoing(step, note),
            What::OutBlocked(_) => {
                let is_server = self.physical(step).side == Side::Server;
                self.physical(step).blocked_local_ms = Some(step.event.local_ms);
                if !is_server && self.may_be_full(step, step.link) {
                    self.physical(step).was_full_ms = Some(step.now());
                }
                self.blocked_servers += usize::from(is_server);
                Ok(())
            }
            What::OutFlowing(_) => {
                self.unblock(step);
                Ok(())
            }
            What::OutFailed(_) => {
                self.physical(step).out_over = true;
                self.unblock(step);
                Ok(())
            }
            What::OutEof(_) | What::Dropped(..) => self.ended(step),
            _ => Ok(()),
        }
    }

    fn physical(&mut self, step: &Step<'_>) -> &mut Physical {
        self.links.get_mut(&step.link).expect("looked up before")
    }

    fn count_open(&mut self, step: &mut Step<'_>) {
        self.recent_opens.push_back(step.now());
        while self.recent_opens.front().is_some_and(|at| at + 1000 < step.now()) {
            self.recent_opens.pop_front();
        }
        if self.recent_opens.len() >= 30 {
            step.states.reach(State::Storm);
        }
        if self.links.len() > 100 && self.links.values().filter(|link| !link.dropped).count() > 100 {
            step.states.reach(State::ManyClients);
        }
    }

    /// A pause of the host sets its clock forward: silence before it proves nothing.
    fn look_at_clock(&mut self, step: &mut Step<'_>) {
        let ahead = i64::from(step.event.local_ms) - i64::from(step.now());
        let before = self.clock_ahead_ms.replace(ahead);
        let jumped = before.is_some_and(|before| ahead > before + 3 * i64::from(step.plan.tick_ms));
        if jumped {
            step.states.reach(State::ClockJump);
            for link in self.links.values_mut() {
                link.heard_jumped = true;
            }
        }
    }

    fn unblock(&mut self, step: &Step<'_>) {
        let now = step.now();
        let link = self.physical(step);
        if link.blocked_local_ms.take().is_none() {
            return;
        }
        link.was_blocked_ms = Some(now);
        if link.side == Side::Server {
            self.blocked_servers -= 1;
            self.server_blocked_ms = Some(now);
        }
    }

    /// Bytes came. Was the silence before them too long (rule 11), or did the gateway not listen (rules 13 to 15)?
    fn has_read(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        let (now, local, about) = (step.now(), step.event.local_ms, self.about(step));
        let link = &self.links[&step.link];
        let silence = local.saturating_sub(link.heard_local_ms);
        let (ping_ms, idle_ms) = (step.ping_ms(link.side), step.idle_ms(link.side));
        let slack = step.slack_ms();
        let is_served = link.registered && link.over.is_none() && !link.out_over && !self.stopping;
        if link.waiting && is_served && !link.heard_jumped {
            if idle_ms > 0 && silence > idle_ms + slack {
                let text = format!("heard again after {silence} ms, but the idle timeout is {idle_ms} ms");
                return Err(found("rule 11: silence", about, text));
            }
            let asked = link.pings.has_asked_since(link.heard_local_ms);
            if ping_ms > 0
                && silence > ping_ms + slack
                && !asked
                && !link.was_blocked_since(now.saturating_sub(silence))
            {
                let text =
                    format!("silent for {silence} ms and not asked, but the ping interval is {ping_ms} ms");
                return Err(found("rule 11: silence", about, text));
            }
            if asked {
                step.states.reach(State::Answered);
            }
        }
        if !link.waiting {
            self.look_at_hold(step)?;
        }
        let link = self.physical(step);
        link.waiting = false;
        link.heard_jumped = false;
        link.read_ms = now;
        link.heard_local_ms = local;
        Ok(())
    }

    /// The gateway had stopped to read from this link. Only servers that are full may be the cause.
    fn look_at_hold(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        let link = &self.links[&step.link];
        let held_ms = step.now() - link.read_ms;
        if held_ms > 2 * step.plan.tick_ms {
            let now = step.now();
            self.physical(step).held_until_ms = Some(now);
        }
        let link = &self.links[&step.link];
        if held_ms > 2 * step.plan.tick_ms
            && link.side == Side::Client
            && self.servers_blocked_since(link.read_ms)
        {
            step.states.reach(State::HeldBack);
        }
        let excused = link.was_blocked_since(link.read_ms)
            || (link.side == Side::Client && self.servers_blocked_since(link.read_ms))
            || self.stopping;
        if held_ms > BOUND_MS && !excused {
            let text = format!("the gateway did not read from it for {held_ms} ms, and no server was full");
            return Err(found("rule 14: nobody waits for a client", self.about(step), text));
        }
        Ok(())
    }

    fn incoming(&mut self, step: &mut Step<'_>, note: Note) -> Result<(), Found> {
        if self.physical(step).over.is_some() {
            return Ok(());
        }
        match note {
            Note::Hello { id, valid: true } => self.registers(step, id),
            Note::Hello { valid: false, .. } => self.over(step, Over::WrongKey),
            Note::Data { conn, len, hash } => self.message(step, conn, len, hash),
            Note::Close { conn } => self.closes(step, conn),
            Note::Dial { remote } => {
                let index = step.index;
                let link = self.physical(step);
                link.dials_seen += 1;
                let serial = link.dials_seen;
                link.dials.push_back(Dial { remote, index, serial });
                self.owe(step.now(), Debt::Answer { link: step.link, serial });
            }
            Note::Ping => self.pinged(step),
            // What only gateways say, and what nobody may say.
            Note::Malformed
            | Note::Accept { .. }
            | Note::Connect { .. }
            | Note::Refuse { .. }
            | Note::Challenge => {
                step.states.reach(State::Malformed);
                if !self.physical(step).conns.is_empty() {
                    step.states.reach(State::MalformedWithConns);
                }
                self.over(step, Over::Malformed);
            }
        }
        Ok(())
    }

    fn registers(&mut self, step: &mut Step<'_>, id: u32) {
        let link = self.physical(step);
        (link.id, link.registered, link.known_at) = (Some(id), true, step.index);
        if let Some(older) = self.servers.insert(id, step.link)
            && self.is_reachable(older)
        {
            step.states.reach(State::Takeover);
            let older_link = self.links.get_mut(&older).expect("it is reachable");
            older_link.superseded = Some(step.index);
            if !older_link.conns.is_empty() {
                step.states.reach(State::TakeoverWithConns);
            }
            if self.links.values().any(|link| link.dials.iter().any(|dial| dial.remote == id)) {
                step.states.reach(State::TakeoverWhileDialled);
            }
            self.owe_closes(step, older);
        }
    }

    fn message(&mut self, step: &mut Step<'_>, id: u32, len: u32, hash: u64) {
        let Some(end) = self.end_of(id, step.link) else {
            let foreign = self.physical(step).foreign.entry(id).or_default();
            foreign.at_least += 1;
            foreign.at_most += 1;
            return;
        };
        let far = self.conns[&id].ends[1 - end].link;
        let far_is_alive = far.is_none_or(|far| self.is_alive(far));
        let conn = self.conns.get_mut(&id).expect("it has an end");
        let far_has_closed = conn.ends[1 - end].closed || !far_is_alive;
        let near = &mut conn.ends[end];
        if near.closed || near.closes > 0 {
            near.late_at_least += 1;
            near.late_at_most += 1;
            return;
        }
        if far_has_closed {
            // It may cross the Close: delivered, dropped, or answered.
            near.late_at_most += 1;
        }
        near.pending.push_back((len, hash));
        let number = near.forwarded + near.pending.len() as u64;
        if self.links[&step.link].superseded.is_none() {
            self.owe(step.now(), Debt::Message { conn: id, end, number });
        }
        if len == 0 {
            step.states.reach(State::EmptyMessage);
        }
        if len + 4 == step.plan.gateway.max_packet {
            step.states.reach(State::LargestMessage);
        }
    }

    fn closes(&mut self, step: &mut Step<'_>, id: u32) {
        let Some(end) = self.end_of(id, step.link) else {
            // Rule 8: ignored, or answered.
            self.physical(step).foreign.entry(id).or_default().at_most += 1;
            return;
        };
        let far_link = self.conns[&id].ends[1 - end].link;
        let far_is_alive = far_link.is_some_and(|far| self.is_alive(far));
        let near_is_alive = self.is_alive(step.link);
        let conn = self.conns.get_mut(&id).expect("it has an end");
        let [near, far] = if end == 0 { [0, 1] } else { [1, 0] };
        if conn.ends[near].closed || conn.ends[near].closes > 0 {
            conn.ends[near].late_at_most += 1;
            return;
        }
        conn.ends[near].closed = true;
        if far_is_alive && near_is_alive && !conn.ends[far].closed && !self.stopping {
            self.closed = Some((id, near == 0));
        }
        if conn.ends[far].closed && conn.ends[near].closes == 0 && conn.ends[far].closes == 0 {
            step.states.reach(State::ClosedByBoth);
        }
        let said_nothing = conn.ends[near].pending.is_empty() && conn.ends[near].forwarded == 0;
        if near == 0 && said_nothing && !conn.ends[far].closed {
            // Whoever leads says something; this one has given up the dial.
            step.states.reach(State::LateAccept);
        }
        if conn.ends[near].pending.len() > 1 {
            step.states.reach(State::ClosedWithQueue);
        }
        for end in [near, far] {
            self.owe(step.now(), Debt::Close { conn: id, end });
        }
    }

    fn pinged(&mut self, step: &mut Step<'_>) {
        let side = self.physical(step).side;
        let (ping_ms, idle_ms) = (step.ping_ms(side), step.idle_ms(side));
        let (now, local) = (step.now(), step.event.local_ms);
        let link = self.physical(step);
        // `has_read` has just set the time of hearing: whether the gateway asked is known from what it wrote, and from
        // what it may have queued.
        let may_be_asked = ping_ms > 0 && link.blocked_local_ms.is_some();
        link.pings.came(now, local, idle_ms.max(2 * ping_ms), may_be_asked);
    }

    /// Nothing more comes from this link.
    fn over(&mut self, step: &mut Step<'_>, over: Over) {
        let link = self.physical(step);
        if link.over.is_some() {
            return;
        }
        link.over = Some(over);
        if over == Over::WrongKey {
            step.states.reach(State::WrongKey);
        }
        let held_ms = step.now() - link.read_ms;
        if held_ms > 2 * step.plan.tick_ms && link.side == Side::Client && !link.waiting {
            step.states.reach(State::HeldClientEnds);
        }
        self.owe_closes(step, step.link);
    }

    /// Everybody who has a connection with `gone` is to be told.
    fn owe_closes(&mut self, step: &Step<'_>, gone: Link) {
        for id in self.links[&gone].conns.clone() {
            let end = self.end_of(id, gone).map(|end| 1 - end);
            if let Some(end) = end.filter(|end| self.conns[&id].ends[*end].closes == 0) {
                self.owe(step.now(), Debt::Close { conn: id, end });
            }
        }
    }

    fn outgoing(&mut self, step: &mut Step<'_>, note: Note) -> Result<(), Found> {
        match note {
            Note::Challenge => Ok(()),
            Note::Accept { conn, remote } => self.accepts(step, conn, remote),
            Note::Connect { conn, remote } => self.connects(step, conn, remote),
            Note::Refuse { remote } => self.refuses(step, remote),
            Note::Data { conn, len, hash } => self.delivers(step, conn, len, hash),
            Note::Close { conn } => self.tells_close(step, conn),
            Note::Ping => self.pings(step),
            Note::Dial { .. } | Note::Malformed | Note::Hello { .. } => {
                let text = format!("the gateway said what gateways do not say: {note}");
                Err(found("rule 10: well-formed", self.about(step), text))
            }
        }
    }

    /// The dial that this answers: the oldest one to that remote.
    fn take_dial(&mut self, step: &Step<'_>, remote: u32) -> Result<Dial, Found> {
        let about = self.about(step);
        let dials = &mut self.physical(step).dials;
        let place = dials.iter().position(|dial| dial.remote == remote);
        place.and_then(|place| dials.remove(place)).ok_or_else(|| {
            found("rule 2: answers", about, format!("the answer to a dial to {remote} that was not made"))
        })
    }

    fn accepts(&mut self, step: &mut Step<'_>, id: u32, remote: u32) -> Result<(), Found> {
        let dial = self.take_dial(step, remote)?;
        let about = About::Conn(self.run, id);
        let conn = self.conns.entry(id).or_default();
        if id == 0 || conn.ends[0].link.is_some() || conn.accepted.is_some() {
            return Err(found(
                "rule 2: connection numbers",
                about,
                "a number was given that is in use, or 0",
            ));
        }
        conn.ends[0].link = Some(step.link);
        conn.accepted = Some((remote, dial.index));
        let dialled = conn.ends[1].link;
        self.physical(step).conns.push(id);
        let side = self.physical(step).side;
        step.states.reach(if side == Side::Client { State::ClientDials } else { State::ServerDials });
        let limit = step.plan.gateway.client_max_conn;
        if side == Side::Client && self.dialled_by(step.link).0 > limit {
            let text = format!("a client holds more than the {limit} connections that it may");
            return Err(found("rule 3: quota", self.about(step), text));
        }
        match dialled {
            Some(dialled) => self.joined(id, step.link, dialled),
            None => {
                self.owe_if_gone(step, id);
                Ok(())
            }
        }
    }

    /// A dial can succeed towards somebody who ends at that instant.
    fn owe_if_gone(&mut self, step: &Step<'_>, id: u32) {
        let any_gone =
            self.conns[&id].ends.iter().filter_map(|end| end.link).any(|link| !self.is_alive(link));
        if any_gone {
            for end in [0, 1] {
                self.owe(step.now(), Debt::Close { conn: id, end });
            }
        }
    }

    fn connects(&mut self, step: &mut Step<'_>, id: u32, remote: u32) -> Result<(), Found> {
        let about = About::Conn(self.run, id);
        let conn = self.conns.entry(id).or_default();
        if id == 0 || conn.ends[1].link.is_some() || conn.connected.is_some() {
            return Err(found(
                "rule 2: connection numbers",
                about,
                "a number was given that is in use, or 0",
            ));
        }
        conn.ends[1].link = Some(step.link);
        conn.connected = Some(remote);
        let dialler = conn.ends[0].link;
        self.physical(step).conns.push(id);
        match dialler {
            Some(dialler) => self.joined(id, dialler, step.link),
            None => {
                self.owe_if_gone(step, id);
                Ok(())
            }
        }
    }

    /// Both ends of a connection are known: are they the right ones (rules 1, 2, 4)?
    fn joined(&mut self, id: u32, dialler: Link, dialled: Link) -> Result<(), Found> {
        let about = About::Conn(self.run, id);
        let conn = &self.conns[&id];
        let (Some((accepted, dialled_at)), Some(connected)) = (conn.accepted, conn.connected) else {
            return Ok(());
        };
        let (near, far) = (&self.links[&dialler], &self.links[&dialled]);
        if near.side == far.side {
            return Err(found("rule 1: sides", about, "both ends are on the same side"));
        }
        if far.superseded.is_some_and(|at| at < dialled_at) {
            let text = "a dial went to an older registration of that ID, not to the newest";
            return Err(found("rule 4: the newest wins", about, text));
        }
        self.is_called(dialled, accepted, about)?;
        self.is_called(dialler, connected, about)
    }

    /// `link` is known to somebody as `id`: a server's own ID; a client's that nobody else has.
    fn is_called(&mut self, link: Link, id: u32, about: About) -> Result<(), Found> {
        let physical = &self.links[&link];
        match physical.id {
            Some(known) if known == id => return Ok(()),
            Some(known) => {
                let text = format!("somebody was told {id}, but it is {known}");
                return Err(found("rule 2: identifiers", about, text));
            }
            None => {}
        }
        let side = physical.side;
        let taken = self.links.iter().any(|(other, physical)| {
            *other != link && physical.side == side && physical.id == Some(id) && !physical.dropped
        });
        if id == 0 || taken {
            let text = format!("the client ID {id} is 0, or somebody else's");
            return Err(found("rule 2: identifiers", about, text));
        }
        let physical = self.links.get_mut(&link).expect("it is there");
        physical.id = Some(id);
        // A client is registered as soon as it is accepted, but its ID is not seen before.
        physical.known_at = physical.opened_at;
        Ok(())
    }

    fn refuses(&mut self, step: &mut Step<'_>, remote: u32) -> Result<(), Found> {
        let dial = self.take_dial(step, remote)?;
        let link = &self.links[&step.link];
        let quota = step.plan.gateway.client_max_conn;
        let within_quota = link.side == Side::Server || self.dialled_by(step.link).1 < quota;
        let was_there = self.links.iter().any(|(other, physical)| {
            let is_meant = physical.side != link.side && physical.id == Some(remote);
            is_meant
                && self.is_alive(*other)
                && physical.known_at < dial.index
                && !self.may_be_ending(step, *other)
        });
        if was_there && within_quota && !self.stopping {
            let text = format!(
                "a dial to {remote} was refused, who was there all the time, and the quota is not used up"
            );
            return Err(found("rule 2: refusals", self.about(step), text));
        }
        step.states.reach(if was_there { State::RefusedQuota } else { State::RefusedNobody });
        Ok(())
    }

    fn delivers(&mut self, step: &mut Step<'_>, id: u32, len: u32, hash: u64) -> Result<(), Found> {
        let about = About::Conn(self.run, id);
        let Some(end) = self.end_of(id, step.link) else {
            let text = "a message came before Accept or Connect, or to somebody else";
            return Err(found("rule 2: nothing before it is open", about, text));
        };
        let conn = self.conns.get_mut(&id).expect("it has an end");
        if conn.ends[end].closes > 0 {
            return Err(found("rule 7: nothing after Close", about, "a message was delivered after Close"));
        }
        let from = &mut conn.ends[1 - end];
        let Some(expected) = from.pending.pop_front() else {
            return Err(found(
                "rule 5: whole, once, in order",
                about,
                "a message was delivered that was not sent",
            ));
        };
        if expected != (len, hash) {
            let text = format!(
                "a message of {len} bytes was delivered, but the next one sent has {} bytes",
                expected.0
            );
            return Err(found("rule 5: whole, once, in order", about, text));
        }
        from.forwarded += 1;
        Ok(())
    }

    fn tells_close(&mut self, step: &mut Step<'_>, id: u32) -> Result<(), Found> {
        let about = About::Conn(self.run, id);
        let Some(end) = self.end_of(id, step.link) else {
            let foreign = self.physical(step).foreign.entry(id).or_default();
            foreign.got += 1;
            step.states.reach(State::ForeignMessage);
            if foreign.got > foreign.at_most {
                let text = format!("Close of #{id}, which it does not have and did not mention");
                return Err(found("rule 6: foreign connections", self.about(step), text));
            }
            return Ok(());
        };
        let far_link = self.conns[&id].ends[1 - end].link;
        let far_is_alive = far_link.is_some_and(|far| self.is_alive(far));
        let near_is_alive = self.is_alive(step.link);
        let stopping = self.stopping;
        // Once another server has taken over, what comes from the older one may be read only to be forgotten.
        let far_superseded = far_link.is_some_and(|far| self.links[&far].superseded.is_some());
        let conn = self.conns.get_mut(&id).expect("it has an end");
        let far_closed = conn.ends[1 - end].closed;
        let undelivered = conn.ends[1 - end].pending.len();
        let near = &mut conn.ends[end];
        near.closes += 1;
        if near.closes == 1 {
            let own_pending = u32::try_from(near.pending.len()).unwrap_or(u32::MAX);
            near.late_at_most += own_pending;
            if !near.closed && !far_closed && far_is_alive && near_is_alive && !stopping {
                return Err(found(
                    "rule 7: Close has a cause",
                    about,
                    "Close, but nobody closed, and both ends are there",
                ));
            }
            if undelivered > 0 && !near.closed && near_is_alive && !stopping && !far_superseded {
                let text = format!("Close overtook {undelivered} messages that were sent before it");
                return Err(found("rule 7: messages before Close", about, text));
            }
            return Ok(());
        }
        step.states.reach(State::LateMessage);
        if near.closes > 1 + near.late_at_most {
            let text = format!("Close came {} times, {} allowed", near.closes, 1 + near.late_at_most);
            return Err(found("rule 7: Close once", about, text));
        }
        Ok(())
    }

    fn pings(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        let about = self.about(step);
        let (now, local) = (step.now(), step.event.local_ms);
        let side = self.physical(step).side;
        let ping_ms = step.ping_ms(side);
        let link = self.physical(step);
        let silence = local.saturating_sub(link.heard_local_ms);
        let was_blocked = link.was_blocked_since(now.saturating_sub(silence + ping_ms + 1000));
        // What was read before a hold is looked at after it.
        let was_held = !link.waiting || link.held_until_ms.is_some_and(|until| until + BOUND_MS >= now);
        let was_blocked = was_blocked || was_held;
        let meaning = link.pings.went(local, silence, ping_ms, was_blocked, about)?;
        step.states.reach(if meaning == Meaning::Question { State::Asked } else { State::Echoed });
        Ok(())
    }

    /// The gateway has ended a link, or its side of it. It needs a reason.
    fn ended(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        let is_drop = matches!(step.event.what, What::Dropped(..));
        if !self.physical(step).out_over {
            self.reason_to_end(step)?;
        }
        // Behind a frame that was held back, a Ping has to wait.
        let link = self.physical(step);
        let was_free = !link.was_blocked_since(0) && link.held_until_ms.is_none();
        if was_free && link.pings.is_overdue(step.now(), BOUND_MS) {
            return Err(found("rule 12: pings", self.about(step), "a Ping of the peer was never echoed"));
        }
        if is_drop {
            self.unblock(step);
            self.physical(step).dropped = true;
        }
        self.physical(step).out_over = true;
        self.owe_closes(step, step.link);
        Ok(())
    }

    fn reason_to_end(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        let link = &self.links[&step.link];
        if self.stopping || link.over.is_some() || link.superseded.is_some() {
            return Ok(());
        }
        let (plan, local) = (&step.plan.gateway, step.event.local_ms);
        if !link.registered {
            let age = local.saturating_sub(link.opened_local_ms);
            step.states.reach(State::HandshakeTimeout);
            if age + 1 >= plan.auth_timeout_ms {
                return Ok(());
            }
            let text = format!("a handshake was broken off after {age} ms of {} ms", plan.auth_timeout_ms);
            return Err(found("rule 9: reasons to end", self.about(step), text));
        }
        let silence = local.saturating_sub(link.heard_local_ms);
        let idle_ms = step.idle_ms(link.side);
        if idle_ms > 0 && silence + 1 >= idle_ms {
            step.states.reach(if link.side == Side::Client {
                State::SilentClient
            } else {
                State::SilentServer
            });
            if matches!(step.event.what, What::Dropped(_, true)) {
                step.states.reach(State::SilentMidFrame);
            }
            return Ok(());
        }
        let blocked = link.blocked_local_ms.map(|since| local.saturating_sub(since));
        match (link.side, blocked) {
            (Side::Server, Some(blocked)) if blocked + 1 >= plan.stall_timeout_ms => {
                step.states.reach(State::StalledServer);
                return Ok(());
            }
            (Side::Client, _) if self.was_full(step, step.link) => {
                step.states.reach(State::SlowClient);
                return Ok(());
            }
            _ => {}
        }
        let text =
            format!("the gateway ended it without a reason; silent for {silence} ms, blocked: {blocked:?}");
        Err(found("rule 9: reasons to end", self.about(step), text))
    }

    /// Whether the gateway may be about to end this link: it takes its leave before that can be seen.
    fn may_be_ending(&self, step: &Step<'_>, link: Link) -> bool {
        let physical = &self.links[&link];
        let (plan, local) = (&step.plan.gateway, step.event.local_ms);
        let idle_ms = step.idle_ms(physical.side);
        let is_silent = idle_ms > 0 && local.saturating_sub(physical.heard_local_ms) + 1 >= idle_ms;
        let blocked_ms = physical.blocked_local_ms.map(|since| local.saturating_sub(since));
        let is_stalled = blocked_ms.is_some_and(|blocked_ms| blocked_ms + 1 >= plan.stall_timeout_ms);
        is_silent
            || match physical.side {
                Side::Server => is_stalled,
                Side::Client => self.was_full(step, link),
            }
    }

    /// Whether this client took nothing while its queue was full. It may have taken a little again between the moment that
    /// counted and now, and the gateway delivers what it had said before it drops it.
    fn was_full(&self, step: &Step<'_>, link: Link) -> bool {
        const DELIVERY_MS: u32 = 10_000;
        let physical = &self.links[&link];
        let recently = physical.was_full_ms.is_some_and(|at| at + DELIVERY_MS >= step.now());
        let now =
            physical.was_blocked_since(step.now().saturating_sub(BOUND_MS)) && self.may_be_full(step, link);
        recently || now
    }

    /// Whether the queue to this client may have been at its limit. Commands are not all seen: a few are allowed for.
    fn may_be_full(&self, step: &Step<'_>, link: Link) -> bool {
        const COMMANDS: usize = 8;
        const COMMAND_BYTES: usize = 17;
        let plan = &step.plan.gateway;
        let (messages, bytes) = self.pending_for(link);
        let physical = &self.links[&link];
        let foreign: u32 =
            physical.foreign.values().map(|foreign| foreign.at_most - foreign.got.min(foreign.at_most)).sum();
        let commands = self.owed.len() + physical.pings.echoes() + foreign as usize + COMMANDS;
        messages + commands >= plan.client_queue_messages
            || bytes + commands * COMMAND_BYTES > plan.client_queue_bytes
    }
}
