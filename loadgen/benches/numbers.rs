//! The tool's own numbers, against a gateway that does nothing: how precisely it keeps to its schedule, what a verified round
//! trip costs it, how many it can make, and what connections take of its memory.
//!
//! ```sh
//! cargo bench -p fastway-loadgen
//! ```
//!
//! Leave the machine alone meanwhile: two threads of the tool and one of the gateway share its cores.

#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::net::TcpNetwork;
use fastway_loadgen::floor::Floor;
use fastway_loadgen::run::{self, Quiet};
use fastway_loadgen::{ArrivalKind, Load, Plan, Results, Stage, Verify};

/// Each number is the median of so many.
const SERIES: usize = 3;

fn main() -> anyhow::Result<()> {
    // `cargo test` builds benches and may run them with this flag: then there is nothing to measure.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    println!("{:44}{:>12}{:>14}", "", "measured", "wanted");
    schedule()?;
    for (name, threads, inflight, verify, wanted) in [
        ("100 × 16 in flight, 64 B, verified, 1 thread", 1, 16, Verify::Full, ""),
        ("the same, not verified", 1, 16, Verify::Off, ""),
        ("the same, verified, 2 threads", 2, 16, Verify::Full, "≥ 1000k"),
        ("100 × 1 in flight, 64 B, verified, 1 thread", 1, 1, Verify::Full, ""),
    ] {
        round_trips(name, threads, inflight, verify, wanted)?;
    }
    memory()
}

fn measure(plan: &Plan) -> anyhow::Result<Results> {
    let plan = Plan { targets: vec![Floor::start()?], ..plan.clone() };
    let results = run::run(&plan, vec![TcpNetwork::new()], &mut Quiet)?;
    ensure!(results.failure.is_none(), "{:?}", results.failure);
    ensure!(
        results.there.is_clean() && results.back.is_clean() && results.back.balances(),
        "messages were lost"
    );
    Ok(results)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn series(plan: &Plan) -> anyhow::Result<Vec<Results>> {
    (0..SERIES).map(|_| measure(plan)).collect()
}

/// How late messages are picked up at ten thousand a second.
fn schedule() -> anyhow::Result<()> {
    let rate = 10_000.0;
    let seconds = Duration::from_secs(5);
    let stages = vec![Stage { duration: seconds, from: rate, to: rate }];
    let load = Load::Open { stages, arrivals: ArrivalKind::Uniform };
    let plan = Plan { load, duration: Some(seconds), ..Plan::default() };
    let all = series(&plan)?;
    let lag =
        |percent| median(all.iter().map(|run| run.metrics.lag.percentile(percent) as f64 / 1e3).collect());
    let busy = median(all.iter().map(|run| run.threads[0].busy() * 100.0).collect());
    println!("{:44}{:>9.0} µs{:>14}", "lag at 10k messages/s, 1 thread, p50", lag(50.0), "≤ 100 µs");
    println!("{:44}{:>9.0} µs{:>14}", "  p99", lag(99.0), "≤ 300 µs");
    println!("{:44}{:>10.0} %{:>14}", "  the thread was busy", busy, "≤ 50 %");
    Ok(())
}

fn round_trips(
    name: &str,
    threads: usize,
    inflight: u32,
    verify: Verify,
    wanted: &str,
) -> anyhow::Result<()> {
    let plan = Plan {
        load: Load::Closed { inflight },
        duration: Some(Duration::from_secs(3)),
        threads,
        verify,
        ..Plan::default()
    };
    let all = series(&plan)?;
    let rate = median(all.iter().map(Results::achieved_rate).collect());
    let cpu = |run: &Results| {
        let cpu: u64 = run.threads.iter().map(|thread| thread.cpu_ns).sum();
        cpu as f64 / 1e3 / run.tally.measured_received.max(1) as f64
    };
    println!("{name:44}{:>10.0}k/s{wanted:>12}", rate / 1e3);
    println!("{:44}{:>9.2} µs", "  of the tool's CPU for each", median(all.iter().map(cpu).collect()));
    Ok(())
}

/// Each measurement in a process of its own, which tells how much memory it had in the end.
fn memory() -> anyhow::Result<()> {
    let rss = |clients: usize, conns: usize| -> anyhow::Result<f64> {
        let gateway = Floor::start()?;
        let target = format!("{}/{}", gateway.client_addr, gateway.server_addr);
        let file = std::env::temp_dir().join(format!("loadgen-memory-{}.json", std::process::id()));
        let (clients, conns) = (clients.to_string(), conns.to_string());
        let ran = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["run", &target, "-c", &clients, "--conns", &conns, "-R", "1", "-d", "3s", "-q", "--json"])
            .arg(&file)
            .output()?;
        let report =
            std::fs::read(&file).with_context(|| String::from_utf8_lossy(&ran.stderr).into_owned())?;
        std::fs::remove_file(&file)?;
        let report: serde_json::Value = serde_json::from_slice(&report)?;
        report["generator"]["rss_bytes"].as_f64().context("the report has no memory")
    };
    let (nobody, links, conns) = (rss(1, 1)?, rss(9_000, 1)?, rss(9_000, 11)?);
    println!("{:44}{:>10.0} B{:>14}", "memory of an idle link", (links - nobody) / 9_000.0, "≤ 4096 B");
    println!(
        "{:44}{:>10.0} B{:>14}",
        "memory of an idle virtual connection",
        (conns - links) / 90_000.0,
        "≤ 512 B"
    );
    Ok(())
}
