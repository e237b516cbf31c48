//! What a gateway has written: was it owed, and was it in its place?

use super::gateway::Step;
use super::model::{Dial, Model};
use super::owed::{BOUND_MS, Debt};
use super::pings::Meaning;
use super::{About, Found, found};
use crate::history::{Link, Note, Side};
use crate::plan::GROUP;
use crate::states::State;

impl Model {
    pub(super) fn outgoing(&mut self, step: &mut Step<'_>, note: Note) -> Result<(), Found> {
        self.is_told(step, note)?;
        self.gives_notice(step, note)?;
        match note {
            Note::Challenge => Ok(()),
            Note::Accept { conn, remote } => self.accepts(step, conn, remote),
            Note::Connect { conn, remote } => self.connects(step, conn, remote),
            Note::Refuse { remote } => self.refuses(step, remote),
            Note::Data { conn, len, hash } => self.delivers(step, conn, len, hash),
            // A notice comes behind it.
            Note::Close { conn: 0 } => Ok(()),
            Note::Close { conn } => self.tells_close(step, conn),
            Note::Ping => self.pings(step),
            Note::Grants { .. } | Note::Told { .. } | Note::BehindClose { .. } => Ok(()),
            Note::Asks { .. } | Note::Extra | Note::Dial { .. } | Note::Malformed | Note::Hello { .. } => {
                let text = format!("the gateway said what gateways do not say: {note}");
                Err(found("rule 10: well-formed", self.about(step), text))
            }
        }
    }

    /// The dial that this answers: the oldest one to that remote.
    pub(super) fn take_dial(&mut self, step: &Step<'_>, remote: u32) -> Result<Dial, Found> {
        let about = self.about(step);
        let dials = &mut self.physical(step).dials;
        let place = dials.iter().position(|dial| dial.remote == remote);
        place.and_then(|place| dials.remove(place)).ok_or_else(|| {
            found("rule 2: answers", about, format!("the answer to a dial to {remote} that was not made"))
        })
    }

    pub(super) fn accepts(&mut self, step: &mut Step<'_>, id: u32, remote: u32) -> Result<(), Found> {
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
        if side == Side::Client && remote == GROUP {
            step.states.reach(State::GroupDialled);
        }
        let limit = step.plan.gateway.client_max_conn;
        if side == Side::Client && self.dialled_by(step.link).0 > limit {
            let text = format!("a client holds more than the {limit} connections that it may");
            return Err(found("rule 3: quota", self.about(step), text));
        }
        match dialled {
            Some(dialled) => self.joined(id, step.link, dialled),
            None => {
                self.half_told.push(id);
                self.owe_if_gone(step, id);
                Ok(())
            }
        }
    }

    /// A dial can succeed towards somebody who ends at that instant.
    pub(super) fn owe_if_gone(&mut self, step: &Step<'_>, id: u32) {
        let any_gone =
            self.conns[&id].ends.iter().filter_map(|end| end.link).any(|link| !self.is_alive(link));
        if any_gone {
            for end in [0, 1] {
                self.owe(step.now(), Debt::Close { conn: id, end });
            }
        }
    }

    pub(super) fn connects(&mut self, step: &mut Step<'_>, id: u32, remote: u32) -> Result<(), Found> {
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
                self.half_told.push(id);
                self.owe_if_gone(step, id);
                Ok(())
            }
        }
    }

    /// Both ends of a connection are known: are they the right ones (rules 1, 2, 4)?
    pub(super) fn joined(&mut self, id: u32, dialler: Link, dialled: Link) -> Result<(), Found> {
        let about = About::Conn(self.run, id);
        self.half_told.retain(|half_told| *half_told != id);
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
        // Of a group, anybody may be meant.
        let meant = far.id.filter(|id| self.means(near.side, accepted, *id)).unwrap_or(accepted);
        self.is_called(dialled, meant, about)?;
        self.is_called(dialler, connected, about)?;
        self.told_the_truth(id)
    }

    /// `link` is known to somebody as `id`: a server's own ID; a client's that nobody else has.
    pub(super) fn is_called(&mut self, link: Link, id: u32, about: About) -> Result<(), Found> {
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

    pub(super) fn refuses(&mut self, step: &mut Step<'_>, remote: u32) -> Result<(), Found> {
        let dial = self.take_dial(step, remote)?;
        let link = &self.links[&step.link];
        let quota = step.plan.gateway.client_max_conn;
        let within_quota = link.side == Side::Server || self.dialled_by(step.link).1 < quota;
        let was_there = self.links.iter().any(|(other, physical)| {
            let is_meant =
                physical.side != link.side && physical.id.is_some_and(|id| self.means(link.side, remote, id));
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

    pub(super) fn delivers(
        &mut self,
        step: &mut Step<'_>,
        id: u32,
        len: u32,
        hash: u64,
    ) -> Result<(), Found> {
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

    pub(super) fn tells_close(&mut self, step: &mut Step<'_>, id: u32) -> Result<(), Found> {
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

    pub(super) fn pings(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
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
}
