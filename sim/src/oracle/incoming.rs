//! What a gateway has read: who registers, what is sent, closed, dialled. From it follows what is owed.

use super::Found;
use super::gateway::Step;
use super::model::{Dial, Model, Over};
use super::owed::Debt;
use crate::history::{Link, Note, Side};
use crate::states::State;

impl Model {
    pub(super) fn incoming(&mut self, step: &mut Step<'_>, note: Note) -> Result<(), Found> {
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
            Note::Asks { wishes } => {
                self.asks(step, wishes);
                self.asks_for_notice(step, Side::Server, wishes);
            }
            Note::BehindClose { set, .. } => self.asks_for_notice(step, Side::Client, set),
            // It is ignored.
            Note::Told { .. } | Note::Grants { .. } | Note::Extra => {}
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

    pub(super) fn registers(&mut self, step: &mut Step<'_>, id: u32) {
        let link = self.physical(step);
        (link.id, link.registered, link.known_at) = (Some(id), true, step.index);
        if self.stopping {
            // Nobody registers any more, or at that very moment still: whoever was there before may stay so.
            return;
        }
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

    pub(super) fn message(&mut self, step: &mut Step<'_>, id: u32, len: u32, hash: u64) {
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

    pub(super) fn closes(&mut self, step: &mut Step<'_>, id: u32) {
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

    pub(super) fn pinged(&mut self, step: &mut Step<'_>) {
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
    pub(super) fn over(&mut self, step: &mut Step<'_>, over: Over) {
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
    pub(super) fn owe_closes(&mut self, step: &Step<'_>, gone: Link) {
        for id in self.links[&gone].conns.clone() {
            let end = self.end_of(id, gone).map(|end| 1 - end);
            if let Some(end) = end.filter(|end| self.conns[&id].ends[*end].closes == 0) {
                self.owe(step.now(), Debt::Close { conn: id, end });
            }
        }
    }
}
