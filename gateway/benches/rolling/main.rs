//! All gateways are restarted, one after the other, while everybody talks: is a message lost?
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench rolling
//! ```
//!
//! Several gateways, each a process of its own; servers that are connected to all of them and echo; clients that are connected to
//! one of them each, and turn to another one when that tells them to go. One gateway after the other gets SIGTERM, drains, ends,
//! and is started again on the same ports.
//!
//! A message *counts as accepted* when the client has written all of it to its connection before it saw the end of that. Nobody
//! but the client can know better: it may have been in the client's own kernel, on its way, or in the gateway. Each has to reach
//! its server: whole, once, in order, and before the server learns that the client has gone. An echo that was written before the
//! gateway began to close the client has to arrive as well; nobody can see that instant from outside, so what is judged is how
//! long before the client saw the end the oldest of those was written that did not arrive.
//!
//! - `clients.rs` and `servers.rs` are the peers: sockets of their own, not the library that knows how to behave
//! - `ledger.rs` is what both have seen
//! - `report.rs` compares and judges
//!
//! Exit codes: 0 nothing was lost, 1 something was not as wanted, 2 it could not be tried.

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, runs on the machine's real time and threads, and its peers use sockets of their own"
)]

#[path = "../common/interrupt.rs"]
mod interrupt;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/nofile.rs"]
mod nofile;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/started.rs"]
mod started;
#[path = "../common/text.rs"]
mod text;
#[path = "../common/wire.rs"]
mod wire;

mod clients;
mod gateways;
mod ledger;
mod options;
mod report;
mod servers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clients::Crowd;
use crate::gateways::{GatewayProcess, Restart};
use crate::ledger::Ledger;
use crate::options::Options;
use crate::report::Report;

/// Everybody talks for so long before the first restart, between two of them, and after the last one.
const CALM: Duration = Duration::from_secs(2);

/// So long clients have in the end to hear their last echoes.
const LEAVING: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    program::run(rolling)
}

/// Whether everything was as wanted.
fn rolling(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    nofile::raise_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut gateways: Vec<_> =
            (0..options.gateways).map(|_| GatewayProcess::start(options)).collect::<Result<_, _>>()?;
        println!("{}", machine::Machine::here());
        println!("{options}");
        let (ledger, stop) = (Arc::new(Ledger::new()), CancellationToken::new());
        let mut servers = JoinSet::new();
        for id in 1..=options.servers {
            for gateway in &gateways {
                servers.spawn(servers::serve(gateway.server_addr.clone(), id, ledger.clone(), stop.clone()));
            }
        }
        let addrs = gateways.iter().map(|gateway| gateway.client_addr.clone()).collect();
        let crowd =
            Arc::new(Crowd { addrs, ledger: ledger.clone(), stop: stop.clone(), options: options.clone() });
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..options.clients {
            clients.spawn(clients::run(crowd.clone(), number));
        }
        let mut restarts = Vec::new();
        for _ in 0..options.rounds {
            for (index, gateway) in gateways.iter_mut().enumerate() {
                calm(&mut clients).await?;
                restarts.push(restart(index, gateway, options).await?);
            }
        }
        calm(&mut clients).await?;
        let talked = begun.elapsed();
        stop.cancel();
        let leaving = async {
            while let Some(ended) = clients.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        timeout(LEAVING, leaving).await.context("clients still wait for their last echoes")??;
        drop(gateways);
        while let Some(ended) = servers.join_next().await {
            ended??;
        }
        Ok(Report::new(options, &ledger, &restarts, talked).print())
    })
}

/// Lets them talk, unless something is not as it should be.
async fn calm(clients: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let end = sleep(CALM);
    tokio::select! {
        biased;
        Some(ended) = clients.join_next() => {
            ended??;
            anyhow::bail!("a client has left too soon")
        }
        () = end => interrupt::check(),
    }
}

/// SIGTERM, its end, and the next one on the same ports.
async fn restart(index: usize, gateway: &mut GatewayProcess, options: &Options) -> anyhow::Result<Restart> {
    let told = Instant::now();
    gateway.terminate()?;
    let longest = options.longest();
    let code = loop {
        if let Some(status) = gateway.child.try_wait()? {
            break status.code();
        }
        interrupt::check()?;
        if told.elapsed() > longest {
            break None;
        }
        sleep(Duration::from_millis(2)).await;
    };
    let ended = Instant::now();
    gateway.start_again(options)?;
    Ok(Restart { gateway: index, told, ended, code })
}
