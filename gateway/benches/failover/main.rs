//! Gateways and servers fail, each on a host of its own: how long is nobody served, and what is lost?
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench failover
//! ```
//!
//! Three hosts with a gateway each, one with servers, one with a thousand clients; the hosts are network namespaces of this
//! machine, so it takes root. Clients and servers are those of `loadgen failover`. Then a gateway is killed, the cable of
//! another one is pulled, a server is killed, a gateway drains, and all gateways are killed; each of them comes back.
//!
//! - `../common/hosts.rs` makes the network, and removes it
//! - `world.rs` starts everybody, `tool.rs` makes this program the load-testing tool
//! - `steps.rs` is what fails, `judge.rs` what is wanted
//!
//! Exit codes: 0 everything is as wanted, 1 something is not, 2 it could not be tried.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and runs on the machine's real time and threads"
)]

#[path = "../common/hosts.rs"]
mod hosts;
#[path = "../common/interrupt.rs"]
mod interrupt;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/nofile.rs"]
mod nofile;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/results.rs"]
mod results;
#[path = "../common/started.rs"]
mod started;

mod judge;
mod options;
mod steps;
mod tool;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use crate::judge::Wanted;
use crate::options::Options;
use crate::world::{Places, Setup, World};

/// As the gateway's own binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tool::be().unwrap_or_else(|| program::run(failover))
}

/// Whether everything is as wanted.
fn failover(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    nofile::raise_files();
    println!("{}", machine::Machine::here());
    println!("{options}");
    let progress = results::progress();
    progress.set_message("starting");
    let mut world = World::start(setup(options), Places::make()?)?;
    steps::take_all(&mut world, options.detection, |step| progress.set_message(step))?;
    progress.finish_and_clear();
    let report = world.end()?;
    results::write_json(&results::json_path(options.json.as_deref(), "failover.json")?, &report)?;
    let wanted = Wanted {
        seen: Duration::from_secs(1),
        detection: options.detection,
        server: Duration::from_secs(1),
        connects_per_s: options.accept_rate,
    };
    let outcomes: Vec<_> = steps::ALL.iter().map(|step| wanted.judge(*step, &report)).collect();
    Ok(judge::print(&outcomes, &report))
}

fn setup(options: &Options) -> Setup {
    Setup {
        gateway: options.gateway.clone(),
        tool_args: &[],
        clients: options.clients as usize,
        servers: options.servers as usize,
        pace: options.pace,
        detection: options.detection,
        spread: options.spread,
        accept_rate: options.accept_rate,
        drain_timeout: options.drain_timeout,
        drain_spread: options.drain_spread,
        svg: options.svg.clone(),
    }
}
