//! Runs a world: builds its hosts, lets time pass, lets faults happen, heals everything, and asks the oracle.

use std::cell::RefCell;
use std::panic;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use turmoil::{Builder, Sim};

use crate::actors::{self, AsItIs, Order, Stage, Wrap};
use crate::failover::{Sabotage, judge};
use crate::fault::{Fault, Kind};
use crate::history::{Event, Phase, What};
use crate::net::{Host, Net, TURMOIL_CAPACITY, WireId};
use crate::oracle::{self, Violation};
use crate::plan::Plan;
use crate::seed::Seed;
use crate::states::States;

/// Everybody has left within this time, in ms, besides the endpoints' own deadlines.
const LEAVING_MS: u32 = 3_000;
/// A gateway that is told to stop ends within this time, in ms: its `FLUSH_TIMEOUT`, `LINGER_TIMEOUT`, and 1 s more.
const STOP_MS: u32 = 12_000;
/// Probes go through within this time, in ms, besides the ways through the network. Servers may be busy, with small
/// queues, and refuse for a while.
const PROBING_MS: u32 = 45_000;

/// Slow networks and small queues may need so long, in ms, to deliver what clients left behind.
const DRAINING_MS: u32 = 40_000;
/// However long it takes, what gets shorter within so many ms does not stand still, and is waited for.
const STANDSTILL_MS: u32 = 10_000;
/// But no longer than that, in ms.
const MOST_DRAINING_MS: u32 = 600_000;

/// What became of a world.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was violated first, if anything was.
    pub violation: Option<Violation>,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// Simulated time in ms.
    pub simulated_ms: u32,
    /// Interesting states that were reached.
    pub states: States,
}

/// Runs the world of a plan.
///
/// # Panics
///
/// If the plan does not pass [`Plan::check`].
#[must_use]
pub fn run(plan: &Plan) -> Outcome {
    run_wrapped(plan, AsItIs)
}

/// The same with gateways that see the network through `wrap`.
///
/// # Panics
///
/// If the plan does not pass [`Plan::check`].
#[must_use]
pub fn run_wrapped(plan: &Plan, wrap: impl Wrap) -> Outcome {
    run_with(plan, wrap, Sabotage::None)
}

/// The same with clients and servers that are broken on purpose.
///
/// # Panics
///
/// If the plan does not pass [`Plan::check`].
#[must_use]
pub fn run_sabotaged(plan: &Plan, sabotage: Sabotage) -> Outcome {
    run_with(plan, AsItIs, sabotage)
}

fn run_with(plan: &Plan, wrap: impl Wrap, sabotage: Sabotage) -> Outcome {
    plan.check().expect("a plan is checked before it is run");
    catch_panics();
    PANIC.with_borrow_mut(|panicked| *panicked = Some(Vec::new()));
    let mut world = World::build(plan, wrap, sabotage);
    let ran = panic::catch_unwind(panic::AssertUnwindSafe(|| world.run()));
    let World { stage, sim, .. } = world;
    let (history, simulated_ms) = (stage.history.clone(), stage.history.now_ms());
    let events = history.take();
    // What hosts drop now is no part of the world any more.
    drop(panic::catch_unwind(panic::AssertUnwindSafe(|| drop(sim))));
    let panics = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
    let stuck = ran.ok().and_then(Result::err);
    let panicked = panics.first().map(|text| Violation::of_world("panic", simulated_ms, text.clone()));
    let judged = oracle::judge(plan, &events);
    let (failed_over, states) = judge::judge(plan, &events, judged.states);
    // What was wrong first may be the reason of the rest.
    let seen = judged.violation.into_iter().chain(failed_over).min_by_key(|violation| violation.index);
    let violation = panicked.or(seen).or(stuck);
    Outcome { violation, events, simulated_ms, states }
}

thread_local! {
    /// Panics on this thread while a world runs. turmoil and tokio swallow those of spawned tasks.
    static PANIC: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let in_world = PANIC.try_with(|panicked| {
                let Ok(mut panicked) = panicked.try_borrow_mut() else { return false };
                let in_world = panicked.as_mut();
                in_world.map(|panics| panics.push(info.to_string())).is_some()
            });
            if in_world != Ok(true) {
                usual(info);
            }
        }));
    });
}

fn has_panicked() -> bool {
    PANIC.with_borrow(|panicked| panicked.as_ref().is_some_and(|panics| !panics.is_empty()))
}

struct World<'a> {
    plan: &'a Plan,
    stage: Arc<Stage>,
    sim: Sim<'a>,
    hosts: Vec<String>,
    now_ms: u32,
    /// The most virtual connections that a gateway had at the same time.
    most_conns: usize,
    /// What was begun and not yet ended.
    in_force: Vec<InForce>,
}

/// A fault in force.
struct InForce {
    index: usize,
    end_ms: u32,
    end: End,
}

/// What the end of a fault takes.
enum End {
    Nothing,
    Start(Host),
    Restore(Host),
    Release(Vec<(Host, Host)>, Option<(Host, Host)>),
    Silence(WireId),
    Stall(Host),
    Slowness(Host, Host),
    Freeze(Host),
    Names(usize),
    /// The gateways that are still to be restarted, and the one that is down, since when.
    Rolling {
        left: Vec<u32>,
        down: Option<(u32, u32)>,
        down_ms: u32,
    },
}

impl<'a> World<'a> {
    fn build(plan: &'a Plan, wrap: impl Wrap, sabotage: Sabotage) -> Self {
        let latency = |ms: u32| Duration::from_millis(ms.into());
        let mut sim = Builder::new()
            .tick_duration(latency(plan.tick_ms))
            .epoch(SystemTime::UNIX_EPOCH)
            .simulation_duration(Duration::from_secs(24 * 3600))
            .min_message_latency(latency(plan.network.min_latency_ms))
            .max_message_latency(latency(plan.network.max_latency_ms))
            .tcp_capacity(TURMOIL_CAPACITY)
            .rng_seed(plan.seed)
            .enable_random_order()
            .build();
        let hosts = plan.topology.hosts();
        let addrs: Vec<_> = hosts.iter().map(|name| sim.lookup(name.as_str())).collect();
        let named = hosts.iter().cloned().zip(addrs.iter().copied()).collect();
        let net = Net::new(named, plan.network.socket_bytes, plan.network.chop, Seed(plan.seed));
        let stage = Stage::new(plan.clone(), net, addrs, sabotage);
        for index in 0..plan.topology.gateways {
            let (stage, wrap) = (stage.clone(), wrap.clone());
            sim.host(plan.topology.gateway(index), move || {
                actors::gateway(stage.clone(), index, wrap.clone())
            });
        }
        for index in 0..plan.topology.servers {
            let stage = stage.clone();
            sim.host(plan.topology.server(index), move || actors::server(stage.clone(), index));
        }
        for index in 0..plan.topology.client_hosts {
            let stage = stage.clone();
            sim.host(plan.topology.client_host(index), move || actors::clients(stage.clone(), index));
        }
        Self { plan, stage, sim, hosts, now_ms: 0, most_conns: 0, in_force: Vec::new() }
    }

    /// The whole life of the world.
    ///
    /// # Errors
    ///
    /// What does not come to its end in time, or is left over.
    fn run(&mut self) -> Result<(), Violation> {
        let plan = self.plan;
        self.stage.begin(Phase::Faults);
        let mut next = 0;
        while self.now_ms < plan.active_ms {
            while plan.faults.get(next).is_some_and(|fault| fault.at_ms <= self.now_ms) {
                self.begin_fault(next, &plan.faults[next]);
                next += 1;
            }
            self.end_faults(false);
            self.tick()?;
        }
        self.end_faults(true);
        self.stage.begin(Phase::Healing);
        if plan.gateway.client_idle_ms == 0 || plan.gateway.server_idle_ms == 0 {
            // Gateways that wait for ever rely on the kernel to find out who is gone.
            self.stage.net.lock().end_all_silence();
        }
        self.pass(plan.healing_ms())?;
        self.stage.begin(Phase::Draining);
        self.drain()?;
        self.stage.begin(Phase::Probing);
        let endpoint = &plan.endpoint;
        let journeys = 20 * plan.network.max_latency_ms;
        // What did not come through by then is the oracle's business.
        let until = self.now_ms + PROBING_MS + journeys;
        while self.now_ms < until && *self.stage.probes_left.lock() > 0 {
            self.tick()?;
        }
        self.stage.begin(Phase::Leaving);
        let deadlines = endpoint.connect_timeout_ms + endpoint.dial_timeout_ms + endpoint.close_timeout_ms;
        let longest = LEAVING_MS + deadlines + plan.gateway.stall_timeout_ms + STOP_MS + journeys;
        self.pass_until(longest, Self::who_is_left)?;
        for running in self.stage.gateways.lock().iter().flatten() {
            self.stage.history.note(What::GatewayStops(running.run));
            running.handle.stop();
        }
        self.pass_until(STOP_MS, Self::who_still_runs)
    }

    fn tick(&mut self) -> Result<(), Violation> {
        self.now_ms += self.plan.tick_ms;
        self.stage.history.set_now(self.now_ms);
        let stepped = self.sim.step();
        if has_panicked() {
            return Err(Violation::of_world("panic", self.now_ms, "a task has panicked".to_owned()));
        }
        stepped.map_err(|error| Violation::of_world("host failed", self.now_ms, error.to_string()))?;
        self.look_at_queues()
    }

    fn pass(&mut self, longest_ms: u32) -> Result<(), Violation> {
        let until = self.now_ms + longest_ms;
        while self.now_ms < until {
            self.tick()?;
        }
        Ok(())
    }

    /// Lets time pass until `waits_for` finds nothing to wait for.
    fn pass_until(
        &mut self,
        longest_ms: u32,
        waits_for: impl Fn(&mut Self) -> Option<String>,
    ) -> Result<(), Violation> {
        let until = self.now_ms + longest_ms;
        while let Some(reason) = waits_for(self) {
            if self.now_ms >= until {
                return Err(Violation::of_world("left over", self.now_ms, reason));
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Lets clients go and queues run empty, for as long as they get shorter.
    fn drain(&mut self) -> Result<(), Violation> {
        let end = self.now_ms + MOST_DRAINING_MS;
        let mut until = self.now_ms + DRAINING_MS;
        let mut shortest = usize::MAX;
        while self.now_ms < until.min(end) {
            let (clients, queued_bytes) = self.still_to_go();
            if clients == 0 && queued_bytes == 0 {
                break;
            }
            if queued_bytes < shortest {
                shortest = queued_bytes;
                until = until.max(self.now_ms + STANDSTILL_MS);
            }
            self.tick()?;
        }
        Ok(())
    }

    /// The clients of all gateways, and the bytes that wait in their queues.
    fn still_to_go(&self) -> (usize, usize) {
        let gateways = self.stage.gateways.lock();
        let counts = gateways.iter().flatten().map(|running| running.handle.counts());
        counts.fold((0, 0), |(clients, bytes), of| (clients + of.clients, bytes + of.queued_bytes))
    }

    /// Rules 14 and 15: the queues stay within their limits at all times, except for commands, of which there are a few
    /// for each virtual connection.
    fn look_at_queues(&mut self) -> Result<(), Violation> {
        const COMMANDS_BYTES: usize = 64;
        let plan = &self.plan.gateway;
        for running in self.stage.gateways.lock().iter().flatten() {
            let counts = running.handle.counts();
            // Connections that have ended can still have their Close in a queue.
            self.most_conns = self.most_conns.max(counts.conns);
            let limit = counts.clients * (plan.client_queue_bytes + COMMANDS_BYTES)
                + counts.servers * (plan.server_queue_bytes + COMMANDS_BYTES)
                + self.most_conns * COMMANDS_BYTES;
            // Those who have left the router and still write are counted in one of the two only.
            if counts.queued_bytes > counts.buffered_bytes {
                let text = format!("more is queued than waits: {counts:?}");
                return Err(Violation::of_world("rule 15: queues within limits", self.now_ms, text));
            }
            if counts.queued_bytes > limit {
                let text = format!("{} bytes are queued, {counts:?} allow {limit}", counts.queued_bytes);
                return Err(Violation::of_world("rule 15: queues within limits", self.now_ms, text));
            }
        }
        Ok(())
    }

    /// Everybody is to leave: who has not yet, and what gateways still know of them.
    fn who_is_left(&mut self) -> Option<String> {
        /// A gateway that serves nobody has a task for each port, and one that keeps house; a fourth one belongs to its host.
        const IDLE_TASKS: usize = 4;
        let topology = &self.plan.topology;
        for name in self.hosts.iter().skip(topology.gateways as usize) {
            if self.sim.is_host_running(name.as_str()) {
                return Some(format!("{name} has not left"));
            }
        }
        let gateways = self.stage.gateways.lock();
        for (index, running) in gateways.iter().enumerate() {
            let name = &self.hosts[index];
            let Some(running) = running else { return Some(format!("{name} does not run")) };
            let counts = running.handle.counts();
            if counts != fastway_gateway::Counts::default() {
                return Some(format!("everybody has left {name}, but it still counts {counts:?}"));
            }
            let tasks = running.runtime.metrics().num_alive_tasks();
            if tasks > IDLE_TASKS {
                return Some(format!("everybody has left {name}, but it has {tasks} tasks"));
            }
        }
        None
    }

    fn who_still_runs(&mut self) -> Option<String> {
        let (sim, topology) = (&mut self.sim, &self.plan.topology);
        let mut gateways = self.hosts.iter().take(topology.gateways as usize);
        gateways
            .find(|name| sim.is_host_running(name.as_str()))
            .map(|name| format!("{name} was told to stop, but runs"))
    }
}

/// Faults.
impl World<'_> {
    fn host(&self, name: &str) -> Host {
        Host(self.hosts.iter().position(|known| known == name).expect("the plan was checked"))
    }

    fn gateway_index(&self, name: &str) -> u32 {
        // Other hosts in the place of a gateway mean the first one: any schedule runs.
        let index = self.host(name).0 as u32;
        if index < self.plan.topology.gateways { index } else { 0 }
    }

    fn begin_fault(&mut self, index: usize, fault: &Fault) {
        self.stage.history.note(What::FaultBegins(index as u16));
        let end = match &fault.kind {
            Kind::Kill { host } => self.kill(self.host(host)),
            Kind::PowerLoss { host } => {
                let host = self.host(host);
                self.stage.net.lock().lose(host);
                self.kill(host);
                End::Restore(host)
            }
            Kind::Restart { host } => {
                let index = self.gateway_index(host);
                self.stop_gateway(index);
                End::Rolling { left: vec![], down: Some((index, self.now_ms)), down_ms: fault.len_ms }
            }
            Kind::RollingRestart { down_ms } => {
                let left = (0..self.plan.topology.gateways).rev().collect();
                End::Rolling { left, down: None, down_ms: *down_ms }
            }
            Kind::Hold { a, b } => self.hold_both(self.host(a), self.host(b), false),
            Kind::Partition { a, b } => self.hold_both(self.host(a), self.host(b), true),
            Kind::OneWay { from, to, given_up } => {
                let (from, to) = (self.host(from), self.host(to));
                self.stage.net.lock().hold(from, to);
                End::Release(vec![(from, to)], given_up.then_some((from, to)))
            }
            Kind::Reset { host, nth, after_bytes } => {
                if let Some(wire) = self.nth_wire(host, *nth) {
                    self.stage.net.lock().reset_after(wire, u64::from(*after_bytes));
                }
                End::Nothing
            }
            Kind::HalfOpen { host, nth } => match self.nth_wire(host, *nth) {
                Some(wire) => {
                    self.stage.net.lock().silence(wire);
                    End::Silence(wire)
                }
                None => End::Nothing,
            },
            Kind::StalledReader { host } => {
                let host = self.host(host);
                self.stage.net.lock().stall(host);
                End::Stall(host)
            }
            Kind::SlowLink { a, b, latency_ms } => {
                let latency = Duration::from_millis((*latency_ms).into());
                self.sim.set_link_latency(a.as_str(), b.as_str(), latency);
                End::Slowness(self.host(a), self.host(b))
            }
            Kind::Pause { host, jump_ms } => {
                let host = self.host(host);
                self.stage.net.lock().freeze(host);
                self.stage.jumps.lock().push((host, *jump_ms));
                End::Freeze(host)
            }
            Kind::ConnectStorm { gateway, count } => {
                self.order(Order::Storm { gateway: self.gateway_index(gateway), count: *count })
            }
            Kind::DuplicateServer { gateway, server } => self.order(Order::Duplicate {
                gateway: self.gateway_index(gateway),
                server: server % self.plan.topology.servers,
                len_ms: fault.len_ms,
            }),
            Kind::Malformed { gateway, as_server } => {
                self.order(Order::Malformed { gateway: self.gateway_index(gateway), as_server: *as_server })
            }
            Kind::Names { flap } => {
                self.stage.backstage.names.lock().begin(index, flap.clone());
                End::Names(index)
            }
        };
        self.in_force.push(InForce { index, end_ms: fault.end_ms(), end });
    }

    fn end_faults(&mut self, all: bool) {
        for mut fault in std::mem::take(&mut self.in_force) {
            if let End::Rolling { left, down, down_ms } = &mut fault.end {
                // It may take longer than planned: gateways flush what they have.
                self.roll(left, down, *down_ms);
            }
            if all || fault.end_ms <= self.now_ms {
                self.end_fault(fault.end);
                self.stage.history.note(What::FaultEnds(fault.index as u16));
            } else {
                self.in_force.push(fault);
            }
        }
    }

    fn end_fault(&mut self, end: End) {
        match end {
            End::Nothing => {}
            End::Start(host) => self.start(host),
            End::Restore(host) => {
                self.stage.net.lock().restore(host);
                self.start(host);
            }
            End::Release(held, given_up) => {
                let mut net = self.stage.net.lock();
                if let Some((a, b)) = given_up {
                    net.give_up_between(a, b);
                }
                held.into_iter().for_each(|(from, to)| net.release(from, to));
            }
            // The kernels' patience with it is over.
            End::Silence(wire) => self.stage.net.lock().reset(wire),
            End::Stall(host) => self.stage.net.lock().end_stall(host),
            End::Slowness(a, b) => {
                let (a, b) = (self.hosts[a.0].as_str(), self.hosts[b.0].as_str());
                let network = &self.plan.network;
                self.sim.set_link_latency(a, b, Duration::from_millis(network.min_latency_ms.into()));
                self.sim.set_link_max_message_latency(
                    a,
                    b,
                    Duration::from_millis(network.max_latency_ms.into()),
                );
            }
            End::Freeze(host) => {
                self.stage.net.lock().end_freeze(host);
                self.stage.jump.notify_waiters();
            }
            End::Names(index) => self.stage.backstage.names.lock().end(index),
            End::Rolling { down, .. } => {
                if let Some((index, _)) = down {
                    self.restart_gateway(index);
                }
            }
        }
    }

    fn order(&self, order: Order) -> End {
        let _ = self.stage.orders.send(order);
        End::Nothing
    }

    fn hold_both(&self, a: Host, b: Host, given_up: bool) -> End {
        let mut net = self.stage.net.lock();
        net.hold(a, b);
        net.hold(b, a);
        End::Release(vec![(a, b), (b, a)], given_up.then_some((a, b)))
    }

    fn nth_wire(&self, host: &str, nth: u32) -> Option<WireId> {
        let wires = self.stage.net.lock().open_wires(self.host(host));
        (!wires.is_empty()).then(|| wires[nth as usize % wires.len()])
    }

    fn kill(&mut self, host: Host) -> End {
        if self.sim.is_host_running(self.hosts[host.0].as_str()) {
            self.stage.history.note(What::HostDown(host));
            if let Some(running) = self.stage.gateways.lock().get_mut(host.0).and_then(Option::take) {
                self.stage.history.note(What::GatewayDown(running.run));
            }
            self.sim.crash(self.hosts[host.0].as_str());
            self.stage.net.lock().set_killed(host, true);
        }
        End::Start(host)
    }

    fn start(&mut self, host: Host) {
        if !self.sim.is_host_running(self.hosts[host.0].as_str()) {
            self.stage.net.lock().set_killed(host, false);
            self.sim.bounce(self.hosts[host.0].as_str());
            self.stage.history.note(What::HostUp(host));
        }
    }

    fn stop_gateway(&self, index: u32) {
        if let Some(running) = &self.stage.gateways.lock()[index as usize] {
            if self.plan.drain.first {
                self.stage.history.note(What::GatewayDrains(running.run));
                self.stage.history.note(What::GatewayStops(running.run));
                running.handle.drain();
            } else {
                self.stage.history.note(What::GatewayStops(running.run));
                running.handle.stop();
            }
        }
    }

    /// It has stopped, or was not quick enough about it.
    fn restart_gateway(&mut self, index: u32) {
        let host = Host(index as usize);
        let is_to_end = self.stage.gateways.lock()[host.0]
            .as_ref()
            .is_some_and(|running| running.handle.is_stopping() || running.handle.is_draining());
        if is_to_end {
            self.kill(host);
        }
        self.start(host);
    }

    /// One gateway after the other: told to stop or to drain, down for a while, started again.
    fn roll(&mut self, left: &mut Vec<u32>, down: &mut Option<(u32, u32)>, down_ms: u32) {
        if let Some((index, since)) = *down {
            let stopped = !self.sim.is_host_running(self.hosts[index as usize].as_str());
            if !stopped || self.now_ms < since + down_ms {
                return;
            }
            self.restart_gateway(index);
        }
        *down = left.pop().map(|index| (index, self.now_ms));
        if let Some((index, _)) = *down {
            self.stop_gateway(index);
        }
    }
}
