//! What round trips cost, with the load-testing tool's engine: every echo is verified, and none may be missing.

use anyhow::{Context as _, bail, ensure};
use fastway::net::TcpNetwork;
use fastway_loadgen::run::{self, Quiet};
use fastway_loadgen::{ArrivalKind, Load, Plan, Results, Sizes, Stage, Verify};

use crate::options::Options;
use crate::served::Served;

/// A load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) clients: usize,
    pub(crate) inflight: u32,
    pub(crate) bytes: usize,
}

impl Work {
    /// CPU time of the process for each round trip, in µs.
    pub(crate) fn cpu_per_round_trip(self, options: &Options, served: &Served) -> anyhow::Result<f64> {
        let results = run(&self.plan(options), served)?;
        let used = results.target.context("the process that is measured is gone")?;
        // Both are rates of what was measured; should the last look at the process be a little late, it does not matter.
        let cpu_per_second = used.cpu_ns as f64 / used.wall_ns as f64;
        Ok(cpu_per_second * 1e6 / results.achieved_rate())
    }

    /// Round trips a second.
    pub(crate) fn rate(self, options: &Options, served: &Served) -> anyhow::Result<f64> {
        Ok(run(&self.plan(options), served)?.achieved_rate())
    }

    /// The time that 99 of 100 round trips are not above, in µs, when so many begin a second, at random times.
    pub(crate) fn p99_at(self, rate: f64, options: &Options, served: &Served) -> anyhow::Result<f64> {
        let stages = vec![Stage { duration: options.turn(), from: rate, to: rate }];
        let load = Load::Open { stages, arrivals: ArrivalKind::Poisson };
        let results = run(&Plan { load, ..self.plan(options) }, served)?;
        let share = results.achieved_share().unwrap_or_default();
        ensure!(share > 0.99, "only {:.1} % of {rate:.0} messages a second came back", share * 100.0);
        Ok(results.metrics.response.percentile(99.0) as f64 / 1e3)
    }

    fn plan(self, options: &Options) -> Plan {
        Plan {
            clients: self.clients,
            load: Load::Closed { inflight: self.inflight },
            sizes: Sizes::Fixed(self.bytes),
            verify: Verify::Full,
            warm_up: options.warm_up(),
            duration: Some(options.turn()),
            ..Plan::default()
        }
    }
}

fn run(plan: &Plan, served: &Served) -> anyhow::Result<Results> {
    let plan =
        Plan { targets: vec![served.target().clone()], target_pid: Some(served.pid()), ..plan.clone() };
    plan.check()?;
    let results = run::run(&plan, vec![TcpNetwork::new()], &mut Quiet)?;
    if results.interrupted.is_some() {
        bail!("interrupted");
    }
    if let Some(failure) = &results.failure {
        bail!("{failure}");
    }
    if let Some(error) = results.errors.0.values().next() {
        bail!("{} ({} errors)", error.example, results.errors.total());
    }
    let (there, back) = (&results.there, &results.back);
    ensure!(
        there.is_clean() && back.is_clean() && back.balances(),
        "messages were lost or damaged: of {} sent, {} came, and {} of their echoes",
        there.sent,
        there.received,
        back.received
    );
    ensure!(results.achieved_rate() > 0.0, "no message came back");
    Ok(results)
}
