//! One world, its trace, and whether it is the same every time.

use std::process::{Command, ExitCode};

use super::sweep::Seeds;
use super::{Output, Refusal, Trace, Worlds, commit, complain, say};
use crate::html;
use crate::plan::Plan;
use crate::trace::Names;
use crate::world::{self, Outcome};

pub(super) fn run(plan: &Plan, command: &str, output: &Output) -> Result<ExitCode, Refusal> {
    if output.plan {
        say(&plan.to_json());
    }
    let outcome = world::run(plan);
    match output.trace {
        Some(Trace::Text) => print_trace(plan, &outcome),
        Some(Trace::Html) => {
            let page = html::page(&format!("seed {}", plan.seed), command, plan, &outcome);
            std::fs::write(&output.out, page).map_err(|error| {
                Refusal::new(format_args!("cannot write {}: {error}", output.out.display()))
            })?;
            complain(&format!("the trace is in {}", output.out.display()));
        }
        None => {}
    }
    Ok(report(plan, command, &outcome))
}

fn print_trace(plan: &Plan, outcome: &Outcome) {
    let names = Names::new(plan, &outcome.events);
    for event in &outcome.events {
        say(&names.line(event));
    }
}

/// What became of a world. A failure begins and ends with the command that repeats it.
fn report(plan: &Plan, command: &str, outcome: &Outcome) -> ExitCode {
    let simulated = f64::from(outcome.simulated_ms) / 1000.0;
    let hosts = plan.topology.hosts().len();
    let Some(violation) = &outcome.violation else {
        complain(&format!(
            "seed {}: all right; {hosts} hosts, {} clients, {} faults, {simulated:.1} s simulated, {} events",
            plan.seed,
            plan.topology.clients,
            plan.faults.len(),
            outcome.events.len()
        ));
        return ExitCode::SUCCESS;
    };
    let checkout = commit().map(|commit| format!("git checkout {commit} && ")).unwrap_or_default();
    let repeat = format!("{checkout}cargo run --release --bin {command} --trace html");
    complain(&repeat);
    complain(&format!("\nviolated: {violation}\n\nthe last events that matter:"));
    violation.last.iter().for_each(|line| complain(line));
    complain(&format!("\n{repeat}"));
    ExitCode::FAILURE
}

/// The same seed gives the same world, to the byte, in any process.
pub(super) fn meta(seeds: Seeds, kind: Worlds) -> Result<ExitCode, Refusal> {
    let this = std::env::current_exe().map_err(Refusal::new)?;
    let trace = |seed: u64| {
        let mut run = Command::new(&this);
        run.args(["run", "--trace", "--seed", &seed.to_string()]).args(kind.flag().split_whitespace());
        run.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).map_err(Refusal::new)
    };
    for seed in seeds.first..seeds.end {
        let (first, second) = (trace(seed)?, trace(seed)?);
        if let Some((line, (one, two))) =
            first.lines().zip(second.lines()).enumerate().find(|(_, (a, b))| a != b)
        {
            complain(&format!("seed {seed}: line {} differs:\n  {one}\n  {two}", line + 1));
            return Ok(ExitCode::FAILURE);
        }
        if first.len() != second.len() || first.is_empty() {
            complain(&format!("seed {seed}: traces of {} and {} bytes", first.len(), second.len()));
            return Ok(ExitCode::FAILURE);
        }
        say(&format!("seed {seed}: {} lines, the same twice", first.lines().count()));
    }
    Ok(ExitCode::SUCCESS)
}
