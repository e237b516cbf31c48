//! Clients that never read what their server floods them with: they are cut off, and come again. The others wait for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;

use crate::background::Background;
use crate::load;
use crate::options::Options;
use crate::report::Report;
use crate::served::Served;
use crate::slow::Slow;
use crate::text::grouped;
use crate::turns::in_turn;

pub(crate) const NAME: &str = "slow clients";

/// All of them, and the slow ones among them.
const CLIENTS: usize = 10_000;
const SLOW: usize = 100;

/// Messages that the good ones send a second, in all.
const RATE: f64 = 5000.0;

/// Messages that each slow one is sent a second. A thousand may wait in the gateway for it, and some two thousand in the kernel.
const FLOOD: f64 = 2500.0;

const WANTED: f64 = 1.1;

pub(crate) fn measure(options: &Options, report: &mut Report<'_>) -> anyhow::Result<()> {
    let (clients, slow) = (options.scaled(CLIENTS), options.scaled(SLOW));
    let gateway = Served::gateway(&options.gateway, &["--threads", "1"])?;
    let plan = options.plan(clients - slow);
    let cut_offs = Arc::new(AtomicU64::new(0));
    let compared = in_turn(options.rounds(), report, |with| {
        let (target, counter) = (gateway.target().clone(), cut_offs.clone());
        let flooded = Slow { server: 1000, clients: slow, rate: FLOOD };
        let slow_ones = with.then(|| Background::start(move |stop| flooded.run(target, stop, counter)));
        let slow_ones = slow_ones.transpose()?;
        let before = cut_offs.load(Ordering::Relaxed);
        let p99 = load::p99(&plan, RATE, &gateway)?;
        if let Some(slow_ones) = slow_ones {
            let cut_off = cut_offs.load(Ordering::Relaxed) - before;
            slow_ones.finish()?;
            ensure!(cut_off >= slow as u64, "of {slow} clients that never read, only {cut_off} were cut off");
        }
        Ok(p99)
    })?;
    let name =
        format!("{NAME}: p99 of {} clients, {slow} others never read", grouped((clients - slow) as u64));
    report.add_compared(name, compared, WANTED);
    let cut_offs = cut_offs.load(Ordering::Relaxed);
    report.note(&format!("the slow ones were cut off {} times", grouped(cut_offs)));
    Ok(())
}
