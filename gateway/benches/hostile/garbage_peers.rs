//! Peers that break the protocol and go: nothing is left of them, and good clients hardly notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::background::Background;
use crate::files::open_files;
use crate::garbage::Garbage;
use crate::load;
use crate::options::Options;
use crate::report::Report;
use crate::served::Served;
use crate::text::grouped;
use crate::turns::in_turn;

pub(crate) const NAME: &str = "garbage";

/// All that come.
const PEERS: usize = 100_000;

/// The good ones, and the messages that they send a second, in all.
const CLIENTS: usize = 100;
const RATE: f64 = 5000.0;

/// So long the gateway has to close what is to be closed.
const CLOSING: Duration = Duration::from_secs(10);

/// The allocator keeps some pages, and how many is not always the same.
const WANTED_KIB: f64 = 1024.0;

const WANTED_RATIO: f64 = 2.0;

pub(crate) fn measure(options: &Options, report: &mut Report<'_>) -> anyhow::Result<()> {
    let gateway = Served::gateway(&options.gateway, &["--threads", "1"])?;
    let plan = options.plan(CLIENTS);
    let peers = options.scaled(PEERS) as u64;
    let each = peers.div_ceil(u64::from(options.rounds()));
    let time = plan.warm_up + plan.duration.unwrap_or_default();
    let rate = each as f64 / time.as_secs_f64();
    let done = Arc::new(AtomicU64::new(0));
    let files_before = open_files(gateway.pid())?;
    // In the first rounds, the allocator still finds out what it will need again.
    let mut memory = Vec::new();
    let mut seed = options.seed;
    let compared = in_turn(options.rounds(), report, |with| {
        seed += 1 << 32;
        let (target, done, garbage) = (gateway.target().clone(), done.clone(), Garbage { rate, seed });
        let bad_ones =
            with.then(|| Background::start(move |stop| garbage.run(target, each, stop, done))).transpose()?;
        let p99 = load::p99(&plan, RATE, &gateway)?;
        if let Some(bad_ones) = bad_ones {
            bad_ones.wait()?;
            settle(gateway.pid(), files_before)?;
            memory.push(gateway.rss_bytes()?);
        }
        Ok(p99)
    })?;
    let done = done.load(Ordering::Relaxed);
    ensure!(done >= peers, "only {done} of {peers} have come and gone");
    let all = grouped(done);
    let files = settle(gateway.pid(), files_before)?.saturating_sub(files_before);
    report.add(format!("{NAME}: open files that are left of {all} peers"), files as f64, "", 0.0);
    let growth = memory.last().unwrap_or(&0.0) - memory.get(memory.len() / 2).unwrap_or(&0.0);
    let name = format!("{NAME}: memory, from the middle round of them to the last");
    report.add_in_the_long_run(name, growth.max(0.0) / 1024.0, "KiB", WANTED_KIB);
    let rounds: Vec<_> = memory.iter().map(|bytes| format!("{:.1}", bytes / 1024.0 / 1024.0)).collect();
    report.note(&format!("after each round: {} MiB", rounds.join(", ")));
    let per_second = grouped(rate as u64);
    report.add_compared(
        format!("{NAME}: p99 of {CLIENTS} clients, {per_second} bad peers/s"),
        compared,
        WANTED_RATIO,
    );
    Ok(())
}

/// Waits until there are no more open files than before, but not for ever. How many there are then.
fn settle(pid: i32, before: usize) -> anyhow::Result<usize> {
    let deadline = Instant::now() + CLOSING;
    loop {
        let files = open_files(pid)?;
        if files <= before || Instant::now() > deadline {
            return Ok(files);
        }
        sleep(Duration::from_millis(10));
    }
}
