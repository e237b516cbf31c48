//! The binary `sim`: what was typed, and what is said.
//!
//! Exit codes: 0, everything was right; 1, a rule was violated, or two runs of a seed differ; 2, the command cannot be
//! obeyed.

mod run;
mod sweep;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Plan;
use crate::shrink;
use crate::world;

pub use sweep::{Tally, sweep};

/// Deterministic simulation of fastway: real gateways, real endpoints, a simulated network, faults, and an oracle.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run one world.
    Run {
        /// The seed that decides everything in it.
        #[arg(long, value_parser = seed)]
        seed: u64,
        #[command(flatten)]
        kind: Worlds,
        #[command(flatten)]
        output: Output,
    },
    /// Run the worlds of many seeds.
    Sweep(sweep::Sweep),
    /// Run each of some seeds twice, in processes of their own, and compare their traces line by line.
    Meta {
        /// From the first to before the last.
        #[arg(long, value_parser = sweep::seeds, default_value = "0..20")]
        seeds: sweep::Seeds,
        #[command(flatten)]
        kind: Worlds,
    },
    /// Run a saved schedule.
    Replay {
        /// Made by `shrink`, or by hand.
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Make a failing world as small as it can be while it fails in the same way, and print it as a schedule.
    Shrink {
        /// A saved schedule.
        #[arg(required_unless_present = "seed", conflicts_with = "seed")]
        file: Option<PathBuf>,
        /// Or the world of a seed.
        #[arg(long, value_parser = seed)]
        seed: Option<u64>,
        #[command(flatten)]
        kind: Worlds,
    },
}

/// Which world belongs to a seed.
#[derive(Clone, Copy, Debug, Args)]
struct Worlds {
    /// The worlds of many gateways: servers are linked to all of them, clients move from one to another.
    #[arg(long)]
    failover: bool,
}

impl Worlds {
    fn plan(self, seed: u64) -> Plan {
        if self.failover { Plan::failover(seed) } else { Plan::from_seed(seed) }
    }

    /// As it is typed.
    fn flag(self) -> &'static str {
        if self.failover { " --failover" } else { "" }
    }
}

#[derive(Clone, Debug, Args)]
struct Output {
    /// Write everything that happened: as text to standard output, or as one page for a browser.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text")]
    trace: Option<Trace>,
    /// Where the page goes.
    #[arg(long, default_value = "trace.html", requires = "trace")]
    out: PathBuf,
    /// Print the world before it begins, as a schedule that can be saved and replayed.
    #[arg(long)]
    plan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Trace {
    Text,
    Html,
}

/// A command that cannot be obeyed.
#[derive(Debug)]
pub(crate) struct Refusal(String);

impl Refusal {
    fn new(text: impl Display) -> Self {
        Self(text.to_string())
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a number from 0 to {}, such as 42", u64::MAX))
}

/// Runs the binary `sim`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        What::Run { seed, kind, output } => {
            run::run(&kind.plan(seed), &format!("sim run{} --seed {seed}", kind.flag()), &output)
        }
        What::Replay { file, output } => {
            load(&file).and_then(|plan| run::run(&plan, &format!("sim replay {}", file.display()), &output))
        }
        What::Sweep(sweep) => sweep.run(),
        What::Meta { seeds, kind } => run::meta(seeds, kind),
        What::Shrink { file, seed, kind } => match (file, seed) {
            (Some(file), _) => load(&file).map(|plan| shrink_and_print(&plan)),
            (None, seed) => Ok(shrink_and_print(&kind.plan(seed.unwrap_or_default()))),
        },
    };
    done.unwrap_or_else(|Refusal(text)| {
        complain(&format!("error: {text}"));
        ExitCode::from(2)
    })
}

fn load(file: &Path) -> Result<Plan, Refusal> {
    let json = std::fs::read_to_string(file)
        .map_err(|error| Refusal::new(format_args!("cannot read {}: {error}", file.display())))?;
    Plan::from_json(&json).map_err(|error| Refusal::new(format_args!("{}: {error}", file.display())))
}

fn shrink_and_print(plan: &Plan) -> ExitCode {
    let outcome = world::run(plan);
    let Some(violation) = outcome.violation else {
        complain("this world violates nothing: there is nothing to shrink");
        return ExitCode::SUCCESS;
    };
    complain(&format!("{violation}\nshrinking, while it fails by the same rule …"));
    let run = |plan: &Plan| world::run(plan).violation.map(|violation| violation.rule);
    let small = shrink::shrink(plan, &violation.rule, run, complain);
    say(&small.to_json());
    ExitCode::FAILURE
}

/// The commit that is checked out here, as far as it can be found out.
pub(crate) fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// To standard output. Whoever has closed it wants no more.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// To standard error.
pub(crate) fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
