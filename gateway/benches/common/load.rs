//! A run of the load-testing tool's engine against a process: every echo is verified, and none may be missing.

use std::time::Duration;

use anyhow::{bail, ensure};
use fastway::net::TcpNetwork;
use fastway_loadgen::run::{self, Quiet};
use fastway_loadgen::{ArrivalKind, Load, Plan, Results, Stage};

use crate::served::Served;

/// Carries out the plan.
///
/// # Errors
///
/// If anything at all went wrong meanwhile.
pub(crate) fn verified(plan: &Plan, served: &Served) -> anyhow::Result<Results> {
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

/// The time that 99 of 100 round trips are not above, in µs, when so many begin a second, at random times.
pub(crate) fn p99(plan: &Plan, rate: f64, served: &Served) -> anyhow::Result<f64> {
    let stages =
        vec![Stage { duration: plan.duration.unwrap_or(Duration::from_secs(1)), from: rate, to: rate }];
    let load = Load::Open { stages, arrivals: ArrivalKind::Poisson };
    let results = verified(&Plan { load, ..plan.clone() }, served)?;
    let share = results.achieved_share().unwrap_or_default();
    ensure!(share > 0.99, "only {:.1} % of {rate:.0} messages a second came back", share * 100.0);
    Ok(results.metrics.response.percentile(99.0) as f64 / 1e3)
}
