//! What peers that mean no good can do to the gateway, and to those who share it with them.
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench hostile
//! ```
//!
//! The gateway runs as a process of its own and is looked at from outside. Where it says *in turn*, the same work of good clients
//! is measured without and with the bad ones, one after the other, several times; the result is the median of the rounds' ratios.
//! What good clients send and get is verified all the while, and each measurement verifies that what it is about did happen.
//!
//! - `announced.rs`: clients that announce large frames and do not send them
//! - `slow_clients.rs`: clients that never read
//! - `garbage_peers.rs`: peers that break the protocol
//! - `stopped_server.rs`: clients that flood a server that does not read
//! - `killed_peers.rs`, `restless.rs`, `witness.rs`: peers that die in the middle of something
//!
//! Exit codes: 0 everything is as wanted, 1 something is missed or went wrong, 2 it was interrupted or could not begin.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, runs on the machine's real time and threads, and its peers use sockets of their own"
)]

#[path = "../common/files.rs"]
mod files;
#[path = "../common/flood.rs"]
mod flood;
#[path = "../common/garbage.rs"]
mod garbage;
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
#[path = "../common/slow.rs"]
mod slow;
#[path = "../common/started.rs"]
mod started;
#[path = "../common/text.rs"]
mod text;
#[path = "../common/values.rs"]
mod values;
#[path = "../common/wire.rs"]
mod wire;

mod announced;
mod background;
mod garbage_peers;
mod killed_peers;
mod options;
mod report;
mod restless;
mod slow_clients;
mod stopped_server;
mod turns;
mod witness;

use std::process::ExitCode;

use anyhow::ensure;

use crate::options::Options;
use crate::report::Report;

/// Measures something and reports it.
type Measure = fn(&Options, &mut Report<'_>) -> anyhow::Result<()>;

/// Everything that is measured, by its name.
const ROWS: [(&str, Measure); 5] = [
    (announced::NAME, announced::measure),
    (slow_clients::NAME, slow_clients::measure),
    (garbage_peers::NAME, garbage_peers::measure),
    (stopped_server::NAME, stopped_server::measure),
    (killed_peers::NAME, killed_peers::measure),
];

fn main() -> ExitCode {
    program::run(|options: &Options| match &options.restless {
        Some(role) => restless::play(role).map(|()| true),
        None => bench(options),
    })
}

/// Measures everything that was asked for. Whether it is as it should be.
fn bench(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    nofile::raise_files();
    let rows: Vec<_> = ROWS.into_iter().filter(|(name, _)| options.wants(name)).collect();
    ensure!(
        !rows.is_empty(),
        "--only {}: nothing is called that; there are:\n  {}",
        options.only.as_deref().unwrap_or_default(),
        ROWS.map(|(name, _)| name).join("\n  ")
    );
    let mut report = Report::new(options);
    report.head();
    for (name, measure) in rows {
        report.bar.set_message(name);
        let measured = measure(options, &mut report);
        interrupt::check()?;
        if let Err(error) = measured {
            report.fail(name, &error);
        }
    }
    report.finish()
}
