//! The binary `loadgen`: commands, and the process around a run.
//!
//! Exit codes: 0 passed, 1 could not run, 2 wrong usage, 3 a threshold failed, 4 messages were lost or wrong, 5 INVALID: the
//! numbers say more of this tool than of the gateway, 130 and 143 interrupted, with a report.

mod failover;
mod flags;
mod parse;
mod tls;

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use fastway::net::TcpNetwork;

use self::failover::Failover;
use self::flags::{ClientFlags, Flags, LoadFlags, OutputFlags, ServerFlags, SharedFlags, Sides, ToolFlags};
use crate::live::Live;
use crate::plan::{Plan, Target};
use crate::report::{self, HdrLog, Series};
use crate::run::{self, Observer};
use crate::stats::Interval;
use crate::verdict::Verdict;
use crate::{demo, doctor, limits};

const COULD_NOT_RUN: u8 = 1;
const USAGE_ERROR: u8 = 2;

/// How long a demo is measured.
const DEMO: Duration = Duration::from_secs(5);
/// How long a run is measured, unless told otherwise.
const RUN: Duration = Duration::from_secs(10);

/// The load-testing tool of fastway: drives a gateway with thousands of virtual connections, and tells the truth about what
/// it saw.
///
/// Latency counts from when a message was meant to be sent. Every message is verified. The report says whether the numbers
/// can be trusted: VALID, or INVALID with the reason.
///
/// Without a command it runs the demo: a gateway, servers and clients in one process, for five seconds.
///
/// Exit codes: 0 passed, 1 could not run, 2 wrong usage, 3 a threshold failed, 4 messages were lost or wrong, 5 INVALID,
/// 130 or 143 interrupted, with a report.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play both sides: servers that register at the internal address and echo, clients that dial them
    Run(Run),
    /// Play only the servers, on another machine than the clients
    Serve(Serve),
    /// Play only the clients; servers are there already
    Drive(Drive),
    /// Measure failures of gateways and servers: how long clients are without service, and what is lost
    Failover(Failover),
    /// The whole of it in one process, with a gateway of its own: nothing else is needed
    Demo(BothFlags),
    /// What this machine can do, before anything is loaded
    Doctor(doctor::Flags),
    /// Print a completion script for a shell
    Completions {
        /// Which one
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Gateways: PUBLIC/INTERNAL, each HOST:PORT; what is left out is port 7010, and the same host with port 7020
    #[arg(value_name = "TARGET", value_parser = parse::target, default_value = "127.0.0.1:7010/127.0.0.1:7020")]
    targets: Vec<Target>,
    #[command(flatten)]
    flags: BothFlags,
}

/// Flags of those who play both sides.
#[derive(Debug, Args)]
struct BothFlags {
    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    clients: ClientFlags,
    #[command(flatten)]
    servers: ServerFlags,
    #[command(flatten)]
    shared: SharedFlags,
    #[command(flatten)]
    tool: ToolFlags,
    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Debug, Args)]
struct Serve {
    /// Internal addresses of gateways, HOST:PORT
    #[arg(value_name = "INTERNAL", default_value = "127.0.0.1:7020")]
    targets: Vec<String>,
    /// Serve for so long [default: until interrupted]
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    servers: ServerFlags,
    #[command(flatten)]
    shared: SharedFlags,
    #[command(flatten)]
    tool: ToolFlags,
    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Debug, Args)]
struct Drive {
    /// Public addresses of gateways, HOST:PORT
    #[arg(value_name = "PUBLIC", value_parser = parse::target, default_value = "127.0.0.1:7010")]
    targets: Vec<Target>,
    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    clients: ClientFlags,
    #[command(flatten)]
    shared: SharedFlags,
    #[command(flatten)]
    tool: ToolFlags,
    #[command(flatten)]
    output: OutputFlags,
}

/// Runs the process: flags in, exit code out.
#[must_use]
pub fn main() -> ExitCode {
    main_of(std::env::args_os())
}

/// The same for another program that is this one too: what was typed, the program's name first.
#[must_use]
pub fn main_of(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Cli::parse_from(args).command {
        Some(command) => command,
        None => match Cli::parse_from(["loadgen", "demo"]).command {
            Some(command) => command,
            None => unreachable!("a command was named"),
        },
    };
    command.obey()
}

impl Command {
    fn obey(self) -> ExitCode {
        match self {
            Self::Run(Run { targets, flags }) => plan_and_go(flags.of(targets, RUN), &flags.output),
            Self::Serve(serve) => {
                let Serve { targets, duration, servers, shared, tool, output } = &serve;
                let parsed: Result<Vec<Target>, String> =
                    targets.iter().map(|target| parse::target(&format!("{target}/{target}"))).collect();
                let targets = match parsed {
                    Ok(targets) => targets,
                    Err(error) => return fail(USAGE_ERROR, &anyhow::Error::msg(error)),
                };
                let flags = Flags {
                    sides: Sides::Servers,
                    targets,
                    load: None,
                    clients: None,
                    servers: Some(servers),
                    shared,
                    tool,
                    output,
                    default_duration: *duration,
                };
                plan_and_go(flags, output)
            }
            Self::Drive(drive) => {
                let Drive { targets, load, clients, shared, tool, output } = &drive;
                let flags = Flags {
                    sides: Sides::Clients,
                    targets: targets.clone(),
                    load: Some(load),
                    clients: Some(clients),
                    servers: None,
                    shared,
                    tool,
                    output,
                    default_duration: Some(RUN),
                };
                plan_and_go(flags, output)
            }
            Self::Failover(failover) => failover.obey(),
            Self::Demo(flags) => demo(&flags),
            Self::Doctor(flags) => doctor::run(&flags),
            Self::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "loadgen", &mut std::io::stdout());
                ExitCode::SUCCESS
            }
        }
    }
}

impl BothFlags {
    fn of(&self, targets: Vec<Target>, duration: Duration) -> Flags<'_> {
        let Self { load, clients, servers, shared, tool, output } = self;
        Flags {
            sides: Sides::Both,
            targets,
            load: Some(load),
            clients: Some(clients),
            servers: Some(servers),
            shared,
            tool,
            output,
            default_duration: Some(duration),
        }
    }
}

fn demo(flags: &BothFlags) -> ExitCode {
    // Its ports are known when it listens.
    let nowhere = Target { client_addr: String::new(), server_addr: String::new() };
    let mut plan = match flags.of(vec![nowhere], DEMO).plan() {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE_ERROR, &error),
    };
    if plan.client_tls.is_some() || plan.server_tls.is_some() {
        let sentence = "a demo's gateway has no TLS: leave --tls and --server-tls out, or start a gateway with TLS, and loadgen run";
        return fail(USAGE_ERROR, &anyhow::Error::msg(sentence));
    }
    if let Err(error) = limits::prepare(&plan, limits::Gateway::Here) {
        return fail(COULD_NOT_RUN, &error.into());
    }
    let gateway = match demo::Gateway::start(&plan) {
        Ok(gateway) => gateway,
        Err(error) => return fail(COULD_NOT_RUN, &error),
    };
    plan.targets = vec![gateway.target()];
    go(&plan, &flags.output)
}

fn plan_and_go(flags: Flags<'_>, output: &OutputFlags) -> ExitCode {
    let plan = match flags.plan() {
        Ok(plan) => plan,
        Err(error) => return fail(USAGE_ERROR, &error),
    };
    if let Err(error) = limits::prepare(&plan, limits::Gateway::Elsewhere) {
        return fail(COULD_NOT_RUN, &error.into());
    }
    go(&plan, output)
}

fn go(plan: &Plan, output: &OutputFlags) -> ExitCode {
    match run_and_report(plan, output) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(COULD_NOT_RUN, &error),
    }
}

/// The one sentence that says why there is no run.
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    // If nobody reads it, there is still the exit code.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(code)
}

fn run_and_report(plan: &Plan, output: &OutputFlags) -> anyhow::Result<u8> {
    // Files are opened before the run: it would be a pity to find out after it that they cannot be.
    let mut writers = Writers::open(plan, output)?;
    let json = output.json.as_deref().map(|path| create(path).map(|file| (path, file))).transpose()?;
    let text = output.output.as_deref().map(|path| create(path).map(|file| (path, file))).transpose()?;
    let networks = if plan.sources.is_empty() {
        vec![TcpNetwork::new()]
    } else {
        plan.sources.iter().map(|source| TcpNetwork::new().from_source(*source)).collect()
    };
    let mut results = run::run(plan, networks, &mut writers).context("this tool cannot run here")?;
    if plan.clients == 0 && plan.duration.is_none() && results.failure.is_none() {
        // Who serves until it is interrupted has done what was asked.
        results.interrupted = None;
    }
    writers.finish()?;
    let verdict = Verdict::of(plan, &results, &output.thresholds);
    if let Some((path, mut file)) = json {
        let json = report::json(plan, &results, &verdict);
        writeln!(file, "{json:#}").with_context(|| format!("cannot write {}", path.display()))?;
    }
    match text {
        Some((path, mut file)) => {
            let report = report::text(plan, &results, &verdict, false);
            file.write_all(report.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => {
            let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let report = report::text(plan, &results, &verdict, colours);
            // If nobody reads it, there is still the exit code.
            let _ = std::io::stdout().write_all(report.as_bytes());
        }
    }
    Ok(verdict.exit_code())
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Whoever is told of each interval.
struct Writers {
    live: Live,
    hdr: Option<HdrLog<std::io::BufWriter<File>>>,
    series: Option<Series<std::io::BufWriter<File>>>,
    failed: Option<std::io::Error>,
}

impl Writers {
    fn open(plan: &Plan, output: &OutputFlags) -> anyhow::Result<Self> {
        let total = plan.duration.map(|duration| plan.warm_up.saturating_add(duration));
        let hdr = output.hdr.as_deref().map(|path| {
            HdrLog::create(path, wall_clock()).with_context(|| format!("cannot write {}", path.display()))
        });
        let series = output
            .timeseries
            .as_deref()
            .map(|path| Series::create(path).with_context(|| format!("cannot write {}", path.display())));
        Ok(Self {
            hdr: hdr.transpose()?,
            series: series.transpose()?,
            live: Live::new(output.quiet, total),
            failed: None,
        })
    }

    fn finish(self) -> anyhow::Result<()> {
        self.live.finish();
        if let Some(error) = self.failed {
            return Err(error).context("cannot write the results of an interval");
        }
        if let Some(hdr) = self.hdr {
            hdr.finish().context("cannot write the HdrHistogram log")?;
        }
        if let Some(series) = self.series {
            series.finish().context("cannot write the time series")?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a log says when it was written; nothing is steered by it")]
fn wall_clock() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

impl Observer for Writers {
    fn stage(&mut self, text: &str) {
        self.live.stage(text);
    }

    fn interval(&mut self, elapsed: Duration, interval: &Interval) {
        self.live.interval(elapsed, interval);
        let hdr = self.hdr.as_mut().map_or(Ok(()), |hdr| hdr.write(interval));
        let series = self.series.as_mut().map_or(Ok(()), |series| series.write(interval));
        if let Err(error) = hdr.and(series) {
            self.failed.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    fn plan(args: &[&str]) -> anyhow::Result<Plan> {
        let cli = Cli::try_parse_from([&["loadgen", "run"], args].concat())?;
        let Some(Command::Run(run)) = cli.command else { panic!("it is a run") };
        run.flags.of(run.targets.clone(), RUN).plan()
    }

    #[test]
    fn what_cannot_work_is_said_with_flag_value_and_remedy() {
        for (args, words) in [
            (&["-R", "fast"][..], &["fast", "50k"][..]),
            (&["-R", "5k", "--inflight", "2"], &["--rate", "--inflight"]),
            (&["--stage", "10k"], &["10k", "30s@10k"]),
            (&["-d", "30"], &["30", "30s"]),
            (&["-s", "8"], &["-s 8", "16"]),
            (&["-s", "1M"], &["-s 1048576", "524284", "--max-packet-size"]),
            (&["-s", "uniform:100-20"], &["100-20", "must not be above"]),
            (&["--inflight", "0"], &["--inflight 0", "1 to"]),
            (&["--conns", "0"], &["--conns 0", "1 to"]),
            (&["--threads", "0"], &["--threads 0", "1 to"]),
            (&["--servers", "0"], &["--servers"]),
            (&["--threshold", "response.p99"], &["response.p99", "<"]),
            (&["--threshold", "speed.p99<5ms"], &["speed", "response"]),
            (&["nowhere:x"], &["nowhere:x", "HOST:PORT"]),
            (&["--password-file", "/no/such"], &["--password-file", "/no/such"]),
            (&["--target-pid", "999999999"], &["--target-pid 999999999", "no such process"]),
            (&["--interval", "1ms"], &["--interval", "50ms"]),
            (&["-n", "1.5"], &["1.5", "whole number"]),
        ] {
            let error = format!("{:#}", plan(args).expect_err("it cannot work"));
            for word in words {
                assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
            }
        }
    }

    #[test]
    fn a_run_is_planned_as_it_was_typed() {
        let plan = plan(&["-R", "1k:2k", "-d", "4s", "-c", "1k", "--conns", "4", "--seed", "9"]).unwrap();
        assert_eq!((plan.clients, plan.conns_per_client, plan.seed), (1000, 4, 9));
        assert_eq!(plan.load.mean_rate(), Some(1500.0));
        assert_eq!(plan.duration, Some(Duration::from_secs(4)));
        let plan = self::plan(&["-n", "10k"]).unwrap();
        assert_eq!((plan.duration, plan.count), (None, Some(10_000)));
        let plan = self::plan(&["--stage", "2s@1k", "--stage", "3s@5k"]).unwrap();
        assert_eq!(plan.duration, Some(Duration::from_secs(5)));
    }
}
