//! How close the gateway is to the floor: the least that forwarding takes with epoll on one thread.
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench data_plane
//! ```
//!
//! The gateway and the floor ([`fastway_loadgen::floor`]) run as processes of their own, and take turns: floor, gateway, floor,
//! gateway. What else happens on the machine meanwhile befalls both, and the ratio of neighbours is worth more than two figures
//! of different minutes. A result is the median of the rounds' ratios, with the lowest and the highest beside it.
//!
//! What is measured is the CPU time of the process for each round trip, not how many there are a second: that depends on the
//! tool, which shares the machine. CPU time and round trips are counted over the same time, without the warm-up.
//!
//! - `rows.rs` says what is measured, and what is wanted; `work.rs` measures round trips, `dials.rs` dials, `idle.rs` what
//!   connections take that nobody uses, `growth.rs` what they cost those that are used.
//! - `pair.rs` starts both, `peers.rs` and `crowd.rs` play clients and servers that only speak commands.
//! - `report.rs` prints and writes, `plot.rs` draws.
//! - What other benches use too is in `../common`.
//!
//! Leave the machine alone meanwhile. Exit codes: 0 everything is as wanted, 1 something is missed, 2 it could not be measured.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, runs on the machine's real time and threads, and its peers use sockets of their own"
)]

#[path = "../common/interrupt.rs"]
mod interrupt;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/nofile.rs"]
mod nofile;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/results.rs"]
mod results;
#[path = "../common/served.rs"]
mod served;
#[path = "../common/started.rs"]
mod started;
#[path = "../common/text.rs"]
mod text;
#[path = "../common/values.rs"]
mod values;

mod crowd;
mod dials;
mod growth;
mod idle;
mod options;
mod pair;
mod peers;
mod plot;
mod report;
mod rows;
mod series;
mod work;

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use fastway_loadgen::floor::Floor;

use crate::options::Options;
use crate::report::Report;

fn main() -> ExitCode {
    program::run(|options: &Options| match &options.role.crowd {
        Some(crowd) => crowd::play(crowd).map(|()| true),
        None if options.role.floor => floor().map(|()| true),
        None => bench(options),
    })
}

/// Measures everything that was asked for. Whether it is as it should be.
fn bench(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    nofile::raise_files();
    let is_wanted = |row: &rows::Row| options.wants(&row.name) && (!options.brief || row.is_brief());
    let rows: Vec<_> = rows::all().into_iter().filter(is_wanted).collect();
    let idle = !options.brief && idle::NAMES.iter().any(|name| options.wants(name));
    let growth = !options.brief && growth::NAMES.iter().any(|name| options.wants(name));
    ensure!(
        !rows.is_empty() || idle || growth,
        "--only {}: nothing is called that; there are:\n  {}",
        options.only.as_deref().unwrap_or_default(),
        rows::names().join("\n  ")
    );
    let mut report = Report::new(options);
    report.head();
    for row in rows {
        report.add(row.measure(options, &report.bar)?);
    }
    if idle {
        idle::measure(options, &mut report)?;
    }
    if growth {
        growth::measure(options, &mut report)?;
    }
    report.finish()
}

/// Serves as the floor, in a process of its own, until it is killed or the bench is gone.
fn floor() -> anyhow::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let floor = Floor::bind().context("the floor cannot listen on the loopback address")?;
    let target = floor.target()?;
    println!("{} {}", target.client_addr, target.server_addr);
    floor.serve()?;
    Ok(())
}
