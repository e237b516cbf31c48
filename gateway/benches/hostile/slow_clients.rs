//! Clients that never read what their server floods them with: they are cut off, and come again. The others wait for nothing,
//! but for the flood itself: so what is compared is the same flood to clients that do read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;

use crate::background::Background;
use crate::load;
use crate::options::Options;
use crate::report::Report;
use crate::served::Served;
use crate::slow::Slow;
use crate::text::{grouped, significant};
use crate::turns::in_turn;
use crate::values::Series;

pub(crate) const NAME: &str = "slow clients";

/// All of them, and the slow ones among them.
const CLIENTS: usize = 10_000;
const SLOW: usize = 100;

/// Messages that the good ones send a second, in all.
const RATE: f64 = 5000.0;

/// The ID of the server that floods.
const SERVER: u32 = 1000;

/// Messages that each slow one is sent a second. A thousand may wait in the gateway for it, and some two thousand in the kernel.
const FLOOD: f64 = 2500.0;

const WANTED: f64 = 1.1;

pub(crate) fn measure(options: &Options, report: &mut Report<'_>) -> anyhow::Result<()> {
    let (clients, slow) = (options.scaled(CLIENTS), options.scaled(SLOW));
    let gateway = Served::gateway(&options.gateway, &["--threads", "1"])?;
    let plan = options.plan(clients - slow);
    let cut_offs = Arc::new(AtomicU64::new(0));
    let mut unflooded = Vec::new();
    let compared = in_turn(options.rounds(), report, |never_read| {
        if !never_read {
            unflooded.push(load::p99(&plan, RATE, &gateway)?);
        }
        let before = cut_offs.load(Ordering::Relaxed);
        let flooded = Slow { server: SERVER, clients: slow, rate: FLOOD, read: !never_read };
        let (target, counter) = (gateway.target().clone(), cut_offs.clone());
        let flood = Background::start(move |stop| flooded.run(target, stop, counter))?;
        let p99 = load::p99(&plan, RATE, &gateway)?;
        let cut_off = cut_offs.load(Ordering::Relaxed) - before;
        flood.finish()?;
        ensure!(
            !never_read || cut_off >= slow as u64,
            "of {slow} clients that never read, only {cut_off} were cut off"
        );
        Ok(p99)
    })?;
    let good = grouped((clients - slow) as u64);
    let name = format!("{NAME}: p99 of {good} others, {slow} never read (against: they read)");
    report.add_compared(name, compared, WANTED);
    report.note(&format!(
        "p99 {} µs without a flood; the slow ones were cut off {} times",
        significant(Series::new(unflooded).median),
        grouped(cut_offs.load(Ordering::Relaxed))
    ));
    Ok(())
}
