//! Many worlds on several threads, each thread with worlds of its own.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::{Refusal, Worlds, commit, complain, say};
use crate::plan::Plan;
use crate::states::State;
use crate::world::{self, Outcome};

/// Violations that are named one by one.
const NAMED: usize = 20;

/// Run the worlds of many seeds.
#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// From the first to before the last, such as 0..1000.
    #[arg(long, value_parser = seeds)]
    seeds: Seeds,
    /// Threads. As many as there are cores, unless told otherwise.
    #[arg(long)]
    jobs: Option<std::num::NonZeroUsize>,
    /// Fail if an interesting state was never reached.
    #[arg(long)]
    all_states: bool,
    #[command(flatten)]
    kind: Worlds,
}

/// A range of seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    pub(super) first: u64,
    pub(super) end: u64,
}

pub(super) fn seeds(text: &str) -> Result<Seeds, String> {
    let wrong = || "seeds are given as FIRST..END, such as 0..1000; END itself is not run".to_owned();
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let (first, end) = (first.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?);
    if first < end { Ok(Seeds { first, end }) } else { Err(wrong()) }
}

/// What a sweep has seen.
#[derive(Debug)]
pub struct Tally {
    /// Worlds.
    pub worlds: u64,
    /// Events in all of them.
    pub events: u64,
    /// Simulated time of each, in ms.
    pub simulated_ms: Vec<u32>,
    /// Seeds and what they violated.
    pub violations: Vec<(u64, String)>,
    /// In how many worlds each of [`State::ALL`] was reached.
    pub reached: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let reached = vec![0; State::ALL.len()];
        Self { worlds: 0, events: 0, simulated_ms: Vec::new(), violations: Vec::new(), reached }
    }
}

impl Tally {
    /// Adds a world.
    pub fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.worlds += 1;
        self.events += outcome.events.len() as u64;
        self.simulated_ms.push(outcome.simulated_ms);
        if let Some(violation) = &outcome.violation {
            self.violations.push((seed, violation.to_string()));
        }
        for (state, count) in State::ALL.iter().zip(&mut self.reached) {
            *count += u64::from(outcome.states.has(*state));
        }
    }

    /// States that no world reached: those that any world can reach, or those of worlds of many gateways.
    pub fn never_reached(&self, failover: bool) -> impl Iterator<Item = State> {
        let states = State::ALL.iter().zip(&self.reached).filter(|(_, count)| **count == 0);
        states.map(|(state, _)| *state).filter(move |state| state.is_of_failover() == failover)
    }

    fn median_ms(&self) -> u32 {
        let mut sorted = self.simulated_ms.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Runs the worlds that `plan_of` makes of these seeds, on so many threads; `seen` is told of each. Stops early when `seen` says
/// no.
pub fn sweep(
    plan_of: impl Fn(u64) -> Plan + Sync,
    first: u64,
    end: u64,
    jobs: usize,
    seen: impl Fn(u64, &Outcome) -> bool + Sync,
) {
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || !seen(seed, &world::run(&plan_of(seed))) {
                        return;
                    }
                }
            });
        }
    });
}

impl Sweep {
    pub(super) fn run(self) -> Result<ExitCode, Refusal> {
        let Seeds { first, end } = self.seeds;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let jobs = self.jobs.map_or(cores, std::num::NonZeroUsize::get);
        let bar = ProgressBar::new(end - first).with_style(style());
        bar.enable_steady_tick(Duration::from_millis(200));
        let tally = Mutex::new(Tally::default());
        let interrupted = interruption()?;
        sweep(
            |seed| self.kind.plan(seed),
            first,
            end,
            jobs,
            |seed, outcome| {
                let mut tally = tally.lock();
                tally.add(seed, outcome);
                if let Some((seed, text)) = tally.violations.last().filter(|(last, _)| *last == seed) {
                    bar.suspend(|| complain(&format!("seed {seed}: {text}")));
                }
                let simulated: u64 = tally.simulated_ms.iter().map(|ms| u64::from(*ms)).sum();
                bar.set_message(format!(
                    "{} s simulated, {:.1} M events, {} violations",
                    simulated / 1000,
                    tally.events as f64 / 1e6,
                    tally.violations.len()
                ));
                bar.inc(1);
                interrupted.load(Ordering::Relaxed) == 0
            },
        );
        bar.finish_and_clear();
        Ok(self.summarise(&tally.into_inner(), jobs, bar.elapsed()))
    }

    fn summarise(&self, tally: &Tally, jobs: usize, elapsed: Duration) -> ExitCode {
        let Seeds { first, end } = self.seeds;
        let seconds = elapsed.as_secs_f64();
        let commit = commit().unwrap_or_else(|| "unknown".to_owned());
        say(&format!("commit {commit}, seeds {first}..{end}, {jobs} threads, {seconds:.0} s"));
        say(&format!(
            "{} worlds, {:.1} a second and thread; {:.1} s simulated in the median; {:.1} million events",
            tally.worlds,
            tally.worlds as f64 / seconds / jobs as f64,
            f64::from(tally.median_ms()) / 1000.0,
            tally.events as f64 / 1e6
        ));
        say("\n   worlds  reached");
        let failover = self.kind.failover;
        let known = State::ALL.iter().zip(&tally.reached);
        for (state, count) in known.filter(|(state, _)| failover || !state.is_of_failover()) {
            say(&format!("{count:>9}  {state}"));
        }
        say(&format!("\n{} violations", tally.violations.len()));
        for (seed, violation) in tally.violations.iter().take(NAMED) {
            let flag = self.kind.flag();
            say(&format!("  cargo run --release --bin sim run{flag} --seed {seed}   # {violation}"));
        }
        let missed: Vec<String> = tally.never_reached(failover).map(|state| state.to_string()).collect();
        if !missed.is_empty() && self.all_states {
            complain(&format!("never reached: {}", missed.join("; ")));
        }
        let failed = !tally.violations.is_empty() || (self.all_states && !missed.is_empty());
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len}  {per_sec}  {msg}  {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Counts Ctrl-C. The first one lets the worlds that run come to their end.
#[expect(clippy::disallowed_methods, reason = "waiting for a signal is no part of any world")]
fn interruption() -> Result<std::sync::Arc<AtomicU64>, Refusal> {
    let count = std::sync::Arc::new(AtomicU64::new(0));
    let counting = count.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Refusal::new)?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if counting.fetch_add(1, Ordering::Relaxed) > 0 {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(count)
}
