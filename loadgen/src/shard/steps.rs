//! The steps of a run, as one thread takes them: servers, clients, sending, waiting for what is open, the end.

use std::iter::Peekable;

use fastway::net::Network;

use super::{FAILURES, Shard, Step, UNCONFIRMED};
use crate::arrivals::{Arrivals, Share};
use crate::clock::{Nanos, nanos, thread_cpu};
use crate::control::{Event, Order, Report};
use crate::lane::{self, Lane};
use crate::link::Link;
use crate::plan::{ArrivalKind, Load, Plan, Stage};
use crate::work::rng;

impl<N: Network> Shard<N> {
    pub(super) fn take_step(&mut self, now: Nanos) {
        let plan = self.common.plan.clone();
        if self.common.control.is_stopped() && !matches!(self.step, Step::Draining(_) | Step::Done) {
            self.stop_sending(now);
        }
        match self.step {
            Step::Servers => {
                self.tell_progress();
                let is_there = |link: &Link<N::Stream>| {
                    link.is_up() && (link.desk.is_confirmed || now >= link.up_since + UNCONFIRMED)
                };
                if self.links.iter().all(is_there) {
                    self.step = Step::ServersUp;
                    let _ = self.common.events.send(Event::ServersUp);
                }
            }
            Step::ServersUp if self.common.control.is(Order::Clients) => {
                self.add_clients(&plan);
                self.step = Step::Clients;
            }
            Step::Clients => {
                self.tell_progress();
                let is_done = |link: &Link<N::Stream>| {
                    link.is_up() && link.desk.dials.is_empty() || link.failures >= FAILURES
                };
                if self.links.iter().all(is_done) {
                    self.step = Step::ClientsUp;
                    let _ = self.common.events.send(Event::ClientsUp);
                }
            }
            Step::ClientsUp if self.common.control.is(Order::Run) => self.begin(&plan),
            Step::Running => self.look_at_run(now),
            Step::Draining(until) => {
                let is_over = |lane: &Lane| lane.under_way() == 0;
                if now >= until || self.work.lanes.iter().all(is_over) {
                    self.finish(now);
                }
            }
            Step::ServersUp | Step::ClientsUp | Step::Done => {}
        }
        if matches!(self.step, Step::Clients | Step::Running) {
            self.look_for_company(now);
        }
    }

    fn tell_progress(&self) {
        let links = self.links.iter().filter(|link| link.is_up()).count() as u64;
        let event = Event::Progress { thread: self.share.index, links, lanes: self.work.open_lanes };
        let _ = self.common.events.send(event);
    }

    fn begin(&mut self, plan: &Plan) {
        let start = self.common.control.start_at();
        let from = start + nanos(plan.warm_up);
        let book = &mut self.work.book;
        book.window = (from, plan.duration.map_or(Nanos::MAX, |duration| from + nanos(duration)));
        book.has_begun = true;
        // What was measured of connecting and dialling until now belongs to the first interval.
        book.interval.from_ns = start;
        self.next_interval = start + nanos(plan.interval);
        self.work.is_sending = true;
        self.step = Step::Running;
        let (share, index) = (self.share, self.share.index);
        let at_rate = |per_second: f64, label, share: Share| {
            let rng = rng(plan.seed, label, index);
            (per_second > 0.0)
                .then(|| Arrivals::at_rate(ArrivalKind::Poisson, per_second, start, share, rng).peekable())
        };
        self.churn = at_rate(plan.churn, 3, share);
        self.reconnects = at_rate(plan.reconnects, 4, share);
        // Only threads that have a server make calls.
        let with_servers = share.of.min(plan.servers * plan.targets.len());
        self.calls = (index < with_servers)
            .then(|| at_rate(plan.calls, 5, Share { index, of: with_servers }))
            .flatten();
        self.next_due = start;
        match &plan.load {
            Load::Open { stages, arrivals } => {
                let first = stages.first().map_or(0.0, |stage| stage.from);
                let warm_up = Stage { duration: plan.warm_up, from: first, to: first };
                let stages: Vec<Stage> = std::iter::once(warm_up)
                    .filter(|stage| !stage.duration.is_zero())
                    .chain(stages.clone())
                    .collect();
                let arrivals = Arrivals::new(*arrivals, stages, start, share, rng(plan.seed, 6, index));
                self.messages = Some(arrivals.peekable());
            }
            Load::Closed { .. } => self.begin_closed_loop(),
        }
    }

    fn begin_closed_loop(&mut self) {
        for position in 0..self.order.len() {
            let lane = self.order[position];
            if self.work.lanes[lane as usize].state != lane::State::Open {
                continue;
            }
            let link = self.work.lanes[lane as usize].link;
            let now = self.common.clock.now();
            for _ in 0..self.work.inflight() {
                self.links[link as usize].desk.ask(lane, now, now, &mut self.work);
            }
            self.mark_dirty(link);
        }
        self.write_dirty();
    }

    fn look_at_run(&mut self, now: Nanos) {
        let window = self.work.book.window;
        if self.cpu_before.is_none() && now >= window.0 {
            self.cpu_before = Some((thread_cpu(), now));
        }
        let has_load = self.common.plan.clients > 0;
        let is_sent = self.work.asked >= self.work.asked_at_most
            || (self.work.closed_loop.is_none()
                && self.messages.as_mut().is_none_or(|next| next.peek().is_none()));
        if now >= window.1 || (has_load && is_sent) {
            self.stop_sending(now);
        }
    }

    fn stop_sending(&mut self, now: Nanos) {
        // What was due until now is owed, however late this thread looks: else a stall over the end would go unseen.
        while self.messages.as_mut().and_then(Peekable::peek).is_some_and(|at| *at <= now) {
            self.pick_up_messages(now);
            self.write_dirty();
        }
        let book = &mut self.work.book;
        book.window.1 = book.window.1.min(now).max(book.window.0.min(now));
        if let Some((cpu, since)) = self.cpu_before {
            self.used.cpu_ns = thread_cpu() - cpu;
            self.used.wall_ns = now - since;
        }
        self.work.is_sending = false;
        (self.messages, self.churn, self.reconnects, self.calls) = (None, None, None, None);
        self.next_due = Nanos::MAX;
        self.step = Step::Draining(now + nanos(self.common.plan.grace));
    }

    fn finish(&mut self, now: Nanos) {
        for lane in &mut self.work.lanes {
            lane.give_up(&mut self.work.book, now);
        }
        self.links.iter_mut().for_each(Link::say_goodbye);
        self.end_interval(now);
        let book = &mut self.work.book;
        let report = Report {
            there: std::mem::take(&mut book.there),
            back: std::mem::take(&mut book.back),
            errors: std::mem::take(&mut book.errors),
            used: self.used,
            window: book.window,
        };
        let _ = self.common.events.send(Event::Done(Box::new(report)));
        self.step = Step::Done;
    }

    /// Without a single link for too long, there is nothing to be learnt any more.
    fn look_for_company(&mut self, now: Nanos) {
        if self.links.is_empty() || self.links.iter().any(Link::is_up) {
            self.alone_since = None;
            return;
        }
        let since = *self.alone_since.get_or_insert(now);
        if now >= since + nanos(self.common.plan.give_up) {
            let example = self.work.book.errors.0.values().max_by_key(|group| group.last_ns);
            let example = example.map_or_else(String::new, |group| format!(": {}", group.example));
            let text = format!("no link was up for {:?}{example}", self.common.plan.give_up);
            let _ = self.common.events.send(Event::Failed(text));
        }
    }
}
