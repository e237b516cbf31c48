//! `loadgen failover`: what was typed, and the process around it.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fastway::endpoint::EndpointConfig;
use fastway::fleet::{Backoff, Choice, FleetConfig};
use fastway_gateway::Size;

use super::flags::{KeyFlags, max_packet};
use super::parse;
use super::tls::{ClientTls, ServerTls};
use super::{COULD_NOT_RUN, USAGE_ERROR, create, fail};
use crate::failover::{self, Demand, FailoverPlan, Gateway, Play};
use crate::limits::{self, LimitError, OTHER_FILES};

/// How often a virtual connection asks, unless told otherwise.
const PACE: Duration = Duration::from_millis(200);

/// How long, unless told otherwise.
const DURATION: Duration = Duration::from_secs(60);

/// How long nobody is served when something fails, and what is lost meanwhile.
#[derive(Debug, Args)]
pub(super) struct Failover {
    /// Gateways: PUBLIC/INTERNAL, each HOST:PORT; clients use the first half, servers the second. Reports call one by the
    /// name that is given as NAME=PUBLIC/INTERNAL
    #[arg(value_name = "TARGET", required = true, value_parser = parse::gateway)]
    targets: Vec<Gateway>,

    /// The target is a name for all gateways; it is looked up again so often
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    resolve: Option<Duration>,

    /// Which sides this process plays
    #[arg(long, value_name = "SIDES", default_value = "both")]
    play: Play,

    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    client_tls: ClientTls,
    #[command(flatten)]
    key: KeyFlags,
    #[command(flatten)]
    server_tls: ServerTls,
    #[command(flatten)]
    fleet: FleetFlags,
    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadFlags {
    /// Clients, each with a link to one gateway at a time
    #[arg(short, long, value_name = "N", value_parser = parse::count, default_value = "1k")]
    clients: u64,

    /// Virtual connections of each client
    #[arg(long, value_name = "N", default_value = "1")]
    conns: usize,

    /// Servers, each with a link to every gateway
    #[arg(long, value_name = "N", default_value = "1")]
    servers: usize,

    /// Their IDs begin here
    #[arg(long, value_name = "ID", default_value = "1")]
    first_server_id: u32,

    /// Questions a second over all connections [default: each asks every 200ms]
    #[arg(short = 'R', long, value_name = "RATE", value_parser = parse::per_second)]
    rate: Option<f64>,

    /// Length of a question
    #[arg(short, long, value_name = "SIZE", default_value = "64")]
    size: Size,

    /// How long [default: 60s; with --marks until they end; servers alone until interrupted]
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration)]
    duration: Option<Duration>,

    /// Lines on standard input say what happens; "ready" is printed when everybody talks
    #[arg(long)]
    marks: bool,
}

/// What is told to the library.
#[derive(Debug, Args)]
#[command(next_help_heading = "Library")]
struct FleetFlags {
    /// A gateway that was silent for so long is taken for dead; 0 leaves it to TCP
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    detection: Duration,

    /// Clients that lost their gateway turn to another one within so long, each at a random instant
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "500ms")]
    spread: Duration,

    /// The wait after a first failure; it doubles with each in a row
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "200ms")]
    backoff: Duration,

    /// And ends to grow there
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    max_backoff: Duration,

    /// Which gateway a client takes
    #[arg(long, value_name = "WHICH", default_value = "random")]
    choice: ChoiceFlag,

    /// One try to connect has to be done in this time
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    connect_timeout: Duration,

    /// One dial has to be answered in this time
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "5s")]
    dial_timeout: Duration,

    /// The largest packet of the gateways
    #[arg(long, value_name = "SIZE", default_value = "512K")]
    max_packet_size: Size,

    /// What is drawn by lot is drawn from this [default: from the operating system]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ChoiceFlag {
    Random,
    RoundRobin,
    Nearest,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
struct OutputFlags {
    /// A question that waited for longer is an outage, though its connection was not lost
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "1s")]
    stall: Duration,

    /// What is open at the end is waited for so long
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "2s")]
    grace: Duration,

    /// If not everybody talks after so long, it is given up
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "30s")]
    give_up: Duration,

    /// Fail (exit code 3) unless this holds, such as outage.p99<1s, lost<500, connects<400; repeatable
    #[arg(long = "threshold", value_name = "CONDITION")]
    thresholds: Vec<Demand>,

    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw it over time (SVG, for light and dark pages)
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write the report to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

impl Failover {
    /// The whole of it.
    pub(super) fn obey(&self) -> ExitCode {
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(error) => return fail(USAGE_ERROR, &error),
        };
        match enough_files(&plan).map_err(Into::into).and_then(|()| self.run(&plan)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => fail(COULD_NOT_RUN, &error),
        }
    }

    fn plan(&self) -> anyhow::Result<FailoverPlan> {
        let Self { targets, resolve, play, load, client_tls, key, server_tls, fleet, output } = self;
        let clients = usize::try_from(load.clients).unwrap_or(usize::MAX);
        let conns = clients.saturating_mul(load.conns);
        let is_endless = load.marks || *play == Play::Servers;
        let plan = FailoverPlan {
            targets: targets.clone(),
            resolve: *resolve,
            play: *play,
            client_tls: if *play == Play::Servers { None } else { client_tls.connector()? },
            server_tls: if *play == Play::Clients { None } else { server_tls.connector()? },
            clients,
            conns_per_client: load.conns,
            servers: load.servers,
            first_server_id: load.first_server_id,
            rate: load.rate.unwrap_or(conns as f64 / PACE.as_secs_f64()),
            message_bytes: load.size.0,
            duration: load.duration.or((!is_endless).then_some(DURATION)),
            marks: load.marks,
            key: key.key()?,
            fleet: fleet.config()?,
            stall: output.stall,
            grace: output.grace,
            give_up: output.give_up,
            ..FailoverPlan::default()
        };
        plan.check()?;
        // An outage begins with a last answer, and those are a pace apart.
        let apart = plan.apart.max(plan.pace() * 2);
        Ok(FailoverPlan { apart, ..plan })
    }

    fn run(&self, plan: &FailoverPlan) -> anyhow::Result<u8> {
        // Files are opened before the run: it would be a pity to find out after it that they cannot be.
        let OutputFlags { thresholds, json, svg, output, quiet, .. } = &self.output;
        let open = |path: &Option<PathBuf>| {
            path.as_deref().map(|path| create(path).map(|file| (path.to_owned(), file))).transpose()
        };
        let (json, svg, output) = (open(json)?, open(svg)?, open(output)?);
        let record = failover::run(plan, *quiet).context("this tool cannot run here")?;
        let failures = record.failures(plan.pace(), plan.apart);
        let verdict = failover::judge(plan, &record, &failures, thresholds);
        if let Some((path, mut file)) = json {
            let json = failover::json(plan, &record, &failures, &verdict);
            writeln!(file, "{json:#}").with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some((path, mut file)) = svg {
            let svg = failover::picture(&record, &failures, plan.pace())?;
            file.write_all(svg.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let text = |colours| failover::text(plan, &record, &failures, &verdict, colours);
        match output {
            Some((path, mut file)) => file
                .write_all(text(false).as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?,
            None => {
                let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                // If nobody reads it, there is still the exit code.
                let _ = std::io::stdout().write_all(text(colours).as_bytes());
            }
        }
        Ok(verdict.exit_code())
    }
}

impl FleetFlags {
    fn config(&self) -> anyhow::Result<FleetConfig> {
        let defaults = EndpointConfig::default();
        Ok(FleetConfig {
            endpoint: EndpointConfig {
                max_packet: max_packet(self.max_packet_size)?,
                connect_timeout: self.connect_timeout,
                dial_timeout: self.dial_timeout,
                ..defaults
            },
            detection: self.detection,
            backoff: Backoff { first: self.backoff, max: self.max_backoff },
            choice: match self.choice {
                ChoiceFlag::Random => Choice::Random,
                ChoiceFlag::RoundRobin => Choice::RoundRobin,
                ChoiceFlag::Nearest => Choice::Nearest,
            },
            spread: self.spread,
            seed: self.seed,
            ..FleetConfig::default()
        })
    }
}

/// A client that moves has two links for a moment.
fn enough_files(plan: &FailoverPlan) -> Result<(), LimitError> {
    let clients = if plan.play == Play::Servers { 0 } else { 2 * plan.clients };
    let servers = if plan.play == Play::Clients { 0 } else { plan.servers * plan.targets.len() };
    let needed = (clients + servers) as u64 + OTHER_FILES;
    let limit = limits::raise_files();
    if needed > limit { Err(LimitError::Files { needed, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn plan(args: &[&str]) -> anyhow::Result<FailoverPlan> {
        let cli = Cli::try_parse_from([&["loadgen", "failover"], args].concat())?;
        let Some(Command::Failover(failover)) = cli.command else { panic!("it is that") };
        failover.plan()
    }

    #[test]
    fn it_is_planned_as_it_was_typed() {
        let targets = ["gw1:7010/10.0.0.1:7020", "west=gw2"];
        let plan =
            plan(&[&targets[..], &["-c", "500", "--conns", "2", "--detection", "2s"]].concat()).unwrap();
        assert_eq!((plan.conns(), plan.rate, plan.pace()), (1000, 5000.0, PACE));
        assert_eq!(plan.targets[0].target.server_addr, "10.0.0.1:7020");
        assert_eq!(plan.targets[1].target.server_addr, "gw2:7020");
        let names = plan.targets.iter().map(|gateway| gateway.name.as_deref());
        assert_eq!(names.collect::<Vec<_>>(), [None, Some("west")]);
        assert_eq!((plan.duration, plan.fleet.detection), (Some(DURATION), Duration::from_secs(2)));
    }

    #[test]
    fn how_long_depends_on_who_ends_it() {
        for (args, duration) in [
            (&["gw"][..], Some(DURATION)),
            (&["gw", "--marks"], None),
            (&["gw", "--play", "servers"], None),
            (&["gw", "--marks", "-d", "5s"], Some(Duration::from_secs(5))),
        ] {
            assert_eq!(plan(args).unwrap().duration, duration, "{args:?}");
        }
    }

    #[test]
    fn failures_are_told_apart_however_slowly_it_is_asked() {
        assert_eq!(plan(&["gw", "-c", "10", "-R", "5"]).unwrap().apart, Duration::from_secs(4));
    }

    #[test]
    fn what_cannot_work_is_said_with_flag_and_remedy() {
        for (args, words) in [
            (&[][..], &["TARGET"][..]),
            (&["gw:x"], &["gw:x", "HOST:PORT"]),
            (&["a", "b", "--resolve", "5s"], &["TARGET b:7010", "with --resolve"]),
            (&["gw1=a", "gw1=b"], &["gw1", "two gateways"]),
            (&["=a"], &["no name", "gw1="]),
            (&["gw", "--play", "nobody"], &["nobody", "clients"]),
            (&["gw", "--choice", "best"], &["best", "round-robin"]),
            (&["gw", "--threshold", "outage<1s"], &["outage.p99"]),
            (&["gw", "-s", "4"], &["-s 4", "16"]),
            (&["gw", "-c", "0"], &["-c 0", "1 to"]),
        ] {
            let error = format!("{:#}", plan(args).expect_err("it cannot work"));
            for word in words {
                assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
            }
        }
    }
}
