//! One thread of this tool: its links, its share of the schedule, and the loop that drives both.
//!
//! A shard is one future that owns everything: no lock, no task, no message between its links. Each [`Shard::turn`] polls the
//! links that have something to do, picks up what is due, and sets the alarm for what is due next.

mod due;
mod steps;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::iter::Peekable;
use std::sync::Arc;
use std::task::{Context, Poll};

use fastway::command::ToGateway;
use fastway::id::{RemoteId, Side};
use fastway::keepalive::{Due, Keepalive, KeepaliveConfig};
use fastway::net::Network;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::task::coop::unconstrained;

use crate::arrivals::{Arrivals, Share};
use crate::book::Book;
use crate::clock::{MILLI, Nanos, SECOND, nanos};
use crate::control::{Common, Event};
use crate::desk::Desk;
use crate::lane::{self, Kind, Lane};
use crate::link::{Ended, Link, State};
use crate::plan::{Load, Plan};
use crate::stats::{ErrorKind, Interval, ThreadUse};
use crate::timer::Timer;
use crate::transport::Transport;
use crate::wake::Ready;
use crate::work::{Lens, Work, rng};

/// How often a shard looks at what is not due to the nanosecond.
const LOOK_EVERY: Nanos = 20 * MILLI;

/// Each link is looked at once in so many looks.
const LOOKS: usize = 25;

/// Links that are made at the same time.
const CONNECTING: usize = 64;

/// Failures in a row after which a run begins without a link.
const FAILURES: u32 = 3;

/// Before it is tried again, a link waits for this time, doubled with every failure up to `MOST_DOUBLINGS`.
const BACKOFF: Nanos = 100 * MILLI;
const MOST_DOUBLINGS: u32 = 4;

/// A gateway that does not echo a server's ping is taken to have registered it after this time.
const UNCONFIRMED: Nanos = SECOND;

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Servers,
    /// Waits for the servers of other threads.
    ServersUp,
    Clients,
    /// Waits for the clients of other threads, or for the start.
    ClientsUp,
    Running,
    /// Nothing more is sent; what is open is waited for until then.
    Draining(Nanos),
    Done,
}

/// See the module.
pub(crate) struct Shard<N: Network> {
    common: Common<N>,
    share: Share,
    links: Vec<Link<N::Stream>>,
    work: Work,
    ready: Arc<Ready>,
    woken: Vec<u32>,
    dirty: Vec<u32>,
    timer: Timer,
    to_connect: VecDeque<u32>,
    connecting: usize,
    step: Step,
    /// The lanes in the order in which they get messages, and the next of them.
    order: Vec<u32>,
    turn_of: usize,
    messages: Option<Peekable<Arrivals>>,
    churn: Option<Peekable<Arrivals>>,
    reconnects: Option<Peekable<Arrivals>>,
    calls: Option<Peekable<Arrivals>>,
    /// The earliest of them.
    next_due: Nanos,
    rng: StdRng,
    next_look: Nanos,
    looks: usize,
    next_interval: Nanos,
    /// Since when nothing is connected.
    alone_since: Option<Nanos>,
    used: ThreadUse,
    cpu_before: Option<(Nanos, Nanos)>,
}

impl<N: Network> Shard<N> {
    /// A thread's share of the plan, in the runtime that calls.
    ///
    /// # Errors
    ///
    /// If the kernel gives no timer.
    pub(crate) fn new(common: Common<N>, share: Share) -> io::Result<Self> {
        let (plan, clock) = (common.plan.clone(), common.clock);
        let closed_loop = match plan.load {
            Load::Closed { inflight } => Some(inflight),
            Load::Open { .. } => None,
        };
        let part = |all: u64| all / share.of as u64 + u64::from(all % share.of as u64 > share.index as u64);
        let max = plan.max_packet.max_message_bytes();
        let work = Work::new(
            Book::new(clock),
            common.filler.clone(),
            plan.verify,
            closed_loop,
            plan.count.map_or(u64::MAX, part),
            Lens::new(plan.sizes, max, rng(plan.seed, 1, share.index).random()),
        );
        let mut shard = Self {
            timer: Timer::new(clock)?,
            common,
            share,
            links: Vec::new(),
            work,
            ready: Arc::default(),
            woken: Vec::new(),
            dirty: Vec::new(),
            to_connect: VecDeque::new(),
            connecting: 0,
            step: Step::Servers,
            order: Vec::new(),
            turn_of: 0,
            messages: None,
            churn: None,
            reconnects: None,
            calls: None,
            next_due: Nanos::MAX,
            rng: rng(plan.seed, 2, share.index),
            next_look: 0,
            looks: 0,
            next_interval: Nanos::MAX,
            alone_since: None,
            used: ThreadUse::default(),
            cpu_before: None,
        };
        shard.add_servers(&plan);
        Ok(shard)
    }

    /// Runs to the end of the plan, or until it is stopped.
    ///
    /// # Errors
    ///
    /// If the timer fails.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        unconstrained(poll_fn(|cx| self.turn(cx))).await
    }

    fn add_servers(&mut self, plan: &Plan) {
        for number in (0..plan.servers * plan.targets.len()).skip(self.share.index).step_by(self.share.of) {
            let id = u64::from(plan.first_server_id) + (number / plan.targets.len()) as u64;
            self.add_link(Side::Server, id, number % plan.targets.len());
        }
    }

    fn add_clients(&mut self, plan: &Plan) {
        for client in (0..plan.clients).skip(self.share.index).step_by(self.share.of) {
            let link = self.add_link(Side::Client, client as u64 + 1, client % plan.targets.len());
            for conn in 0..plan.conns_per_client {
                let server = (client * plan.conns_per_client + conn) % plan.dialled_servers;
                let remote = RemoteId::new(plan.first_server_id + server as u32);
                let lane = self.work.lanes.len() as u32;
                self.work.lanes.push(Lane::new(link, remote, Kind::Client));
                self.links[link as usize].desk.lanes.push(lane);
                self.order.push(lane);
            }
        }
        self.order.shuffle(&mut self.rng);
    }

    fn add_link(&mut self, side: Side, number: u64, target: usize) -> u32 {
        let index = self.links.len() as u32;
        let desk = Desk::new(side, number, target, index, self.keepalive());
        self.links.push(Link::new(desk, self.ready.alert(index)));
        self.work.is_ending.push(false);
        self.to_connect.push_back(index);
        index
    }

    fn keepalive(&self) -> Keepalive {
        let now = self.work.instant(self.common.clock.now());
        Keepalive::new(KeepaliveConfig::every(self.common.plan.ping_interval), now)
    }

    // ---- The loop ----

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.timer.poll(cx)?.is_ready() {}
        let mut woken = std::mem::take(&mut self.woken);
        self.ready.take(&mut woken, cx.waker());
        for &index in &woken {
            self.poll_link(index);
            if self.next_due != Nanos::MAX {
                self.pick_up();
            }
        }
        woken.clear();
        self.woken = woken;
        self.pick_up();
        let now = self.common.clock.now();
        if now >= self.next_look {
            self.look(now);
            if self.step == Step::Done {
                return Poll::Ready(Ok(()));
            }
        }
        let next = self.next_due.min(self.next_look);
        if next <= self.common.clock.now() {
            cx.waker().wake_by_ref();
        } else {
            self.timer.set(next)?;
        }
        Poll::Pending
    }

    fn poll_link(&mut self, index: u32) {
        let plan = &self.common.plan;
        let link = &mut self.links[index as usize];
        match link.poll(&plan.key.0, plan.max_packet, &mut self.work) {
            Ok(false) => {}
            Ok(true) => self.link_is_up(index),
            Err(ended) => self.link_has_ended(index, ended),
        }
        if self.work.is_ending[index as usize] {
            self.end_if_quiet(index);
        }
    }

    // ---- Links ----

    fn connect_some(&mut self, now: Nanos) {
        while self.connecting < CONNECTING
            && let Some(index) = self.to_connect.pop_front()
        {
            let keepalive = self.keepalive();
            let (plan, networks) = (&self.common.plan, &self.common.networks);
            let link = &mut self.links[index as usize];
            let target = &plan.targets[link.desk.target];
            let (addr, tls) = match link.desk.side {
                Side::Client => (target.client_addr.clone(), plan.client_tls.clone()),
                Side::Server => (target.server_addr.clone(), plan.server_tls.clone()),
            };
            let network = networks[index as usize % networks.len()].clone();
            link.desk.keepalive = keepalive;
            let deadline = now + nanos(plan.connect_timeout);
            link.connect(
                async move { Transport::connect(&network, &addr, tls.as_ref()).await },
                now,
                deadline,
            );
            self.connecting += 1;
        }
    }

    fn link_is_up(&mut self, index: u32) {
        self.connecting -= 1;
        let now = self.common.clock.now();
        let link = &mut self.links[index as usize];
        // Before the run begins, a link that comes up and goes again has failed too: it must not be waited for for ever.
        if self.step != Step::Clients {
            link.failures = 0;
        }
        link.up_since = now;
        self.work.book.interval.metrics.connect.record(now.saturating_sub(link.meant));
        for lane in link.desk.lanes.clone() {
            link.desk.dial(lane, now, &mut self.work);
        }
        self.write(index);
    }

    fn link_has_ended(&mut self, index: u32, ended: Ended) {
        let now = self.common.clock.now();
        let link = &mut self.links[index as usize];
        let was_up = link.is_up();
        self.connecting -= usize::from(!was_up);
        link.failures += u32::from(!was_up || self.step == Step::Clients);
        let target = &self.common.plan.targets[link.desk.target];
        let (name, addr) = match link.desk.side {
            Side::Client => (link.desk.name(), &target.client_addr),
            Side::Server => (link.desk.name(), &target.server_addr),
        };
        let text = format!("{name} at {addr}: {}", ended.text);
        if self.step == Step::Servers {
            let _ = self.common.events.send(Event::Failed(text.clone()));
        }
        let backoff = BACKOFF << link.failures.min(MOST_DOUBLINGS);
        let backoff = backoff + self.rng.random_range(0..=backoff / 2);
        self.work.book.error(ended.kind, || text);
        self.work.is_ending[index as usize] = false;
        self.links[index as usize].end(State::Down(now + backoff), now, &mut self.work);
    }

    fn write(&mut self, index: u32) {
        if let Err(ended) = self.links[index as usize].write(&mut self.work) {
            self.link_has_ended(index, ended);
        }
    }

    fn mark_dirty(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(index);
        }
    }

    fn write_dirty(&mut self) {
        while let Some(index) = self.dirty.pop() {
            self.write(index);
        }
    }

    /// A link that is to be made again ends when its last echo is there.
    fn end_if_quiet(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        let lanes = &self.work.lanes;
        if link.desk.lanes.iter().any(|lane| lanes[*lane as usize].under_way() > 0) {
            return;
        }
        let now = self.common.clock.now();
        self.work.is_ending[index as usize] = false;
        self.work.book.interval.tally.reconnected += 1;
        link.end(State::Queued, now, &mut self.work);
        self.to_connect.push_back(index);
        self.connect_some(now);
    }

    // ---- What is looked at now and then ----

    fn look(&mut self, now: Nanos) {
        if self.step == Step::Running {
            // Also when the time was up meanwhile: up to then, it counts.
            let (from, to) = self.work.book.window;
            let late = now.min(to).saturating_sub(self.next_look.max(from));
            self.used.stood_still_ns = self.used.stood_still_ns.max(late);
        }
        self.next_look = (self.next_look + LOOK_EVERY).max(now + LOOK_EVERY / 2);
        self.looks += 1;
        self.connect_some(now);
        for index in (self.looks % LOOKS..self.links.len()).step_by(LOOKS) {
            self.look_at(index, now);
        }
        self.dial_again(now);
        self.write_dirty();
        if now >= self.next_interval {
            self.end_interval(now);
        }
        self.take_step(now);
    }

    fn look_at(&mut self, index: usize, now: Nanos) {
        let plan = &self.common.plan;
        let link = &mut self.links[index];
        let ended = match &link.state {
            State::Down(at) if now >= *at => {
                link.state = State::Queued;
                self.to_connect.push_back(index as u32);
                return;
            }
            State::Connecting(_, deadline) | State::Handshake(_, _, _, deadline) if now >= *deadline => {
                let tls = match link.desk.side {
                    Side::Client if plan.client_tls.is_some() => ", and that the public port has TLS",
                    Side::Client => "",
                    Side::Server if plan.server_tls.is_some() => ", which has TLS",
                    Side::Server => ", which has no TLS unless --server-tls says so",
                };
                let check = "check the address, and that servers connect to the internal port";
                let text = format!("no connection within {:?}; {check}{tls}", plan.connect_timeout);
                Some(Ended { kind: ErrorKind::ConnectTimeout, text })
            }
            State::Up(..) => match link.desk.keepalive.check(self.work.instant(now)) {
                Due::Expired => {
                    let text = format!("nothing came for {:?}", plan.ping_interval * 2);
                    Some(Ended { kind: ErrorKind::Silent, text })
                }
                Due::Ping(_) => {
                    link.desk.command_out(ToGateway::Ping);
                    None
                }
                Due::Nothing(_) => None,
            },
            _ => return,
        };
        if let Some(ended) = ended {
            return self.link_has_ended(index as u32, ended);
        }
        let timeout = nanos(plan.dial_timeout);
        while let Some((_, lane, at)) = link.desk.dials.front().copied()
            && at + timeout <= now
        {
            link.desk.dials.pop_front();
            self.work.lanes[lane as usize].state = lane::State::Down;
            let (name, timeout) = (link.desk.name(), plan.dial_timeout);
            self.work.book.error(ErrorKind::DialTimeout, || {
                format!("{name}: no answer to a dial within {timeout:?}; the gateway is overloaded")
            });
            match self.work.lanes[lane as usize].kind {
                Kind::Client => self.work.dial_again(lane),
                Kind::Call => self.work.end_call(lane),
            }
        }
        if !std::mem::take(&mut link.was_busy) {
            link.desk.release_spare();
        }
        if link.desk.waiting_bytes() > 0 {
            self.mark_dirty(index as u32);
        }
    }

    fn dial_again(&mut self, now: Nanos) {
        while let Some((at, lane)) = self.work.redials.front().copied()
            && at <= now
        {
            self.work.redials.pop_front();
            let down = &self.work.lanes[lane as usize];
            let link = down.link;
            // If the link was made again meanwhile, the lane was dialled with it.
            if down.state == lane::State::Down
                && self.links[link as usize].is_up()
                && !self.work.is_ending[link as usize]
                && !matches!(self.step, Step::Draining(_) | Step::Done)
            {
                self.links[link as usize].desk.dial(lane, now, &mut self.work);
                self.mark_dirty(link);
            }
        }
    }

    fn end_interval(&mut self, now: Nanos) {
        let fresh =
            Interval { index: self.work.book.interval.index + 1, from_ns: now, ..Interval::default() };
        let mut interval = std::mem::replace(&mut self.work.book.interval, fresh);
        interval.to_ns = now;
        interval.open_links = self.links.iter().filter(|link| link.is_up()).count() as u64;
        interval.open_conns = self.work.open_lanes;
        let _ = self.common.events.send(Event::Interval(Box::new(interval)));
        while self.next_interval <= now {
            self.next_interval = self.next_interval.saturating_add(nanos(self.common.plan.interval));
        }
    }
}
