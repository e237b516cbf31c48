//! Everything at once, for as long as you like: is anything left behind, does anything grow, is anything lost?
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench soak -- --for 2h
//! ```
//!
//! Guests come and go all the time: clients that verify every echo and are called back by their servers, clients that never read,
//! clients that flood a server that reads slowly, servers that take each other's ID over, peers that break the protocol. What they
//! do is drawn from a seed. The gateway runs in a child process, this program once more, that tells what it counts; memory and
//! open files are looked at from outside. In the end everybody leaves, and then nothing may be left.
//!
//! - `guests.rs` says who is there: `visits.rs`, `hosts.rs` and `rivals.rs` are those who behave, those who do not are in
//!   `../common`
//! - `process.rs` starts the gateway and asks it
//! - `samples.rs` looks at it, `verdict.rs` judges, `plot.rs` draws
//!
//! Exit codes: 0 nothing was found, 1 something was, 2 it could not be tried.

#![expect(
    clippy::disallowed_macros,
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
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/nofile.rs"]
mod nofile;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/slow.rs"]
mod slow;
#[path = "../common/text.rs"]
mod text;
#[path = "../common/wire.rs"]
mod wire;

mod child;
mod guests;
mod hosts;
mod options;
mod plot;
mod rivals;
mod samples;
mod tally;
mod verdict;
mod visits;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use fastway::command::ToGateway;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::child::GatewayProcess;
use crate::guests::Guests;
use crate::options::Options;
use crate::samples::{Sample, Samples};
use crate::verdict::Verdict;

/// As the gateway's own binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the gateway is looked at.
const SAMPLING: Duration = Duration::from_secs(1);

/// How often a line is printed if nobody watches.
const PRINTING: u32 = 10;

/// So long the gateway has, in the end, to forget those who have left.
const LEAVING: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    program::run(
        |options: &Options| {
            if options.gateway { child::serve(options).map(|()| true) } else { soak(options) }
        },
    )
}

/// Whether nothing was found.
fn soak(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    nofile::raise_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut gateway = GatewayProcess::start(options)?;
        wake(&gateway, options.threads).await?;
        let mut samples = Samples::start(&mut gateway)?;
        println!("{}", machine::Machine::here());
        let (time, seed) = (humantime::format_duration(options.time), options.seed);
        println!("for {time}, seed {seed}; the gateway is process {}", gateway.pid());
        let mut guests = Guests::arrive(gateway.target(), options.seed).await?;
        let stayed = stay(options, &mut guests, &mut gateway, &mut samples).await;
        let found = match stayed {
            Ok(()) => guests.leave().await,
            Err(failure) => Err(failure),
        };
        interrupt::check()?;
        if found.is_ok() {
            forget(&mut gateway, &mut samples).await?;
        }
        if let Some(folder) = &options.svg {
            plot::draw(&samples, folder)?;
        }
        Ok(Verdict::of(&samples, &found).print())
    })
}

/// A client for each thread of the gateway, so that all of them have started; then the gateway is at rest.
async fn wake(gateway: &GatewayProcess, threads: u16) -> anyhow::Result<()> {
    let ping = ToGateway::Ping.encode();
    for _ in 0..threads {
        let mut client = wire::client(&gateway.target().client_addr).await?;
        client.write_all(ping.as_ref()).await?;
        client.read_exact(&mut vec![0; ping.as_ref().len()]).await.context("the gateway does not answer")?;
    }
    sleep(SAMPLING).await;
    Ok(())
}

/// Lets them do what they do for as long as was asked for.
///
/// # Errors
///
/// If something is not as it should be, at once.
async fn stay(
    options: &Options,
    guests: &mut Guests,
    gateway: &mut GatewayProcess,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
    });
    let end = Instant::now() + options.time;
    let mut ticks = interval(SAMPLING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u32.. {
        guests.watch_until(ticks.tick()).await?;
        interrupt::check()?;
        let sample = samples.take(gateway)?;
        let line = || format!("{sample}; {}", guests.tally);
        match &bar {
            Some(bar) => bar.set_message(line()),
            None if number.is_multiple_of(PRINTING) => println!("{}", line()),
            None => {}
        }
        if Instant::now() >= end {
            break;
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    println!("{}", guests.tally);
    Ok(())
}

/// Waits until the gateway has forgotten everybody, but not for ever, and looks at it a last time when it is at rest.
async fn forget(gateway: &mut GatewayProcess, samples: &mut Samples) -> anyhow::Result<()> {
    let deadline = Instant::now() + LEAVING;
    loop {
        let last = Sample::of(gateway, samples.age())?;
        if last.is_like(&samples.first) || Instant::now() > deadline {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(SAMPLING).await;
    samples.last = Some(Sample::of(gateway, samples.age()).context("the gateway did not survive")?);
    Ok(())
}
