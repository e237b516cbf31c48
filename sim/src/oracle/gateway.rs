//! Every gateway against the rules, event by event.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::model::{Model, Over, Physical};
use super::owed::BOUND_MS;
use super::{About, Found, found, link_of};
use crate::history::{Event, Link, Run, Side, What};
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
pub(super) struct Step<'a> {
    pub(super) plan: &'a Plan,
    pub(super) index: usize,
    pub(super) event: Event,
    pub(super) link: Link,
    pub(super) states: &'a mut States,
}

impl<'a> Gateways<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, runs: BTreeMap::new(), run_of: FxHashMap::default(), closers: FxHashSet::default() }
    }

    pub(super) fn see(&mut self, index: usize, event: &Event, states: &mut States) -> Result<(), Found> {
        match event.what {
            What::GatewayUp(run, _) => {
                self.runs.insert(run, Model::new(run, self.plan.server_group()));
            }
            What::GatewayDrains(run) => {
                if let Some(model) = self.runs.get_mut(&run) {
                    model.drains(event.at_ms);
                }
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
                model.collect_notices(&step)?;
                if !model.stopping {
                    model.collect_debts(event.at_ms)?;
                }
            }
        }
        Ok(())
    }
}

impl Step<'_> {
    pub(super) fn ping_ms(&self, side: Side) -> u32 {
        let plan = &self.plan.gateway;
        if side == Side::Client { plan.client_ping_ms } else { plan.server_ping_ms }
    }

    pub(super) fn idle_ms(&self, side: Side) -> u32 {
        let plan = &self.plan.gateway;
        if side == Side::Client { plan.client_idle_ms } else { plan.server_idle_ms }
    }

    /// How long a peer may take nothing.
    pub(super) fn stall_ms(&self, side: Side) -> Option<u32> {
        let plan = &self.plan.gateway;
        match side {
            Side::Server => Some(plan.stall_timeout_ms),
            Side::Client => Some(plan.client_stall_ms).filter(|stall_ms| *stall_ms > 0),
        }
    }

    /// Deadlines are rounded up to a grain of 1/64 of the shortest interval, and seen at the world's next tick.
    pub(super) fn slack_ms(&self) -> u32 {
        100 + 2 * self.plan.tick_ms
    }

    pub(super) fn now(&self) -> u32 {
        self.event.at_ms
    }
}

impl Model {
    pub(super) fn about(&self, step: &Step<'_>) -> About {
        About::Link(self.run, step.link)
    }

    pub(super) fn note_end(&self, orderly: bool, states: &mut States) {
        let is_open =
            |conn: &super::model::Virtual| conn.ends.iter().all(|end| end.closes == 0 && !end.closed);
        if self.conns.values().any(is_open) {
            states.reach(if orderly { State::StopWithConns } else { State::KilledWithConns });
        }
        if orderly && self.conns.values().any(|conn| conn.ends.iter().any(|end| !end.pending.is_empty())) {
            states.reach(State::StopWithQueue);
        }
    }

    pub(super) fn see(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        if let What::Opened(link, _, side, _, addr) = step.event.what {
            self.links.insert(link, Physical::new(side, addr, step.index, step.now(), step.event.local_ms));
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
                self.physical(step).inside_local_ms = None;
                self.incoming(step, note)
            }
            What::InWaiting(_, is_inside) => {
                self.has_read(step)?;
                let local_ms = step.event.local_ms;
                let link = self.physical(step);
                link.waiting = true;
                link.inside_local_ms = is_inside.then(|| link.inside_local_ms.unwrap_or(local_ms));
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

    pub(super) fn physical(&mut self, step: &Step<'_>) -> &mut Physical {
        self.links.get_mut(&step.link).expect("looked up before")
    }

    pub(super) fn count_open(&mut self, step: &mut Step<'_>) {
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
    pub(super) fn look_at_clock(&mut self, step: &mut Step<'_>) {
        let ahead = i64::from(step.event.local_ms) - i64::from(step.now());
        let before = self.clock_ahead_ms.replace(ahead);
        let jumped = before.is_some_and(|before| ahead > before + 3 * i64::from(step.plan.tick_ms));
        if jumped {
            step.states.reach(State::ClockJump);
            self.jumped_ms = Some(step.now());
            for link in self.links.values_mut() {
                link.heard_jumped = true;
            }
        }
    }

    pub(super) fn unblock(&mut self, step: &Step<'_>) {
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
    pub(super) fn has_read(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
        let (now, local, about) = (step.now(), step.event.local_ms, self.about(step));
        let link = &self.links[&step.link];
        let silence = local.saturating_sub(link.heard_local_ms);
        let (ping_ms, idle_ms) = (step.ping_ms(link.side), step.idle_ms(link.side));
        let slack = step.slack_ms();
        // In the orderly end of a server that was taken over, what is queued is written, and nobody looks at the clock.
        let is_ending = link.over.is_some() || link.superseded.is_some() || link.out_over || self.stopping;
        let is_served = link.registered && !is_ending;
        if link.waiting && is_served && !link.heard_jumped {
            if idle_ms > 0 && silence > idle_ms + slack {
                let text = format!("heard again after {silence} ms, but the idle timeout is {idle_ms} ms");
                return Err(found("rule 11: silence", about, text));
            }
            let (timeout_ms, plan) = (step.plan.gateway.frame_timeout_ms, &step.plan.gateway);
            let inside_ms = link.inside_local_ms.map_or(0, |since| local.saturating_sub(since));
            // A second more for each KiB that has come.
            if timeout_ms > 0 && inside_ms > timeout_ms + plan.max_packet / 1024 * 1000 + slack {
                let text = format!("a frame was on its way for {inside_ms} ms of {timeout_ms} ms");
                return Err(found("frame timeout", about, text));
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
    pub(super) fn look_at_hold(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
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

    /// The gateway has ended a link, or its side of it. It needs a reason.
    pub(super) fn ended(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
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

    pub(super) fn reason_to_end(&mut self, step: &mut Step<'_>) -> Result<(), Found> {
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
        // When the clock jumps between a read and the next look, the gateway has heard the peer before, and we after it.
        let has_jumped = self.jumped_ms.is_some_and(|at| at + 2 * step.plan.tick_ms >= step.now());
        if idle_ms > 0 && (silence + 1 >= idle_ms || has_jumped) {
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
        if matches!(step.event.what, What::Dropped(_, true)) && Self::may_be_overdue(step, link) {
            step.states.reach(State::UnfinishedFrame);
            return Ok(());
        }
        let blocked = link.blocked_local_ms.map(|since| local.saturating_sub(since));
        match (link.side, blocked) {
            (side, Some(blocked)) if step.stall_ms(side).is_some_and(|stall_ms| blocked + 1 >= stall_ms) => {
                step.states.reach(match side {
                    Side::Server => State::StalledServer,
                    Side::Client => State::StalledClient,
                });
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
    pub(super) fn may_be_ending(&self, step: &Step<'_>, link: Link) -> bool {
        let physical = &self.links[&link];
        let local = step.event.local_ms;
        let idle_ms = step.idle_ms(physical.side);
        let is_silent = idle_ms > 0 && local.saturating_sub(physical.heard_local_ms) + 1 >= idle_ms;
        let blocked_ms = physical.blocked_local_ms.map(|since| local.saturating_sub(since));
        let is_stalled = blocked_ms
            .zip(step.stall_ms(physical.side))
            .is_some_and(|(blocked_ms, stall_ms)| blocked_ms + 1 >= stall_ms);
        let is_slow = physical.side == Side::Client && self.was_full(step, link);
        is_silent || is_stalled || is_slow || Self::may_be_overdue(step, physical)
    }

    /// Whether a frame from this peer may have been on its way for too long. When exactly it began, the gateway saw earlier.
    fn may_be_overdue(step: &Step<'_>, link: &Physical) -> bool {
        let timeout_ms = step.plan.gateway.frame_timeout_ms;
        let inside_ms = link.inside_local_ms.map(|since| step.event.local_ms.saturating_sub(since));
        timeout_ms > 0 && inside_ms.is_some_and(|inside_ms| inside_ms + 2 * step.plan.tick_ms >= timeout_ms)
    }

    /// Whether this client took nothing while its queue was full. It may have taken a little again between the moment that
    /// counted and now, and the gateway delivers what it had said before it drops it.
    pub(super) fn was_full(&self, step: &Step<'_>, link: Link) -> bool {
        const DELIVERY_MS: u32 = 10_000;
        let physical = &self.links[&link];
        // While it is held back, what it had said waits, and so does its end.
        let held_ms =
            physical.held_until_ms.filter(|until| until + BOUND_MS >= step.now()).map_or(0, |_| 60_000);
        let recently = physical.was_full_ms.is_some_and(|at| at + DELIVERY_MS + held_ms >= step.now());
        let now =
            physical.was_blocked_since(step.now().saturating_sub(BOUND_MS)) && self.may_be_full(step, link);
        recently || now
    }

    /// Whether the queue to this client may have been at its limit. Commands are not all seen: a few are allowed for.
    pub(super) fn may_be_full(&self, step: &Step<'_>, link: Link) -> bool {
        const COMMANDS: usize = 8;
        const COMMAND_BYTES: usize = 17;
        let plan = &step.plan.gateway;
        let (messages, bytes) = self.pending_for(link);
        let physical = &self.links[&link];
        let foreign: u32 =
            physical.foreign.values().map(|foreign| foreign.at_most - foreign.got.min(foreign.at_most)).sum();
        let commands =
            self.owed.len() + physical.pings.echoes() + (foreign + self.late_for(link)) as usize + COMMANDS;
        messages + commands >= plan.client_queue_messages
            || bytes + commands * COMMAND_BYTES > plan.client_queue_bytes
    }
}
