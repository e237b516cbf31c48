//! What this machine can do, before anything is loaded: files, ports, memory, the precision of its timers, and this tool's
//! own ceiling against a gateway that does nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use console::Style;
use fastway::net::TcpNetwork;
use procfs::{Current as _, Meminfo};
use rustix::process::{Resource, getrlimit};

use crate::clock::{Clock, MILLI};
use crate::floor::Floor;
use crate::limits;
use crate::plan::{Load, Plan};
use crate::run::{self, Quiet};
use crate::stats::{Results, Times};
use crate::timer::Timer;

/// What one client and one of its virtual connections take of this tool's memory, in bytes, at most.
const CLIENT_BYTES: u64 = 4096;
const CONN_BYTES: u64 = 512;

/// Alarms that are set to see how late they are, 1 ms apart.
const ALARMS: usize = 1000;

/// A timer that is later than this at p99 cannot keep to a schedule, in ns.
const LATE: u64 = 300_000;

/// A run that is to be judged, and how long to try.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Clients of the run that is planned
    #[arg(short, long, value_name = "N", default_value = "10000")]
    clients: u64,

    /// Virtual connections of each
    #[arg(long, value_name = "N", default_value = "4")]
    conns: u64,

    /// Threads for the ceiling [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Leave the ceiling out, which takes some seconds
    #[arg(long)]
    no_ceiling: bool,
}

/// One line of the examination.
struct Finding {
    name: &'static str,
    is_good: bool,
    text: String,
    remedy: String,
}

/// Examines the machine. Exit code 1 if the run that is planned cannot be made here.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    let mut all_good = true;
    let _ = writeln!(
        std::io::stdout(),
        "for {} clients with {} virtual connections each\n",
        flags.clients,
        flags.conns
    );
    for examine in [files, ports, memory, timer, ceiling] {
        let finding = examine(flags).unwrap_or_else(|error| Finding {
            name: "failed",
            is_good: false,
            text: format!("{error:#}"),
            remedy: String::new(),
        });
        all_good &= finding.is_good;
        // If nobody reads it, there is still the exit code.
        let _ = std::io::stdout().write_all(finding.to_string().as_bytes());
    }
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.text.is_empty() {
            return Ok(());
        }
        let (mark, style) =
            if self.is_good { ("good", Style::new().green()) } else { ("  no", Style::new().red().bold()) };
        writeln!(f, "{}  {:<8} {}", style.apply_to(mark), self.name, self.text)?;
        if !self.is_good && !self.remedy.is_empty() {
            writeln!(f, "               {}", self.remedy)?;
        }
        Ok(())
    }
}

fn files(flags: &Flags) -> anyhow::Result<Finding> {
    let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = limits::raise_files();
    let needed = flags.clients + limits::OTHER_FILES;
    let raised = if before < limit { format!(" (raised from {before})") } else { String::new() };
    Ok(Finding {
        name: "files",
        is_good: needed <= limit,
        text: format!("{limit} may be open{raised}, {needed} are needed"),
        remedy: format!("ulimit -n {needed}, or LimitNOFILE={needed} in a systemd unit"),
    })
}

fn ports(flags: &Flags) -> anyhow::Result<Finding> {
    let limit = limits::local_ports();
    let sources = flags.clients.div_ceil(limit);
    Ok(Finding {
        name: "ports",
        is_good: sources <= 1,
        text: format!("{limit} from one address to one port, {} are needed", flags.clients),
        remedy: format!(
            "connect from {sources} addresses (--source; on loopback that happens by itself), or widen \
             net.ipv4.ip_local_port_range"
        ),
    })
}

fn memory(flags: &Flags) -> anyhow::Result<Finding> {
    let info = Meminfo::current().context("the kernel does not say how much memory there is")?;
    let available = info.mem_available.unwrap_or(info.mem_free);
    let needed = flags.clients * (CLIENT_BYTES + flags.conns * CONN_BYTES);
    let mib = |bytes: u64| bytes / (1024 * 1024);
    Ok(Finding {
        name: "memory",
        is_good: needed < available / 2,
        text: format!(
            "{} MiB available, {} MiB are needed at most; the kernel's buffers come on top",
            mib(available),
            mib(needed)
        ),
        remedy: "use fewer clients, or several machines".to_owned(),
    })
}

/// How late alarms are, and how long a look at the clock takes.
fn timer(_: &Flags) -> anyhow::Result<Finding> {
    let clock = Clock::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let late = runtime.block_on(async {
        let mut timer = Timer::new(clock)?;
        let mut late = Times::default();
        for _ in 0..ALARMS {
            let at = clock.now() + MILLI;
            timer.set(at)?;
            std::future::poll_fn(|cx| timer.poll(cx)).await?;
            late.record(clock.now().saturating_sub(at));
        }
        std::io::Result::Ok(late)
    })?;
    let looks = 10_000;
    let before = clock.now();
    for _ in 0..looks {
        std::hint::black_box(clock.now());
    }
    let look = (clock.now() - before) / looks;
    let micros = |nanos: u64| nanos as f64 / 1e3;
    Ok(Finding {
        name: "timer",
        is_good: late.percentile(99.0) <= LATE,
        text: format!(
            "late by {:.0} µs at p50, {:.0} µs at p99, {:.0} µs at most; a look at the clock takes {look} ns",
            micros(late.percentile(50.0)),
            micros(late.percentile(99.0)),
            micros(late.max())
        ),
        remedy: "something else keeps this machine busy: end it, or times below a millisecond mean nothing"
            .to_owned(),
    })
}

/// How fast this tool is when the gateway is no obstacle.
fn ceiling(flags: &Flags) -> anyhow::Result<Finding> {
    let mut text = String::new();
    if flags.no_ceiling {
        return Ok(Finding { name: "ceiling", is_good: true, text, remedy: String::new() });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = flags.threads.unwrap_or((cores / 2).max(1));
    for (inflight, name) in [(16, "16 in flight"), (1, "1 in flight")] {
        let network = TcpNetwork::new();
        let plan = Plan {
            targets: vec![Floor::start()?],
            load: Load::Closed { inflight },
            warm_up: Duration::from_millis(300),
            duration: Some(Duration::from_secs(2)),
            threads,
            ..Plan::default()
        };
        let results = run::run(&plan, vec![network], &mut Quiet)?;
        if let Some(failure) = results.failure {
            anyhow::bail!("{failure}");
        }
        let indent = if text.is_empty() { "" } else { "\n               " };
        let _ = write!(
            text,
            "{indent}{:.0}k round trips/s with {name}, {:.2} µs of this tool's CPU each",
            results.achieved_rate() / 1e3,
            cpu_per_round_trip(&results) / 1e3
        );
    }
    let _ = write!(
        text,
        "\n               (100 clients, 64 B, verified, {threads} threads, a gateway that does nothing)"
    );
    Ok(Finding { name: "ceiling", is_good: true, text, remedy: String::new() })
}

/// In ns.
fn cpu_per_round_trip(results: &Results) -> f64 {
    let cpu: u64 = results.threads.iter().map(|thread| thread.cpu_ns).sum();
    cpu as f64 / results.tally.measured_received.max(1) as f64
}
