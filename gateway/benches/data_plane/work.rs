//! What round trips cost, with the load-testing tool's engine.

use anyhow::Context as _;
use fastway_loadgen::{Load, Plan, Sizes, Verify};

use crate::load;
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
        let results = load::verified(&self.plan(options), served)?;
        let used = results.target.context("the process that is measured is gone")?;
        // Both are rates of what was measured; should the last look at the process be a little late, it does not matter.
        let cpu_per_second = used.cpu_ns as f64 / used.wall_ns as f64;
        Ok(cpu_per_second * 1e6 / results.achieved_rate())
    }

    /// Round trips a second.
    pub(crate) fn rate(self, options: &Options, served: &Served) -> anyhow::Result<f64> {
        Ok(load::verified(&self.plan(options), served)?.achieved_rate())
    }

    /// The time that 99 of 100 round trips are not above, in µs, when so many begin a second, at random times.
    pub(crate) fn p99_at(self, rate: f64, options: &Options, served: &Served) -> anyhow::Result<f64> {
        load::p99(&self.plan(options), rate, served)
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
