//! What was measured: a table on stdout as it comes, and everything as JSON.

use indicatif::ProgressBar;
use serde::Serialize;

use crate::machine::Machine;
use crate::options::Options;
use crate::results::{progress, write_json};
use crate::text::significant;
use crate::turns::Compared;

/// Changes when the JSON changes in a way that its readers have to know.
const VERSION: u32 = 1;

/// With `--brief`, only what is so many times as much as wanted is missed; and a percentile of a short time on a machine that
/// does other things too says nothing at all.
const BRIEF_LENIENCE: f64 = 2.0;

/// A result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    name: String,
    unit: &'static str,
    value: f64,
    wanted: f64,
    met: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

/// Something that should not have happened while a result was measured.
#[derive(Clone, Debug, Serialize)]
struct Failure {
    name: &'static str,
    error: String,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    version: u32,
    machine: Machine,
    gateway: String,
    gateway_args: &'a str,
    brief: bool,
    seed: u64,
    results: Vec<Line>,
    failures: Vec<Failure>,
    #[serde(skip)]
    options: &'a Options,
    /// What is being done, on stderr, if that is a terminal.
    #[serde(skip)]
    pub(crate) bar: ProgressBar,
}

impl<'a> Report<'a> {
    pub(crate) fn new(options: &'a Options) -> Self {
        Self {
            version: VERSION,
            machine: Machine::here(),
            gateway: options.gateway.gateway.display().to_string(),
            gateway_args: &options.gateway.gateway_args,
            brief: options.brief,
            seed: options.seed,
            results: Vec::new(),
            failures: Vec::new(),
            options,
            bar: progress(),
        }
    }

    /// What stands above the table.
    pub(crate) fn head(&self) {
        self.print(&self.machine.to_string());
        self.print(&format!("\n{:70}{:>13}{:>16}", "work", "measured", "wanted"));
    }

    /// What is being done now.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_prefix(what.into());
        self.bar.tick();
    }

    /// Prints and keeps a result: so much, and no more than that is wanted.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, wanted: f64) {
        self.keep(name.into(), value, unit, wanted, None, true);
    }

    /// The same of what settles in time only: with `--brief`, it is not judged.
    pub(crate) fn add_in_the_long_run(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        wanted: f64,
    ) {
        self.keep(name.into(), value, unit, wanted, None, !self.options.brief);
    }

    /// The same of a 99th percentile that was measured in turn: the ratio of the two. With `--brief`, it is not judged.
    pub(crate) fn add_compared(&mut self, name: impl Into<String>, compared: Compared, wanted: f64) {
        let value = compared.ratio.median;
        self.keep(name.into(), value, "×", wanted, Some(compared), !self.options.brief);
    }

    /// Prints and keeps that something went wrong while this was measured.
    pub(crate) fn fail(&mut self, name: &'static str, error: &anyhow::Error) {
        let error = format!("{error:#}");
        self.print(&format!("{name}: {error}  missed"));
        self.failures.push(Failure { name, error });
    }

    /// Prints what else should be known of the last result.
    pub(crate) fn note(&self, text: &str) {
        self.print(&format!("  {text}"));
    }

    fn keep(
        &mut self,
        name: String,
        value: f64,
        unit: &'static str,
        wanted: f64,
        compared: Option<Compared>,
        is_judged: bool,
    ) {
        let lenience = if self.options.brief { BRIEF_LENIENCE } else { 1.0 };
        let met = !is_judged || value <= wanted * lenience;
        let mark = if !is_judged {
            "–"
        } else if met {
            "✓"
        } else {
            "missed"
        };
        let (measured, limit) = (format!("{} {unit}", significant(value)), format!("≤ {wanted} {unit}"));
        self.print(&format!("{name:70}{measured:>13}{limit:>16}  {mark}"));
        if let Some(Compared { without, with, ratio }) = &compared {
            let (low, high) = ratio.bounds();
            self.note(&format!(
                "p99 {} µs without them, {} µs with them; {} rounds in turn, ratios {low:.2}–{high:.2}",
                significant(without.median),
                significant(with.median),
                ratio.rounds.len()
            ));
        }
        self.results.push(Line { name, unit, value, wanted, met, compared });
    }

    /// Writes what is to be written. Whether everything is as it should be.
    pub(crate) fn finish(self) -> anyhow::Result<bool> {
        self.bar.finish_and_clear();
        let path = self.options.json()?;
        write_json(&path, &self)?;
        println!("\nall values are in {}", path.display());
        Ok(self.failures.is_empty() && self.results.iter().all(|line| line.met))
    }

    fn print(&self, line: &str) {
        self.bar.suspend(|| println!("{}", line.trim_end()));
    }
}
