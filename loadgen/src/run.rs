//! A run from its beginning to its end: starts the threads, leads them from step to step, adds up what they tell.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fastway::net::Network;
use rustix::process::{Resource, getrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use crate::arrivals::Share;
use crate::clock::{Clock, MILLI, Nanos, nanos};
use crate::control::{Common, Control, Event, Report};
use crate::message::Filler;
use crate::plan::Plan;
use crate::shard::Shard;
use crate::stats::{Interval, Results};
use crate::target::{Watch, own_memory};
use crate::work::rng;

/// The first message is due so long after everything is ready: every thread has heard of it by then.
const LEAD: Nanos = 60 * MILLI;

/// How often signals are looked for while nothing happens.
const TICK: Duration = Duration::from_millis(50);

/// Threads end so long after the grace for what is open; one that does not has a fault.
const LATE: Duration = Duration::from_secs(5);

/// Somebody who is told how a run goes.
pub trait Observer {
    /// What is being done before messages are sent, and after.
    fn stage(&mut self, text: &str);
    /// An interval is over, so long after the first message was due. In the order of time.
    fn interval(&mut self, elapsed: Duration, interval: &Interval);
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn stage(&mut self, _: &str) {}
    fn interval(&mut self, _: Duration, _: &Interval) {}
}

/// Runs a plan on these networks, links in turn on each. Ends by itself, or with SIGINT or SIGTERM: then what is open may
/// still come back, and the results say so. A second signal ends the process.
///
/// # Errors
///
/// If the operating system refuses threads, timers or signals. What goes wrong with the gateway is part of the results.
pub fn run<N: Network>(plan: &Plan, networks: Vec<N>, observer: &mut dyn Observer) -> io::Result<Results> {
    let clock = Clock::start();
    let (events, heard) = mpsc::unbounded_channel();
    let filler =
        Filler::new(&mut rng(plan.seed, 0, 0), plan.max_packet.max_message_bytes().min(longest(plan)));
    let control = Arc::new(Control::default());
    let common = Common {
        plan: Arc::new(plan.clone()),
        networks: networks.into(),
        clock,
        filler: Arc::new(filler),
        control: control.clone(),
        events,
    };
    for index in 0..plan.threads {
        start_thread(common.clone(), Share { index, of: plan.threads })?;
    }
    drop(common);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::new()?;
        let leader = Leader {
            plan,
            clock,
            control,
            heard,
            signals,
            observer,
            results: Results { both_sides: plan.clients > 0 && plan.servers > 0, ..Results::default() },
            intervals: BTreeMap::new(),
            reports: Vec::new(),
            progress: vec![(0, 0); plan.threads],
            watch: plan.target_pid.map(Watch::new),
            start: 0,
            has_clients: true,
        };
        Ok(leader.lead().await)
    })
}

/// The longest message that will be sent: the filler has to cover it.
fn longest(plan: &Plan) -> usize {
    match plan.sizes {
        crate::plan::Sizes::Fixed(size) | crate::plan::Sizes::Uniform(_, size) => size,
        crate::plan::Sizes::Lognormal { .. } => usize::MAX,
    }
}

#[expect(clippy::disallowed_methods, reason = "a load-testing tool runs on the machine's real threads")]
fn start_thread<N: Network>(common: Common<N>, share: Share) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("loadgen-{}", share.index)).spawn(move || {
        let events = common.events.clone();
        let _told = TellOfPanic(events.clone());
        let ran = runtime.block_on(async {
            let shard = Shard::new(common, share)?;
            shard.run().await
        });
        if let Err(error) = ran {
            let _ = events.send(Event::Failed(format!("a thread of this tool failed: {error}")));
        }
    })?;
    Ok(())
}

/// A thread that panics would be waited for in vain.
struct TellOfPanic(UnboundedSender<Event>);

impl Drop for TellOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ =
                self.0.send(Event::Failed("a thread of this tool panicked; that is a bug of it".to_owned()));
        }
    }
}

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The number of a signal that has come.
    pub(crate) fn poll(&mut self) -> Option<i32> {
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        if self.interrupt.poll_recv(cx).is_ready() {
            return Some(2);
        }
        self.terminate.poll_recv(cx).is_ready().then_some(15)
    }
}

/// Who leads a run.
struct Leader<'a> {
    plan: &'a Plan,
    clock: Clock,
    control: Arc<Control>,
    heard: UnboundedReceiver<Event>,
    signals: Signals,
    observer: &'a mut dyn Observer,
    results: Results,
    /// By index: those that not every thread has told of yet, and how many have.
    intervals: BTreeMap<u64, (usize, Interval)>,
    reports: Vec<Report>,
    /// Of each thread: links and lanes.
    progress: Vec<(u64, u64)>,
    watch: Option<Watch>,
    /// When the first message was due.
    start: Nanos,
    /// There are clients, if there should be.
    has_clients: bool,
}

impl Leader<'_> {
    async fn lead(mut self) -> Results {
        let is_ready = self.connect().await;
        self.results.files.0 = open_files();
        if is_ready {
            let start = self.clock.now() + LEAD;
            self.start = start;
            self.control.start(start);
            self.observer.stage("sending");
            self.send(start).await;
            self.results.rss_bytes = own_memory();
        }
        self.control.stop();
        self.observer.stage("waiting for what is open");
        let patience = self.plan.grace + LATE;
        let deadline = self.clock.now() + nanos(patience);
        while self.reports.len() < self.plan.threads && self.clock.now() < deadline {
            if let Some(event) = self.next().await {
                self.note(event);
            }
        }
        self.sum_up()
    }

    /// Servers first, then clients. Whether there is something to send with.
    async fn connect(&mut self) -> bool {
        let servers = self.plan.servers * self.plan.targets.len();
        if !self.all_threads("registering servers", servers as u64, 0).await {
            return false;
        }
        self.control.connect_clients();
        let lanes = self.plan.clients * self.plan.conns_per_client;
        let links = servers + self.plan.clients;
        if !self.all_threads("connecting clients", links as u64, lanes as u64).await {
            return false;
        }
        let (up, _) = self.sum_of_progress();
        self.has_clients = self.plan.clients == 0 || up > servers as u64;
        self.has_clients
    }

    fn sum_of_progress(&self) -> (u64, u64) {
        self.progress.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    /// Waits until every thread has taken a step. `false`: it will not come to that.
    async fn all_threads(&mut self, stage: &str, links: u64, lanes: u64) -> bool {
        let mut there = 0;
        while there < self.plan.threads {
            if self.is_over() {
                return false;
            }
            match self.next().await {
                Some(Event::ServersUp | Event::ClientsUp) => there += 1,
                Some(event) => {
                    let is_progress = matches!(event, Event::Progress { .. });
                    self.note(event);
                    if is_progress {
                        let (up, open) = self.sum_of_progress();
                        let conns = if lanes > 0 {
                            format!(", {open} of {lanes} virtual connections")
                        } else {
                            String::new()
                        };
                        self.observer.stage(&format!("{stage}: {up} of {links}{conns}"));
                    }
                }
                None => {}
            }
        }
        true
    }

    async fn send(&mut self, start: Nanos) {
        let watch_from = start + nanos(self.plan.warm_up);
        let end = self.plan.duration.map(|duration| watch_from + nanos(duration));
        let mut is_watched = true;
        loop {
            let now = self.clock.now();
            if let Some(watch) = &mut self.watch
                && now >= watch_from
                && is_watched
            {
                watch.look(now);
            }
            // The last look is the first one at the end.
            is_watched = end.is_none_or(|end| now < end);
            if self.is_over()
                || self.reports.len() == self.plan.threads
                || end.is_some_and(|end| now > end + MILLI)
            {
                return;
            }
            // The process has to be looked at when the measurement begins and when it ends, not just some time.
            let next_look = [Some(watch_from), end].into_iter().flatten().filter(|at| *at > now).min();
            let patience = next_look.map_or(TICK, |at| TICK.min(Duration::from_nanos(at - now)));
            if let Some(event) = self.next_within(patience).await {
                self.note(event);
            }
        }
    }

    /// The next event, or nothing for a tick.
    async fn next(&mut self) -> Option<Event> {
        self.next_within(TICK).await
    }

    async fn next_within(&mut self, patience: Duration) -> Option<Event> {
        let event = timeout(patience, self.heard.recv()).await.ok().flatten();
        if let Some(signal) = self.signals.poll()
            && self.results.interrupted.replace(signal).is_some()
        {
            std::process::exit(128 + signal);
        }
        event
    }

    fn is_over(&self) -> bool {
        self.results.interrupted.is_some() || self.results.failure.is_some()
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Progress { thread, links, lanes } => self.progress[thread] = (links, lanes),
            Event::Failed(text) => {
                self.results.failure.get_or_insert(text);
            }
            Event::Interval(interval) => self.note_interval(*interval),
            Event::Done(report) => self.reports.push(*report),
            Event::ServersUp | Event::ClientsUp => {}
        }
    }

    fn note_interval(&mut self, interval: Interval) {
        let index = interval.index;
        match self.intervals.entry(index) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert((1, interval))),
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let (threads, sum) = entry.get_mut();
                *threads += 1;
                sum.add(&interval);
            }
        }
        while let Some(first) = self.intervals.first_entry()
            && first.get().0 == self.plan.threads
        {
            let (_, interval) = first.remove();
            self.interval_is_over(&interval);
        }
    }

    fn interval_is_over(&mut self, interval: &Interval) {
        self.results.metrics.add(&interval.metrics);
        self.results.tally.add(&interval.tally);
        let elapsed = interval.to_ns.saturating_sub(self.start);
        self.observer.interval(Duration::from_nanos(elapsed), interval);
    }

    fn sum_up(mut self) -> Results {
        // Should a thread have been late, what the others know still counts.
        for (_, interval) in std::mem::take(&mut self.intervals).into_values() {
            self.interval_is_over(&interval);
        }
        let mut results = self.results;
        for report in &self.reports {
            results.there.add(&report.there);
            results.back.add(&report.back);
            results.errors.add(&report.errors);
            results.threads.push(report.used);
        }
        let windows = self.reports.iter().map(|report| report.window);
        results.measured_from_ns = windows.clone().map(|(from, _)| from).max().unwrap_or(0);
        results.measured_to_ns = windows.map(|(_, to)| to).max().unwrap_or(0);
        if results.both_sides {
            // Whoever was dialled saw what it got; what was sent to it, whoever dialled knows.
            let there = &mut results.there;
            there.sent = results.back.sent;
            there.open = there.sent.saturating_sub(there.received + there.count(crate::Fault::Lost));
        } else {
            results.there.sent = results.there.received + results.there.count(crate::Fault::Lost);
        }
        if results.seconds() > 0.0 && self.plan.load.mean_rate().is_some() {
            results.target_rate = Some(results.tally.measured_due as f64 / results.seconds());
        }
        if !self.has_clients {
            let worst = results.errors.0.values().max_by_key(|group| group.count);
            let example = worst.map_or_else(String::new, |group| format!(": {}", group.example));
            results.failure.get_or_insert(format!("no client could connect{example}"));
        }
        results.target = self.watch.and_then(|watch| watch.used());
        results.files = (results.files.0, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
        results.ports = ports(self.plan);
        if self.reports.len() < self.plan.threads {
            results.failure.get_or_insert("a thread of this tool did not end in time".to_owned());
        }
        results
    }
}

fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
}

/// The most connections from one address to one port, and how many the kernel has ports for.
fn ports(plan: &Plan) -> (u64, u64) {
    let sources = plan.sources.len().max(1);
    let from_one = plan.clients.div_ceil(plan.targets.len()).div_ceil(sources) as u64;
    (from_one, crate::limits::local_ports())
}
